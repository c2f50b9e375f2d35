"""Records: the frozen, serialisable things that all else is made of, each hashed by its content.

Identity is content: two tasks with the same messages and columns are one task, wherever they stood in a list.
No behaviour lives here beyond construction, hashing and addition.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Role = Literal["system", "user", "assistant"]
Split = Literal["search", "keep", "report"]
SPLITS: tuple[Split, ...] = ("search", "keep", "report")


def digest_of(value: Any) -> str:
    """Return the first 16 hex digits of SHA-256 over the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Record(BaseModel):
    """A frozen record: compared by value, written as JSON, hashed by content."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def digest(self) -> str:
        """Return the content hash (16 hex digits)."""
        return digest_of(self.model_dump(mode="json"))


class Message(Record):
    """One message of a conversation."""

    role: Role
    content: str


Conversation = tuple[Message, ...]


class Task(Record):
    """One task: what is asked, and the columns that only the environment's own rater may look at."""

    messages: Conversation = Field(min_length=1)
    columns: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """The task's identity: the hash of its content."""
        return self.digest()

    @classmethod
    def ask(cls, prompt: str, **columns: JsonValue) -> Self:
        """Make a task of one user message."""
        return cls(messages=(Message(role="user", content=prompt),), columns=columns)

    @property
    def prompt(self) -> str:
        """The last user message, for people to read."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), self.messages[-1].content)


class Score(Record):
    """What a rater said of one answer. `value` is None when the answer could not be scored (never 0 for that)."""

    value: float | None = None
    true: float | None = Field(default=None, description="the true reward, where the environment knows one")
    feedback: str = Field(default="", description="what the rater noticed, in words")
    parts: dict[str, float | None] = Field(default_factory=dict, description="one entry a reward function")
    failures: tuple[str, ...] = Field(default=(), description="which boundary failed, in one line each")


class Sampling(Record):
    """How answers are drawn. temperature 0 is greedy; measurements use temperature 1 without truncation."""

    temperature: float = Field(default=1.0, ge=0.0)
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    seed: int = Field(default=0, description="seed of the batch; the batch is the recorded unit of generation")


class Usage(Record):
    """What something cost. Addable."""

    forward_passes: int = Field(default=0, description="sequences passed through a model")
    generations: int = Field(default=0, description="answers generated")
    prompt_tokens: int = 0
    answer_tokens: int = 0
    retries: int = Field(default=0, description="requests to a server that failed and were made again")
    troubles: dict[str, int] = Field(default_factory=dict, description="why requests failed -> how often: 'status 429'")
    seconds: float = 0.0
    money: float = Field(default=0.0, description="US dollars, where the server's price is known")

    def __add__(self, other: Usage) -> Usage:
        summed = {name: getattr(self, name) + getattr(other, name) for name in _SUMMED}
        return Usage(**summed, troubles=dict(Counter(self.troubles) + Counter(other.troubles)))


_SUMMED = tuple(name for name in Usage.model_fields if name != "troubles")
_NOTHING = Usage()  # one for all: there are as many as answers


class Generation(Record):
    """One answer of a model. `failure` is set (and `answer` empty) when the model could not answer."""

    answer: str = ""
    tokens: tuple[int, ...] | None = Field(
        default=None, description="the answer's token ids with the end-of-answer token where it was reached"
    )
    complete: bool = Field(default=True, description="False when the answer was cut at max_tokens")
    failure: str | None = None
    reasoning: str = Field(default="", description="what it thought first, where a server sends that apart")
    usage: Usage = Field(default_factory=lambda: _NOTHING)


class Candidate(Record):
    """A text under evolution: one or several named texts. Identity is the texts alone (`key`), not how it came about."""

    texts: dict[str, str] = Field(min_length=1, description="module name -> text; a single text has the name 'text'")
    parents: tuple[str, ...] = ()
    origin: str = Field(default="seed", description="seed, reflection, merge, ...")

    @property
    def key(self) -> str:
        """The candidate's identity: the hash of its texts."""
        return digest_of(self.texts)

    @property
    def text(self) -> str:
        """The texts joined, for people to read (one text: itself)."""
        if len(self.texts) == 1:
            return next(iter(self.texts.values()))
        return "\n\n".join(f"[{name}]\n{text}" for name, text in sorted(self.texts.items()))


class Rollout(Record):
    """One task answered under one candidate, and scored."""

    task: str = Field(description="key of the task")
    candidate: str = Field(description="key of the candidate")
    answer: str
    score: Score
    repeat: int = 0
    usage: Usage = Field(default_factory=lambda: _NOTHING)
    failure: str | None = Field(default=None, description="set when the model could not answer; the score is None then")
