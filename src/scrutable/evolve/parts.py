"""Parts: which tasks are for what. Four uses that never mix, so that no number a search reports was chosen by itself.

`shown` tasks are shown to the writer; `pool` tasks decide who is accepted; `choose` tasks (of the keep split) pick the best
candidate and prune it; `final` tasks (of the keep split) say how good it is, and decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task
from scrutable.evolve.ledger import Keyed
from scrutable.measure.answers import distinct_tasks

FEW = 40
"""With fewer search tasks than this the same ones are shown and decide."""
ENOUGH = 10
"""With fewer tasks than this a final score is told with a warning."""
END = 4
"""How often a keep task is paid for at the end, about: most of what is chosen among is decided on few, the rest is the score."""


@dataclass(frozen=True)
class Sizes:
    """How many tasks are wanted. rollouts: the budget of the search and that of the end, by which they are cut down."""

    pool: int
    keep: int
    rollouts: tuple[int, int]
    repeats: int = 1


@dataclass(frozen=True)
class Parts:
    """Tasks by use, each with its key, in the order drawn for this run."""

    shown: tuple[Keyed, ...]
    pool: tuple[Keyed, ...]
    choose: tuple[Keyed, ...]
    final: tuple[Keyed, ...]
    notes: tuple[str, ...] = ()


def divide(search: Sequence[Task], keep: Sequence[Task], sizes: Sizes, run: Run) -> Parts:
    """Divide the two splits. Drawn from the run's seed and the tasks' content, not from their order.

    Errors: UserError when a split has fewer than two different tasks.
    """
    searched, kept = distinct_tasks(search), distinct_tasks(keep)
    for name, tasks in (("search", searched), ("keep", kept)):
        if len(tasks) < 2:
            raise UserError(
                f"the {name} split has {len(tasks)} different tasks, and evolution needs two: give more rows"
            )
    draws = run.random("parts")
    draws.shuffle(searched)
    draws.shuffle(kept)
    pool = max(2, min(sizes.pool, sizes.rollouts[0] // (4 * sizes.repeats)))
    notes: tuple[str, ...] = ()
    if len(searched) < FEW:
        shown, pooled = searched, searched[:pool]
        notes = (
            f"only {len(searched)} search tasks: the same ones are shown to the writer and decide, so it may overfit",
        )
    else:
        pool = min(pool, len(searched) * 2 // 3)
        shown, pooled = searched[pool:], searched[:pool]
    share = max(1, min(sizes.keep, len(kept) // 2, sizes.rollouts[1] // (END * sizes.repeats)))
    if share < ENOUGH:
        notes = (*notes, f"the final score rests on {share} keep tasks: more rows, or a larger budget, would tell more")
    return Parts(tuple(shown), tuple(pooled), tuple(kept[:share]), tuple(kept[share : 2 * share]), notes)
