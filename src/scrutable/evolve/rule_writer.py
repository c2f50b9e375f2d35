"""The writer for models that were taught to write in a format of their own, which `reflection.json` in their directory tells.

Each whole answer is a text. The text so far is not shown: the answers show it. Every sample is shown tasks of its own,
drawn from those handed over: what five tasks leave open others settle, and the texts that several draws agree on have the
most votes. What is known from elsewhere (`evidence`) has no place in such a format, and is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from pydantic import Field

from scrutable.core.errors import ProposerFailure, UserError
from scrutable.core.records import Message, Record, Sampling, digest_of
from scrutable.evolve.writing import Item, Proposal, ReflectConfig, Shown, most_of, read_texts, told_by
from scrutable.models.base import Model
from scrutable.programs.joined import part

MOST = 40
"""Answers that are asked for at most."""


class RuleFormat(Record):
    """How a model that writes in a format of its own is asked."""

    item: str = Field(description="one task: {prompt}, {answer} and {feedback} are filled in")
    ask: str = Field(description="what follows the tasks")
    items: int = Field(default=5, ge=1, description="how many tasks it is used to")
    shown: str = Field(default="good .", description="the feedback that marks a demonstration")
    after: str = Field(default="", description="the text is what follows this mark in the answer (empty: all of it)")
    max_tokens: int = Field(default=96, ge=1, description="most tokens of an answer")


def read_format(file: Path) -> RuleFormat:
    """Read a `reflection.json`. Errors: UserError when it is malformed."""
    try:
        return RuleFormat.model_validate_json(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is no reflection format (item, ask, items, shown): mend or remove it") from error


class RuleWriter:
    """Asks a model in its own format; each whole answer is a text."""

    def __init__(
        self, model: Model, form: RuleFormat, config: ReflectConfig | None = None, *, evidence: Sequence[str] = ()
    ) -> None:
        config = config or ReflectConfig()
        self._model, self._form = model, form
        self._samples, self._words = config.samples or 8, config.words
        self._copied_words = config.copied_words
        self._sampling = Sampling(temperature=config.temperature, max_tokens=min(config.max_tokens, form.max_tokens))
        self.items = config.items or max(form.items, min(self._samples * form.items, MOST))
        self.shown = form.shown
        self.most = most_of(model, self._samples, config.prompt_tokens, self._sampling.max_tokens)
        self.identity = digest_of(["rules", 2, model.identity, form.digest(), config.digest()])

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Draw several answers in one batch, each to tasks of its own (see `Proposer`)."""
        draws = Random(f"rule writer/{seed}")
        shown = [drawn_from(items, self._form.items, draws) for _ in range(self._samples)]
        asked = [" ".join([*(self._item(item, module, list(texts)) for item in own), self._form.ask]) for own in shown]
        sampling = self._sampling.model_copy(update={"seed": seed})
        drawn = self._model.generate([(Message(role="user", content=one),) for one in asked], sampling)
        found = read_texts(drawn, self._text_of, Shown(items, texts, self._copied_words))
        hands = {id(item) for hand in shown for item in hand}
        seen = tuple(place for place, item in enumerate(items) if id(item) in hands)
        return found.model_copy(update={"prompt_digest": told_by(asked), "shown": seen})

    def _text_of(self, answer: str) -> str:
        """Return the text in an answer: what follows the mark. Errors: ProposerFailure where it is missing, or too long."""
        before, mark, text = answer.rpartition(self._form.after) if self._form.after else ("", "", answer)
        if self._form.after and not mark:
            raise ProposerFailure(f"no text: {self._form.after!r} is missing in {before or text!r}")
        if len(text.split()) > 2 * self._words:
            raise ProposerFailure(f"a text of {len(text.split())} words, where {self._words} are enough")
        return text.strip()

    def _item(self, item: Item, module: str, modules: Sequence[str]) -> str:
        """Fill in one task: of several modules, what this one said, and what was said of it."""
        answer, feedback = (part(text, module, modules) for text in (item.answer, item.feedback))
        filled = {"prompt": item.prompt, "answer": answer, "feedback": feedback}
        return re.sub(r"\{(prompt|answer|feedback)\}", lambda found: filled[found[1]], self._form.item)


def drawn_from(items: Sequence[Item], count: int, draws: Random) -> list[Item]:
    """Draw `count` of the items: two of five from the worst third, the others from the best; all, as they lie, where few.

    One that is not the best is in each draw where there is any, and one that is not the worst. Unscored ones lie lowest.
    Bad answers say what is wanted, good ones where it is not: with more bad ones true rules are written under other
    conditions, and one true sentence of two is more often missing.
    """
    if len(items) <= count:
        return list(items)
    scores = [float("-inf") if item.score is None else item.score for item in items]
    places = list(range(len(items)))
    draws.shuffle(places)  # of equals, any
    places.sort(key=lambda place: scores[place])
    bad, third = max(1, 2 * count // 5), len(items) // 3
    worst = draws.sample(places[: max(bad, third)], bad)
    if all(scores[place] == max(scores) for place in worst):
        worst[0] = places[0]
    rest = [place for place in places if place not in worst]
    good = count - bad
    best = draws.sample(rest[len(rest) - max(good, third) :], good)
    if good and all(scores[place] == min(scores) for place in (*worst, *best)):
        best[0] = places[-1]
    chosen = [*worst, *best]
    draws.shuffle(chosen)
    return [items[place] for place in chosen]
