"""The protocol of environments: tasks by split, and a rater that scores answers and says what it noticed.

An environment never sees the model or the text. Whoever searches or trains sees of a task only its messages, and of the
rater only Scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from scrutable.core.records import Score, Split, Task


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
