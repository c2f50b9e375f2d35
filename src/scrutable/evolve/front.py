"""The front: for each task the best score so far and who holds it; parents are drawn from those who hold something.

Kept up to date candidate by candidate, so that a selection does not cost more the longer a search runs. Who holds which
tasks is one integer a candidate, a bit a task. Source: Agrawal et al., arXiv 2507.19457, algorithm 2 (Pareto selection).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from scrutable.core.stats import comparable

_EQUAL = 1e-9


class Front:
    """The holders of the best score of each task."""

    def __init__(self, tasks: int) -> None:
        self._best = [-math.inf] * tasks
        self._holders: list[list[str]] = [[] for _ in range(tasks)]
        self._holds: dict[str, int] = {}
        self._rows: dict[str, tuple[Sequence[float | None], int]] = {}
        self._known: dict[str, tuple[float, int, int]] = {}

    def add(self, key: str, scores: Sequence[float | None], length: int) -> None:
        """Take a candidate in with its scores [tasks] (None where it has none) and its number of words."""
        self._rows[key] = tuple(scores), -length
        self._known = {}
        self._holds[key] = 0
        for place, score in enumerate(scores):
            if score is None or score < self._best[place] - _EQUAL:
                continue
            bit = 1 << place
            if score > self._best[place] + _EQUAL:
                for loser in self._holders[place]:
                    self._holds[loser] &= ~bit
                self._holders[place] = []
                self._best[place] = score
            self._holders[place].append(key)
            self._holds[key] |= bit

    @property
    def _rank(self) -> dict[str, tuple[float, int, int]]:
        """By what candidates are ranked: mean, number of scores, shortness. A newcomer may change everyone's (`comparable`)."""
        if not self._known:
            found = comparable([scores for scores, _ in self._rows.values()])
            self._known = {key: (*one, short) for one, (key, (_, short)) in zip(found, self._rows.items(), strict=True)}
        return self._known

    def weights(self) -> dict[str, int]:
        """Return how many tasks each parent holds. Left out: who holds nothing that a better (or shorter) one does not."""
        kept, rank = dict[str, int](), self._rank
        for key in sorted((k for k, bits in self._holds.items() if bits), key=lambda k: (rank[k], k), reverse=True):
            if not any(self._holds[key] & ~bits == 0 for bits in kept.values()):
                kept[key] = self._holds[key]
        return {key: bits.bit_count() for key, bits in kept.items()}

    def draw(self, draws: Random) -> str:
        """Draw a parent in proportion to the tasks it holds; the best by mean where nobody holds any."""
        weights = self.weights()
        if not weights:
            rank = self._rank
            return max(rank, key=lambda key: (rank[key], key))
        return draws.choices(list(weights), list(weights.values()))[0]

    def best(self) -> str:
        """Return the best by mean; of equals who has more scores, then the shorter."""
        return self.ranked()[0]

    def ranked(self) -> list[str]:
        """Return all, in the order of `best`."""
        rank = self._rank
        return sorted(rank, key=lambda key: (*(-part for part in rank[key]), key))

    def mean(self, key: str) -> float:
        """Return a candidate's mean, comparable with the others' (see `comparable`); -infinity where it has no score."""
        return self._rank[key][0]
