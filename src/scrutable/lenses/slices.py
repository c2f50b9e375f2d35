"""Slices: the tasks on which a difference is concentrated, found and not given.

A slice is every task, or the tasks whose prompts have one of a few runs of words. Features and slices are chosen by one
score: the information inside the slice (see `contrast`), less what choosing among so many costs. A slice that is too wide
dilutes the difference and one too narrow leaves some of it out, so the score is highest where the difference lives.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scrutable.lenses.contrast import Bools, Counts, Feature, Floats, gain
from scrutable.lenses.words import Words, runs_of

Ints = NDArray[np.intp]
_MOST = 3000
_BLOCK = 256


@dataclass(frozen=True)
class Slices:
    """Sets of tasks: those whose prompts have the run. inside: [slices, tasks]. One run stands for each set."""

    runs: list[Words]
    inside: Bools

    @property
    def price(self) -> float:
        """Nats that choosing one of them costs."""
        return math.log(len(self.runs) + 1)


@dataclass(frozen=True)
class Chosen:
    """A slice: the runs of which a prompt has one (none: every task), the tasks inside [tasks], its score in nats."""

    runs: tuple[Words, ...]
    inside: Bools
    score: float


def slices_of(asked: Sequence[Sequence[Words]], longest: int, least: int) -> Slices:
    """Return what runs of 1 to `longest` words of the prompts cut out, with at least `least` tasks inside and outside.

    Of the runs that cut out the same tasks the longest is kept: the most telling to people.
    """
    having: dict[Words, set[int]] = defaultdict(set)
    for task, pieces in enumerate(asked):
        for piece in pieces:
            for run in runs_of(piece, longest):
                having[run].add(task)
    best: dict[frozenset[int], Words] = {}
    for run, found in having.items():
        if least <= len(found) <= len(asked) - least:
            place = frozenset(found)
            best[place] = max(best.get(place, run), run, key=lambda r: (len(r), r))
    ranked = sorted(best.items(), key=lambda item: (-len(item[0]), item[1]))[:_MOST]
    inside = np.zeros((len(ranked), len(asked)), dtype=bool)
    for row, (place, _) in enumerate(ranked):
        inside[row, list(place)] = True
    return Slices([run for _, run in ranked], inside)


def strongest(counts: Counts, slices: Slices, searched: Bools, banned: Iterable[Feature] = ()) -> tuple[int, float]:
    """Return the feature (its row) that carries most in one slice or over all tasks, and how much, in nats.

    searched: the tasks to look at [tasks]. Row -1 where there is no feature.
    """
    skip = set(banned)
    rows = [row for row, feature in enumerate(counts.features) if feature not in skip]
    masks = (np.vstack([np.ones(len(searched), dtype=bool), slices.inside]) & searched).astype(float)
    price = np.full(len(masks), slices.price)
    price[0] = 0.0
    best = -1, -math.inf
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        hits_b, of_b, hits_a, of_a = (part @ masks.T for part in counts.rows(block))
        scores = (gain(hits_b, of_b, hits_a, of_a) - price).max(axis=1)
        top = int(scores.argmax())
        if scores[top] > best[1]:
            best = block[top], float(scores[top])
    return best


def choose_slice(counts: Counts, row: int, slices: Slices, searched: Bools, most: int = 8) -> Chosen:
    """Return where the feature's difference is concentrated: on every task, or those with one of up to `most` runs.

    A union is grown greedily: from the runs that alone carry most, and from those that alone are purest; by any run, and
    by those alone that are about as pure as the first. A run that carries much may cut out too many tasks, and a union
    can only grow.
    """
    hits_b, of_b, hits_a, of_a = (
        part[row] for part in (counts.before, counts.of_before, counts.after, counts.of_after)
    )

    def score(masks: Bools) -> Floats:
        weights = (masks & searched).astype(float)
        return gain(weights @ hits_b, weights @ of_b, weights @ hits_a, weights @ of_a)

    everything = np.ones(len(searched), dtype=bool)
    best = Chosen((), everything, float(score(everything[None])[0]))
    if not slices.runs:
        return best
    alone = score(slices.inside)
    weights = (slices.inside & searched).astype(float)
    size = np.maximum(weights @ np.minimum(of_b, of_a), 1)
    lift = np.abs(weights @ hits_a / np.maximum(weights @ of_a, 1) - weights @ hits_b / np.maximum(weights @ of_b, 1))
    pure = lift - 2 * np.sqrt(np.maximum(lift * (1 - lift), 0.01) / size)
    for start in dict.fromkeys([*_top(alone, 6), *_top(pure, 10)]):
        for among in (np.flatnonzero(lift >= 0.7 * lift[start]), np.arange(len(lift))):
            grown = _grown(start, among, slices, score, most)
            if grown.score > best.score:
                best = grown
    return best


def _top(values: Floats, number: int) -> list[int]:
    return [int(i) for i in np.argsort(-values, kind="stable")[:number]]


def _grown(start: int, among: Ints, slices: Slices, score: Callable[[Bools], Floats], most: int) -> Chosen:
    """Grow a union from one slice, by those `among`, for as long as each further run carries more than it costs."""
    rows, inside = [start], slices.inside[start]
    value = float(score(inside[None])[0]) - slices.price
    while len(rows) < most:
        scores = score(slices.inside[among] | inside) - slices.price * (len(rows) + 1)
        if scores.max() <= value:
            break
        rows.append(int(among[scores.argmax()]))
        inside, value = slices.inside[rows[-1]] | inside, float(scores.max())
        for row in rows[:-1]:  # a run that the others have made needless
            rest = [other for other in rows if other != row]
            if np.array_equal(slices.inside[rest].any(axis=0), inside):
                rows, value = rest, value + slices.price
    return Chosen(tuple(slices.runs[row] for row in rows), inside, value)
