"""Voices: what speakers said, set against each other by likeness; and whether two can be told apart at all.

For the second the names of the two are exchanged at random among the answers to each task: if both answer alike, any
exchange is as likely as what was seen. Nothing is drawn from a model here, and no task is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scrutable.core.stats import Array, quantile
from scrutable.measure.answers import Said, within
from scrutable.measure.apart import Seen, seen
from scrutable.measure.likeness import Pairs, heard, likenesses
from scrutable.measure.rewards import Rewards

LEVEL = 0.01
"""A pair is held to be changed where exchanged answers have a gap as large less often than this."""
DRAWS = 1999
"""Exchanges drawn."""


@dataclass(frozen=True)
class Voice:
    """What a speaker said to each task, as likeness and the classifier see it. Answers that failed are left out."""

    said: tuple[Said, ...]
    pairs: Mapping[str, Sequence[Pairs]]
    seen: Seen
    rewards: Rewards = field(default_factory=Rewards)

    def fewer(self, keys: set[str], repeats: int) -> Voice:
        """Return the same on some tasks only, with the first `repeats` answers to each."""
        return voice(within(self.said, keys, repeats), self.rewards)

    @property
    def lost(self) -> int:
        """Answers that failed."""
        return sum(one.generation.failure is not None for one in self.said)


def voice(said: Sequence[Said], rewards: Rewards | None = None) -> Voice:
    """Return what was said as it is compared."""
    told: dict[str, list[str]] = {}
    for one in sorted(said, key=lambda one: one.cell):
        if one.generation.failure is None:
            told.setdefault(one.key, []).append(one.generation.answer)
    asked = {one.key: one.task.prompt for one in said}
    pairs = {key: [heard(answer) for answer in answers] for key, answers in told.items()}
    return Voice(tuple(said), pairs, seen(told, asked), rewards or Rewards())


def gaps(one: Voice, other: Voice) -> dict[str, float]:
    """Return the gap between two voices on each task to which both gave two answers or more."""
    found = {}
    for key in sorted(one.pairs.keys() & other.pairs.keys()):
        ours, theirs = one.pairs[key], other.pairs[key]
        if min(len(ours), len(theirs)) > 1:
            table = likenesses([*ours, *theirs])
            found[key] = _gap(table, np.arange(len(table)) < len(ours))
    return found


def _gap(table: Array, mine: NDArray[np.bool_]) -> float:
    """Return the gap of those marked `mine` [n] and the others, from likenesses [n, n]."""
    return float(_gaps(table, mine[None])[0])


def _gaps(table: Array, mine: NDArray[np.bool_]) -> Array:
    """Return the gaps [draws] of those marked [draws, n] and the others. See `likeness.gap_of`."""
    ours, theirs = mine.astype(float), (~mine).astype(float)
    bare = table - np.diag(np.diag(table))
    n, m = ours.sum(axis=1), theirs.sum(axis=1)
    inner = ((ours @ bare) * ours).sum(axis=1) / (n * (n - 1)) + ((theirs @ bare) * theirs).sum(axis=1) / (m * (m - 1))
    return np.asarray(inner - 2 * ((ours @ bare) * theirs).sum(axis=1) / (n * m))


@dataclass(frozen=True)
class Exchanged:
    """A gap against those of exchanged answers. gap: its mean over tasks; limit: what LEVEL of the exchanged are above."""

    gap: float
    limit: float
    chance: float
    tasks: int

    @property
    def changed(self) -> bool:
        """Whether the two can be told apart by what they say."""
        return self.chance <= LEVEL


def exchanged(one: Voice, other: Voice, rng: np.random.Generator) -> Exchanged:
    """Set the gap of two voices against those of the same answers with names exchanged within tasks (a permutation test).

    Exact up to its draws: if both answer alike, any exchange is as likely as what was seen (Fisher 1935, section 21).
    Without a task to which both gave two answers: a chance of 1.
    """
    sums, total, count = np.zeros(DRAWS), 0.0, 0
    for key in sorted(one.pairs.keys() & other.pairs.keys()):
        ours, theirs = one.pairs[key], other.pairs[key]
        if min(len(ours), len(theirs)) < 2:
            continue
        table = likenesses([*ours, *theirs])
        mine = np.arange(len(table)) < len(ours)
        total, count = total + _gap(table, mine), count + 1
        sums += _gaps(table, rng.permuted(np.tile(mine, (DRAWS, 1)), axis=1))
    if not count:
        return Exchanged(0.0, 0.0, 1.0, 0)
    chance = (1 + int((sums >= total - 1e-9).sum())) / (DRAWS + 1)
    return Exchanged(total / count, quantile(sums / count, 1 - LEVEL), chance, count)
