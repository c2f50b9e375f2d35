"""The protocols of models: one that answers, and one that can be opened.

Tokens are ids of the model's own tokenizer. Log-probabilities are natural logarithms (nats), float32. A model never
raises for one bad prompt among many: the Generation carries the failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from scrutable.core.records import Conversation, Generation, Sampling

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Model(Protocol):
    """Something that answers conversations."""

    @property
    def name(self) -> str:
        """How it is called on pages: a path's last part, a hub name, a served name."""
        ...

    @property
    def identity(self) -> str:
        """Hash of what decides its answers (weights and tokenizer, or the name on a server)."""
        ...

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation, in order. The same batch under the same sampling (its seed too) answers the same.

        Contract: one Generation per conversation; what could not be answered has `failure` set; only UserError
        (an unreachable server, a refused key) is raised.
        """
        ...


@runtime_checkable
class OpenModel(Model, Protocol):
    """A model whose distributions can be had. What stands inside is read of an HFModel (`models/capture.py`)."""

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token string -> id, of the tokenizer (padded rows of the embedding are no tokens)."""
        ...

    def encode(self, conversation: Conversation) -> list[int]:
        """Token ids of the conversation under the chat template, up to where the answer begins."""
        ...

    def encode_answer(self, answer: str) -> list[int]:
        """Token ids of an answer's text, without an end-of-answer token."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of answer tokens, special tokens left out."""
        ...

    def logprobs(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Exact next-token log-probabilities along given answers, teacher-forced, at temperature 1.

        prompts and answers: token ids, one pair a task. Returns one float32 tensor [len(answer), vocabulary] each:
        row t is the distribution from which answer token t was drawn. Callers pass a batch that fits memory.
        """
        ...
