"""Cells: one value for each (candidate, task, repeat), in a form that stays cheap when there are hundreds of thousands.

Python's collector of cycles walks over every container that can hold another. A dict from strings to plain values cannot, and is
passed over: so there is one for each candidate and repeat, and no key is a tuple of a single cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

CellKey = tuple[str, str, int]
"""What a score is looked up by: candidate's key, task's key, repeat."""
V = TypeVar("V", bound=float | int | None)


class Cells(Generic[V]):
    """A number, or None, for each cell that has one."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int], dict[str, V]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, place: CellKey) -> bool:
        candidate, task, repeat = place
        return task in self._rows.get((candidate, repeat), ())

    def __setitem__(self, place: CellKey, value: V) -> None:
        candidate, task, repeat = place
        row = self._rows.setdefault((candidate, repeat), {})
        self._count += task not in row
        row[task] = value

    def update(self, values: Iterable[tuple[CellKey, V]]) -> None:
        """Set several. Cells of one candidate mostly come together: its row is looked up once for each such stretch."""
        name, times, row = "", -1, dict[str, V]()
        for (candidate, task, repeat), value in values:
            if candidate != name or repeat != times:
                name, times = candidate, repeat
                row = self._rows.setdefault((candidate, repeat), {})
            self._count += task not in row
            row[task] = value

    def __getitem__(self, place: CellKey) -> V:
        candidate, task, repeat = place
        return self._rows[candidate, repeat][task]

    def get(self, place: CellKey, other: V) -> V:
        """Return a cell's value, or `other` where it has none."""
        candidate, task, repeat = place
        return self._rows.get((candidate, repeat), {}).get(task, other)
