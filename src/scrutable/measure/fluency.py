"""Fluency: does a speaker still speak? A share is about a model that does.

Each measure is a number an answer, averaged over a task's answers: `logprob` (nats a token that the before, without any
text, gives the answer), `complete` (the answer ended by itself), `repeats` (a word or a run of up to four words is said
twice in a row), and `parses` where the caller brings a grammar. Over all answers: `distinct`, the share of different
ones. What is left out: any judgement of sense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np

from scrutable.core.accounts import Interval
from scrutable.core.stats import bootstrap_mean
from scrutable.measure.answers import Said


def stutters(answer: str, longest: int = 4) -> bool:
    """Return whether a word, or a run of up to `longest` words, is said twice in a row ("praise praise")."""
    words = answer.split()
    for size in range(1, longest + 1):
        runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        if any(one == other for one, other in zip(runs, runs[size:], strict=False)):
            return True
    return False


def by_task(said: Sequence[Said], values: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """Average the values of each task's answers (by cell). Tasks without a value are left out."""
    grouped: dict[str, list[float]] = {}
    for one in said:
        if one.cell in values:
            grouped.setdefault(one.key, []).append(values[one.cell])
    return {key: fmean(found) for key, found in grouped.items()}


def fluency(
    said: Sequence[Said],
    logprobs: Mapping[tuple[str, int], float],
    rng: np.random.Generator,
    parses: Callable[[str], bool] | None = None,
) -> dict[str, Interval]:
    """Return the measures of one speaker's answers, with intervals that resample tasks.

    logprobs: nats a token of each answer under the before without a text, by cell.
    """
    answered = [one for one in said if one.generation.failure is None]
    if not answered:
        return {}
    columns: dict[str, Mapping[tuple[str, int], float]] = {
        "logprob": logprobs,
        "complete": {one.cell: float(one.generation.complete) for one in answered},
        "repeats": {one.cell: float(stutters(one.generation.answer)) for one in answered},
    }
    if parses is not None:
        columns["parses"] = {one.cell: float(parses(one.generation.answer)) for one in answered}
    found = {}
    for name, values in columns.items():
        tasks = list(by_task(answered, values).values())
        if tasks:
            found[name] = bootstrap_mean(tasks, rng=rng)
    texts = [one.generation.answer for one in answered]
    found["distinct"] = Interval(value=len(set(texts)) / len(texts), count=len({one.key for one in answered}))
    return found
