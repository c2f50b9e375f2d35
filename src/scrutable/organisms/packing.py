"""Examples of one step -> packed batches: token rows laid one after another, nothing padded.

An Example is a prompt and its answer; a SharedExample is one prefix read by several prompts and answers, each of which
sees the prefix and itself. Left out: anything about words; tokens are numbers here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from scrutable.organisms.kernels import LayoutStruct


@dataclass(frozen=True)
class Example:
    """Tokens of a prompt and its answer; the loss is on the tokens from `prompt_length` (at least 1) on."""

    tokens: Sequence[int]
    prompt_length: int


@dataclass(frozen=True)
class SharedExample:
    """A prefix without loss, and branches that continue it without seeing each other."""

    prefix: Sequence[int]
    branches: Sequence[Example]


AnyExample = Example | SharedExample | tuple[Sequence[int], int]


@dataclass(frozen=True)
class Batch:
    """N token rows of S sequences; M of them (`rows`) predict an answer token (`targets`). Tensors are int32 [N], [S+1], [M]."""

    tokens: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor
    last: torch.Tensor
    own: torch.Tensor
    shared: torch.Tensor
    rows: torch.Tensor
    row_starts: torch.Tensor
    targets: torch.Tensor
    of_rows: tuple[torch.Tensor, ...] = field(repr=False)

    def layout(self, rows_only: bool) -> LayoutStruct:
        """The pointers for attention in which every token asks, or only the rows that predict."""
        last, own, shared, positions = self.of_rows if rows_only else (self.last, self.own, self.shared, self.positions)
        queries = self.row_starts if rows_only else self.starts
        parts = (self.starts, queries, last, own, shared, self.positions, positions)
        return LayoutStruct(len(self.starts) - 1, *(part.data_ptr() for part in parts))


def _branches(example: AnyExample) -> tuple[Sequence[int], list[tuple[Sequence[int], int]]]:
    if isinstance(example, SharedExample):
        return example.prefix, [(branch.tokens, branch.prompt_length) for branch in example.branches]
    if isinstance(example, Example):
        return (), [(example.tokens, example.prompt_length)]
    return (), [example]


def longest(example: AnyExample) -> int:
    """Tokens of the longest sequence in the example: the prefix and its longest branch."""
    prefix, branches = _branches(example)
    return len(prefix) + max(len(tokens) for tokens, _ in branches)


def rows_of(example: AnyExample) -> int:
    """Token rows that the example costs."""
    prefix, branches = _branches(example)
    return len(prefix) + sum(len(tokens) - 1 for tokens, _ in branches)


def answer_tokens(example: AnyExample) -> int:
    """Tokens that the loss counts."""
    return sum(len(tokens) - prompt for tokens, prompt in _branches(example)[1])


def share(examples: Sequence[AnyExample], worker: int, workers: int) -> list[AnyExample]:
    """One worker's part of a step: by length, dealt out to and fro, so that the parts cost alike."""
    order = sorted(examples, key=rows_of)
    dealt = [i % (2 * workers) for i in range(len(order))]
    return [e for e, place in zip(order, dealt, strict=True) if min(place, 2 * workers - 1 - place) == worker]


def batches(examples: Sequence[AnyExample], limit: int) -> list[Batch]:
    """Packed batches of at most `limit` token rows each (a longer example stands alone)."""
    groups: list[list[AnyExample]] = [[]]
    used = 0
    for example in examples:
        size = rows_of(example)
        if groups[-1] and used + size > limit:
            groups.append([])
            used = 0
        groups[-1].append(example)
        used += size
    return [pack(group) for group in groups if group]


def pack(examples: Sequence[AnyExample]) -> Batch:
    """One packed batch. Raises ValueError for an example without a prompt or without an answer."""
    tokens: list[int] = []
    targets: list[int] = []
    rows: list[int] = []
    starts, row_starts = [0], [0]
    spans: list[tuple[int, int, int, int]] = []  # length, first position, own start in the sequence, shared
    for example in examples:
        prefix, branches = _branches(example)
        tokens.extend(prefix)
        spans.append((len(prefix), 0, 0, 0))
        for part, prompt in branches:
            if not 0 < prompt < len(part):
                raise ValueError(f"a prompt of {prompt} tokens of {len(part)}: both prompt and answer need one")
            spans.append((len(part) - 1, len(prefix), len(tokens) - starts[-1], len(prefix)))
            rows.extend(range(len(tokens) + prompt - 1, len(tokens) + len(part) - 1))
            targets.extend(part[prompt:])
            tokens.extend(part[:-1])
        starts.append(len(tokens))
        row_starts.append(len(rows))
    return _assemble(tokens, targets, rows, starts, row_starts, spans)


def _assemble(
    tokens: list[int],
    targets: list[int],
    rows: list[int],
    starts: list[int],
    row_starts: list[int],
    spans: list[tuple[int, int, int, int]],
) -> Batch:
    length, first, own, shared = np.array(spans, dtype=np.int32).T
    within = np.arange(len(tokens), dtype=np.int32) - np.repeat(np.cumsum(length) - length, length).astype(np.int32)
    per_row = {
        "positions": within + np.repeat(first, length),
        "last": within + np.repeat(own, length),
        "own": np.repeat(own, length),
        "shared": np.repeat(shared, length),
    }
    chosen = np.array(rows, dtype=np.int32)
    names = ("last", "own", "shared", "positions")
    return Batch(
        tokens=torch.tensor(tokens, dtype=torch.int32),
        starts=torch.tensor(starts, dtype=torch.int32),
        rows=torch.from_numpy(chosen),
        row_starts=torch.tensor(row_starts, dtype=torch.int32),
        targets=torch.tensor(targets, dtype=torch.int32),
        of_rows=tuple(torch.from_numpy(per_row[name][chosen]) for name in names),
        **{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in per_row.items()},
    )
