"""Contrast: what answers before and after say at different rates.

A feature is something an answer has or has not: a run of words (anywhere, at the opening, at the end), the prompt's own
word copied from behind a given run, or a single word as the whole answer. Its score is the information, in nats, that
"before or after" and the feature give about each other. Whether a difference is real is another question, asked of tasks
that were not searched (`chance`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scrutable.lenses.words import Spoken, Words, places_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Kind = Literal["contains", "opens", "ends", "copies", "single"]
Key = tuple[Kind, Words]
_MOST_FEATURES = 1500


@dataclass(frozen=True, order=True)
class Feature:
    """What an answer can have.

    run: the words; for `copies`, the words of the prompt behind which the copied one stands; also: other such words.
    """

    kind: Kind
    run: Words = ()
    also: tuple[Words, ...] = ()

    @property
    def runs(self) -> tuple[Words, ...]:
        """`run` and `also`."""
        return self.run, *self.also

    def values(self, copied: Mapping[Words, str]) -> set[str]:
        """Return the words of a prompt that this feature copies."""
        return {copied[run] for run in self.runs if run in copied}


@dataclass
class Answers:
    """The answers before and after to each task, and the tasks' prompts. Edited as claims explain what they explain.

    before, after: [tasks][answers]; asked: the pieces of each prompt; copied: for each task, run of the prompt -> next word.
    """

    before: list[list[Spoken]]
    after: list[list[Spoken]]
    asked: list[list[Words]]
    copied: list[dict[Words, str]]


def spans(feature: Feature, words: Words, copied: Mapping[Words, str]) -> list[tuple[int, int]]:
    """Return where the answer has the feature, as (begin, end); nothing where it has not."""
    size = len(feature.run)
    if feature.kind == "opens":
        return [(0, size)] if words[:size] == feature.run else []
    if feature.kind == "ends":
        return [(len(words) - size, len(words))] if words[-size:] == feature.run else []
    if feature.kind == "contains":
        return [(i, i + size) for i in places_of(feature.run, words)]
    if feature.kind == "copies":
        values = feature.values(copied)
        return [(i, i + 1) for i, word in enumerate(words) if word.casefold() in values]
    return [(0, len(words))] if _single(words) else []


def _single(words: Words) -> bool:
    return sum(any(c.isalnum() for c in word) for word in words) == 1


def copied_words(asked: Sequence[Sequence[Words]], least: int, longest: int = 4) -> list[dict[Words, str]]:
    """Return, for each prompt, the word that follows each run, for runs that many prompts have with different next words.

    least: on how many prompts a run must be; it needs three different next words: what never varies is no copy.
    """
    found: list[dict[Words, str]] = []
    values: dict[Words, list[tuple[int, str]]] = defaultdict(list)
    for task, pieces in enumerate(asked):
        mine: dict[Words, str] = {}
        for piece in pieces:
            for end in range(1, len(piece)):
                if piece[end][0].isalnum():
                    mine |= {piece[end - n : end]: piece[end] for n in range(1, min(longest, end) + 1)}
        found.append(mine)
        for run, value in mine.items():
            values[run].append((task, value))
    kept: dict[tuple[tuple[int, str], ...], Words] = {}
    for run, told in sorted(values.items(), key=lambda item: (len(item[0]), item[0])):
        if len(told) >= least and len({value for _, value in told}) >= 3:
            kept[tuple(told)] = run  # of runs that copy the same words of the same prompts the longest stays
    runs = set(kept.values())
    return [{run: value for run, value in mine.items() if run in runs} for mine in found]


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


def features_in(
    words: Words, copied: Mapping[Words, str], longest: int, among: Container[Words] | None = None
) -> set[Key]:
    """Return (kind, run) of every feature that the answer has, with runs of up to `longest` words, of those `among`."""
    found: set[Key] = set()
    for start in range(len(words)):
        for end in range(start + 1, min(start + longest, len(words)) + 1):
            run = words[start:end]
            if among is not None and run not in among:
                break  # a longer run is rarer still
            found.add(("contains", run))
            if start == 0:
                found.add(("opens", run))
            if end == len(words):
                found.add(("ends", run))
    lower = {word.casefold() for word in words}
    found |= {("copies", run) for run, value in copied.items() if value in lower}
    if _single(words):
        found.add(("single", ()))
    return found


def _frequent(answers: Answers, longest: int, least: int) -> set[Words]:
    """Return the runs of up to `longest` words that at least `least` answers have (a run is no more frequent than its parts)."""
    everything = [one.words for told in (answers.before, answers.after) for mine in told for one in mine]
    kept: set[Words] = set()
    grown: set[Words] = set()
    for size in range(1, longest + 1):
        sums: Counter[Words] = Counter()
        for words in everything:
            runs = {words[i : i + size] for i in range(len(words) - size + 1)}
            sums.update(run for run in runs if size == 1 or (run[:-1] in grown and run[1:] in grown))
        grown = {run for run, number in sums.items() if number >= least}
        if not grown:
            break
        kept |= grown
    return kept


def count(answers: Answers, longest: int, least: int) -> Counts:
    """Count the features that at least `least` answers have; of very many, those that can carry the most information."""
    frequent = _frequent(answers, longest, least)
    has = [
        [
            [features_in(one.words, copied, longest, frequent) for one in mine]
            for mine, copied in zip(told, answers.copied, strict=True)
        ]
        for told in (answers.before, answers.after)
    ]
    sums = Counter(key for told in has for mine in told for keys in mine for key in keys)
    keys = sorted(key for key, number in sums.items() if number >= least)
    rows = {key: row for row, key in enumerate(keys)}
    hits = np.zeros((len(keys), 2, len(answers.asked)))
    for side, told in enumerate(has):
        for task, mine in enumerate(told):
            for found in mine:
                hits[[rows[key] for key in found if key in rows], side, task] += 1
    features = [Feature(*key) for key in keys]
    sizes = np.array([[len(mine) for mine in told] for told in (answers.before, answers.after)], dtype=float)
    # The information inside any slice is at most the sum over its tasks (joint convexity).
    bound = gain(hits[:, 0], sizes[0], hits[:, 1], sizes[1]).sum(axis=1)
    best = np.sort(np.argsort(-bound, kind="stable")[:_MOST_FEATURES])
    kept = [features[i] for i in best]
    of = np.array([_applies(feature, answers) for feature in kept]).reshape(len(kept), 2, len(answers.asked))
    return Counts(kept, hits[best, 0], hits[best, 1], of[:, 0], of[:, 1])


def _applies(feature: Feature, answers: Answers) -> Floats:
    """Return [2, tasks]: the answers on which the feature could be. A copy needs its run in the prompt."""
    sizes = np.array([[len(mine) for mine in told] for told in (answers.before, answers.after)], dtype=float)
    if feature.kind != "copies":
        return sizes
    applies: Floats = sizes * np.array([bool(feature.values(copied)) for copied in answers.copied])
    return applies


def count_one(feature: Feature, answers: Answers) -> Counts:
    """Count one feature."""
    hits = np.array(
        [
            [
                sum(bool(spans(feature, one.words, copied)) for one in mine)
                for mine, copied in zip(told, answers.copied, strict=True)
            ]
            for told in (answers.before, answers.after)
        ],
        dtype=float,
    )
    of = _applies(feature, answers)
    return Counts([feature], hits[:1] * (of[:1] > 0), hits[1:] * (of[1:] > 0), of[:1], of[1:])


# ------------------------------------------------------------------------------------------------------- information


def gain(hits_b: Floats, of_b: Floats, hits_a: Floats, of_a: Floats) -> Floats:
    """Return the information in nats, over all answers: log-likelihood of two rates less that of one (half of G²)."""
    apart = _log_likelihood(hits_b, of_b) + _log_likelihood(hits_a, of_a)
    found: Floats = np.maximum(apart - _log_likelihood(hits_b + hits_a, of_b + of_a), 0)
    return found


def scores_in(counts: Counts, inside: Bools) -> tuple[Floats, Floats]:
    """Return each feature's information inside the tasks [tasks], in nats, and its rate after less its rate before."""
    mask = inside.astype(float)
    hits_b, of_b, hits_a, of_a = (
        counts.before @ mask,
        counts.of_before @ mask,
        counts.after @ mask,
        counts.of_after @ mask,
    )
    gaps: Floats = hits_a / np.maximum(of_a, 1) - hits_b / np.maximum(of_b, 1)
    return gain(hits_b, of_b, hits_a, of_a), gaps


def _log_likelihood(hits: Floats, of: Floats) -> Floats:
    return _xlogx(hits) + _xlogx(of - hits) - _xlogx(of)


def _xlogx(x: Floats) -> Floats:
    found: Floats = x * np.log(np.where(x > 0, x, 1.0))
    return found


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
