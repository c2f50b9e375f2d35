"""Speaker and Change: a model before and after, both able to speak on the same tasks.

A Speaker is a model and the text it is given; an adapter is part of the model. A Change is two Speakers. What a text
leaves out of a Change is another Change (`remainder`): before = base + text, after = tuned. Nothing here measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Generation, Sampling, Task, digest_of
from scrutable.models.base import Model, OpenModel
from scrutable.models.tokens import check_same_tokens
from scrutable.programs.text import place_text


@dataclass(frozen=True)
class Speaker:
    """A model, and the text it is given before each task ("" for none)."""

    model: Model
    text: str = ""

    @property
    def name(self) -> str:
        """How it is called on pages."""
        return f"{self.model.name} + text" if self.text else self.model.name

    @property
    def identity(self) -> str:
        """Hash of what decides its answers: the model's identity and the text."""
        return digest_of({"model": self.model.identity, "text": self.text})

    @property
    def open(self) -> OpenModel:
        """The model, if its distributions can be had. Errors: UserError where they cannot (a served model)."""
        if not isinstance(self.model, OpenModel):
            raise UserError(
                f"{self.model.name} gives no log-probabilities over its vocabulary; use a local model directory"
            )
        return self.model

    def with_text(self, text: str) -> Speaker:
        """Return the same model given another text (in place of its own)."""
        return replace(self, text=text)

    def given(self, text: str) -> Speaker:
        """Return the same model given `text` beside its own (after it), as a reader would try a text out."""
        return replace(self, text=f"{self.text}\n\n{text}" if self.text and text else self.text or text)

    def conversation(self, task: Task) -> Conversation:
        """Return what the model is shown: the task's messages with the text in its place."""
        return place_text(task.messages, self.text)

    def answer(self, tasks: Sequence[Task], sampling: Sampling) -> list[Generation]:
        """Answer each task, in order. What could not be answered has `failure` set; only UserError is raised."""
        return self.model.generate([self.conversation(task) for task in tasks], sampling)

    def encode(self, task: Task) -> list[int]:
        """Return the token ids of the task up to where the answer begins. Errors: UserError for a served model."""
        return self.open.encode(self.conversation(task))


@dataclass(frozen=True)
class Change:
    """A before and an after on the same tasks. remainder_of: the text that leaves it out, "" for a whole change."""

    before: Speaker
    after: Speaker
    remainder_of: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """How it is called on pages."""
        return f"{self.before.name} → {self.after.name}"

    @property
    def identity(self) -> str:
        """Hash of what decides everything that can be measured of it."""
        return digest_of({"before": self.before.identity, "after": self.after.identity})

    @property
    def place(self) -> str:
        """Where a run tells what came of it: a prefix of keys, "" for a whole change; pages know remainders by it."""
        return f"remainder/{digest_of(self.remainder_of)}/" if self.remainder_of else ""

    def remainder(self, text: str) -> Change:
        """Return what `text` leaves out: the change from the before given the text to the after."""
        parts = [part for part in (self.remainder_of, text) if part]
        return replace(self, before=self.before.given(text), remainder_of="\n\n".join(parts))

    def check(self) -> None:
        """Refuse a pair whose distributions cannot be compared.

        Errors: UserError (one line) when one of the two cannot be opened, or when they do not share a tokenizer.
        Added tokens and padded embeddings are no difference: distributions are compared by token, not by size.
        """
        before, after = self.before.open, self.after.open
        if before is not after:
            check_same_tokens(before, after)
