"""Slots: the calls that are under way at once, and the one queue on which their results come back.

With one slot everything is done in the caller's thread when it waits (a local model has one device, and a user's reward is
interrupted best in the main thread). With more, each kind of call has threads of its own: rollouts do not wait for
reflections, nor these for them. What is done is never lost: results are written to the journal by the call itself.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["rollouts", "reflections"]


@dataclass(frozen=True)
class Done:
    """A call that has ended: its ticket, what it returned or raised, and how long it took."""

    ticket: int
    value: Any = None
    error: BaseException | None = None
    kind: Kind = "rollouts"
    seconds: float = 0.0


@dataclass
class Slots:
    """Runs calls. rollouts, reflections: how many of each kind at once; both 1: none beside the caller's own thread."""

    rollouts: int = 1
    reflections: int = 1
    busy: dict[Kind, float] = field(default_factory=lambda: {"rollouts": 0.0, "reflections": 0.0})
    """Seconds of calls at work by kind, summed over slots; of those that were waited for."""

    def __post_init__(self) -> None:
        self._queue: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._waiting: deque[tuple[int, Kind, Callable[[], Any]]] = deque()
        self.inline = self.rollouts == 1 and self.reflections == 1
        self._pools: dict[Kind, ThreadPoolExecutor] = {}
        if not self.inline:
            self._pools = {
                "rollouts": ThreadPoolExecutor(self.rollouts, thread_name_prefix="rollouts"),
                "reflections": ThreadPoolExecutor(self.reflections, thread_name_prefix="reflections"),
            }
        self._next = 0
        self.under_way = 0

    def begin(self, kind: Kind, call: Callable[[], Any]) -> int:
        """Begin a call, or put it in line; return its ticket."""
        ticket, self._next = self._next, self._next + 1
        self.under_way += 1
        if self.inline:
            self._waiting.append((ticket, kind, call))
        else:
            self._pools[kind].submit(self._run, ticket, kind, call)
        return ticket

    def _run(self, ticket: int, kind: Kind, call: Callable[[], Any]) -> None:
        self._queue.put(self._done(ticket, kind, call))

    def _done(self, ticket: int, kind: Kind, call: Callable[[], Any]) -> Done:
        start = time.perf_counter()
        try:
            value, error = call(), None
        except BaseException as raised:  # noqa: BLE001 (it is raised where the result is waited for)
            value, error = None, raised
        return Done(ticket, value, error, kind, time.perf_counter() - start)

    def wait(self) -> Done:
        """Return the next call that ends. Raises nothing of the call's; a KeyboardInterrupt of one's own comes through."""
        if self.inline:
            ticket, kind, call = self._waiting.popleft()
            self.under_way -= 1
            done = self._counted(self._done(ticket, kind, call))
            if isinstance(done.error, KeyboardInterrupt):
                raise done.error
            return done
        while True:
            try:
                done = self._queue.get(timeout=1.0)  # a wait without end could not be interrupted on every platform
            except queue.Empty:
                continue
            self.under_way -= 1
            return self._counted(done)

    def _counted(self, done: Done) -> Done:
        self.busy[done.kind] += done.seconds  # by one thread alone
        return done

    def close(self) -> None:
        """Begin nothing more, and wait for the calls that are under way: their results are journaled."""
        self._waiting.clear()
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
