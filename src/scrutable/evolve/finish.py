"""The end of a search: the best candidate is chosen, pruned to the sentences that help, and scored on fresh tasks.

Choosing and pruning use the `choose` tasks, the final score the `final` tasks, which decide nothing: so the score needs no
correction for having been picked out of many. A sentence stays when removing it is shown to cost something (paired, one
side, 5%); of equal candidates the shorter is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scrutable.core.accounts import Interval
from scrutable.core.records import Candidate
from scrutable.core.stats import Array, bootstrap_mean, complete
from scrutable.evolve.ledger import Exhausted, Keyed, Ledger
from scrutable.evolve.parts import Parts
from scrutable.evolve.sentences import length, removals

_EQUAL = 1e-9


@dataclass(frozen=True)
class Ending:
    """What the end came to. None where too few tasks could be scored."""

    best: Candidate
    score: Interval | None
    base: Interval | None
    gain: Interval | None
    notes: tuple[str, ...]


def finish(ledger: Ledger, starts: Sequence[Candidate], finalists: Sequence[Candidate], parts: Parts) -> Ending:
    """Choose, prune, and score. The starts are always among those chosen from; the first of them is the base."""
    notes: list[str] = []
    base = starts[0]
    try:
        best = _choose(ledger, [*starts, *finalists], parts.choose)
        if best.key != base.key:
            best = _pruned(ledger, best, parts, notes)
        ledger.ask([best, base], parts.final)
    except Exhausted as spent:
        notes.append(f"the end was cut short: {spent}")
        best = finalists[0] if finalists else base
    own, start = complete(ledger.column(best.key, parts.final), ledger.column(base.key, parts.final))
    return Ending(
        best,
        _interval(ledger, own, "score"),
        _interval(ledger, start, "base"),
        _interval(ledger, own - start, "gain"),
        tuple(notes),
    )


def _choose(ledger: Ledger, among: Sequence[Candidate], tasks: Sequence[Keyed]) -> Candidate:
    """Return the best by mean; of equals the shorter."""
    ledger.ask(among, tasks)

    def rank(one: Candidate) -> tuple[float, int, str]:
        known = [value for value in ledger.column(one.key, tasks) if value is not None]
        mean = fmean(known) if known else float("-inf")
        return (-round(mean / _EQUAL) if known else float("inf"), length(one.texts), one.key)

    return min(among, key=rank)


def _pruned(ledger: Ledger, best: Candidate, parts: Parts, notes: list[str]) -> Candidate:
    """Remove sentence by sentence, the least useful first, until each that is left is shown to help."""
    after = 2 * len(parts.final) * ledger.repeats
    while True:
        shorter = [Candidate(texts=t, parents=(best.key,), origin="pruning") for t in removals(best.texts)]
        if not shorter:
            return best
        if len(ledger.owed(shorter, parts.choose)) > ledger.left - after:
            notes.append("some sentences were not tried without: too few rollouts were left")
            return best
        ledger.ask(shorter, parts.choose)
        costs = []
        for one in shorter:
            whole, rest = complete(ledger.column(best.key, parts.choose), ledger.column(one.key, parts.choose))
            cost = _interval(ledger, whole - rest, f"prune/{one.key}", level=0.9)
            if cost is None or (cost.value if cost.low is None else cost.low) <= _EQUAL:
                costs.append((cost.value if cost else 0.0, one.key, one))
        if not costs:
            return best
        best = min(costs, key=lambda found: found[:2])[2]


def _interval(ledger: Ledger, values: Array, place: str, level: float = 0.95) -> Interval | None:
    return bootstrap_mean(values, rng=ledger.run.rng(f"end/{place}"), level=level) if values.size else None
