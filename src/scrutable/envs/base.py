"""The protocol of environments: tasks by split, and a rater that scores answers and says what it noticed.

An environment never sees the model or the text. Whoever searches or trains sees of a task only its messages, and of the
rater only Scores. Two things it may say besides, as attributes of its own: `modules`, where one text will not do (names with
templates, see `programs/wanted.py`), and `stochastic`, where its rater draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from scrutable.core.records import Score, Split, Task, digest_of

DRAW = "draw"
"""The column by which a stochastic rater tells one draw from another.

`rate` is a function of tasks and answers, so without it a rater could err by their content only: the same answer to the same
task would be rated alike for ever, no repeat would average the error away, and two texts that bring about the same answer
would always share it, so that comparing them would cost nothing. Whoever asks for answers with a seed therefore gives each a
draw of the rater made from that seed and its place (`drawn`). A search that is run again asks with the same seeds, and is
told the same.
"""


def drawn(env: Environment, tasks: Sequence[Task], seed: int) -> Sequence[Task]:
    """Return the tasks as the environment's rater is to be shown them: each with a draw of its own where it is stochastic."""
    if not getattr(env, "stochastic", False):
        return tasks
    return [
        task.model_copy(update={"columns": {**task.columns, DRAW: digest_of([seed, place])}})
        for place, task in enumerate(tasks)
    ]


@runtime_checkable
class Environment(Protocol):
    """Tasks by split, and a rater."""

    @property
    def name(self) -> str:
        """A short name for pages and run folders."""
        ...

    @property
    def identity(self) -> str:
        """Hash of what decides tasks and scores."""
        ...

    @property
    def rewarded(self) -> bool:
        """False for prompts without any reward: fit for `read` and `measure` only."""
        ...

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, in a fixed order. Splits share no prompt.

        Errors: UserError when the split is empty.
        """
        ...

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        """Score each answer; higher is better. One Score a task, in order.

        Contract: a reward that fails gives `value=None` and a line in `failures`; only UserError is raised
        (a reward function that fails in a way that makes every further call pointless).
        """
        ...
