"""Copying: answers that take over a word of the user's ("i think it is rome" - "it is rome").

No run of words of the answers shows it, since the word is another on each task. It is told by where the word stands in
the prompt: behind which words. A user has more than one way to bring it in, so the feature is widened to several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scrutable.lenses.contrast import Answers, Bools, Counts, Feature, Floats, gain, scores_in, spans
from scrutable.lenses.words import Spoken

_STARTS, _POOL, _MOST = 6, 24, 6


def widest_copy(counts: Counts, row: int, answers: Answers, inside: Bools) -> Feature:
    """Return the copying feature of `row`, or a better one: behind one of a few runs of the prompt.

    Grown greedily from those that alone carry most and from those that alone are purest, for as long as a further run
    carries more than its choice costs. inside: the tasks to look at [tasks].
    """
    scores, gaps = scores_in(counts, inside)
    alike = [i for i, one in enumerate(counts.features) if one.kind == "copies" and gaps[i] * gaps[row] > 0]
    strong = sorted(alike, key=lambda i: -scores[i])
    pure = sorted((i for i in alike if scores[i] > 0.05 * scores[row]), key=lambda i: -abs(gaps[i]))
    pool = list(dict.fromkeys([*strong[: _POOL // 2], *pure[: _POOL // 2]]))
    starts = list(dict.fromkeys([*strong[: _STARTS // 2], *pure[:_STARTS]]))
    before, after = (
        _hits([counts.features[i] for i in pool], told, answers) for told in (answers.before, answers.after)
    )
    price = math.log(len(pool) + 1)
    sizes = np.array([[len(mine) for mine in told] for told in (answers.before, answers.after)], dtype=float)
    asked = np.stack([counts.of_after[i] > 0 for i in pool])

    def score(chosen: Sequence[int]) -> float:
        told: Bools = np.logical_or.reduce(asked[list(chosen)]) & inside
        hits = [float(np.logical_or.reduce(part[list(chosen)])[told].sum()) for part in (before, after)]
        of = [float(size[told].sum()) for size in sizes]
        value: Floats = gain(np.array(hits[0]), np.array(of[0]), np.array(hits[1]), np.array(of[1]))
        return float(value) - price * (len(chosen) - 1)

    grown: list[tuple[float, list[int]]] = []
    for start in starts:
        chosen = [pool.index(start)]
        while len(chosen) < _MOST:
            wider = max(([*chosen, i] for i in range(len(pool)) if i not in chosen), key=score, default=chosen)
            if score(wider) <= score(chosen):
                break
            chosen = wider
        grown.append((score(chosen), chosen))
    enough = 0.9 * max(value for value, _ in grown)
    # Of about equals the one with the more telling runs: behind "i think it is" rather than behind "is".
    best = max(
        (chosen for value, chosen in grown if value >= enough),
        key=lambda chosen: (min(len(counts.features[pool[i]].run) for i in chosen), score(chosen)),
    )
    runs = [counts.features[pool[i]].run for i in best]
    return Feature("copies", runs[0], tuple(runs[1:]))


def _hits(features: Sequence[Feature], told: Sequence[Sequence[Spoken]], answers: Answers) -> Bools:
    """Return which answers have each feature: [features, tasks, answers]."""
    most = max((len(mine) for mine in told), default=0)
    found = np.zeros((len(features), len(told), most), dtype=bool)
    for task, mine in enumerate(told):
        for i, one in enumerate(mine):
            for row, feature in enumerate(features):
                found[row, task, i] = bool(spans(feature, one.words, answers.copied[task]))
    return found
