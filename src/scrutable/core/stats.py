"""Statistics that search and measurement share: pure functions on numpy arrays; randomness is passed in.

The unit is always the task: several answers to one task are averaged before they come here. Scores that could not be
given are None and leave their task out of the pair (`complete`); nothing here takes None for 0.

- intervals: `bootstrap_mean`, `score_interval` (few or equal scores), `bootstrap_ratio` (shares: ratios of sums),
  `wilson_interval` (rates);
- nulls: `quantile`;
- choosing among candidates of which some lack scores: `comparable`.

Left out: decisions while the data still come (core/sequential.py), tests that assume a fixed sample size, and corrections
for many comparisons (the callers hold out a split).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scrutable.core.accounts import Interval

Array = NDArray[np.float64]
Method = Literal["bca", "percentile"]
_NORMAL = NormalDist()
_CHUNK = 4_000_000  # resampled cells held at once


def complete(*columns: Sequence[float | None]) -> tuple[Array, ...]:
    """Return the columns as arrays [tasks], with only those tasks on which every column has a number.

    Errors: ValueError when the columns differ in length or hold NaN or infinity.
    """
    rows = [row for row in zip(*columns, strict=True) if None not in row]
    return tuple(finite(np.array([row[i] for row in rows], dtype=np.float64)) for i in range(len(columns)))


def comparable(rows: Sequence[Sequence[float | None]]) -> list[tuple[float, int]]:
    """Return, from rows [candidates, tasks], by what candidates are ranked: a mean, and on how many tasks it has a score.

    All means are over the same tasks, those that anyone has a score on. Who has none there is given the lowest that another
    has, so that a text that makes hard tasks unscorable gains nothing by it. For ranking alone: no such mean is a score.
    Without any score: -infinity. Errors: ValueError when the rows differ in length.
    """
    known = [(column, [one for one in column if one is not None]) for column in zip(*rows, strict=True)]
    filled = [[min(there) if one is None else one for one in column] for column, there in known if there]
    scored = [sum(one is not None for one in row) for row in rows]
    return [
        (math.fsum(column[row] for column in filled) / len(filled) if count else -math.inf, count)
        for row, count in enumerate(scored)
    ]


def finite(values: ArrayLike) -> Array:
    """Return a float64 array [tasks]; refuse what is no number."""
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not np.isfinite(column).all():
        raise ValueError("need one dimension of finite numbers")
    return column


# -------------------------------------------------------------------------------------------------------- intervals


def bootstrap_mean(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 2000,
    method: Method = "bca",
) -> Interval:
    """Return the mean of `values` [tasks] with a bootstrap interval. For a paired difference give the differences.

    Fewer than two tasks: no interval. Methods: Efron & Tibshirani 1993, ch. 13 (percentile), ch. 14 (BCa).
    Errors: ValueError when there are no values, or one is not finite.
    """
    column = finite(values)
    if not column.size:
        raise ValueError("the mean of no values")
    return _bootstrap(column[:, None], lambda means: means[..., 0], rng, level, draws, method)


def bootstrap_ratio(
    top: ArrayLike,
    bottom: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 2000,
    method: Method = "bca",
) -> Interval | None:
    """Return sum(top) / sum(bottom) over tasks with an interval that resamples tasks, keeping each task's pair together.

    The share `1 - sum(left) / sum(whole)` is `bootstrap_ratio(whole - left, whole)`.
    None when the bottom's sum cannot be told from 0 (its own interval at `level` holds 0): no share may be printed.
    Errors: ValueError when the columns differ in length, are empty, or hold NaN or infinity.
    """
    pair = np.stack([finite(top), finite(bottom)], axis=1)
    if not len(pair):
        raise ValueError("the ratio of no values")
    if len(pair) < 2:
        return Interval(value=float(pair[0, 0] / pair[0, 1]), count=1) if pair[0, 1] else None
    tail = (1 - level) / 2
    low, high = np.quantile(_resample(pair[:, 1:], rng, draws)[:, 0], [tail, 1 - tail])
    if low <= 0 <= high:
        return None
    return _bootstrap(pair, _ratio, rng, level, draws, method)


def wilson_interval(successes: float, count: int, level: float = 0.95) -> Interval:
    """Return the rate successes / count with Wilson's score interval (Wilson 1927; Brown, Cai & DasGupta 2001, eq. 4).

    Errors: ValueError when count < 1 or successes lie outside [0, count].
    """
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} of {count} is no rate")
    z = _NORMAL.inv_cdf((1 + level) / 2)
    rate = successes / count
    scale = 1 + z * z / count
    middle = (rate + z * z / (2 * count)) / scale
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / scale
    low = max(0.0, middle - half) if successes > 0 else 0.0
    high = min(1.0, middle + half) if successes < count else 1.0
    return Interval(value=rate, low=low, high=high, count=count)


def normal_mean(values: ArrayLike, level: float = 0.95) -> Interval:
    """Return the mean of values [tasks] with an interval by its standard error: for texts by the thousand, on the way.

    What is reported at an end has `score_interval`. Errors: ValueError as in `bootstrap_mean`.
    """
    column = finite(values)
    if not column.size:
        raise ValueError("the mean of no values")
    mean = float(column.mean())
    if column.size < 2:
        return Interval(value=mean, count=column.size)
    half = _NORMAL.inv_cdf((1 + level) / 2) * float(column.std(ddof=1)) / math.sqrt(column.size)
    return Interval(value=mean, low=mean - half, high=mean + half, count=column.size)


def score_interval(
    values: ArrayLike, bounds: tuple[float, float], *, rng: np.random.Generator, level: float = 0.95
) -> Interval:
    """Return the mean of scores [tasks] within `bounds` with an interval that a sample without variance does not make empty.

    Scores of two values, the bounds, are a rate (Wilson's interval, stretched); equal scores are held to be a rate of 1
    between their value and either bound; all others: `bootstrap_mean`. Errors: ValueError as there.
    """
    column = finite(values)
    low, high = min(bounds), max(bounds)
    if column.size and set(column.tolist()) <= {low, high} and low < high:
        rate = wilson_interval(float((column == high).sum()), column.size, level)
        return _stretched(rate, low, high)
    if column.size > 1 and float(np.ptp(column)) == 0 and low < high:
        value, share = float(column[0]), wilson_interval(column.size, column.size, level).low or 0.0
        return Interval(
            value=value,
            low=value - (1 - share) * max(0.0, value - low),
            high=value + (1 - share) * max(0.0, high - value),
            count=column.size,
        )
    return bootstrap_mean(column, rng=rng, level=level)


def _stretched(rate: Interval, low: float, high: float) -> Interval:
    ends = [None if end is None else low + (high - low) * end for end in (rate.low, rate.high)]
    return Interval(value=low + (high - low) * rate.value, low=ends[0], high=ends[1], count=rate.count)


def _bootstrap(
    columns: Array,
    statistic: Callable[[Array], Array],
    rng: np.random.Generator,
    level: float,
    draws: int,
    method: Method,
) -> Interval:
    """Return the interval of a smooth function of column means. columns: [tasks, columns]; statistic: [..., columns] -> [...]."""
    count = len(columns)
    means = columns.mean(axis=0)
    value = float(statistic(means))
    if count < 2:
        return Interval(value=value, count=count)
    drawn = statistic(_resample(columns, rng, draws))
    tails = [(1 - level) / 2, (1 + level) / 2]
    if method == "bca":
        left_out = statistic((means * count - columns) / (count - 1))  # the jackknife, [tasks]
        tails = _bca_tails(tails, float(np.mean(drawn < value) + np.mean(drawn == value) / 2), left_out, draws)
    low, high = np.quantile(drawn, tails)
    return Interval(value=value, low=float(low), high=float(high), count=count)


def _bca_tails(tails: list[float], below: float, left_out: Array, draws: int) -> list[float]:
    """Correct the tails for bias (`below`: share of draws below the value) and skewness (Efron & Tibshirani 1993, eq. 14.10)."""
    edge = 1 / (2 * draws)
    bias = _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))
    gaps = left_out.mean() - left_out
    spread = float((gaps**2).sum()) ** 1.5
    acceleration = float((gaps**3).sum()) / (6 * spread) if spread > 0 else 0.0
    corrected = []
    for tail in tails:
        z = bias + _NORMAL.inv_cdf(tail)
        slack = max(1 - acceleration * z, 0.1)  # past its pole the correction means nothing
        corrected.append(_NORMAL.cdf(bias + z / slack))
    return corrected


def _resample(columns: Array, rng: np.random.Generator, draws: int) -> Array:
    """Return column means [draws, columns] of rows drawn with replacement."""
    count = len(columns)
    size = max(1, _CHUNK // (count * columns.shape[1]))
    parts = [
        columns[rng.integers(count, size=(min(size, draws - start), count))].mean(axis=1)
        for start in range(0, draws, size)
    ]
    return np.concatenate(parts)


def _ratio(means: Array) -> Array:
    """Return first over second column; a resample whose bottom is exactly 0 counts as infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(means[..., 0] / means[..., 1])
    return np.nan_to_num(ratio, nan=np.inf, posinf=np.inf, neginf=-np.inf)


# ------------------------------------------------------------------------------------------------------------ nulls


def quantile(values: ArrayLike, q: float) -> float:
    """Return the q-quantile, linear between order statistics (of 20 nulls, q = 0.95 lies between the two largest)."""
    return float(np.quantile(finite(values), q))
