"""An environment made of a table of tasks, and a rater or none.

Both a user's file (`file.py`) and plain prompts (`prompts.py`) come down to this class.
"""

from __future__ import annotations

from collections.abc import Sequence

from scrutable.core.errors import UserError
from scrutable.core.records import Score, Split, Task, digest_of
from scrutable.envs.rewards import Rater
from scrutable.envs.rows import Table


class TableEnvironment:
    """Tasks from a `Table`, rated by a `Rater`; without one, every Score has the value None."""

    def __init__(self, name: str, table: Table, rater: Rater | None = None, source: str = "", few: str = "") -> None:
        """Make an environment. source: what decides its scores (the user's code), for its identity. few: what to say when
        a split is empty, where the rows cannot be marked or shared out.
        """
        self._few = few
        self.table = table
        self.rater = rater
        self._name = name
        self._identity = digest_of({"tasks": table.digest(), "source": source, "rewarded": rater is not None})

    def __repr__(self) -> str:
        return f"<environment {self._name}: {self.table.counts()}>"

    @property
    def name(self) -> str:
        """A short name for pages and run folders."""
        return self._name

    @property
    def identity(self) -> str:
        """Hash of the tasks, their splits, and the source (see `file.py`)."""
        return self._identity

    @property
    def rewarded(self) -> bool:
        """False for prompts without any reward."""
        return self.rater is not None

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, in the order of the rows. Errors: UserError when there are none."""
        found = self.table.tasks.get(split, ())
        if not found and self._few:
            raise UserError(self._few)
        if not found:
            raise UserError(
                f"{self.name}: the split {split} is empty ({self.table.counts()}): add rows, mark some with "
                f'`"split": "{split}"`, or give it a share in `splits`'
            )
        return found

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        """Score each answer, in order; see `rewards.py`. Errors: UserError when a reward can never work."""
        if self.rater is None:
            return [Score() for _ in tasks]
        try:
            return self.rater.rate(tasks, answers)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from error
