"""Slices: the chosen text beside the first one, on kinds of tasks.

A slice is one of two things. By words: the tasks whose prompts have a run of one to three words; beside them stand all tasks,
and those with none of the runs. By remark: the tasks on whose answer under the first text the rater said the same; there the
first text's score is so by construction, and is left out. And what the rater said of both texts is counted.

Which runs: those that tell tasks apart most by the score under the first text, under the chosen one, or by the
difference of the two, on the tasks that the search decided with; a run must beat what the best of all runs reaches in 95%
of shuffles of the scores. Its numbers are from the final tasks, which decided nothing, so they are not raised by its having
been picked. No rollout is made for this: what was not scored is left out.

Left out: the tasks' columns, which only their rater may look at; so a group that a data set names is no slice here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.errors import one_line
from scrutable.core.records import Candidate, Record
from scrutable.core.stats import score_interval
from scrutable.evolve.ledger import Keyed, Ledger
from scrutable.evolve.parts import Parts

Floats = NDArray[np.float64]
By = Literal["all", "words", "rest", "remark"]
LONGEST = 3  # words of a run
MOST = 4  # runs
REMARKS = 8  # different remarks that are told
LEAST = 4  # tasks inside and outside of a run, where it is chosen
_MOST_RUNS = 2000  # runs that are looked at: those of the most tasks
_LONGEST_REMARK = 160  # characters
_SHUFFLES = 200
_CHANCE = 0.95
_ALIKE = 0.8  # runs whose tasks overlap more (intersection over union) are one
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


class Slice(Record):
    """The scores on some of the final tasks. Intervals resample tasks; None where nothing could be scored."""

    says: str
    by: By = "all"
    words: str = Field(default="", description="the run of words that its prompts have, or the rater's remark")
    tasks: int = Field(description="final tasks in it that both texts have a score on")
    base: Interval | None = None
    best: Interval | None = None
    gain: Interval | None = None
    true_base: float | None = Field(default=None, description="mean true reward, where the rater knows it")
    true_best: float | None = None


class Remark(Record):
    """Something the rater said, word by word, and of how many answers under each text."""

    says: str
    base: int = 0
    best: int = 0


class Slices(Record):
    """All tasks first, then a slice for each run, then what has none of them, then the slices by remark."""

    slices: tuple[Slice, ...]
    remarks: tuple[Remark, ...] = ()
    tried: int = Field(description="different runs of words that were looked at")
    decided: int = Field(description="tasks on which the runs were chosen")


def sliced(ledger: Ledger, base: Candidate, best: Candidate, parts: Parts) -> Slices:
    """Return the scores of both texts by slice, from what was paid for already."""
    known = _Known(ledger, base.key, best.key)
    asked = list({key: (key, task) for key, task in (*parts.pool, *parts.choose)}.values())
    runs, tried = _runs(ledger, known, asked)
    found = [known.slice("all tasks", parts.final)]
    rest = list(parts.final)
    for run in runs:
        inside = [pair for pair in parts.final if run in _cut(pair[1].prompt)]
        rest = [pair for pair in rest if pair not in inside]
        found.append(known.slice(f"the task says “{run}”", inside, "words", run))
    if runs:
        found.append(known.slice("the task says none of these", rest, "rest"))
    found += _by_remark(known, parts.final)
    return Slices(slices=tuple(found), remarks=_remarks(known, parts.final), tried=tried, decided=len(asked))


def _by_remark(known: _Known, tasks: Sequence[Keyed]) -> list[Slice]:
    """Return a slice for each remark on enough answers under the first text; none where nearly every remark is another."""
    apart: dict[str, list[Keyed]] = defaultdict(list)
    for pair in tasks:
        apart[known.remark(known.base, pair[0])].append(pair)
    told = [(said, inside) for said, inside in apart.items() if said and len(inside) >= LEAST]
    if len(told) < 2 or sum(len(inside) for _, inside in told) < len(tasks) / 2:
        return []
    told.sort(key=lambda one: (-len(one[1]), one[0]))
    return [known.slice(f"the first text got: {said}", pairs, "remark", said) for said, pairs in told[:REMARKS]]


def _remarks(known: _Known, tasks: Sequence[Keyed]) -> tuple[Remark, ...]:
    """Return the remarks that were made most often, with how often of each text."""
    both = [key for key, _ in tasks if known.scored(key)]
    base, best = (Counter(known.remark(text, key) for key in both) for text in (known.base, known.best))
    ranked = sorted((base + best).items(), key=lambda one: (-one[1], one[0]))
    often = [said for said, count in ranked if said and count > 1][:REMARKS]
    return tuple(Remark(says=said, base=base[said], best=best[said]) for said in often)


@dataclass(frozen=True)
class _Known:
    """What the ledger knows of two texts, by their keys."""

    ledger: Ledger
    base: str
    best: str

    def columns(self, tasks: Sequence[Keyed]) -> Floats:
        """Return the scores under the first text, under the chosen one, and their differences: [3, tasks], NaN for none."""
        pair = np.array([self.ledger.column(one, tasks) for one in (self.base, self.best)], dtype=float)
        return np.vstack([pair, pair[1] - pair[0]])

    def scored(self, key: str) -> bool:
        """Whether both texts have a score on a task."""
        return None not in (self.ledger.value(self.base, key), self.ledger.value(self.best, key))

    def remark(self, text: str, key: str) -> str:
        """Return what the rater said of the first answer to a task; nothing where it has no score."""
        if self.ledger.value(text, key) is None:
            return ""
        return one_line(self.ledger.rollout(text, key).score.feedback, _LONGEST_REMARK)

    def slice(self, says: str, tasks: Sequence[Keyed], by: By = "all", words: str = "") -> Slice:
        """Return what both texts score on these tasks, where both have a score."""
        table = self.columns(tasks).reshape(3, len(tasks))
        both = ~np.isnan(table[2])
        place = (
            "end" if by == "all" else f"slice/{says}"
        )  # the same interval as the result has, and not another draw of it
        base, best, gain = (
            self._interval(row[both], f"{place}/{name}", paired=name == "gain")
            for name, row in zip(("base", "score", "gain"), table, strict=True)
        )
        keys = [key for (key, _), scored in zip(tasks, both, strict=True) if scored]
        return Slice(
            says=says,
            by=by,
            words=words,
            tasks=len(keys),
            base=None if by == "remark" else base,
            best=best,
            gain=None if by == "remark" else gain,
            true_base=None if by == "remark" else self._true(self.base, keys),
            true_best=self._true(self.best, keys),
        )

    def _interval(self, values: Floats, place: str, *, paired: bool = False) -> Interval | None:
        if not values.size:
            return None
        low, high = min(self.ledger.rewards, default=0.0), max(self.ledger.rewards, default=0.0)
        bounds = (low - high, high - low) if paired else (low, high)
        return score_interval(values, bounds, rng=self.ledger.run.rng(place))

    def _true(self, text: str, keys: Sequence[str]) -> float | None:
        values = [self.ledger.rollout(text, key).score.true for key in keys]
        return float(np.mean([v for v in values if v is not None])) if values and None not in values else None


def _cut(prompt: str) -> set[str]:
    """Return the runs of one to three words of a prompt, in small letters."""
    words = _WORD.findall(prompt.lower())
    sizes = range(1, LONGEST + 1)
    return {" ".join(words[at : at + size]) for size in sizes for at in range(len(words) - size + 1)}


def _runs(ledger: Ledger, known: _Known, tasks: Sequence[Keyed]) -> tuple[list[str], int]:
    """Return the runs that tell tasks apart by more than chance, the strongest first, and how many there were to choose from.

    Each is looked for in what those before it leave unexplained.
    """
    names, inside = _masks(tasks)
    if not names:
        return [], 0
    left = known.columns(tasks)
    rng = ledger.run.rng("slices")
    found: list[int] = []
    while len(found) < MOST:
        strength = _strength(left, inside).max(axis=0)
        fresh = [at for at in range(len(names)) if not any(_alike(inside[at], inside[one]) for one in found)]
        if not fresh:
            break
        top = max(fresh, key=lambda at: (strength[at], len(names[at]), names[at]))
        if strength[top] <= _by_chance(left, inside, rng):
            break
        found.append(top)
        left = _without(left, inside[top])
    return [names[at] for at in found], len(names)


def _masks(tasks: Sequence[Keyed]) -> tuple[list[str], Floats]:
    """Return the runs that have enough tasks inside and outside, and where they hold: [runs, tasks], 0 or 1.

    Of the runs that cut out the same tasks the longest stands for all: it tells people most.
    """
    having: dict[str, list[int]] = defaultdict(list)
    for at, (_, task) in enumerate(tasks):
        for run in _cut(task.prompt):
            having[run].append(at)
    named: dict[frozenset[int], str] = {}
    for run, places in having.items():
        if LEAST <= len(places) <= len(tasks) - LEAST:
            place = frozenset(places)
            named[place] = max(named.get(place, run), run, key=lambda one: (len(one), one))
    ranked = sorted(named.items(), key=lambda item: (-len(item[0]), item[1]))[:_MOST_RUNS]
    names = [run for _, run in ranked]
    inside = np.zeros((len(names), len(tasks)))
    for row, run in enumerate(names):
        inside[row, having[run]] = 1.0
    return names, inside


def _strength(columns: Floats, inside: Floats) -> Floats:
    """Return how far apart the means inside and outside are, in standard errors: [columns, runs]; 0 where too few are known."""
    known = ~np.isnan(columns)
    values = np.where(known, columns, 0.0)
    counts, sums = known.sum(axis=1, keepdims=True), values.sum(axis=1, keepdims=True)
    within, total = known @ inside.T, values @ inside.T
    outside = counts - within
    enough = (within >= LEAST) & (outside >= LEAST)
    means = total / np.maximum(within, 1), (sums - total) / np.maximum(outside, 1)
    centred = np.where(known, columns - sums / np.maximum(counts, 1), 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / np.maximum(counts - 1, 1))
    error = spread * np.sqrt(1 / np.maximum(within, 1) + 1 / np.maximum(outside, 1))
    apart = np.abs(means[0] - means[1])
    return np.where(enough & (error > 1e-12), apart / np.maximum(error, 1e-12), 0.0)


def _by_chance(columns: Floats, inside: Floats, rng: np.random.Generator) -> float:
    """Return what the strongest of all runs reaches in 95% of shuffles of the tasks (Westfall and Young's maximum)."""
    strongest = [
        float(_strength(columns[:, rng.permutation(columns.shape[1])], inside).max()) for _ in range(_SHUFFLES)
    ]
    return float(np.quantile(strongest, _CHANCE))


def _without(columns: Floats, inside: Floats) -> Floats:
    """Return the scores less the mean of their side: what a run does not explain."""
    left = columns.copy()
    for row in left:
        for side in (inside > 0, inside == 0):
            known = side & ~np.isnan(row)
            if known.any():
                row[known] -= row[known].mean()
    return left


def _alike(one: Floats, other: Floats) -> bool:
    union = np.maximum(one, other).sum()
    return bool(union and np.minimum(one, other).sum() / union > _ALIKE)
