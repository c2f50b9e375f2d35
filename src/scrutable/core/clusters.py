"""Clusters: which of several things behave alike, from their pairwise distances task by task.

Average linkage joins what is nearest (UPGMA, Sokal & Michener 1958); from the top of the tree two groups are parted only where
the distance between them is *shown* to be above a limit that is given: the largest that things alike are known to have. The
tree is made on a third of the tasks and tested on the others: on the same ones a tree of equals is cut where they happen to
be farthest apart, and twice as many false partings pass. The test resamples tasks; a node of m things is tested at
alpha (m - 1) / (n - 1), which bounds the chance of any false parting (Kimes et al., Biometrics 2017, after Meinshausen).

Left out: a limit found from the distances themselves. By their own measure eight wordings that differ by next to nothing fall
into groups, and eight runs that all differ are one even cloud.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scrutable.core.accounts import Interval
from scrutable.core.stats import Array, bootstrap_mean

Group = tuple[int, ...]
_THIRD = 3  # every third task makes the tree
_RESAMPLED = 200  # task resamples by which the clusters' stability is told


@dataclass(frozen=True)
class Join:
    """Two groups that the tree joins, and whether they were shown to be apart."""

    left: Group
    right: Group
    distance: Interval  # mean over pairs across and tasks; `low` is the bound that was tested, one-sided
    apart: bool


@dataclass(frozen=True)
class Clustering:
    """Clusters, the largest first; the joins that were tested, the highest first."""

    clusters: tuple[Group, ...]
    joins: tuple[Join, ...]
    stable: float  # share of task resamples in which the same things are together
    silhouette: float | None  # mean silhouette width (Rousseeuw 1987); None for one cluster


def clusters(
    distances: Array, limit: float, *, rng: np.random.Generator, alpha: float = 0.05, draws: int = 2000
) -> Clustering:
    """Return the clusters of n things from their distances [tasks, n, n], symmetric, NaN where a task gives none.

    limit: the distance up to which two groups may be alike. Errors: ValueError when there is no thing, or a pair has no task.
    """
    values = np.asarray(distances, dtype=np.float64)
    if values.ndim != 3 or values.shape[1] != values.shape[2] or not values.shape[1]:
        raise ValueError("need distances of shape [tasks, n, n]")
    count = values.shape[1]
    if count == 1:
        return Clustering(((0,),), (), 1.0, None)
    if np.isnan(values).all(axis=0).any():
        raise ValueError("a pair has no task with a distance")
    joins: list[Join] = []
    found: list[Group] = []
    open_groups: list[Group] = [tuple(range(count))]
    grown, tested = _parted(values)
    tree = linkage(grown)
    while open_groups:
        group = open_groups.pop(0)
        if len(group) == 1:
            found.append(group)
            continue
        left, right = tree[group]
        level = 1 - 2 * alpha * (len(group) - 1) / (count - 1)
        across = _across(tested, left, right)
        # The plain percentile: where few tasks carry the distance, the corrected one shows more than they can.
        distance = bootstrap_mean(across, rng=rng, level=level, draws=draws, method="percentile")
        apart = (distance.value if distance.low is None else distance.low) > limit
        joins.append(Join(left, right, distance, apart))
        if apart:
            open_groups += [left, right]
        else:
            found.append(group)
    ordered = tuple(sorted(found, key=lambda group: (-len(group), group)))
    joins.sort(key=lambda join: -join.distance.value)
    stable = _stable(values, ordered, _height(joins), rng) if len(values) > 1 else 1.0
    return Clustering(ordered, tuple(joins), stable, silhouette(np.nanmean(values, axis=0), ordered))


def linkage(distances: Array) -> dict[Group, tuple[Group, Group]]:
    """Return the tree of average linkage over distances [n, n]: each group of two or more, and the two it joins.

    Of equal distances the pair with the lowest numbers is joined first.
    """
    groups: list[Group] = [(at,) for at in range(len(distances))]
    tree: dict[Group, tuple[Group, Group]] = {}
    while len(groups) > 1:
        pairs = [(a, b) for at, a in enumerate(groups) for b in groups[at + 1 :]]
        left, right = min(pairs, key=lambda pair: (_mean(distances, *pair), pair))
        joined = tuple(sorted((*left, *right)))
        tree[joined] = (left, right)
        groups = sorted([group for group in groups if group not in (left, right)] + [joined])
    return tree


def silhouette(distances: Array, groups: Sequence[Group]) -> float | None:
    """Return the mean silhouette width of groups of things (Rousseeuw 1987), 0 for one alone; None for a single group."""
    if len(groups) < 2:
        return None
    widths = []
    for group in groups:
        others = [other for other in groups if other != group]
        for one in group:
            rest = [other for other in group if other != one]
            nearest = min(float(distances[one, list(other)].mean()) for other in others)
            within = float(distances[one, rest].mean()) if rest else nearest
            widths.append((nearest - within) / top if (top := max(nearest, within)) > 0 else 0.0)
    return float(np.mean(widths))


def agreement(first: Sequence[Group], second: Sequence[Group]) -> float:
    """Return the adjusted Rand index of two partitions of the same things (Hubert & Arabie 1985); 1: the same."""
    cells = [len(set(a) & set(b)) for a in first for b in second]
    both = sum(math.comb(size, 2) for size in cells)
    one, two = (sum(math.comb(len(group), 2) for group in groups) for groups in (first, second))
    pairs = math.comb(sum(len(group) for group in first), 2)
    expected = one * two / pairs if pairs else 0.0
    most = (one + two) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _parted(values: Array) -> tuple[Array, Array]:
    """Return the mean distances that the tree is made of, and the tasks it is tested on; all of both where there are few."""
    third = np.arange(len(values)) % _THIRD == 0
    grown, tested = values[third], values[~third]
    if any(not len(part) or np.isnan(part).all(axis=0).any() for part in (grown, tested)):
        grown = tested = values
    return np.asarray(np.nanmean(grown, axis=0)), tested


def _across(values: Array, left: Group, right: Group) -> Array:
    """Return each task's mean distance across two groups [tasks that have one]."""
    cells = values[:, list(left)][:, :, list(right)].reshape(len(values), -1)
    known = ~np.isnan(cells)
    there = known.any(axis=1)
    return np.asarray(np.where(known, cells, 0.0)[there].sum(axis=1) / known[there].sum(axis=1))


def _mean(distances: Array, left: Group, right: Group) -> float:
    return float(distances[np.ix_(left, right)].mean())


def _height(joins: Sequence[Join]) -> float:
    """Return a height at which the tree of the means falls into the clusters: midway between what parted and what did not."""
    above = [join.distance.value for join in joins if join.apart]
    below = [join.distance.value for join in joins if not join.apart]
    if not above:
        return math.inf
    return (min(above) + max(below, default=0.0)) / 2


def _stable(values: Array, groups: Sequence[Group], height: float, rng: np.random.Generator) -> float:
    """Return the share of task resamples whose tree, cut at the height, has the same clusters."""
    if math.isinf(height):
        return 1.0
    wanted, same = sorted(groups), 0
    for _ in range(_RESAMPLED):
        rows = rng.integers(len(values), size=len(values))
        drawn = values[rows]
        known = ~np.isnan(drawn)
        means = np.where(known, drawn, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        same += sorted(_cut(means, height)) == wanted
    return same / _RESAMPLED


def _cut(distances: Array, height: float) -> list[Group]:
    tree = linkage(distances)
    found, open_groups = [], [tuple(range(len(distances)))]
    while open_groups:
        group = open_groups.pop()
        if len(group) > 1 and _mean(distances, *tree[group]) > height:
            open_groups += tree[group]
        else:
            found.append(group)
    return found
