"""Statistics that search and measurement share: pure functions on numpy arrays; randomness is passed in.

The unit is always the task: several answers to one task are averaged before they come here. Scores that could not be
given are None and leave their task out of the pair (`complete`); nothing here takes None for 0.

- intervals: `bootstrap_mean`, `bootstrap_ratio` (shares: ratios of sums), `wilson_interval` (rates);
- nulls: `quantile`, `rank_p`;
- the best of many without the winner's curse: `shrink`, `best_of`.

Left out: decisions while the data still come (core/sequential.py), tests that assume a fixed sample size, and corrections
for many comparisons (the callers hold out a split).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def rank_p(value: float, nulls: ArrayLike) -> float:
    """Return the p-value of `value` being larger than exchangeable nulls: (1 + those at least as large) / (1 + nulls)."""
    column = finite(nulls)
    return float((1 + np.count_nonzero(column >= value)) / (1 + column.size))


# ------------------------------------------------------------------------------------------------------ best of many


@dataclass(frozen=True)
class Shrunk:
    """Estimates pulled towards their common mean by what their own error explains. Arrays [candidates]."""

    means: Array
    errors: Array  # standard errors, the uncertainty of the pull included
    centre: float
    spread: float  # standard deviation of the true means around the centre; 0: they cannot be told apart


def shrink(means: ArrayLike, errors: ArrayLike) -> Shrunk:
    """Shrink independent estimates [candidates] with known standard errors towards their weighted mean.

    Parametric empirical Bayes (Morris 1983, section 5): the spread solves sum(weight * gap^2) = candidates - 1 (Paule &
    Mandel 1982). Fewer than four estimates are returned as they are: too few to know a spread.
    Errors: ValueError when an error is negative or the arrays differ in length.
    """
    raw, noise = np.broadcast_arrays(finite(means), finite(errors) ** 2)
    if np.any(np.asarray(errors) < 0):
        raise ValueError("a standard error is negative")
    count = raw.size
    if count < 4 or not noise.any():
        spread = float(raw.std(ddof=1)) if count > 1 else 0.0
        return Shrunk(raw.copy(), np.sqrt(noise), float(raw.mean()), spread)
    noise = np.maximum(noise, noise[noise > 0].min() * 1e-6)
    variance = _spread(raw, noise)
    weights = 1 / (variance + noise)
    centre = float((weights * raw).sum() / weights.sum())
    pull = (count - 3) / (count - 1) * noise / (variance + noise)
    share = weights / weights.sum()
    errors_squared = noise * (1 - (1 - share) * pull) + 2 / (count - 3) * pull**2 * (raw - centre) ** 2
    shrunk = (1 - pull) * raw + pull * centre
    return Shrunk(shrunk, np.sqrt(errors_squared), centre, math.sqrt(variance))


def _spread(raw: Array, noise: Array) -> float:
    """Return the variance of true means at which the weighted gaps have their expected size; 0 where noise explains all."""

    def excess(variance: float) -> float:
        weights = 1 / (variance + noise)
        centre = (weights * raw).sum() / weights.sum()
        return float((weights * (raw - centre) ** 2).sum()) - (raw.size - 1)

    if excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, float(np.ptp(raw)) ** 2 + float(noise.max())
    while excess(high) > 0:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Best:
    """The candidate that is best by the shrunk estimate."""

    index: int
    raw: float  # its own mean, which the winner's curse has raised
    estimate: Interval  # of its mean on fresh tasks


def best_of(scores: ArrayLike, level: float = 0.95) -> Best:
    """Choose the best of many candidates scored on shared tasks, and say how good it is without the winner's curse.

    scores: [candidates, tasks], NaN where a candidate was not tried on a task. What tasks have in common (a hard task is
    hard for all) is taken out before shrinking: only a candidate's own luck makes it look best.
    Errors: ValueError when a candidate or a task has no score, or there are fewer than two tasks.
    """
    table = np.asarray(scores, dtype=np.float64)
    known = ~np.isnan(table)
    if table.ndim != 2 or table.shape[1] < 2 or not known.any(axis=1).all() or not known.any(axis=0).all():
        raise ValueError("need scores [candidates, tasks], two tasks or more, none without a score")
    own, tasks = _two_way(table, known)
    count, trials = len(own), known.sum(axis=1)
    rest = np.where(known, table - own[:, None] - tasks, 0.0)
    freedom = max(1, int(known.sum()) - count - table.shape[1] + 1)
    pooled = float((rest**2).sum() / freedom)
    shrunk = shrink(own, np.sqrt(pooled / trials))
    index = int(np.argmax(shrunk.means))
    common = tasks.var(ddof=1) / len(tasks)
    half = _NORMAL.inv_cdf((1 + level) / 2) * math.sqrt(float(shrunk.errors[index]) ** 2 + float(common))
    value = float(tasks.mean() + shrunk.means[index])
    raw = float(np.nanmean(table[index]))
    return Best(index, raw, Interval(value=value, low=value - half, high=value + half, count=int(trials[index])))


def _two_way(table: Array, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Fit score = candidate + task by least squares on the known cells; candidates sum to 0. Returns [candidates], [tasks]."""
    filled = np.where(known, table, 0.0)
    own, tasks = np.zeros(len(table)), np.zeros(table.shape[1])
    for _ in range(200):
        tasks = ((filled - own[:, None]) * known).sum(axis=0) / known.sum(axis=0)
        before, own = own, ((filled - tasks) * known).sum(axis=1) / known.sum(axis=1)
        own = own - own.mean()
        if np.abs(own - before).max() < 1e-12:
            break
    return own, tasks
