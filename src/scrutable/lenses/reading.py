"""Reading: a change is shown to each lens, and what each says is written down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from scrutable.core.accounts import Account
from scrutable.core.journal import Run
from scrutable.core.records import Task
from scrutable.lenses.base import Lens, place_of
from scrutable.measure.change import Change


def read(change: Change, tasks: Sequence[Task], run: Run, lenses: Sequence[Lens]) -> list[Account]:
    """Read the change with each lens on these (search) tasks: one Account a lens, each an "account" event of the run.

    A run may hold readings of several changes: each is known by the change, the lens as it is set up, and the tasks. One
    that stands is returned, one that was killed goes on from its events. Errors: UserError when the pair cannot be
    compared, or there are too few tasks.
    """
    accounts = []
    for lens in lenses:
        event = run.once(
            f"{place_of(lens, change, tasks)}/account", "account", partial(_read, lens, change, tasks, run)
        )
        accounts.append(Account.model_validate(event.payload))
    return accounts


def _read(lens: Lens, change: Change, tasks: Sequence[Task], run: Run) -> tuple[Account, None]:
    return lens.read(change, list(tasks), run), None


def text_of(accounts: Sequence[Account]) -> str:
    """Return the text of the first account that has one, or ""."""
    return next((account.text for account in accounts if account.text), "")
