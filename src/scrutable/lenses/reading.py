"""Reading: a change is shown to each lens, and what each says is written down."""

from __future__ import annotations

from collections.abc import Sequence

from scrutable.core.accounts import Account
from scrutable.core.journal import Run
from scrutable.core.records import Task
from scrutable.lenses.base import Lens
from scrutable.measure.change import Change


def read(change: Change, tasks: Sequence[Task], run: Run, lenses: Sequence[Lens]) -> list[Account]:
    """Read the change with each lens on these (search) tasks: one Account a lens, each an "account" event of the run.

    A reading that was killed goes on from its events. Errors: UserError when the pair cannot be compared, or there are
    too few tasks.
    """
    accounts = []
    for lens in lenses:
        account = lens.read(change, list(tasks), run)
        if not run.has(f"{lens.name}/account"):
            run.append(f"{lens.name}/account", "account", account)
        accounts.append(account)
    return accounts


def text_of(accounts: Sequence[Account]) -> str:
    """Return the text of the first account that has one, or ""."""
    return next((account.text for account in accounts if account.text), "")
