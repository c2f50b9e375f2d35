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
        shown = hands_of(items, self._form.items, self._samples, draws)
        asked = [" ".join([*(self._item(item, module, list(texts)) for item in own), self._form.ask]) for own in shown]
        sampling = self._sampling.model_copy(update={"seed": seed})
        drawn = self._model.generate([(Message(role="user", content=one),) for one in asked], sampling)
        found = read_texts(drawn, self._text_of, Shown(items, texts, self._copied_words))
        held = {id(item) for hand in shown for item in hand}
        seen = tuple(place for place, item in enumerate(items) if id(item) in held)
        places = {id(item): place for place, item in enumerate(items)}
        grounds = tuple(tuple(places[id(item)] for item in shown[sample]) for sample in found.samples)
        return found.model_copy(update={"prompt_digest": told_by(asked), "shown": seen, "grounds": grounds})

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


def hands_of(items: Sequence[Item], count: int, hands: int, draws: Random) -> list[list[Item]]:
    """Deal `hands` of `count` items: two of five bad ones, the others good; all, as they lie, where few.

    Bad are those of the worse half that are below the best score, good are all others; each comes up once before any comes up
    again. One that is not the worst is in each hand where there is any. Unscored ones lie lowest. Bad answers say what is
    wanted, good ones where it is not: with more bad ones true rules are written under other conditions, and one true sentence
    of two is more often missing.
    """
    if len(items) <= count:
        return [list(items)] * hands
    scores = [float("-inf") if item.score is None else item.score for item in items]
    places = list(range(len(items)))
    draws.shuffle(places)  # of equals, any
    places.sort(key=lambda place: scores[place])
    bad = max(1, 2 * count // 5)
    good = count - bad
    worse = [place for place in places[: min(len(items) // 2, len(items) - good)] if scores[place] < max(scores)]
    lows = _Deck(worse if len(worse) >= bad else places[:bad], draws)
    highs = _Deck([place for place in places if place not in worse], draws)
    dealt = []
    for _ in range(hands):
        worst = lows.deal(bad, ())
        best = highs.deal(good, worst)
        if good and len(set(scores)) > 1 and all(scores[place] == min(scores) for place in (*worst, *best)):
            best[0] = places[-1]
        chosen = [*worst, *best]
        draws.shuffle(chosen)
        dealt.append([items[place] for place in chosen])
    return dealt


class _Deck:
    """Places in drawn order, each once; then again. It has more than any hand takes."""

    def __init__(self, places: list[int], draws: Random) -> None:
        self._places, self._draws, self._left = places, draws, list[int]()

    def deal(self, count: int, held: Sequence[int]) -> list[int]:
        """Return `count` places that are not held; those passed over come first in the next deal."""
        dealt, passed = list[int](), list[int]()
        usable = len(set(self._places).difference(held))
        while len(dealt) < min(count, usable):
            if not self._left:
                self._left = list(self._places)
                self._draws.shuffle(self._left)
            place = self._left.pop()
            (passed if place in held or place in dealt else dealt).append(place)
        self._left += passed
        return dealt
