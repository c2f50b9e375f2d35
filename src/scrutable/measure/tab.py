"""A tab: looks events up in a run or makes them, and keeps what those it touched have cost, each once.

So that a measurement can say what it stands on, also what an earlier process or measurement paid for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scrutable.core.journal import Event, Payload, Run
from scrutable.core.records import Usage


@dataclass
class Tab:
    """A run, and what the events touched through here have cost."""

    run: Run
    _costs: dict[str, Usage] = field(default_factory=dict)

    def once(self, key: str, kind: str, make: Callable[[], tuple[Payload, Usage | None]]) -> Event:
        """Return the event of that key, made where it is not done yet (see `Run.once`)."""
        event = self.run.once(key, kind, make)
        self._costs[event.key] = event.cost
        return event

    @property
    def cost(self) -> Usage:
        """What the touched events have cost, whoever paid."""
        return sum(self._costs.values(), Usage())
