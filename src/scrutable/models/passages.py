"""Passages: recorded answers after their prompts as token ids, which of their positions are read, and what was read there.

Positions are counted from where the answer begins: 0 is its first token, -1 the prompt's last, so that one answer after two
prompts of different length can be compared token by token. What stands at position t was computed when token t was read;
the distribution that token t was drawn from was made at t - 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Passage:
    """A prompt and an answer as a model is shown them: token ids. (task, answer) says whose they are.

    weight: what log P(answer) counts in a gradient (an advantage, say).
    """

    task: str
    answer: int
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Span:
    """Which positions are kept: from `first` up to, not including, `stop`; None is the passage's own beginning or end."""

    first: int | None = 0
    stop: int | None = None

    def over(self, passage: Passage) -> range:
        """Return the positions of a passage that are kept."""
        begin, end = -len(passage.prompt), len(passage.tokens)
        first = begin if self.first is None else max(self.first, begin)
        return range(first, end if self.stop is None else min(self.stop, end))


ANSWER = Span(0, None)
"""The answer's tokens."""
PROMPT_LAST = Span(-1, 0)
"""The prompt's last token, from which the answer's first is drawn."""
EVERY = Span(None, None)
"""All tokens, of prompt and answer."""


@dataclass(frozen=True)
class States:
    """Rows of numbers, in the order of the passages, and where each comes from.

    cells: (task, answer) of each passage. which, position: int64 [n] on the CPU, of each row its passage (an index into `cells`)
    and its position. at: place -> [n, width], float32 (float64 for a model in float64), on the model's device.
    """

    cells: tuple[tuple[str, int], ...]
    which: torch.Tensor
    position: torch.Tensor
    at: Mapping[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.which)

    def row(self, number: int) -> tuple[str, int, int]:
        """Return (task, answer, position) of a row."""
        return *self.cells[int(self.which[number])], int(self.position[number])


@dataclass(frozen=True)
class Batch:
    """Passages of one pass: their ids, padded on the right, and which positions of each are kept."""

    whole: Sequence[Sequence[int]]
    passages: Sequence[Passage]
    spans: Sequence[range]

    @property
    def logits(self) -> int:
        """How many positions, counted from the end, hold all that predict an answer's token."""
        return max(map(len, self.whole)) - min(len(one.prompt) for one in self.passages) + 1

    def ids(self, device: torch.device) -> torch.Tensor:
        """Return the ids [B, T]."""
        import torch

        longest = max(map(len, self.whole))
        rows = [[*ids, *[ids[-1]] * (longest - len(ids))] for ids in self.whole]
        return torch.tensor(rows, dtype=torch.long, device=device)

    def kept(self, device: torch.device) -> torch.Tensor:
        """Return where the kept positions lie among the B * T of the batch."""
        import torch

        longest = max(map(len, self.whole))
        shown = enumerate(zip(self.passages, self.spans, strict=True))
        at = [row * longest + len(one.prompt) + t for row, (one, span) in shown for t in span]
        return torch.tensor(at, dtype=torch.long, device=device)

    def answers(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Return of every answer token its row, the column that predicts it, its id; and its passage's weight, float64."""
        import torch

        shown = list(enumerate(self.passages))
        told = [(row, len(one.prompt) - 1 + t, token) for row, one in shown for t, token in enumerate(one.tokens)]
        weights = [one.weight for one in self.passages for _ in one.tokens]
        columns = torch.tensor(told, dtype=torch.long, device=device).reshape(-1, 3).unbind(1)
        return *columns, torch.tensor(weights, dtype=torch.float64)
