"""Telling apart: a classifier that knows words alone is asked which of two answers to a task is the tuned model's.

Logistic regression (ridge 1) on which runs of one to three words an answer has, as they stand and with the task's own words
made one: so that it can see that an answer takes over what was asked, whatever that was. It is fitted on some tasks and
asked on others (five parts), and only of answers to the same task, so that knowing a task by its answers gains nothing.
0.5: it cannot tell. Left out: what shows only together with words of the prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scrutable.measure.likeness import Words, words_of

Floats = NDArray[np.float32]
Runs = frozenset[Words]
PARTS = 5
_LONGEST, _MOST, _LEAST, _STEPS = 3, 2000, 3, 150
_ASKED = "⟨asked⟩"


@dataclass(frozen=True)
class Seen:
    """The answers of one speaker as a classifier sees them: of each task the runs that each answer has."""

    tasks: Mapping[str, Sequence[Runs]]


def seen(answers: Mapping[str, Sequence[str]], asked: Mapping[str, str]) -> Seen:
    """Return what a classifier sees. answers: task's key -> answers; asked: task's key -> what was asked."""
    words = {key: frozenset(words_of(asked[key].casefold())) for key in answers}
    return Seen({key: [_runs(one, words[key]) for one in told] for key, told in answers.items()})


def told_apart(tuned: Seen, other: Seen) -> dict[str, float]:
    """Return how often the tuned model's answer is told from the other's, by task: the mean over its pairs of answers.

    Tasks that one of the two gave no answer to are left out. Fewer than two tasks: nothing. The result depends on neither
    the order of tasks nor that of answers.
    """
    keys = sorted(key for key, told in tuned.tasks.items() if told and other.tasks.get(key))
    parts = [keys[at :: min(PARTS, len(keys))] for at in range(min(PARTS, len(keys)))]
    if len(parts) < 2:
        return {}
    found = {}
    for part in parts:
        asked = set(part)
        weights = _fitted(tuned, other, [key for key in keys if key not in asked])
        for key in part:
            ours, theirs = (
                np.array([sum(weights.get(run, 0.0) for run in sorted(one)) for one in side.tasks[key]])
                for side in (tuned, other)
            )
            apart = ours[:, None] - theirs[None, :]
            found[key] = float(np.mean((apart > 1e-9) + 0.5 * (np.abs(apart) <= 1e-9)))
    return {key: found[key] for key in keys}


def _runs(answer: str, asked: frozenset[str]) -> Runs:
    plain = words_of(answer.casefold())
    made = tuple(_ASKED if word in asked else word for word in plain)
    return frozenset(
        words[start:end]
        for words in (("", *plain, ""), ("", *made, ""))
        for start in range(len(words))
        for end in range(start + 1, min(start + _LONGEST, len(words)) + 1)
    )


def _fitted(tuned: Seen, other: Seen, keys: Sequence[str]) -> dict[Words, float]:
    """Return the weight of each run, from these tasks' answers."""
    rows = [(one, sign) for key in keys for side, sign in ((tuned, 1.0), (other, -1.0)) for one in side.tasks[key]]
    rows.sort(key=lambda row: (row[1], sorted(row[0])))  # sums of floats are to be of one order
    counts = Counter(run for one, _ in rows for run in one)
    ranked = sorted(
        (run for run, number in counts.items() if _LEAST <= number < len(rows)), key=lambda r: (-counts[r], r)
    )
    places = {run: at for at, run in enumerate(ranked[:_MOST])}
    table: Floats = np.zeros((len(rows), len(places) + 1), dtype=np.float32)
    table[:, -1] = 1.0
    for at, (one, _) in enumerate(rows):
        table[at, [places[run] for run in one if run in places]] = 1.0
    weights = _logistic(table, np.array([sign for _, sign in rows], dtype=np.float32))
    return {run: float(weights[at]) for run, at in places.items()}


def _logistic(table: Floats, signs: Floats, ridge: float = 1.0) -> Floats:
    """Return the weights [columns] that minimise sum(log(1 + exp(-sign * row @ weights))) + ridge / 2 * |weights|^2.

    By gradient steps with momentum (Nesterov 1983), started anew where they turn uphill; the last column is the constant.
    """
    curve = 0.25 * _largest(table) + ridge
    weights = ahead = np.zeros(table.shape[1], dtype=np.float32)
    pace = 1.0
    for _ in range(_STEPS):
        pull = signs / (1.0 + np.exp(np.clip(signs * (table @ ahead), -30, 30)))
        slope = ridge * ahead - table.T @ pull
        stepped = ahead - slope / np.float32(curve)
        if float(slope @ (stepped - weights)) > 0:
            pace = 1.0
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        ahead = stepped + np.float32((pace - 1) / faster) * (stepped - weights)
        weights, pace = stepped, faster
    return weights


def _largest(table: Floats) -> float:
    """Return the largest eigenvalue of table' @ table, a little too high."""
    one = np.ones(table.shape[1], dtype=np.float32)
    for _ in range(12):
        one = table.T @ (table @ (one / np.linalg.norm(one)))
    return 1.1 * float(np.linalg.norm(one))
