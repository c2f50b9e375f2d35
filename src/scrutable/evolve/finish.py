"""The end of a search: the best candidate is chosen, pruned to the sentences that help, and scored on fresh tasks.

Choosing and pruning use the `choose` tasks, the final score the `final` tasks, which decide nothing: so the score needs no
correction for having been picked out of many. A sentence stays when removing it is shown to cost something (paired, one
side, 5%); of equal candidates the shorter is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.records import Candidate, Record
from scrutable.core.stats import Array, bootstrap_mean, comparable, complete
from scrutable.evolve.ledger import Exhausted, Keyed, Ledger
from scrutable.evolve.parts import Parts
from scrutable.evolve.sentences import Removal, length, removals

_EQUAL = 1e-9
_MOST = 8  # tasks named with a sentence's worth


class Worth(Record):
    """What one sentence of the best is worth: how much the score falls without it, on the final tasks."""

    module: str
    sentence: str
    gain: Interval | None = Field(description="fall of the score when it is removed, task by task")
    tasks: tuple[str, ...] = Field(default=(), description="keys of the final tasks where it mattered most, most first")


@dataclass(frozen=True)
class Ending:
    """What the end came to. None where too few tasks could be scored."""

    best: Candidate
    score: Interval | None
    base: Interval | None
    gain: Interval | None
    worth: tuple[Worth, ...]
    notes: tuple[str, ...]


def finish(
    ledger: Ledger, starts: Sequence[Candidate], finalists: Sequence[Candidate], parts: Parts, least: float = 0.0
) -> Ending:
    """Choose, prune, and score. The starts are always among those chosen from; the first of them is the base.

    least: a sentence stays when its removal is shown to cost something, and costs more than this.
    """
    notes: list[str] = []
    worth: list[Worth] = []
    base = starts[0]
    try:
        best = _choose(ledger, [*starts, *finalists], parts.choose)
        if best.key != base.key:
            best = _pruned(ledger, best, parts, notes, least)
        ledger.ask([best, base], parts.final)
        worth = _worths(ledger, best, parts, notes)
    except Exhausted as spent:
        notes.append(f"the end was cut short: {spent}")
        best = finalists[0] if finalists else base
    own, start = complete(ledger.column(best.key, parts.final), ledger.column(base.key, parts.final))
    return Ending(
        best,
        _interval(ledger, own, "score"),
        _interval(ledger, start, "base"),
        _interval(ledger, own - start, "gain"),
        tuple(worth),
        tuple(notes),
    )


def _choose(ledger: Ledger, among: Sequence[Candidate], tasks: Sequence[Keyed]) -> Candidate:
    """Return the best by mean, over the tasks that any has a score on; of equals the one with more scores, then the shorter."""
    ledger.ask(among, tasks)
    found = comparable([ledger.column(one.key, tasks) for one in among])

    def rank(at: int) -> tuple[float, int, int, str]:
        mean, scored = found[at]
        return (-round(mean / _EQUAL) if scored else math.inf, -scored, length(among[at].texts), among[at].key)

    return among[min(range(len(among)), key=rank)]


def _pruned(ledger: Ledger, best: Candidate, parts: Parts, notes: list[str], least: float) -> Candidate:
    """Remove sentence by sentence, the least useful first, until each that is left is shown to help."""
    while True:
        shorter = [_shorter(best, removal) for removal in removals(best.texts)]
        after = (2 + len(shorter)) * len(parts.final) * ledger.repeats
        if len(ledger.owed(shorter, parts.choose)) > ledger.left - after:
            notes.append("some sentences were not tried without: too few rollouts were left")
            return best
        ledger.ask(shorter, parts.choose)
        idle = []
        for one in shorter:
            falls, _ = _falls(ledger, best, one, parts.choose)
            cost = _interval(ledger, falls, f"prune/{one.key}", level=0.9)
            if cost is None or cost.value <= least + _EQUAL or (cost.low is not None and cost.low <= _EQUAL):
                idle.append((cost.value if cost else 0.0, one.key, one))
        if not idle:
            return best
        best = min(idle, key=lambda found: found[:2])[2]


def _worths(ledger: Ledger, best: Candidate, parts: Parts, notes: list[str]) -> list[Worth]:
    """Return what each sentence is worth on the final tasks, which did not decide that it stays."""
    found = removals(best.texts)
    shorter = [_shorter(best, removal) for removal in found]
    if len(ledger.owed(shorter, parts.final)) > ledger.left:
        notes.append("what each sentence is worth was not measured: too few rollouts were left")
        return []
    ledger.ask(shorter, parts.final)
    worths = []
    for removal, one in zip(found, shorter, strict=True):
        falls, keys = _falls(ledger, best, one, parts.final)
        ranked = [keys[row] for row in np.argsort(-falls, kind="stable")]
        gain = _interval(ledger, falls, f"worth/{one.key}")
        worths.append(Worth(module=removal.module, sentence=removal.sentence, gain=gain, tasks=tuple(ranked[:_MOST])))
    return worths


def _shorter(best: Candidate, removal: Removal) -> Candidate:
    texts = {**best.texts, removal.module: removal.rest}
    return Candidate(texts=texts, parents=(best.key,), origin="pruning")


def _falls(ledger: Ledger, whole: Candidate, rest: Candidate, tasks: Sequence[Keyed]) -> tuple[Array, list[str]]:
    """Return how much the score falls from `whole` to `rest` on each task that both have a score on, and the tasks' keys."""
    columns = ledger.column(whole.key, tasks), ledger.column(rest.key, tasks)
    keys = [key for (key, _), *pair in zip(tasks, *columns, strict=True) if None not in pair]
    one, other = complete(*columns)
    return one - other, keys


def _interval(ledger: Ledger, values: Array, place: str, level: float = 0.95) -> Interval | None:
    return bootstrap_mean(values, rng=ledger.run.rng(f"end/{place}"), level=level) if values.size else None
