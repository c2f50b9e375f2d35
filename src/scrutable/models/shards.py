"""Shards: what a capture reads, held in memory while it is small, and past a stated size written to a run as it comes.

What fits stays in memory and leaves nothing on the disk. What does not is cut into shards known beforehand, each one
safetensors file and one "states" event; so a killed run goes on after its last whole shard, and pays for none twice. Read
back, one shard at a time is in memory. Left out: compression, and half precision, in which small differences are lost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scrutable.core.accounts import Artifact
from scrutable.core.errors import UserError
from scrutable.core.files import no_room
from scrutable.core.journal import Event, Run
from scrutable.core.records import Usage, digest_of
from scrutable.models.passages import States

if TYPE_CHECKING:
    import torch

T_contra = TypeVar("T_contra", contravariant=True)
T = TypeVar("T")
_AT = "at/"  # before a place's name in a shard


class Reader(Protocol[T_contra]):
    """What gives States: a Capture of passages, or a Difference of pairs of them."""

    @property
    def identity(self) -> str:
        """Hash of what decides the numbers of an item."""
        ...

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        ...

    @property
    def passes(self) -> int:
        """How many sequences an item passes through a model."""
        ...

    def rows(self, item: T_contra) -> int:
        """Return how many rows an item gives."""
        ...

    def told(self, item: T_contra) -> list[Any]:
        """Return what decides an item's numbers, as JSON values."""
        ...

    def read(self, items: Sequence[T_contra]) -> States:
        """Return the rows of the items, in their order."""
        ...


@dataclass(frozen=True)
class Activations:
    """Everything that was read, in the items' order: in memory, or in shards of a run.

    Iterating gives States, a part at a time, as often as is asked for: from memory on the model's device, from shards on the CPU.
    """

    rows: int
    held: States | None = None
    run: Run | None = None
    shards: tuple[Event, ...] = ()

    def __iter__(self) -> Iterator[States]:
        if self.held is not None:
            yield self.held
        for shard in self.shards:
            assert self.run is not None
            tensors = self.run.load_tensors(Artifact.model_validate(shard.payload["tensors"]))
            at = {name: tensors[f"{_AT}{name}"] for name in shard.payload["places"]}
            cells = tuple((str(task), int(answer)) for task, answer in shard.payload["cells"])
            yield States(cells, tensors["which"], tensors["position"], at)

    def batches(self, place: str, size: int) -> Iterator[torch.Tensor]:
        """Yield the rows of one place, [at most `size`, width] at a time: what trains a dictionary."""
        for states in self:
            rows = states.at[place]
            yield from (rows[start : start + size] for start in range(0, len(rows), size))


def collect(reader: Reader[T], items: Sequence[T], run: Run, limit: int = 1 << 30) -> Activations:
    """Read the items; past `limit` bytes, write what is found to the run in shards of half of that.

    Items are read in their order, so those of like length should stand together. An item is never divided.
    Errors: UserError of the reader, and when the disk is full: what was written stands, and the run can be gone on with.
    """
    sizes = [reader.rows(item) * reader.row_bytes for item in items]
    rows = sum(map(reader.rows, items))
    if sum(sizes) <= limit:
        return Activations(rows, reader.read(items))
    parts = list(_parts(items, sizes, limit // 2))
    done: list[Event] = []
    for part in parts:
        name = f"states/{digest_of([reader.identity, [reader.told(item) for item in part]])}"
        try:
            done.append(run.once(name, "states", partial(_written, reader, part, run, name)))
        except Exception as error:
            why = no_room(error)
            if why is None:
                raise
            left = sum(sizes) * (len(parts) - len(done)) // len(parts)
            raise UserError(
                f"{run.path} has no room for activations ({why}): make {math.ceil(left / 1e6)} MB free and run it again; "
                f"{len(done)} of {len(parts)} shards stand"
            ) from error
    return Activations(rows, run=run, shards=tuple(done))


def _written(reader: Reader[T], part: Sequence[T], run: Run, name: str) -> tuple[dict[str, Any], Usage]:
    """Read one shard and write it; return the event's payload and cost."""
    began = time.perf_counter()
    states = reader.read(part)
    tensors = {"which": states.which, "position": states.position, **{f"{_AT}{n}": h for n, h in states.at.items()}}
    payload = {
        "reader": reader.identity,
        "rows": len(states),
        "places": list(states.at),
        "cells": [list(cell) for cell in states.cells],
        "tensors": run.save_tensors(name, tensors, "activations").model_dump(mode="json"),
    }
    return payload, Usage(forward_passes=reader.passes * len(part), seconds=time.perf_counter() - began)


def _parts(items: Sequence[T], sizes: Sequence[int], most: int) -> Iterator[list[T]]:
    """Divide the items into runs of at most `most` bytes, of one item at least."""
    part: list[T] = []
    held = 0
    for item, size in zip(items, sizes, strict=True):
        if part and held + size > most:
            yield part
            part, held = [], 0
        part.append(item)
        held += size
    if part:
        yield part
