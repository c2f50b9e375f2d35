"""The front: for each task the best score so far and who holds it; parents are drawn from those who hold something.

Kept up to date candidate by candidate, so that a selection does not cost more the longer a search runs. Who holds which
tasks is one integer a candidate, a bit a task. Source: Agrawal et al., arXiv 2507.19457, algorithm 2 (Pareto selection).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

_EQUAL = 1e-9


class Front:
    """The holders of the best score of each task."""

    def __init__(self, tasks: int) -> None:
        self._best = [-math.inf] * tasks
        self._holders: list[list[str]] = [[] for _ in range(tasks)]
        self._holds: dict[str, int] = {}
        self._rank: dict[str, tuple[float, int]] = {}

    def add(self, key: str, scores: Sequence[float | None], length: int) -> None:
        """Take a candidate in with its scores [tasks] (None where it has none) and its number of words."""
        known = [score for score in scores if score is not None]
        self._rank[key] = (sum(known) / len(known) if known else -math.inf, -length)
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

    def weights(self) -> dict[str, int]:
        """Return how many tasks each parent holds. Left out: who holds nothing that a better (or shorter) one does not."""
        kept: dict[str, int] = {}
        for key in sorted(
            (k for k, bits in self._holds.items() if bits), key=lambda k: (self._rank[k], k), reverse=True
        ):
            if not any(self._holds[key] & ~bits == 0 for bits in kept.values()):
                kept[key] = self._holds[key]
        return {key: bits.bit_count() for key, bits in kept.items()}

    def draw(self, draws: Random) -> str:
        """Draw a parent in proportion to the tasks it holds; the best by mean where nobody holds any."""
        weights = self.weights()
        if not weights:
            return max(self._rank, key=lambda key: (self._rank[key], key))
        return draws.choices(list(weights), list(weights.values()))[0]

    def best(self) -> str:
        """Return the best by mean; of equals the shorter."""
        return self.ranked()[0]

    def ranked(self) -> list[str]:
        """Return all, best first by mean, of equals the shorter first."""
        return sorted(self._rank, key=lambda key: (-self._rank[key][0], -self._rank[key][1], key))

    def mean(self, key: str) -> float:
        """Return a candidate's mean over the tasks it has a score on."""
        return self._rank[key][0]
