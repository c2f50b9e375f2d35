"""Screening: children together on few tasks, and the better half goes on; which promises nothing, the test does.

The tasks are of those that the writer was shown: the parent's scores are known there. A text is first tried where its own
evidence is: on tasks that the sample which wrote it was shown and where the parent fails, since there it says that it helps.
A rule that bears on a few tasks would otherwise mostly be tried where it changes nothing, and lose to chance. Then all are tried
on the same: where the parent fails, and where it does not, in turn. Ranked by gain over the parent; what share of the
samples wrote a text counts as a task more, since each sample was shown tasks of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np

from scrutable.core.records import Candidate
from scrutable.core.stats import complete
from scrutable.evolve.ledger import Keyed, Ledger
from scrutable.evolve.sentences import length

_AGREED = 2
"""A text that so many samples wrote is tested also where its screening shows no difference to the parent."""


class Screening:
    """One proposal's screening. each: tasks of a stage; known: of some children, a sum of differences over so many tasks.

    spread: the largest difference expected on one task.
    """

    def __init__(
        self,
        ledger: Ledger,
        parent: str,
        shown: Sequence[Keyed],
        each: int,
        known: Mapping[str, tuple[float, float]],
        spread: float,
    ) -> None:
        self._ledger, self._parent, self._each, self._known = ledger, parent, each, known
        self._spread = spread
        scored = [(ledger.value(parent, pair[0]), pair) for pair in shown]
        ranked = sorted(
            ((score, at, pair) for at, (score, pair) in enumerate(scored) if score is not None), key=_first_two
        )
        self._known_scores = [score for score, _, _ in ranked]
        self._worst = [pair for _, _, pair in ranked]
        half = (len(ranked) + 1) // 2
        low, high = self._worst[:half], self._worst[half:][::-1]
        self._common = [one for row in zip_longest(low, high) for one in row if one is not None]
        self._votes: dict[str, tuple[int, float]] = {}  # number and share of the samples
        self._grounds: dict[str, tuple[Keyed, ...]] = {}
        self._tried: dict[str, list[Keyed]] = {}

    @property
    def stages(self) -> int:
        """How many stages there are at most."""
        return math.ceil(len(self._common) / self._each)

    def ground(self, key: str, tasks: Sequence[str], votes: int, of: int) -> None:
        """Say that so many of the samples wrote a child, on the evidence of these tasks.

        Said again, the votes add up, and the first evidence among the shown tasks counts.
        """
        number, share = self._votes.get(key, (0, 0.0))
        self._votes[key] = number + votes, share + votes / of
        own = [pair for pair in self._worst if pair[0] in set(tasks)][: self._each]
        if own:
            self._grounds.setdefault(key, tuple(own))

    def next(self, key: str) -> list[Keyed]:
        """Return the tasks of a child's next stage, and count them as tried."""
        tried = self._tried.setdefault(key, [])
        own = self._grounds.get(key, ()) if not tried else ()
        tasks = list(own) or [pair for pair in self._common if pair not in tried][: self._each]
        tried += tasks
        return tasks

    def ahead(self, one: Candidate) -> bool:
        """Whether a child is worth testing: it did better than its parent, or as well and several samples wrote it."""
        child, parent = self._pair(one)
        gain = float(child.sum() - parent.sum())
        return gain > 0 or (gain == 0 and self.agreed(one.key))

    def agreed(self, key: str) -> bool:
        """Whether several samples wrote a child."""
        return self._votes.get(key, (0, 0.0))[0] >= _AGREED

    def ranked(self, field: Sequence[Candidate]) -> list[Candidate]:
        """Return children, best first by their gain over the parent, with what was known of them and who wrote them.

        What could not be scored counts as the lowest score seen in this screening.
        """
        columns = {one.key: self._ledger.column(one.key, self._tried.get(one.key, ())) for one in field}
        scores = [value for column in columns.values() for value in column if value is not None]
        lowest = min([*self._known_scores, *scores])

        def rank(at: int) -> tuple[float, int, int, int]:
            one = field[at]
            column = columns[one.key]
            scored = sum(value is not None for value in column)
            above = self._ledger.column(self._parent, self._tried.get(one.key, ()))
            gain = sum(
                (lowest if mine is None else mine) - (theirs or 0.0) for mine, theirs in zip(column, above, strict=True)
            )
            total, count = self._known.get(one.key, (0.0, 0.0))
            total += self._spread * self._votes.get(one.key, (0, 0.0))[1]
            mean = (gain + total) / (len(column) + count + 1) if scored else -math.inf
            return -round(mean, 9), -scored, length(one.texts), at

        return [field[at] for at in sorted(range(len(field)), key=rank)]

    def _pair(self, one: Candidate) -> tuple[np.ndarray, np.ndarray]:
        tasks = self._tried.get(one.key, [])
        child, parent = complete(self._ledger.column(one.key, tasks), self._ledger.column(self._parent, tasks))
        return child, parent


def _first_two(row: tuple[float, int, Keyed]) -> tuple[float, int]:
    return row[:2]
