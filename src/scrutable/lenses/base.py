"""The protocol of lenses: a way to read a Change. A new method is one file with one of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from scrutable.core.accounts import Account
from scrutable.core.journal import Run
from scrutable.core.records import Task, Usage, digest_of
from scrutable.measure.change import Change


def identity_of(lens: Lens) -> str:
    """Return what tells a lens from the same one set up otherwise: its `identity` where it has one, or its name."""
    return str(getattr(lens, "identity", lens.name))


def place_of(lens: Lens, change: Change, tasks: Sequence[Task]) -> str:
    """Return where a run tells what a lens, as it is set up, reads of a change on these tasks: a prefix of keys."""
    told = digest_of([change.identity, identity_of(lens), sorted({task.key for task in tasks})])
    return f"{change.place}{lens.name}/{told}"


@runtime_checkable
class Lens(Protocol):
    """Reads what changed, and says so in claims. One that can be set up in several ways has an `identity` too."""

    @property
    def name(self) -> str:
        """One word, the name of its file."""
        ...

    def planned(self, tasks: int) -> Usage:
        """Return the most that a reading of so many tasks costs (forward passes and generations)."""
        ...

    def read(self, change: Change, tasks: list[Task], run: Run) -> Account:
        """Read the change on these (search) tasks.

        Contract: every completed batch is an event of `run`, so that a killed reading resumes; artifacts are written
        before the event that names them; an account of an unchanged pair has no claims.
        """
        ...
