"""The front: for each task the best score so far and who holds it; parents are drawn from those who hold something.

A candidate need not be scored everywhere: on a task where it is not, it counts as its parent, than which it was shown to be
better, and holds the task in its parent's place. How good it is as a whole is told through its line of descent: its parent's
worth and the mean difference to it on the tasks that both have, drawn towards none where these are few. Kept up to date
task by task, so that a selection does not cost more the longer a search runs, and in containers that Python's collector
passes over. Source of the choice of parents: Agrawal et al., arXiv 2507.19457, algorithm 2.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

_EQUAL = 1e-9
_DRAWN = 4.0
"""So many tasks without a difference are added to those seen, when a child's gain over its parent is estimated."""

_Rank = tuple[float, int, int, str]
"""Minus a candidate's worth, its length, how many came before it, and its key: the best sorts first."""


@dataclass
class _Row:
    """What is known of a candidate: its own scores by task, those it counts with [tasks], and its gain over its parent."""

    parent: str | None
    length: int
    order: int
    own: dict[str, float] = field(default_factory=dict)
    counted: array[float] = field(default_factory=lambda: array("d"))
    children: list[str] = field(default_factory=list)
    gain: float = 0.0
    tried: int = 0  # the tasks it has scores of its own on, a bit a task


class Front:
    """The holders of the best score of each task. tasks: their keys."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self._place = {key: place for place, key in enumerate(tasks)}
        self._best = [-math.inf] * len(tasks)
        self._holders: list[dict[str, None]] = [{} for _ in tasks]
        self._holds: dict[str, int] = {}
        self._rows: dict[str, _Row] = {}
        self._open: dict[str, int] = {}  # whose tasks no other holds all of -> these tasks
        self._covered: dict[str, str] = {}  # who is left out -> who holds all that it holds
        self._changed: dict[str, None] = {}  # whose tasks changed since these two were found
        self._weights: dict[str, int] | None = None
        self._worth: dict[str, float] = {}
        self._ranks: dict[str, _Rank] = {}
        self._ranked: list[_Rank] = []  # all, best first

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return len(self._best)

    def add(self, key: str, parent: str | None, scores: Mapping[str, float], length: int) -> None:
        """Take a candidate in with its scores by task and its number of words. parent: one that is in, or None."""
        above = self._rows[parent].counted if parent is not None else array("d", [-math.inf] * len(self._best))
        self._rows[key] = _Row(parent, length, len(self._rows), counted=above[:])
        self._holds[key] = 0
        if parent is not None:
            self._rows[parent].children.append(key)
            for task, place in self._place.items():
                if above[place] > -math.inf and task not in scores:
                    self._settle(key, task, place)
                    self._drop(parent, place)
        self.score(key, scores)

    def score(self, key: str, scores: Mapping[str, float]) -> None:
        """Take further scores of a candidate that is in."""
        row = self._rows[key]
        for task, score in scores.items():
            place = self._place.get(task)
            if place is None or row.own.get(task) == score:
                continue
            fresh = task not in row.own
            row.own[task] = score
            row.tried |= 1 << place
            self._count(key, task, place, score)
            if fresh and row.parent is not None:
                self._settle(row.parent, task, place)
        if row.parent is not None:
            above = self._rows[row.parent].own
            both = [score - above[task] for task, score in row.own.items() if task in above]
            row.gain = math.fsum(both) / (len(both) + _DRAWN)
        self._weights = None
        self._revalue(key)

    def _count(self, key: str, task: str, place: int, score: float) -> None:
        """Let a candidate count with a score, and all below it that have none of their own there."""
        waiting = [key]
        while waiting:
            one = waiting.pop()
            row = self._rows[one]
            row.counted[place] = score
            self._settle(one, task, place)
            if row.children:
                waiting += [child for child in row.children if task not in self._rows[child].own]

    def _yields(self, key: str, task: str) -> bool:
        """Whether a child counts as it does on a task, and so holds it in its place."""
        rows = self._rows
        children = rows[key].children
        return bool(children) and any(task not in rows[one].own for one in children)

    def _settle(self, key: str, task: str, place: int) -> None:
        """Find who holds a task after what a candidate counts with there has changed, or who may hold it for it."""
        score, best = self._rows[key].counted[place], self._best[place]
        if score > best + _EQUAL:
            for loser in list(self._holders[place]):
                self._drop(loser, place)
            self._best[place] = best = score
        if score == -math.inf:
            return
        if score >= best - _EQUAL and not self._yields(key, task):
            self._hold(key, place)
        elif key in self._holders[place]:
            self._drop(key, place)
            if score < best - _EQUAL and not self._holders[place]:  # it held it alone, by what it had counted with
                self._best[place] = best = max(row.counted[place] for row in self._rows.values())
                for other, row in self._rows.items():
                    if row.counted[place] >= best - _EQUAL and not self._yields(other, task):
                        self._hold(other, place)

    def _hold(self, key: str, place: int) -> None:
        if key not in self._holders[place]:
            self._holders[place][key] = None
            self._holds[key] |= 1 << place
            self._changed[key] = None

    def _drop(self, key: str, place: int) -> None:
        if key in self._holders[place]:
            del self._holders[place][key]
            self._holds[key] ^= 1 << place
            self._changed[key] = None

    def _revalue(self, key: str) -> None:
        """Find a candidate's worth anew, and that of all below it."""
        waiting = [key]
        while waiting:  # no recursion: a line may be a thousand long
            one = waiting.pop()
            row = self._rows[one]
            if row.parent is None:
                worth = fmean(row.own.values()) if row.own else -math.inf
            else:
                worth = self._worth[row.parent] + row.gain
            if self._worth.get(one) == worth:
                continue
            self._worth[one] = worth
            if one in self._ranks:
                self._ranked.remove(self._ranks[one])
            self._ranks[one] = -round(worth, 9), row.length, row.order, one
            insort(self._ranked, self._ranks[one])
            waiting += row.children

    def weights(self) -> dict[str, int]:
        """Return how many tasks each parent has. Left out: who holds nothing that another does not hold too.

        Of two that hold the same tasks the later one stays: it was shown to be better than what was there. A task that
        several hold without having been tried on it, by their parents' score, goes to the best of them alone.
        """
        self._weigh()
        if self._weights is None:
            self._weights, given = {}, 0
            for *_, key in self._ranked:
                bits = self._open.get(key)
                if bits is not None:
                    lent = bits & ~self._rows[key].tried
                    had = bits & ~(lent & given)
                    given |= lent
                    if had:
                        self._weights[key] = had.bit_count()
        return self._weights

    def _weigh(self) -> None:
        """Find anew who is covered by whom, for those whose tasks have changed and those whom they covered.

        One after the other is held against those who are open, none of whom covers another: it is covered by one of them,
        or it covers some of them and is open itself.
        """
        changed, self._changed = self._changed, {}
        if not changed:
            return
        again = [*changed, *(key for key, by in self._covered.items() if by in changed and key not in changed)]
        for key in again:
            self._open.pop(key, None)
            self._covered.pop(key, None)
        for key in again:
            bits = self._holds[key]
            if not bits:
                continue
            by = next((one for one, more in self._open.items() if bits & more == bits and self._covers(one, key)), None)
            if by is not None:
                self._covered[key] = by
                continue
            for other in [one for one, less in self._open.items() if bits & less == less]:
                del self._open[other]
                self._covered[other] = key
            self._open[key] = bits

    def _covers(self, one: str, other: str) -> bool:
        """Of two, the first of which holds all that the other holds: whether it holds more, or came later."""
        return self._holds[one] != self._holds[other] or self._rows[one].order > self._rows[other].order

    def holds(self, key: str) -> int:
        """Return which tasks a candidate holds: an integer, a bit a task."""
        return self._holds[key]

    def draw(self, draws: Random) -> str:
        """Draw a parent in proportion to the tasks it holds; the best where nobody holds any."""
        weights = self.weights()
        return draws.choices(list(weights), list(weights.values()))[0] if weights else self.best()

    def best(self) -> str:
        """Return the best by worth; of equals the shorter, then the earlier."""
        return self._ranked[0][-1]

    def ranked(self) -> list[str]:
        """Return all, in the order of `best`."""
        return [key for *_, key in self._ranked]

    def worth(self, key: str) -> float:
        """Return the estimate of a candidate's mean score over the tasks; -infinity where none of its line has a score."""
        return self._worth[key]

    def mean(self, key: str) -> float:
        """Return a candidate's plain mean over the tasks it was scored on; -infinity where there is none."""
        own = self._rows[key].own
        return fmean(own.values()) if own else -math.inf
