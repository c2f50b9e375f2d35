"""Writing: what a writer is shown of tasks, what it gives back, and how it is asked. Records and the protocol alone.

The writers are `rule_writer.py` and `chat_writer.py`; `reflection.py` chooses between them, and is where all this is
imported from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Protocol, runtime_checkable

from pydantic import Field

from scrutable.core.config import Config
from scrutable.core.errors import ProposerFailure
from scrutable.core.records import Generation, Record, Usage, digest_of
from scrutable.evolve.copies import copies
from scrutable.models.base import Model


class Item(Record):
    """What a reflection is shown of one task: an answer, and where there is one another answer to compare it with."""

    prompt: str
    answer: str
    score: float | None = None
    feedback: str = Field(default="", description="the rater's words; for a demonstration, the mark of a good answer")
    before: str = Field(default="", description="for a demonstration: how the model answers that is to learn it")
    other: str = Field(default="", description="another answer to the same task, better or worse; empty: none")
    other_score: float | None = Field(default=None, description="its score")
    other_feedback: str = Field(default="", description="the rater's words about it")


class Proposal(Record):
    """What one reflection gave."""

    texts: tuple[str, ...] = Field(default=(), description="usable texts, each once, the most often written first")
    votes: tuple[int, ...] = Field(default=(), description="how many answers held each text")
    answers: tuple[str, ...] = Field(default=(), description="the answers as they came")
    failures: tuple[str, ...] = Field(default=(), description="why an answer was no text, one line each")
    copied: int = Field(default=0, description="how many of the failures are texts that copy a task")
    hypotheses: tuple[str, ...] = Field(
        default=(), description="what a chat model made of the tasks, best supported first"
    )
    shown: tuple[int, ...] | None = Field(
        default=None, description="which of the items handed over were shown, by their places; None: all"
    )
    samples: tuple[int, ...] = Field(default=(), description="which of the answers held each text first")
    grounds: tuple[tuple[int, ...], ...] = Field(
        default=(),
        description="for each text, the items that the sample which wrote it first was shown, by their places",
    )
    prompt_digest: str = ""
    usage: Usage = Field(default_factory=Usage)


@runtime_checkable
class Proposer(Protocol):
    """Writes new texts for one module of a candidate."""

    @property
    def items(self) -> int:
        """How many tasks it wants to be handed; it may show a model fewer of them at a time."""
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
        description="texts asked for at once; None: 8 of a model with a format of its own, 1 of others",
    )
    items: int | None = Field(
        default=None,
        ge=1,
        description="tasks a writer is handed; None: 6, or of a model with a format of its own as many as its samples "
        "can show, at most 40 (each sample is shown a draw of its own)",
    )
    temperature: float = Field(default=1.0, ge=0, description="temperature of the writing")
    max_tokens: int = Field(default=1024, ge=1, description="most tokens of an answer")
    prompt_tokens: int = Field(
        default=4000,
        ge=600,
        description="most tokens a chat model is shown, never exceeded: counted by its tokenizer, of a served model "
        "estimated (three letters a token, anything else a token a byte)",
    )
    words: int = Field(
        default=200, ge=1, description="a chat model is asked for at most so many words; twice is too long"
    )
    hypotheses: int = Field(default=3, ge=1, description="hypotheses a chat model is asked for before it writes")
    copied_words: int = Field(
        default=8,
        ge=5,
        description="a text that has so many words in a row of a task shown, or a whole shorter prompt, copies it",
    )


def most_of(model: Model, calls: int, prompt_tokens: int, answer_tokens: int) -> Usage:
    """Return the most that so many calls can cost, by the model's positions and prices where it has some."""
    positions = getattr(model, "positions", None)
    if positions is not None:
        prompt_tokens, answer_tokens = min(prompt_tokens, positions), min(answer_tokens, positions)
    read, written = calls * prompt_tokens, calls * answer_tokens
    price = getattr(model, "price", None)
    money = float(price(read, written)) if price is not None else 0.0
    return Usage(prompt_tokens=read, answer_tokens=written, money=money)


def identity_of(proposer: Proposer) -> str:
    """Return what tells one writer from another: its `identity` where it has one, or the name of its class."""
    return str(getattr(proposer, "identity", type(proposer).__name__))


@dataclass(frozen=True)
class Shown:
    """What a writer was handed, by which copies of it are known."""

    items: Sequence[Item]
    texts: Mapping[str, str]
    words: int

    def copied(self, texts: Iterable[str]) -> dict[str, str]:
        """Return which texts copy one of the items, with the words they copy. What the texts so far say is no copy."""
        tasks = [(item.prompt, (item.answer, item.before, item.other)) for item in self.items]
        return copies(texts, tasks, list(self.texts.values()), self.words)


def read_texts(drawn: Sequence[Generation], text_of: Callable[[str], str], shown: Shown) -> Proposal:
    """Return the usable texts in the answers with their votes; what is none is a counted failure, a copy too."""
    read = [_read(one, text_of) for one in drawn]
    copied = shown.copied({one for one in read if isinstance(one, str)})
    votes = Counter(one for one in read if isinstance(one, str) and one not in copied)
    ranked = votes.most_common()
    first = {one: place for place, one in reversed(list(enumerate(read))) if isinstance(one, str)}
    return Proposal(
        texts=tuple(text for text, _ in ranked),
        samples=tuple(first[text] for text, _ in ranked),
        votes=tuple(count for _, count in ranked),
        answers=tuple(one.answer for one in drawn),
        failures=tuple(_why(one, copied) for one in read if not isinstance(one, str) or one in copied),
        copied=sum(one in copied for one in read),
        usage=reduce(add, (one.usage for one in drawn), Usage()),
    )


def _read(one: Generation, text_of: Callable[[str], str]) -> str | ProposerFailure:
    try:
        text = text_of(whole(one))
    except ProposerFailure as failure:
        return failure
    return text if text.strip() else ProposerFailure("an empty text")


def _why(one: str | ProposerFailure, copied: Mapping[str, str]) -> str:
    return str(ProposerFailure(f"the text copies a task: {copied[one]!r}") if isinstance(one, str) else one)


def whole(one: Generation) -> str:
    """Return a generation's answer. Errors: ProposerFailure where the model failed, or the answer was cut off."""
    if one.failure is not None:
        raise ProposerFailure(one.failure)
    if not one.complete:
        raise ProposerFailure("the answer was cut off")
    return one.answer


def told_by(prompts: Sequence[str]) -> str:
    """Return the digest of what was asked."""
    return digest_of(list(prompts))
