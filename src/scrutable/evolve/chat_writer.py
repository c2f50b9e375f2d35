"""The writer for chat models: asked in English for hypotheses first, and then for a text by each.

First step: the text now, and tasks with their answers. What tells the good from the bad? Several hypotheses come back, each
with the tasks that support and contradict it. Second step, for as many of them as texts are wanted, the best supported
first: the text now, one hypothesis, and only the tasks it names; the text comes back in a fenced block. A writer that had to
settle what is wrong and how to say it in one breath would change words around its first idea.

Each prompt stays within a budget of tokens (`room.py`). What cannot be used in either step is a counted failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scrutable.core.errors import ProposerFailure, one_line
from scrutable.core.records import Generation, Message, Sampling, digest_of
from scrutable.evolve.room import Field, Part, Room
from scrutable.evolve.writing import Item, Proposal, ReflectConfig, Shown, most_of, read_texts, told_by, whole
from scrutable.models.base import Model

IMPROVE = """\
You look after the text that an assistant is given before each task. Below: the text it has now, and what it did with it. \
Each answer was scored by a rater, and higher is better."""

IMITATE = """\
You put a model's ways into words. Below: the text that an assistant is given before each task now, and tasks with the \
answer of the model to be imitated. The assistant, given the text, should answer as that model does. The number beside \
each task says how close the assistant comes now: the lower, the further."""

KNOWN = "Known from elsewhere, not from these tasks:"

SUPPOSE = """\
What tells the good from the bad here, and on which tasks? Write {count} hypotheses that differ from each other. Look at \
tasks where each holds and tasks where it does not. Write nothing else, and each in this form:
HYPOTHESIS 1: one sentence
SUPPORTED BY: numbers of tasks
CONTRADICTED BY: numbers of tasks, or none"""

REWRITE = """\
You write the text that an assistant is given before each task. Below: the text it has now, what was noticed about its \
answers, and the tasks on which it was noticed."""

CLOSE = """\
Write the whole new text between a line ``` and a line ```. Make it act on what was noticed, and keep of the old text what \
works. Short sentences; each says one thing to do, and when to do it. It must serve for tasks not seen here: copy no task \
and no answer into it. At most {words} words."""

NOTHING = "(nothing)"
_TASKS = 4
"""Tasks shown with a hypothesis at most."""
_LONGEST = 600
"""Characters of a hypothesis that are passed on."""
_HEAD = re.compile(r"^[\W_]{0,20}HYPOTHESIS\b[ \t]*\d*[ \t:.)*_-]*", re.IGNORECASE | re.MULTILINE)
_LISTED = re.compile(r"^[ \t]*[*_#]*\d+[.):][*_]*[ \t]+", re.MULTILINE)
_SIDE = re.compile(r"\n[\W_]{0,20}(SUPPORT|CONTRADICT)\w*\b(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Hypothesis:
    """What may tell good from bad, and the numbers of the tasks that speak for it and against it."""

    says: str
    supports: tuple[int, ...] = ()
    contradicts: tuple[int, ...] = ()


class ChatWriter:
    """Asks a chat model in English (see the module).

    imitate: the answers are demonstrations by a model whose ways are to be put into words. evidence: what is known from
    elsewhere, one line each (claims of lenses, the most surprising words of a tuned model).
    """

    def __init__(
        self,
        model: Model,
        config: ReflectConfig | None = None,
        *,
        imitate: bool = False,
        evidence: Sequence[str] = (),
    ) -> None:
        self._config = config or ReflectConfig()
        self._model, self._imitate, self._evidence = model, imitate, tuple(evidence)
        self._room = Room(model, self._config.prompt_tokens)
        self._sampling = Sampling(temperature=self._config.temperature, max_tokens=self._config.max_tokens)
        self.items = self._config.items or 6
        calls = 1 + (self._config.samples or 1)  # hypotheses first
        self.most = most_of(model, calls, self._config.prompt_tokens, self._config.max_tokens)
        self.shown = "" if imitate else "This is how it should be answered."
        words = [IMPROVE, IMITATE, KNOWN, SUPPOSE, REWRITE, CLOSE]
        self.identity = digest_of(
            ["chat", 2, model.identity, imitate, self._config.digest(), list(self._evidence), words]
        )

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Ask what tells good from bad, and then for texts, each by another hypothesis (see `Proposer`)."""
        told = _Told(texts, module, _ranked(items), self._imitate)
        asked = self.question(texts, module, items)
        (first,) = self._ask([asked], seed)
        bare = Proposal(answers=(first.answer,), prompt_digest=told_by([asked]), usage=first.usage)
        try:
            found = read_hypotheses(whole(first), len(items))
        except ProposerFailure as failure:
            return bare.model_copy(update={"failures": (str(failure),)})
        chosen = found[: self._config.samples or 1]
        rewrites = [self._rewrite(told, one) for one in chosen]
        drawn = self._ask(rewrites, (seed + 1) % 2**31)
        made = read_texts(drawn, self._text_of, Shown(items, texts, self._config.copied_words))
        return made.model_copy(
            update={
                "answers": (first.answer, *made.answers),
                "hypotheses": tuple(one.says for one in found),
                "prompt_digest": told_by([asked, *rewrites]),
                "usage": first.usage + made.usage,
            }
        )

    def question(self, texts: Mapping[str, str], module: str, items: Sequence[Item]) -> str:
        """Return what the model is asked first: within the budget, the lowest scores first."""
        told = _Told(texts, module, _ranked(items), self._imitate)
        count = max(self._config.hypotheses, self._config.samples or 1)
        lines = tuple(Field("", f"- {line}") for line in self._evidence)
        known = [Part(KNOWN, lines, loose=len(items) + 1)] if lines else []
        tasks = [told.task(number) for number in range(1, len(items) + 1)]
        head = [Part(IMITATE if self._imitate else IMPROVE), told.now()]
        return self._room.fit([*head, *tasks, *known, Part(SUPPOSE.format(count=count))]).text

    def _rewrite(self, told: _Told, one: Hypothesis) -> str:
        """Return what the model is asked for a text: the hypothesis, and some of the tasks it names."""
        for_it, against = one.supports[: _TASKS - bool(one.contradicts)], one.contradicts
        named = [*for_it, *against][:_TASKS]
        noticed = Part(fields=(Field("What was noticed", shortened_line(one.says)),))
        parts = [Part(REWRITE), told.now(), noticed, *(told.task(number) for number in named)]
        return self._room.fit([*parts, Part(CLOSE.format(words=self._config.words))]).text

    def _ask(self, prompts: Sequence[str], seed: int) -> list[Generation]:
        sampling = self._sampling.model_copy(update={"seed": seed})
        return self._model.generate([(Message(role="user", content=one),) for one in prompts], sampling)

    def _text_of(self, answer: str) -> str:
        blocks = re.findall(r"^```[^\n`]*\n(.*?)^```\s*$", answer, re.DOTALL | re.MULTILINE)
        if not blocks:
            raise ProposerFailure("no text between two lines of ```")
        text: str = blocks[-1].strip()
        if len(text.split()) > 2 * self._config.words:
            raise ProposerFailure(f"a text of {len(text.split())} words, where {self._config.words} were asked for")
        return text


@dataclass(frozen=True)
class _Told:
    """What the prompts tell of: the texts, and the items by number from 1."""

    texts: Mapping[str, str]
    module: str
    items: Sequence[Item]
    imitate: bool

    def now(self) -> Part:
        """Return the text as it is."""
        name = f"The text now{f' (for the step {self.module!r})' if len(self.texts) > 1 else ''}:"
        return Part(fields=(Field(name, self.texts[self.module].strip() or "(none)", weight=8, fenced=True),))

    def task(self, number: int) -> Part:
        """Return one task: its answer, and beside it the other one, the better of them first."""
        item = self.items[number - 1]
        fields, answer = [("Task", item.prompt)], item.answer or NOTHING
        if self.imitate:
            fields += [("The assistant's own answer", item.before), ("The model's answer", answer)]
            fields += [("Rater", item.feedback)]
            return self._part(number, _score(item.score), fields)
        if not item.other:
            fields += [("The assistant's own answer", item.before), ("Answer", answer), ("Rater", item.feedback)]
            return self._part(number, _score(item.score), fields)
        pair = [(item.score, answer, item.feedback), (item.other_score, item.other, item.other_feedback)]
        pair.sort(key=lambda one: float("-inf") if one[0] is None else one[0], reverse=True)
        names = ("Better answer", "Worse answer") if _parted(item) else ("One answer", "Another answer")
        for name, (score, answer, feedback) in zip(names, pair, strict=True):
            fields += [(f"{name} ({_score(score)})", answer), ("Rater", feedback)]
        return self._part(number, "two answers", fields)

    def _part(self, number: int, head: str, fields: Sequence[tuple[str, str]]) -> Part:
        # The worst and the best tell most together: where there is no room, those between them go first.
        told = tuple(Field(name, value) for name, value in fields if value)
        return Part(f"--- {number} ({head}) ---", told, loose=min(number, len(self.items) + 1 - number))


def _score(value: float | None) -> str:
    return "not scored" if value is None else f"score {value:.3g}"


def _parted(item: Item) -> bool:
    """Whether one of an item's two answers is known to be the better one."""
    return item.score is not None and item.other_score is not None and item.score != item.other_score


def _ranked(items: Sequence[Item]) -> list[Item]:
    """Order the items: the lowest scores first, those without a score last."""
    return sorted(items, key=lambda item: (item.score is None, item.score or 0.0))


def shortened_line(text: str) -> str:
    """Return a hypothesis on one line, not too long."""
    return one_line(text, _LONGEST)


def read_hypotheses(answer: str, tasks: int) -> list[Hypothesis]:
    """Return the hypotheses of an answer, each once, those with most tasks for them and fewest against them first.

    tasks: how many there are; other numbers are passed over. Errors: ProposerFailure where there is no hypothesis.
    """
    said = answer.rpartition("</think>")[2]
    head = _HEAD if _HEAD.search(said) else _LISTED
    starts = [*head.finditer(said)]
    found: dict[str, Hypothesis] = {}
    for start, following in zip(starts, [*starts[1:], None][: len(starts)], strict=True):
        block = said[start.end() : following.start() if following else len(said)]
        sides: dict[str, Any] = {"support": (), "contradict": ()}
        for side in _SIDE.finditer(block):
            sides[side[1].casefold()] = _numbers(side[2], tasks)
        first = _SIDE.search(block)
        says = shortened_line(block[: first.start()] if first else block.partition("```")[0])
        if any(character.isalpha() for character in says):
            found.setdefault(says, Hypothesis(says, sides["support"], sides["contradict"]))
    if not found:
        raise ProposerFailure("no line that begins with HYPOTHESIS")
    return sorted(found.values(), key=lambda one: len(one.contradicts) - len(one.supports))


def _numbers(text: str, tasks: int) -> tuple[int, ...]:
    """Return the numbers of tasks in a line, each once."""
    return tuple(dict.fromkeys(n for n in map(int, re.findall(r"\d{1,4}", text)) if 1 <= n <= tasks))
