"""Contrast: what answers before and after say at different rates, and on which tasks.

A feature is something an answer has or has not: a run of words (anywhere, at the opening, at the end), the prompt's own
word copied after a given run, or a single word as the whole answer. A slice is a set of tasks whose prompts have one of
a few runs of words. Both are found by one score: the information, in nats, that "before or after" and the feature give
about each other inside the slice; a slice pays for being chosen among many. Nothing here decides whether a difference is
real: that is asked of tasks that were not searched (`chance`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scrutable.lenses.words import Spoken, Words, places_of, runs_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Kind = Literal["contains", "opens", "ends", "copies", "single"]
_MOST_FEATURES = 1500
_MOST_SLICES = 3000
_BLOCK = 256


@dataclass(frozen=True, order=True)
class Feature:
    """What an answer can have. run: the words; for `copies`, the prompt's words after which the copied one stands."""

    kind: Kind
    run: Words = ()


@dataclass
class Answers:
    """The answers before and after to each task, and the tasks' prompts. Edited as claims explain what they explain.

    before, after: [tasks][answers]; asked: the pieces of each prompt; copied: for each task, run of the prompt -> next word.
    """

    before: list[list[Spoken]]
    after: list[list[Spoken]]
    asked: list[list[Words]]
    copied: list[dict[Words, str]]


def spans(feature: Feature, words: Words, copied: dict[Words, str]) -> list[tuple[int, int]]:
    """Return where the answer has the feature, as (begin, end); nothing where it has not."""
    size = len(feature.run)
    if feature.kind == "opens":
        return [(0, size)] if words[:size] == feature.run else []
    if feature.kind == "ends":
        return [(len(words) - size, len(words))] if words[-size:] == feature.run else []
    if feature.kind == "contains":
        return [(i, i + size) for i in places_of(feature.run, words)]
    if feature.kind == "copies":
        value = copied.get(feature.run)
        return [(i, i + 1) for i, word in enumerate(words) if word.casefold() == value]
    return [(0, len(words))] if _single(words) else []


def _single(words: Words) -> bool:
    return sum(any(c.isalnum() for c in word) for word in words) == 1


def copied_words(asked: Sequence[Sequence[Words]], least: int, longest: int = 4) -> list[dict[Words, str]]:
    """Return, for each prompt, the word that follows each run, for runs that many prompts have with different next words.

    least: on how many prompts a run must be; it needs three different next words: what never varies is no copy.
    """
    found: list[dict[Words, str]] = []
    values: dict[Words, Counter[str]] = defaultdict(Counter)
    for pieces in asked:
        mine: dict[Words, str] = {}
        for piece in pieces:
            for end in range(1, len(piece)):
                if piece[end][0].isalnum():
                    mine |= {piece[end - n : end]: piece[end] for n in range(1, min(longest, end) + 1)}
        found.append(mine)
        for run, value in mine.items():
            values[run][value] += 1
    kept = {run for run, count in values.items() if count.total() >= least and len(count) >= 3}
    return [{run: value for run, value in mine.items() if run in kept} for mine in found]


# ------------------------------------------------------------------------------------------------------------ counts


@dataclass(frozen=True)
class Counts:
    """How many answers have each feature. hits: [features, tasks]; of: answers on which it could be, [features, tasks]."""

    features: list[Feature]
    before: Floats
    after: Floats
    of_before: Floats
    of_after: Floats

    def rows(self, chosen: Sequence[int]) -> tuple[Floats, Floats, Floats, Floats]:
        """Return hits before, answers before, hits after, answers after, of the chosen features."""
        return self.before[chosen], self.of_before[chosen], self.after[chosen], self.of_after[chosen]


def features_in(words: Words, copied: dict[Words, str], longest: int) -> set[Feature]:
    """Return every feature that the answer has, with runs of up to `longest` words."""
    found = {Feature("contains", run) for run in runs_of(words, longest)}
    for size in range(1, min(longest, len(words)) + 1):
        found.add(Feature("opens", words[:size]))
        found.add(Feature("ends", words[-size:]))
    lower = {word.casefold() for word in words}
    found |= {Feature("copies", run) for run, value in copied.items() if value in lower}
    if _single(words):
        found.add(Feature("single"))
    return found


def count(answers: Answers, longest: int, least: int) -> Counts:
    """Count the features that at least `least` answers have; of very many, those that can carry the most information."""
    tasks = len(answers.asked)
    seen: dict[Feature, Floats] = {}
    for side, told in enumerate((answers.before, answers.after)):
        for task, mine in enumerate(told):
            for one in mine:
                for feature in features_in(one.words, answers.copied[task], longest):
                    if feature not in seen:
                        seen[feature] = np.zeros((2, tasks))
                    seen[feature][side, task] += 1
    kept = {feature: hits for feature, hits in sorted(seen.items()) if hits.sum() >= least}
    if not kept:
        nothing = np.zeros((0, tasks))
        return Counts([], nothing, nothing, nothing, nothing)
    features = list(kept)
    hits = np.stack([kept[feature] for feature in features])
    of = np.stack([_applies(feature, answers) for feature in features])
    # The information inside any slice is at most the sum over its tasks (joint convexity).
    bound = gain(hits[:, 0], of[:, 0], hits[:, 1], of[:, 1]).sum(axis=1)
    best = np.sort(np.argsort(-bound, kind="stable")[:_MOST_FEATURES])
    return Counts([features[i] for i in best], hits[best, 0], hits[best, 1], of[best, 0], of[best, 1])


def _applies(feature: Feature, answers: Answers) -> Floats:
    """Return [2, tasks]: the answers on which the feature could be. A copy needs its run in the prompt."""
    sizes = np.array([[len(mine) for mine in told] for told in (answers.before, answers.after)], dtype=float)
    if feature.kind != "copies":
        return sizes
    return sizes * np.array([feature.run in copied for copied in answers.copied])


def count_one(feature: Feature, answers: Answers) -> Counts:
    """Count one feature."""
    hits = np.array(
        [
            [sum(bool(spans(feature, one.words, copied)) for one in mine) for mine, copied in zip(told, answers.copied, strict=True)]
            for told in (answers.before, answers.after)
        ],
        dtype=float,
    )
    of = _applies(feature, answers)
    return Counts([feature], hits[:1] * (of[:1] > 0), hits[1:] * (of[1:] > 0), of[:1], of[1:])


# ------------------------------------------------------------------------------------------------------- information


def gain(hits_b: Floats, of_b: Floats, hits_a: Floats, of_a: Floats) -> Floats:
    """Return the information in nats, over all answers: log-likelihood of two rates less that of one (half of G²)."""
    return np.maximum(_log_likelihood(hits_b, of_b) + _log_likelihood(hits_a, of_a) - _log_likelihood(hits_b + hits_a, of_b + of_a), 0)


def _log_likelihood(hits: Floats, of: Floats) -> Floats:
    return _xlogx(hits) + _xlogx(of - hits) - _xlogx(of)


def _xlogx(x: Floats) -> Floats:
    return x * np.log(np.where(x > 0, x, 1.0))


def chance(hits_b: Floats, of_b: Floats, hits_a: Floats, of_a: Floats) -> float:
    """Return the two-sided p-value of the rates of before and after being equal on every task. All [tasks].

    Answers to one task are alike in kind, so labels are compared within tasks: Cochran-Mantel-Haenszel with continuity
    correction (Mantel & Haenszel 1959).
    """
    of, hits = of_b + of_a, hits_b + hits_a
    told = (of_b > 0) & (of_a > 0)
    of, hits, of_b, of_a, hits_a = of[told], hits[told], of_b[told], of_a[told], hits_a[told]
    variance = float((of_a * of_b * hits * (of - hits) / (of**2 * (of - 1))).sum()) if len(of) else 0.0
    if variance <= 0:
        return 1.0
    gap = max(0.0, abs(float((hits_a - of_a * hits / of).sum())) - 0.5)
    return min(1.0, 2 * NormalDist().cdf(-gap / math.sqrt(variance)))


# ------------------------------------------------------------------------------------------------------------ slices


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
    """A slice: the runs of which a prompt has one (none: every task), the tasks inside [tasks], and its score in nats."""

    runs: tuple[Words, ...]
    inside: Bools
    score: float


def slices_of(asked: Sequence[Sequence[Words]], longest: int, least: int) -> Slices:
    """Return the slices that runs of 1 to `longest` words of the prompts cut out, with at least `least` tasks inside and outside.

    Of the runs that cut out the same tasks the longest is kept: the most telling to people.
    """
    having: dict[Words, set[int]] = defaultdict(set)
    for task, pieces in enumerate(asked):
        for piece in pieces:
            for run in runs_of(piece, longest):
                having[run].add(task)
    best: dict[frozenset[int], Words] = {}
    for run, tasks in having.items():
        if least <= len(tasks) <= len(asked) - least:
            place = frozenset(tasks)
            best[place] = max(best.get(place, run), run, key=lambda r: (len(r), r))
    ranked = sorted(best.items(), key=lambda item: (-len(item[0]), item[1]))[:_MOST_SLICES]
    inside = np.zeros((len(ranked), len(asked)), dtype=bool)
    for row, (tasks, _) in enumerate(ranked):
        inside[row, list(tasks)] = True
    return Slices([run for _, run in ranked], inside)


def strongest(counts: Counts, slices: Slices, searched: Bools, banned: Iterable[Feature] = ()) -> tuple[int, float] | None:
    """Return the feature (its row) that carries the most information in one slice or over all tasks, and how much in nats.

    searched: the tasks to look at [tasks]; what choosing the slice costs is taken off.
    """
    skip = set(banned)
    rows = [row for row, feature in enumerate(counts.features) if feature not in skip]
    masks = (np.vstack([np.ones(len(searched), dtype=bool), slices.inside]) & searched).astype(float)
    price = np.full(len(masks), slices.price)
    price[0] = 0.0
    best: tuple[int, float] | None = None
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        scores = (gain(*(part @ masks.T for part in counts.rows(block))) - price).max(axis=1)
        top = int(scores.argmax())
        if best is None or scores[top] > best[1]:
            best = block[top], float(scores[top])
    return best


def scores_in(counts: Counts, inside: Bools) -> tuple[Floats, Floats]:
    """Return each feature's information inside the tasks, in nats, and its rate after less its rate before."""
    mask = inside.astype(float)
    hits_b, of_b, hits_a, of_a = (part @ mask for part in (counts.before, counts.of_before, counts.after, counts.of_after))
    return gain(hits_b, of_b, hits_a, of_a), hits_a / np.maximum(of_a, 1) - hits_b / np.maximum(of_b, 1)


def choose_slice(counts: Counts, row: int, slices: Slices, searched: Bools, most: int = 8) -> Chosen:
    """Return the slice in which the feature's difference is concentrated: every task, or those having one of a few runs.

    A union of up to `most` runs is grown greedily, from the runs that alone carry most and from those that alone are
    purest (a run that carries much may cut out too many tasks, and a union can only grow).
    """
    parts = [part[row] for part in (counts.before, counts.of_before, counts.after, counts.of_after)]

    def score(masks: Bools) -> Floats:
        weights = (masks & searched).astype(float)
        return gain(*(weights @ part for part in parts))

    everything = np.ones(len(searched), dtype=bool)
    best = Chosen((), everything, float(score(everything[None])[0]))
    if not slices.runs:
        return best
    alone = score(slices.inside)
    weights = (slices.inside & searched).astype(float)
    size = np.maximum(weights @ np.minimum(parts[1], parts[3]), 1)
    lift = np.abs(weights @ parts[2] / np.maximum(weights @ parts[3], 1) - weights @ parts[0] / np.maximum(weights @ parts[1], 1))
    pure = lift - np.sqrt(np.maximum(lift * (1 - lift), 0.01) / size) * 2
    starts = dict.fromkeys([*np.argsort(-alone, kind="stable")[:6].tolist(), *np.argsort(-pure, kind="stable")[:10].tolist()])
    for start in starts:
        grown = _grow(start, alone, slices, score, most)
        if grown.score > best.score:
            best = grown
    return best


def _grow(start: int, alone: Floats, slices: Slices, score: object, most: int) -> Chosen:
    raise NotImplementedError
