"""The end of a search: the best candidate is chosen, pruned to the sentences that help, and scored on fresh tasks.

The search's own best is chosen unless another is better on the `choose` tasks. Then it is tried without each of its sentences,
those first of which the search knows least good. Both are decided by the search's own test, look by look, so what is clear
costs little; where the tasks run out before anything is shown, by whether a gain seems to be more than half of what is worth
finding. The final score is on the `final` tasks, which
decide nothing: it needs no correction for having been picked out of many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.records import Candidate, Record
from scrutable.core.sequential import Standard, Verdict, flip_test
from scrutable.core.stats import Array, complete, score_interval
from scrutable.evolve.ledger import Exhausted, Keyed, Ledger
from scrutable.evolve.parts import Parts
from scrutable.evolve.sentences import Removal, removals

_MOST = 8  # tasks named with a sentence's worth
_ERROR = 0.05  # of showing that a sentence helps which does not
_GIVEN_UP = 0.1  # of giving a sentence up early that is worth as much as is worth finding
_FEWEST = 4  # final tasks below which there is no score
_FEW = 24  # with fewer tasks to choose on, those of the search decide too whether a sentence stays


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


@dataclass(frozen=True)
class Rule:
    """How the end decides. least: a sentence stays only if it is worth more; look: tasks between two looks.

    worth: what the search knows a sentence of a module to be worth.
    """

    standard: Standard
    look: int = 8
    least: float = 0.0
    worth: Callable[[str, str], float] = field(default=lambda module, sentence: 0.0)


def finish(ledger: Ledger, base: Candidate, ranked: Sequence[Candidate], parts: Parts, rule: Rule) -> Ending:
    """Choose, prune, and score. ranked: the finalists, the search's best first (the base may be among them)."""
    notes: list[str] = []
    worth: list[Worth] = []
    best = ranked[0]
    final = len(parts.final) * ledger.repeats
    try:
        spare = max(
            0, ledger.left - 2 * final
        )  # a half of it is for the pruning: idle sentences are commoner than bad choices
        best = _chosen(ledger, ranked, parts.choose, replace(rule, least=0.0), kept=2 * final + spare // 2)
        if best.key != base.key:
            tasks = [*parts.choose, *(parts.pool if len(parts.choose) < _FEW else ())]
            best = _pruned(ledger, best, tasks, replace(rule, standard=_strict(rule.standard)), notes, kept=2 * final)
    except Exhausted as spent:
        notes.append(f"the end was cut short: {spent}")
    try:
        _score(ledger, best, base, parts.final)
        worth = _worths(ledger, best, parts, notes)
    except Exhausted as spent:
        notes.append(f"the end was cut short: {spent}")
    own, start = complete(ledger.column(best.key, parts.final), ledger.column(base.key, parts.final))
    return Ending(
        best,
        _interval(ledger, own, "score"),
        _interval(ledger, start, "base"),
        _interval(ledger, own - start, "gain", paired=True),
        tuple(worth),
        tuple(notes),
    )


def _score(ledger: Ledger, best: Candidate, base: Candidate, tasks: Sequence[Keyed]) -> None:
    """Score both on the final tasks, or on as many of them as still fit. Errors: Exhausted where hardly any do."""
    count = len(tasks)
    while True:
        try:
            ledger.ask([best, base], tasks[:count])
            return
        except Exhausted:
            if count < _FEWEST:
                raise
            count //= 2


def _chosen(ledger: Ledger, ranked: Sequence[Candidate], tasks: Sequence[Keyed], rule: Rule, kept: int) -> Candidate:
    """Return the search's best, or who is better. kept: rollouts that the final score needs."""
    best = ranked[0]
    for other in ranked[1:]:
        if ledger.left < kept + 4 * rule.look * ledger.repeats:
            break
        verdict, gains = _compared(ledger, other, best, tasks, rule, kept)
        if verdict == "better" or (verdict == "not better" and gains.size and float(gains.mean()) > _enough(rule)):
            best = other
    return best


def _enough(rule: Rule) -> float:
    """Return the gain that decides where the tasks ran out: half of what is worth finding."""
    return rule.standard.effect * rule.standard.bound / 2


def _compared(
    ledger: Ledger, one: Candidate, other: Candidate, tasks: Sequence[Keyed], rule: Rule, kept: int
) -> tuple[Verdict, Array]:
    """Say whether the first is better than the second by more than `rule.least`, and the differences seen.

    "undecided" where the budget ends before: `kept` rollouts are not touched.
    """
    looks, differences = list[int](), np.zeros(0)
    for used in range(rule.look, len(tasks) + rule.look, rule.look):
        seen = tasks[:used]
        if len(ledger.owed([one, other], seen)) > ledger.left - kept:
            return "undecided", differences
        ledger.ask([one, other], seen)
        mine, theirs = complete(ledger.column(one.key, seen), ledger.column(other.key, seen))
        differences = mine - theirs - rule.least
        if differences.size and differences.size not in looks:
            looks.append(differences.size)
        if looks:
            rng = ledger.run.rng(f"end/{one.key}/{other.key}")
            verdict = flip_test(differences, looks, len(tasks), rule.standard, rng)
            if verdict != "undecided":
                return verdict, differences
    return "not better", differences


def _strict(standard: Standard) -> Standard:
    """Return the standard by which a sentence stays, or goes before the tasks run out."""
    rates = {"false_accept": min(_ERROR, standard.false_accept), "false_reject": min(_GIVEN_UP, standard.false_reject)}
    return replace(standard, **rates)


def _pruned(
    ledger: Ledger, best: Candidate, tasks: Sequence[Keyed], rule: Rule, notes: list[str], kept: int
) -> Candidate:
    """Try the text without each sentence in turn, the least known good first; what does not help goes at once."""
    enough = max(0.0, _enough(rule) - rule.least)  # `least` is off the falls already
    for name, sentence in sorted(_named(best), key=lambda pair: rule.worth(*pair)):
        at = next((at for at in removals(best.texts) if (at.module, at.sentence) == (name, sentence)), None)
        if at is None:
            continue
        shorter = _shorter(best, at)
        verdict, falls = _compared(ledger, best, shorter, tasks, rule, kept)
        if verdict == "undecided":
            notes.append("some sentences were not tried without: too few rollouts were left")
            return best
        if verdict == "not better" and not (falls.size and float(falls.mean()) > enough):
            best = shorter
    return best


def _named(best: Candidate) -> list[tuple[str, str]]:
    """Return the modules and sentences of a text."""
    return [(at.module, at.sentence) for at in removals(best.texts)]


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
        gain = _interval(ledger, falls, f"worth/{one.key}", paired=True)
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


def _interval(ledger: Ledger, values: Array, place: str, *, paired: bool = False) -> Interval | None:
    """Return the mean of scores, or of paired differences, with its interval."""
    if not values.size:
        return None
    low, high = min(ledger.rewards, default=0.0), max(ledger.rewards, default=0.0)
    bounds = (low - high, high - low) if paired else (low, high)
    return score_interval(values, bounds, rng=ledger.run.rng(f"end/{place}"))
