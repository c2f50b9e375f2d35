"""Differences: the search for what changed, one difference after the other, until what remains cannot be told from chance.

Found on one half of the tasks, confirmed on the other: rates and significance are of tasks that were not searched, so
however many features and slices were tried, only the few that were confirmed count as comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scrutable.lenses.contrast import Answers, Bools, Counts, Feature, chance, count, count_one, scores_in
from scrutable.lenses.copying import widest_copy
from scrutable.lenses.edits import Edit, candidates, choose_edit, explain
from scrutable.lenses.slices import Chosen, Slices, choose_slice, slices_of, strongest
from scrutable.lenses.words import Words

_TRIES = 5  # differences in a row that the other half does not confirm, before the search ends


@dataclass(frozen=True)
class Difference:
    """One confirmed difference. Rates are of the edit's `told` feature, on the half of the tasks that was not searched.

    inside: the tasks of its slice [tasks], of both halves; nats: what it carries, an answer, averaged over all answers.
    """

    edit: Edit
    runs: tuple[Words, ...]
    inside: Bools
    before: float
    after: float
    outside: float | None
    nats: float


@dataclass(frozen=True)
class Search:
    """How the search is done; see `TokensConfig`."""

    longest_run: int = 8
    longest_slice: int = 4
    most: int = 12
    alpha: float = 0.01
    least: float = 0.1
    enough: float = 6.0

    @property
    def level(self) -> float:
        """What a chance must not be above, so that `alpha` bounds that of any false claim, by Bonferroni.

        Before each claim, and instead of the last, there are at most `_TRIES` tests; each may be on its slice or on all
        tasks, whichever the same tasks show more clearly, so it counts as two.
        """
        return self.alpha / (2 * _TRIES * self.most)


def differences(answers: Answers, searched: Bools, search: Search) -> tuple[list[Difference], Answers]:
    """Return the differences in the order found, and what of the answers they leave unexplained.

    searched: the half of the tasks to search [tasks]; the rest confirms.
    """
    few = max(3, round(0.03 * len(answers.asked)))
    said = answers
    slices = slices_of(answers.asked, search.longest_slice, few)
    total = sum(len(mine) for mine in answers.after)
    found: list[Difference] = []
    banned: set[Feature] = set()
    counts: Counts | None = None
    tries = 0
    while len(found) < search.most and tries < _TRIES:
        counts = counts or count(answers, search.longest_run, 2 * few)
        row, score = strongest(counts, slices, searched, banned)
        if row < 0 or score < search.enough:
            break
        banned.add(counts.features[row])
        edit, chosen = _understood(answers, counts, row, slices, searched)
        rates = _confirmed(count_one(edit.told, answers), chosen, searched, search)
        if rates is None or not _said(edit.told, said, ~searched & rates.inside, rates, search):
            tries += 1
            continue
        inside = rates.inside
        answers, carried = explain(edit, answers, inside)
        counts, tries = None, 0
        found.append(
            Difference(edit, rates.runs, inside, rates.before, rates.after, rates.outside, carried / max(1, total))
        )
    return found, answers


def _understood(answers: Answers, counts: Counts, row: int, slices: Slices, searched: Bools) -> tuple[Edit, Chosen]:
    """Return the edit behind a feature, and the tasks on which it shows."""
    feature = counts.features[row]
    chosen = choose_slice(counts, row, slices, searched)
    inside = chosen.inside & searched
    if feature.kind == "copies":
        feature = widest_copy(counts, row, answers, inside)
        return Edit(more=feature), choose_slice(count_one(feature, answers), 0, slices, searched)
    edit = choose_edit(candidates(counts, row, inside), answers, inside)
    if edit.told != feature:
        chosen = choose_slice(count_one(edit.told, answers), 0, slices, searched)
    return edit, chosen


@dataclass(frozen=True)
class _Rates:
    runs: tuple[Words, ...]
    inside: Bools
    before: float
    after: float
    outside: float | None


def _confirmed(counts: Counts, chosen: Chosen, searched: Bools, search: Search) -> _Rates | None:
    """Return the rates on the tasks that were not searched, or None where they do not confirm the difference.

    Where the slice does not carry more than all tasks there, the difference is said of all tasks.
    """
    held = ~searched
    runs, inside = chosen.runs, chosen.inside
    if runs and _score(counts, held) >= _score(counts, held & inside):
        runs, inside = (), np.ones(len(searched), dtype=bool)
    mine = held & inside
    hits_b, of_b, hits_a, of_a = (
        part[0] * mine for part in (counts.before, counts.of_before, counts.after, counts.of_after)
    )
    if not of_b.sum() or not of_a.sum():
        return None
    before, after = float(hits_b.sum() / of_b.sum()), float(hits_a.sum() / of_a.sum())
    if abs(after - before) < search.least or chance(hits_b, of_b, hits_a, of_a) > search.level:
        return None
    rest = counts.of_after[0] * (held & ~inside)
    outside = float((counts.after[0] * (held & ~inside)).sum() / rest.sum()) if rest.sum() else None
    return _Rates(runs, inside, before, after, outside)


def _said(feature: Feature, said: Answers, held: Bools, rates: _Rates, search: Search) -> bool:
    """Return whether the answers as they were said show the difference too: edits can bring words together."""
    forms = {feature, replace(feature, kind="contains") if feature.kind in ("opens", "ends") else feature}
    gaps = [float(scores_in(count_one(form, said), held)[1][0]) for form in forms]
    return any(gap * (rates.after - rates.before) > 0 and abs(gap) >= search.least for gap in gaps)


def _score(counts: Counts, inside: Bools) -> float:
    return float(scores_in(counts, inside)[0][0])


@dataclass(frozen=True)
class Rest:
    """What no difference explains: nats an answer, and behind which words most of it lies ("" for the opening)."""

    nats: float
    behind: tuple[tuple[str, float], ...]


def rest_of(left: Answers) -> Rest:
    """Return what is left of the divergence, and the words behind which it lies, the most first, in nats an answer."""
    sums: dict[str, float] = {}
    number = 0
    for mine in left.after:
        for one in mine:
            number += 1
            for word, value in zip(("", *one.words), one.nats, strict=True):
                sums[word] = sums.get(word, 0.0) + value
    ranked = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return Rest(math.fsum(sums.values()) / max(1, number), tuple((w, v / max(1, number)) for w, v in ranked[:5]))


def lengths(answers: Answers, held: Sequence[int]) -> tuple[float, float, float]:
    """Return words an answer before and after on these tasks, and the z-score of their paired difference."""
    pairs = [
        (np.mean([len(one.words) for one in answers.before[i]]), np.mean([len(one.words) for one in answers.after[i]]))
        for i in held
        if answers.before[i] and answers.after[i]
    ]
    if len(pairs) < 3:
        return 0.0, 0.0, 0.0
    table = np.array(pairs)
    gaps = table[:, 1] - table[:, 0]
    error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    z = float(gaps.mean()) / error if error > 0 else (math.copysign(math.inf, gaps.mean()) if gaps.any() else 0.0)
    return float(table[:, 0].mean()), float(table[:, 1].mean()), z
