"""The drive: many proposals under way at once, without barriers, under one budget.

A proposal that waits for rollouts or a reflection stands aside; whatever comes back, whoever waited for it goes on. A
rollout that two proposals want is made once. Two schedules:

- *deterministic*: proposals are committed in their order, and proposal n begins right after commit n - ahead. What it may
  spend is set aside when it begins. So the result depends on the seed alone, whatever the latencies and kills.
- *throughput*: a proposal is committed when it ends, and the next begins at once. The order is written down ("schedule"
  events), so a run can be gone on with and replayed.

Left out: what a proposal does (`proposals.py`), and what is known (`state.py`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from scrutable.core.errors import ProposerFailure, UserError, boundary
from scrutable.core.journal import Event
from scrutable.core.records import Usage
from scrutable.evolve.budget import tokens_of
from scrutable.evolve.ledger import Cell, CellKey, Ledger
from scrutable.evolve.proposals import Ask, Outcome, Propose, Strand, Write
from scrutable.evolve.reflection import Proposal, Proposer
from scrutable.evolve.slots import Done, Slots
from scrutable.measure.answers import chunks

Mode = Literal["deterministic", "throughput"]
_USED_UP = "the budget was used up"
_SILENT = 12  # after so many rollouts without any score the search ends: what is wrong can be mended outside


class Searched(Protocol):
    """What the drive needs of a search: how proposals are made, committed, and when to stop."""

    def begin(self, number: int) -> Propose:
        """Begin a proposal from what is known now."""
        ...

    def commit(self, outcome: Outcome) -> str:
        """Take in what it came to; return why the search should stop, or nothing."""
        ...

    def fresh(self, cells: Sequence[CellKey], seen: int) -> list[CellKey]:
        """Return those that were not charged by the first `seen` commits."""
        ...

    @property
    def charged(self) -> tuple[int, int]:
        """Rollouts and tokens charged by the commits."""
        ...


@dataclass(frozen=True)
class Pace:
    """How the drive goes. ahead: proposals under way at once; most, least: rollouts that one may need, and must have.

    reflection: the most that one costs; cell: the most tokens of a rollout. Nothing where no limit is set.
    """

    mode: Mode
    ahead: int
    proposals: int
    most: int
    least: int
    batch: int
    reflection: Usage = field(default_factory=Usage)
    cell: int = 0


@dataclass
class _Running:
    """A proposal under way. seen: commits before it; allowed, tokens: rollouts and tokens set aside for it; own: what it
    was given of that; missing: cells it waits for."""

    propose: Propose
    strand: Strand
    seen: int
    allowed: int
    tokens: int = 0
    asks: int = 0
    own: list[CellKey] = field(default_factory=list)
    missing: set[CellKey] = field(default_factory=set)


class Drive:
    """Runs proposals until there is a reason to stop. Errors of `run`: UserError of scorer or proposer."""

    def __init__(self, search: Searched, ledger: Ledger, proposer: Proposer, slots: Slots, pace: Pace) -> None:
        self._search, self._ledger, self._proposer, self._slots, self._pace = search, ledger, proposer, slots, pace
        self._run = ledger.run
        self._running: dict[int, _Running] = {}
        self._ended: dict[int, Outcome] = {}
        self._waiting: dict[CellKey, list[int]] = {}  # cells under way -> who waits for them
        self._pending: list[Cell] = []
        self._calls: dict[int, tuple[list[Cell], Usage] | tuple[int, Usage]] = {}
        self._begun = self._commits = 0
        self._stopped = ""
        self._log: deque[Event] = deque(self._run.events("schedule"))
        self._logged = len(self._log)
        refused = [event.payload for event in self._log if event.payload["does"] == "refuse"]
        self._refused: dict[tuple[int, int], str] = {(told["proposal"], told["ask"]): told["ends"] for told in refused}
        self.reflections = self.failures = 0
        # In this thread alone all comes again in the same order, and at the end nothing is left to be given.
        if pace.mode == "throughput" and pace.batch == 1 and not self._run.has("stage/end"):
            ledger.set_aside_paid()

    def run(self) -> str:
        """Go on until the budget, or the search, says stop; return why."""
        try:
            while self._step():
                pass
        finally:
            self._slots.close()
        return self._stopped

    def _step(self) -> bool:
        """Commit and begin what may be, then wait for one call; False when there is nothing more to do."""
        self._follow_log()
        if not self._log:
            # First begin, then commit: what a proposal begins with must not depend on how many others have ended.
            while self._begin_next() or self._commit_next():
                pass
        self._flush()
        if not self._slots.under_way:
            if self._log:
                raise UserError(f"{self._run.path} holds a schedule that cannot be followed: choose another run folder")
            return bool(self._pending)
        self._arrived(self._slots.wait())
        return True

    # ----------------------------------------------------------------------------------------------------- schedule

    def _follow_log(self) -> None:
        """Do again, in its order, what a throughput run did before it was stopped."""
        while self._log:
            told = self._log[0].payload
            number = int(told["proposal"])
            if told["does"] == "commit" and number not in self._ended:
                return
            self._log.popleft()
            if told["does"] == "begin":
                self._begin(number, 0)
            elif told["does"] == "commit":
                self._commit(number)

    def _note(self, does: str, number: int, **more: int | str) -> None:
        if self._pace.mode == "throughput":
            payload = {"does": does, "proposal": number, **more}
            self._run.append(f"schedule/{self._logged}", "schedule", payload)
            self._logged += 1

    def _commit_next(self) -> bool:
        """Commit one proposal that has ended, if it is its turn."""
        turn = self._commits if self._pace.mode == "deterministic" else next(iter(self._ended), None)
        if turn is None or turn not in self._ended:
            return False
        self._note("commit", turn)
        self._commit(turn)
        return True

    def _commit(self, number: int) -> None:
        outcome = self._ended.pop(number)
        del self._running[number]
        self.failures += len(outcome.proposal.failures)
        self._commits += 1
        stop = self._search.commit(outcome)
        self._stopped = self._stopped or stop

    def _begin_next(self) -> bool:
        """Begin the next proposal, where one may be begun now."""
        pace, under_way = self._pace, self._begun - self._commits
        if self._stopped or under_way >= pace.ahead:
            return False
        if self._begun >= pace.proposals:
            self._stopped = "" if under_way else f"{pace.proposals} proposals were made"
            return False
        free, tokens = self._free()
        enough = pace.least * pace.cell + tokens_of(pace.reflection)
        over = self._ledger.budget.refusal(0, Usage()) if pace.mode == "throughput" else ""
        if over or free < pace.least or (tokens is not None and tokens < enough):
            if not under_way:
                self._stopped = self._out_of(free, over)
            return False
        self._note("begin", self._begun)
        # A half of what is free at most, so that those after it find something too.
        own = None if tokens is None else max(enough, tokens // 2)
        self._begin(self._begun, min(pace.most, max(pace.least, free // 2)), own or 0)
        return True

    def _out_of(self, free: int, over: str) -> str:
        limits, spent = self._ledger.limits, self._ledger.spent
        if free < self._pace.least:
            kept = f" ({limits.reserved} more are reserved for the end)" if limits.reserved else ""
            return f"the next {self._pace.least} rollouts do not fit: of {limits.rollouts}, {spent} are spent{kept}"
        return over or f"another proposal might exceed the budget of {limits.tokens:,} tokens"

    def _free(self) -> tuple[int, int | None]:
        """Return rollouts and tokens that are neither charged nor set aside (deterministic), or neither paid nor under way."""
        budget, limits = self._ledger.budget, self._ledger.limits
        if self._pace.mode == "throughput":
            return self._ledger.left - len(self._ledger.unpaid(self._pending)), budget.tokens_left
        rollouts, tokens = self._search.charged
        free = limits.rollouts - rollouts - sum(one.allowed for one in self._running.values())
        if limits.tokens is None:
            return free, None
        return free, limits.tokens - tokens - sum(one.tokens for one in self._running.values())

    def _begin(self, number: int, allowed: int, tokens: int = 0) -> None:
        propose = self._search.begin(number)
        self._running[number] = _Running(propose, propose.strand(), self._commits, allowed, tokens)
        self._begun = max(self._begun, number + 1)
        self._advance(number, None)

    # ------------------------------------------------------------------------------------------------------- strands

    def _advance(self, number: int, given: Proposal | None) -> None:
        """Let a proposal go on until it waits for something that is not there, or ends."""
        one = self._running[number]
        send: Callable[[], Ask | Write] = partial(one.strand.send, given)
        while True:
            try:
                wanted = send()
            except StopIteration as end:
                self._ended[number] = end.value
                return
            one.asks += 1
            why = self._refusal(number, one, wanted)
            if why:
                self._ended[number] = one.propose.outcome(why)
                one.strand.close()
                return
            if isinstance(wanted, Write):
                self._write(number, wanted)
                return
            missing = {cell.place: cell for cell in wanted.cells if not self._ledger.knows(cell.place)}
            for place, cell in missing.items():
                waiting = self._waiting.get(place)
                if waiting is None:
                    self._waiting[place] = [number]
                    self._pending.append(cell)
                elif number not in waiting:
                    waiting.append(number)
            one.missing = set(missing)
            if missing:
                return
            send = partial(one.strand.send, None)

    def _refusal(self, number: int, one: _Running, wanted: Ask | Write) -> str:
        """Return why a proposal may not have what it asks for; empty where it may."""
        if self._pace.mode == "deterministic":
            return self._own_refusal(one, wanted) if isinstance(wanted, Ask) else ""
        if (number, one.asks) in self._refused:
            self._stopped = self._stopped or self._refused[number, one.asks]
            return _USED_UP
        if isinstance(wanted, Write):
            fresh, written = list[Cell](), self._pace.reflection
            if self._run.has(wanted.key):
                return ""
        else:
            fresh, written = self._ledger.unpaid(c for c in wanted.cells if c.place not in self._waiting), Usage()
            if not fresh:
                return ""
        if self._log and self._pace.batch > 1:
            return ""
        cells = [*self._ledger.unpaid(self._pending), *fresh]
        why = self._ledger.budget.refusal(len(cells), self._ledger.most(cells) + written)
        if why:
            ends = "" if self._calls or self._pending else why  # nothing will be given back
            self._note("refuse", number, ask=one.asks, ends=ends)
            self._stopped = self._stopped or ends
        return _USED_UP if why else ""

    def _own_refusal(self, one: _Running, wanted: Ask) -> str:
        """Return why an ask does not fit into what was set aside for its proposal; of what it has, what it cost counts."""
        have = set(one.own)
        fresh = set(self._search.fresh([cell.place for cell in wanted.cells], one.seen)) - have
        new = [cell for cell in wanted.cells if cell.place in fresh]
        fits = len(have) + len(new) <= one.allowed
        if fits and self._ledger.limits.tokens is not None:
            cost = sum(self._ledger.tokens(place) for place in one.own) + tokens_of(self._ledger.most(new))
            fits = cost + tokens_of(self._pace.reflection) <= one.tokens
        if fits:
            one.own += [cell.place for cell in new]
        return "" if fits else "its share of the budget was used up"

    def _write(self, number: int, wanted: Write) -> None:
        most = self._ledger.set_aside(wanted.key, 0, self._pace.reflection)
        ticket = self._slots.begin("reflections", partial(self._reflect, wanted))
        self._calls[ticket] = (number, most)

    def _reflect(self, wanted: Write) -> Event:
        """Ask the writer; one event. What fails is data."""
        return self._run.once(wanted.key, "reflection", partial(self._written, wanted))

    def _written(self, wanted: Write) -> tuple[dict[str, Any], Usage]:
        seed, start = self._run.seed_of(wanted.key), time.perf_counter()
        try:
            with boundary(ProposerFailure):
                found = self._proposer.propose(wanted.parent.texts, wanted.module, wanted.items, seed)
        except ProposerFailure as failure:
            found = Proposal(failures=(str(failure),))
        bare = found.model_copy(update={"usage": Usage()}).model_dump(mode="json")
        cost = found.usage.model_copy(update={"seconds": time.perf_counter() - start})
        return {"parent": wanted.parent.key, "module": wanted.module, **bare}, cost

    # --------------------------------------------------------------------------------------------------------- calls

    def _flush(self) -> None:
        """Begin the calls for all cells that are wanted now."""
        for part in chunks(self._pending, self._pace.batch):
            place = self._ledger.place(part)
            most = self._ledger.set_aside(place, len(part), self._ledger.most(part))
            self._calls[self._slots.begin("rollouts", partial(self._ledger.buy, part, place))] = (list(part), most)
        self._pending = []

    def _arrived(self, done: Done) -> None:
        """Take what a call returned, and let those go on that waited for it. Errors: what the call raised."""
        what, most = self._calls.pop(done.ticket)
        if done.error is not None:
            raise done.error
        event: Event = done.value
        if isinstance(what, int):
            self._ledger.budget.free(0, most)
            self._ledger.pay(event.cost)
            self.reflections += 1
            told = {k: v for k, v in event.payload.items() if k not in ("parent", "module")}
            self._advance(what, Proposal.model_validate(told))
            return
        self._ledger.budget.free(len(what), most)
        self._ledger.take(what, event)
        if self._ledger.unscored == self._ledger.spent >= _SILENT:
            raise UserError(
                f"none of the first {self._ledger.spent} answers could be scored ({self._ledger.why}): mend that first"
            )
        ready: list[int] = []
        for cell in what:
            for number in self._waiting.pop(cell.place, ()):
                missing = self._running[number].missing
                missing.discard(cell.place)
                if not missing and number not in ready:
                    ready.append(number)
        for number in ready:
            self._advance(number, None)
