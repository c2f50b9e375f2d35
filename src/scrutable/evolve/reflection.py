"""Reflection: a model looks at answers and what a rater said of them, and writes texts.

Two writers. `ChatWriter` asks a chat model in English: a hypothesis first, then the whole text anew in a fenced block.
`RuleWriter` is for models that were taught to write in a format of their own: a `reflection.json` in the model's directory
says how they are asked, and the answer as it stands is the text. What cannot be used (nothing in a block, an answer cut off,
a task copied) is a counted failure, and never passed on as a text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import Field

from scrutable.core.config import Config
from scrutable.core.errors import ProposerFailure, UserError
from scrutable.core.records import Generation, Message, Record, Sampling, Usage, digest_of
from scrutable.models.base import Model
from scrutable.models.beside import file_of
from scrutable.programs.joined import part

FORMAT = "reflection.json"


class Item(Record):
    """What a reflection is shown of one task."""

    prompt: str
    answer: str
    score: float | None = None
    feedback: str = Field(default="", description="the rater's words; for a demonstration, the mark of a good answer")
    before: str = Field(default="", description="for a demonstration: how the model answers that is to learn it")


class Proposal(Record):
    """What one reflection gave."""

    texts: tuple[str, ...] = Field(default=(), description="usable texts, each once, the most often written first")
    votes: tuple[int, ...] = Field(default=(), description="how many answers held each text")
    answers: tuple[str, ...] = Field(default=(), description="the answers as they came")
    failures: tuple[str, ...] = Field(default=(), description="why an answer was no text, one line each")
    prompt_digest: str = ""
    usage: Usage = Usage()


@runtime_checkable
class Proposer(Protocol):
    """Writes new texts for one module of a candidate."""

    @property
    def items(self) -> int:
        """How many tasks it wants to be shown."""
        ...

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Write texts that could replace `texts[module]`.

        Contract: the same arguments propose the same (as far as the model does); what came to nothing is in `failures`;
        only UserError and ProposerFailure (counted by the caller) are raised.
        """
        ...


class ReflectConfig(Config):
    """How texts are asked for."""

    samples: int | None = Field(
        default=None,
        ge=1,
        description="answers drawn at once; None: 8 of a model with a format of its own, 1 of others",
    )
    items: int | None = Field(default=None, ge=1, description="tasks shown; None: what the format says, or 6")
    temperature: float = Field(default=1.0, ge=0, description="temperature of the writing")
    max_tokens: int = Field(default=1024, ge=1, description="most tokens of an answer")
    prompt_tokens: int = Field(default=4000, ge=200, description="most tokens of what is shown (four characters each)")
    words: int = Field(
        default=200, ge=1, description="a chat model is asked for at most so many words; twice is too long"
    )


def proposer_for(
    model: Model, config: ReflectConfig | None = None, *, imitate: bool = False
) -> RuleWriter | ChatWriter:
    """Return the writer that fits the model: by the `reflection.json` of its directory, or as a chat model.

    imitate: the answers are demonstrations by a model whose ways are to be put into words.
    Errors: UserError when the file is malformed.
    """
    config = config or ReflectConfig()
    file = file_of(model, FORMAT)
    if file is not None:
        return RuleWriter(model, read_format(file), config)
    return ChatWriter(model, config, imitate=imitate)


def identity_of(proposer: Proposer) -> str:
    """Return what tells one writer from another: its `identity` where it has one, or the name of its class."""
    return str(getattr(proposer, "identity", type(proposer).__name__))


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
    """Asks a model in its own format; each whole answer is a text. The text so far is not shown: the answers show it."""

    def __init__(self, model: Model, form: RuleFormat, config: ReflectConfig | None = None) -> None:
        config = config or ReflectConfig()
        self._model, self._form = model, form
        self._samples = config.samples or 8
        self._sampling = Sampling(temperature=config.temperature, max_tokens=min(config.max_tokens, form.max_tokens))
        self.items = config.items or form.items
        self.shown = form.shown
        self.identity = digest_of(["rules", model.identity, form.digest(), config.digest()])

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Draw several answers in one batch (see `Proposer`)."""
        asked = " ".join([*(self._item(item, module, list(texts)) for item in items), self._form.ask])
        drawn = _ask(self._model, asked, self._samples, self._sampling, seed)
        return _proposal(asked, drawn, self._text_of)

    def _text_of(self, answer: str) -> str:
        """Return the text in an answer: what follows the mark. Errors: ProposerFailure where the mark is missing."""
        before, mark, text = answer.rpartition(self._form.after) if self._form.after else ("", "", answer)
        if self._form.after and not mark:
            raise ProposerFailure(f"no text: {self._form.after!r} is missing in {before or text!r}")
        return text.strip()

    def _item(self, item: Item, module: str, modules: Sequence[str]) -> str:
        """Fill in one task: of several modules, what this one said, and what was said of it."""
        answer, feedback = (part(text, module, modules) for text in (item.answer, item.feedback))
        filled = {"prompt": item.prompt, "answer": answer, "feedback": feedback}
        return re.sub(r"\{(prompt|answer|feedback)\}", lambda found: filled[found[1]], self._form.item)


IMPROVE = """\
You write the text that an assistant is given before each task. Below: the text it has now, and what it did with it. \
Each answer was scored by a rater, and higher is better."""

IMITATE = """\
You put a model's ways into words. Below: the text that an assistant is given before each task now, and tasks with the \
answer of the model to be imitated. The assistant, given your text, should answer as that model does. The number beside \
each task says how close the assistant comes now: the lower, the further."""

CLOSE = """\
First write one line that begins with HYPOTHESIS: what tells the good from the bad here, and on which tasks? Look at \
tasks where it holds and tasks where it does not.
Then write the whole new text between a line ``` and a line ```. Keep of the old text what works. Short sentences; each \
says one thing to do, and when to do it. It must serve for tasks not seen here: copy no task and no answer into it. At \
most {words} words."""


class ChatWriter:
    """Asks a chat model in English, and takes the text from the last fenced block of its answer."""

    def __init__(self, model: Model, config: ReflectConfig | None = None, *, imitate: bool = False) -> None:
        self._config = config or ReflectConfig()
        self._model, self._imitate = model, imitate
        self._sampling = Sampling(temperature=self._config.temperature, max_tokens=self._config.max_tokens)
        self.items = self._config.items or 6
        self.shown = "" if imitate else "This is how it should be answered."
        self.identity = digest_of(["chat", model.identity, imitate, self._config.digest(), IMPROVE, IMITATE, CLOSE])

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Ask for a new text (see `Proposer`)."""
        asked = self.prompt(texts, module, items)
        drawn = _ask(self._model, asked, self._config.samples or 1, self._sampling, seed)
        return _proposal(asked, drawn, lambda answer: self._text_of(answer, items))

    def prompt(self, texts: Mapping[str, str], module: str, items: Sequence[Item]) -> str:
        """Return what the model is asked: within the budget, worst answers first."""
        ranked = sorted(items, key=lambda item: (item.score is None, item.score or 0.0))
        room = self._config.prompt_tokens * 4
        head = IMITATE if self._imitate else IMPROVE
        now = [
            f"The text now{f' (for the step {module!r})' if len(texts) > 1 else ''}:",
            _fenced(texts[module], room // 4),
        ]
        share = (room - room // 4) // max(1, len(items))
        tasks = [self._told(number, item, share) for number, item in enumerate(ranked, start=1)]
        return "\n\n".join([head, *now, *tasks, CLOSE.format(words=self._config.words)])

    def _told(self, number: int, item: Item, room: int) -> str:
        score = "not scored" if item.score is None else f"score {item.score:.3g}"
        parts = [("Task", item.prompt), ("The assistant's own answer", item.before)]
        parts += [("The model's answer" if self._imitate else "Answer", item.answer), ("Rater", item.feedback)]
        told = [(name, text) for name, text in parts if text]
        each = room // max(1, len(told))
        return "\n".join([f"--- {number} ({score}) ---", *(f"{name}: {shortened(text, each)}" for name, text in told)])

    def _text_of(self, answer: str, items: Sequence[Item]) -> str:
        blocks = re.findall(r"^```[^\n`]*\n(.*?)^```\s*$", answer, re.DOTALL | re.MULTILINE)
        if not blocks:
            raise ProposerFailure("no text between two lines of ```")
        text: str = blocks[-1].strip()
        if len(text.split()) > 2 * self._config.words:
            raise ProposerFailure(f"a text of {len(text.split())} words, where {self._config.words} were asked for")
        if any(len(item.prompt) >= 40 and item.prompt in text for item in items):
            raise ProposerFailure("the text copies a task")
        return text


def _ask(model: Model, asked: str, samples: int, sampling: Sampling, seed: int) -> list[Generation]:
    """Draw several answers to one question in one batch."""
    conversation = (Message(role="user", content=asked),)
    return model.generate([conversation] * samples, sampling.model_copy(update={"seed": seed}))


def _proposal(asked: str, drawn: Sequence[Generation], text_of: Callable[[str], str]) -> Proposal:
    """Read the texts out of the answers; what is no text is a failure."""
    votes: Counter[str] = Counter()
    failures = []
    for one in drawn:
        try:
            votes[_usable(one, text_of)] += 1
        except ProposerFailure as failure:
            failures.append(str(failure))
    ranked = votes.most_common()
    return Proposal(
        texts=tuple(text for text, _ in ranked),
        votes=tuple(count for _, count in ranked),
        answers=tuple(one.answer for one in drawn),
        failures=tuple(failures),
        prompt_digest=digest_of(asked),
        usage=reduce(add, (one.usage for one in drawn), Usage()),
    )


def _usable(one: Generation, text_of: Callable[[str], str]) -> str:
    if one.failure is not None:
        raise ProposerFailure(one.failure)
    if not one.complete:
        raise ProposerFailure("the answer was cut off")
    text = text_of(one.answer)
    if not text.strip():
        raise ProposerFailure("an empty text")
    return text


def _fenced(text: str, room: int) -> str:
    return f"```\n{shortened(text, room) if text.strip() else '(none)'}\n```"


def shortened(text: str, room: int) -> str:
    """Return the text in at most `room` characters: the middle goes first, since tasks and answers tell most at their ends."""
    if len(text) <= room:
        return text
    half = max(1, (room - 5) // 2)
    return f"{text[:half]} ... {text[-half:]}"
