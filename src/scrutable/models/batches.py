"""Batches: rows of token ids worked through in order of their length, whatever order they were given in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scrutable.core.errors import UserError


def in_batches(
    rows: Sequence[int], sequences: Sequence[Sequence[int]], size: int, work: Callable[[list[int]], None]
) -> None:
    """Work through rows in batches of similar length, equal sequences together; halve a batch that a GPU cannot hold.

    rows: which of the sequences. Errors: UserError when not even one fits the GPU's memory.
    """
    import torch

    queue = sorted(rows, key=lambda row: (len(sequences[row]), tuple(sequences[row]), row))
    batches = [queue[i : i + size] for i in range(0, len(queue), size)][::-1]
    while batches:
        batch = batches.pop()
        try:
            work(batch)
            continue
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise UserError(
                    "one answer does not fit the GPU's memory: use a smaller dtype or device cpu"
                ) from error
        torch.cuda.empty_cache()
        batches += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
