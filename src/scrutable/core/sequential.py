"""Decisions while the data still come: valid at every look, whatever made one stop.

Betting: start with 1, stake a share of it on each task that the hypothesis is wrong. Under the hypothesis the wealth is a
non-negative supermartingale, so it ever reaches 1/a with probability at most a (Ville 1939). No variance is assumed, no
sample size fixed, and the error rates are exact bounds. Pure functions of the differences in their order; no state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scrutable.core.stats import Array, finite


@dataclass(frozen=True)
class Decision:
    """What `paired_test` says after the differences seen so far."""

    verdict: Literal["better", "not better", "undecided"]
    step: int  # after how many tasks the verdict fell; all those seen when undecided
    log_better: float  # log of the largest evidence so far against "no better than the margin"
    log_not: float  # log of the largest evidence so far against "better by at least the effect"


def paired_test(
    differences: ArrayLike,
    *,
    false_accept: float = 0.05,
    false_reject: float = 0.05,
    effect: float = 0.1,
    margin: float = 0.0,
    bound: float = 1.0,
) -> Decision:
    """Decide whether a child beats its parent from paired differences [tasks], looking after each task.

    Two one-sided betting tests (Waudby-Smith & Ramdas 2023, section 4) with a fixed mixture of bets. Whenever one stops:
    P("better") <= false_accept where the mean difference is at most `margin`; P("not better") <= false_reject where it is
    at least `margin + effect`. Between the two either verdict may fall. Holds for any distribution on [-bound, bound] and
    any sample size; tasks must come in an order that does not depend on their differences (a shuffle fixed before).
    Errors: ValueError when a difference lies outside [-bound, bound], or margin and effect leave no room in it.
    """
    scaled = finite(differences) / bound
    floor, ceiling = margin / bound, (margin + effect) / bound
    if scaled.size and np.abs(scaled).max() > 1 + 1e-9:
        raise ValueError(f"a difference lies outside [-{bound}, {bound}]")
    if not (-1 < floor < ceiling < 1):
        raise ValueError("margin and margin + effect must lie inside the bound, in this order")
    if not scaled.size:
        return Decision("undecided", 0, 0.0, 0.0)
    better, worse = _log_wealth(scaled, floor), _log_wealth(-scaled, -ceiling)
    accept = _first(better >= -math.log(false_accept))
    reject = _first(worse >= -math.log(false_reject))
    step = min(accept, reject)
    verdict: Literal["better", "not better", "undecided"] = "undecided"
    if step < scaled.size:
        verdict = "better" if accept <= reject else "not better"
    end = min(step + 1, scaled.size)
    return Decision(verdict, end, float(better[:end].max()), float(worse[:end].max()))


_BETS = np.array([0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.85])
"""Shares of the largest bet that cannot lose all. Spread evenly in ratio: some bet is near the best for any effect."""


def _log_wealth(scaled: Array, mean: float) -> Array:
    """Return the log of the wealth [tasks] of betting that the mean of values in [-1, 1] is above `mean`.

    Under any mean at most `mean` it is a non-negative supermartingale from 1, so it ever reaches 1/a with probability <= a.
    """
    gains = np.log1p(_BETS[:, None] / (1 + mean) * (np.maximum(scaled, -1.0) - mean))
    paths = np.cumsum(gains, axis=1)
    top = paths.max(axis=0)
    return np.asarray(top + np.log(np.exp(paths - top).mean(axis=0)), dtype=np.float64)


def _first(hits: NDArray[np.bool_]) -> int:
    """Return the index of the first True, or the length where there is none."""
    return int(hits.argmax()) if hits.any() else len(hits)
