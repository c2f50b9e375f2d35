"""Distances: how far several speakers are apart on the same tasks, every two of them.

Each speaker answers every task; along the answers of i, the distributions of i and j part by a Jensen-Shannon divergence that
is exact at each position (`measure/divergence.py`). The distance of i and j on a task is the mean of that along i's answers
and along j's, so it is symmetric; nats an answer. Speakers with one identity are measured once, and their distance is 0.

Where there are many (`along_shared`), all are set against each other along the same answers: n passes, not n squared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scrutable.core.records import Task
from scrutable.core.stats import Array
from scrutable.measure.answers import Said, answers_of
from scrutable.measure.change import Speaker
from scrutable.measure.divergence import EVERYONE, Meter, Parting
from scrutable.measure.fluency import by_task
from scrutable.measure.tab import Tab

Keyed = tuple[str, Task]
"""A task and its key."""


class Sizes(Protocol):
    """The knobs that a measurement of distances reads."""

    @property
    def max_tokens(self) -> int:
        """Most tokens of one answer."""
        ...

    @property
    def batch(self) -> int:
        """Answers drawn or measured at once."""
        ...

    @property
    def memory_mb(self) -> int:
        """Megabytes for distributions held at once."""
        ...


@dataclass(frozen=True)
class Measure:
    """Where measuring is written down, and how much is done at once."""

    tab: Tab
    sizes: Sizes


@dataclass(frozen=True)
class Distances:
    """js, kl: [tasks, n, n], nats an answer, NaN where a task gives none; said: answers by the speaker's identity.

    kl is the mean of KL(i || j) along i's answers and KL(j || i) along j's: both exact at each position, both unbiased.
    """

    js: Array
    kl: Array
    said: Mapping[str, Sequence[Said]]


def distances(speakers: Sequence[Speaker], tasks: Sequence[Keyed], repeats: int, measure: Measure) -> Distances:
    """Return the distances of the speakers on the tasks, `repeats` answers to each.

    Errors: UserError when one gives no log-probabilities, or two have different tokenizers.
    """
    unique = {speaker.identity: speaker for speaker in speakers}
    sizes, tab = measure.sizes, measure.tab
    said = {
        name: answers_of(speaker, tasks, repeats, tab, sizes.batch, sizes.max_tokens)
        for name, speaker in unique.items()
    }
    names, keys = list(unique), [key for key, _ in tasks]
    js, kl = (np.full((len(keys), len(names), len(names)), np.nan) for _ in range(2))
    for i, mine in enumerate(names):
        meter = Meter(tab, sizes.batch, sizes.memory_mb << 20, keep=mine)
        for j, theirs in enumerate(names):
            if i == j:
                js[:, i, i] = kl[:, i, i] = 0.0
                continue
            along = meter.along(said[mine], unique[mine], unique[theirs])
            js[:, i, j] = _column(said[mine], along, "js", keys)
            kl[:, i, j] = _column(said[mine], along, "kl", keys)
    at = [names.index(speaker.identity) for speaker in speakers]
    spread = np.ix_(range(len(keys)), at, at)
    return Distances(_both(js)[spread], _both(kl)[spread], said)


def along_shared(speakers: Sequence[Speaker], said: Sequence[Said], measure: Measure) -> Array:
    """Return the Jensen-Shannon divergences [tasks, n, n] of speakers along the same answers, whoever gave them.

    Tasks in the order of the answers; a task's value is the mean over its answers. Errors: as `distances`.
    """
    keys = list(dict.fromkeys(one.key for one in said))
    found = np.full((len(keys), len(speakers), len(speakers)), np.nan)
    meter = Meter(measure.tab, measure.sizes.batch, measure.sizes.memory_mb << 20, keep=EVERYONE)
    for i, one in enumerate(speakers):
        found[:, i, i] = 0.0
        for j in range(i):
            same = one.identity == speakers[j].identity
            column = 0.0 if same else _column(said, meter.along(said, speakers[j], one), "js", keys)
            found[:, i, j] = found[:, j, i] = column
    return found


def _column(said: Sequence[Said], along: Sequence[Parting], name: str, keys: Sequence[str]) -> Array:
    values = by_task(said, {one.cell: float(getattr(one, name)) for one in along})
    return np.array([values.get(key, np.nan) for key in keys])


def _both(values: Array) -> Array:
    """Return the mean of both directions; NaN where one of them is missing."""
    return np.asarray((values + values.transpose(0, 2, 1)) / 2)
