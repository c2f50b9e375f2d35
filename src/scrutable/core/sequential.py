"""Decisions while the data still come: a paired test that looks after every few tasks and keeps its error rate.

Under the hypothesis that a child does what its parent does, the sign of each paired difference is a fair coin, whatever the
scores are. So the sums that were seen are held against the sums of the same differences under drawn signs (a sign-flip
test: Fisher 1935, section 21), look by look: each look may spend a part of the error rate (Lan & DeMets 1983, power family
of Kim & DeMets 1987), and a drawn path that was spent, or given up as hopeless, counts no more. Pure functions; no state.

Left out: two-sided tests, and any model of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from scrutable.core.stats import Array, finite

Verdict = Literal["better", "not better", "undecided"]
_PATHS = 1999  # with the seen one, 2,000
_SPENT = 0.7  # powers of the share of tasks seen, by which the error rates are spent: below 1 decides early (measured)
_GIVEN_UP = 0.6
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Standard:
    """What a child must show. bound: the largest difference expected on one task, in the score's units; a larger one widens
    it. effect: the gain worth finding, as a share of it."""

    false_accept: float = 0.1
    false_reject: float = 0.35
    effect: float = 0.1
    bound: float = 1.0


def flip_test(
    differences: Sequence[float] | Array,
    looks: Sequence[int],
    planned: int,
    standard: Standard,
    rng: np.random.Generator,
) -> Verdict:
    """Say after the last look whether a child is better than its parent, from paired differences in a fixed order.

    differences: those seen, an order that does not depend on them. looks: after how many of them there was a look, rising, the
    last one now. planned: how many there can be. rng: the same one at every look (the signs are drawn anew from it).
    P("better") <= false_accept for a child whose differences are symmetric about 0, that is for one equal to its parent;
    P("not better" before the end) is about false_reject for one better by `effect` (by the normal distribution, not exact).
    Errors: ValueError when looks or differences do not fit.
    """
    seen = finite(np.asarray(differences, dtype=np.float64))
    if not looks or list(looks) != sorted(set(looks)) or looks[-1] != seen.size or not 0 < seen.size <= planned:
        raise ValueError("looks must rise to the number of differences, and planned be no less")
    largest = float(np.abs(seen).max())
    bound = max(standard.bound, largest) or 1.0
    effect = min(standard.effect, 0.9) * bound
    # Who gains qh on most tasks and loses h on a share q has gained s before the first loss with probability exp(-s / h).
    unseen = bound * math.log(1 / standard.false_accept)
    signs = rng.integers(0, 2, size=(_PATHS, planned), dtype=np.int8)
    alive, spent, before = np.ones(_PATHS, dtype=bool), 0, 0
    sums = np.zeros(_PATHS)
    for look in looks:
        part = seen[before:look]
        sums += (2.0 * signs[:, before:look] - 1.0) @ part
        before = look
        total, squares = float(seen[:look].sum()), float((seen[:look] ** 2).sum())
        room = math.floor((_PATHS + 1) * standard.false_accept * (look / planned) ** _SPENT) - spent - 1
        slack = 1e-9 * (1.0 + math.sqrt(squares))
        rare = total > slack and np.count_nonzero(sums[alive] >= total - slack) <= room
        if rare and total > unseen and skew_p(seen[:look]) <= standard.false_accept:
            return "better"
        if room >= 0:
            highest = np.sort(sums[alive])[::-1]
            over = sums > highest[room] + slack if room < highest.size else np.ones(_PATHS, dtype=bool)
            spent += int(np.count_nonzero(alive & over))
            alive &= ~over
        far = _NORMAL.inv_cdf(1 - min(0.5, standard.false_reject * (look / planned) ** _GIVEN_UP))
        if _highest(np.array([total]), squares, look, far, bound)[0] < effect:
            return "not better"
        alive &= _highest(sums, squares, look, far, bound) >= effect
    return "undecided" if looks[-1] < planned else "not better"


def _highest(sums: Array, squares: float, count: int, far: float, bound: float) -> Array:
    """Return how large the true means may be, `far` standard errors above the seen ones; half a difference is added as known."""
    means = sums / count
    spread = np.maximum(squares - count * means**2, 0.0) + bound**2 / 2
    return np.asarray(means + far * np.sqrt(spread) / count)


def skew_p(differences: Array) -> float:
    """Return the one-sided p-value of the mean by a t-statistic corrected for skewness.

    A child that helps a little on most tasks and does harm on a few looks better than it is. Source: the cubic of Hall 1992
    (JRSS B 54), to first order Johnson's (1978, JASA 73); it rises with the mean throughout.
    """
    count, mean, spread = differences.size, float(differences.mean()), float(differences.std())
    if spread == 0:
        return 0.0 if mean > 0 else 1.0
    skewness = float(((differences - mean) ** 3).mean()) / spread**3
    ratio = mean / spread * math.sqrt((count - 1) / count)
    bent = ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27 + skewness / (6 * count)
    return 1 - _NORMAL.cdf(bent * math.sqrt(count))
