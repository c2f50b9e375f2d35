"""Showing: which answers a writer is handed, and how.

The parent's answers, more than half of them bad ones, so that it can tell when something is wanted. Beside them other
candidates' answers: a writer that compares has one beside the parent's, to the same task, the one whose score differs most;
one that does not is shown them as tasks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from scrutable.core.records import Rollout, Task
from scrutable.evolve.reflection import Item

Show = Callable[[Task, Rollout], Item]


def show_rollout(task: Task, rollout: Rollout) -> Item:
    """Show a writer what a rollout was: the answer, its score, and the rater's words."""
    score = rollout.score
    return Item(prompt=task.prompt, answer=rollout.answer, score=score.value, feedback=score.feedback)


@dataclass(frozen=True)
class Handed:
    """What a writer is handed, and whose answers to which tasks that are: (candidate, task)."""

    items: tuple[Item, ...]
    seen: tuple[tuple[str, str], ...]


def handed(
    own: Sequence[tuple[Task, Rollout]],
    others: Sequence[tuple[Task, Rollout]],
    show: Show,
    count: int,
    draws: Random,
    *,
    beside: bool,
) -> Handed:
    """Return at most `count` items of the parent's answers and others'. beside: the writer compares, on the same tasks."""
    chosen = pick(own, count, draws)
    scored = [pair for pair in others if pair[1].score.value is not None]
    if beside:
        items, used = _beside(chosen, [one for _, one in scored], show)
    else:
        further = scored[: max(0, count - len(chosen))]
        items, used = [show(*pair) for pair in [*chosen, *further]], [one for _, one in further]
    seen = [(one.candidate, one.task) for one in [*(rollout for _, rollout in chosen), *used]]
    return Handed(tuple(items), tuple(seen))


def _beside(
    own: Sequence[tuple[Task, Rollout]], others: Sequence[Rollout], show: Show
) -> tuple[list[Item], list[Rollout]]:
    """Return the parent's answers, each with that of another whose score differs most, and the others that were used."""
    items, used = list[Item](), list[Rollout]()
    for task, rollout in own:
        item, mine = show(task, rollout), rollout.score.value or 0.0
        known = [one for one in others if one.task == rollout.task]
        if known:
            other = max(known, key=lambda one: abs((one.score.value or 0.0) - mine))
            told = {"other": other.answer, "other_score": other.score.value, "other_feedback": other.score.feedback}
            item = item.model_copy(update=told)
            used.append(other)
        items.append(item)
    return items, used


def pick(rollouts: Sequence[tuple[Task, Rollout]], count: int, draws: Random) -> list[tuple[Task, Rollout]]:
    """Draw `count` scored rollouts to show: more than half from the worst third, the rest from the best, shuffled."""
    scored = [pair for pair in rollouts if pair[1].score.value is not None]
    draws.shuffle(scored)  # of equals, any
    scored.sort(key=lambda pair: pair[1].score.value or 0.0)
    bad = min(len(scored), (count + 1) // 2)
    worst = scored[: max(bad, len(scored) // 3)]
    chosen = draws.sample(worst, bad)
    rest = [pair for pair in scored if pair not in chosen]
    good = min(len(rest), count - bad)
    chosen += draws.sample(rest[len(rest) - max(good, len(scored) // 3) :], good) if good else []
    draws.shuffle(chosen)
    return chosen
