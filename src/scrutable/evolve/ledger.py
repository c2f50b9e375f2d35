"""The ledger: every score that a search has paid for, and what is left to pay with.

A score is bought once: what is asked for is looked up by content (texts, task, repeat; model and sampling are the scorer's
identity), and only what is owed goes to the scorer. A batch is one "rollouts" event, answers and traces included, written
before anything uses it, so a killed search pays for nothing twice. The budget is hard (`budget.py`): a request that does not
fit is refused whole, before anything is spent.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, takewhile
from operator import attrgetter
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

from pydantic import TypeAdapter

from scrutable.core.errors import UserError
from scrutable.core.journal import Event, Run
from scrutable.core.records import Candidate, Rollout, Task, Usage, digest_of
from scrutable.evolve.budget import Budget, Exhausted, Limits, tokens_of
from scrutable.evolve.cells import CellKey, Cells
from scrutable.measure.answers import chunks

__all__ = ["Cell", "CellKey", "Exhausted", "Keyed", "Ledger", "Limits", "Scorer"]

Keyed = tuple[str, Task]
"""A task with its key."""
_ROLLOUTS = TypeAdapter(list[Rollout])
_NUMBERS = [name for name, field in Usage.model_fields.items() if field.annotation in (int, float)]


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to score: a candidate on a task, for the `repeat`-th time. `candidate_key` and `key` are the two's keys.

    place: what its score is looked up by.
    """

    candidate: Candidate
    candidate_key: str
    key: str
    task: Task
    repeat: int = 0
    place: CellKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Kept, since it is asked for about twenty times on a cell's way from a proposal into the journal and back.
        object.__setattr__(self, "place", (self.candidate_key, self.key, self.repeat))


@runtime_checkable
class Scorer(Protocol):
    """What a search maximises. One that can bound a call's cost has `most(cells) -> Usage` too."""

    @property
    def identity(self) -> str:
        """Hash of what decides a score, beside texts, task, repeat and seed: models, sampling, rater."""
        ...

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Score each cell, in order; higher is better, and the cells may be of several candidates.

        Contract: the same cells and seed score the same; what cannot be scored has the value None; only UserError is
        raised. What a cell cost is its rollout's usage; seconds are measured by the caller.
        """
        ...


class Ledger:
    """Knows all that was scored and what is owed; buys a batch; refuses what is over the limits.

    `buy` may be called from any thread; all else belongs to the thread that searches.
    """

    def __init__(self, run: Run, scorer: Scorer, limits: Limits, *, batch: int = 256, repeats: int = 1) -> None:
        self.run = run
        self.budget = Budget(limits)
        self.repeats = repeats
        self.unscored = 0
        self._whys: dict[CellKey, str] = {}  # of those without a score
        self.rewards: set[float] = set()
        self.batch, self.threads = batch, 1
        self._scorer, self._identity = scorer, scorer.identity
        self._values = Cells[float | None]()
        self._places = Cells[int]()  # the how manyth rollout it was
        self._most: dict[str, int] = {}  # repeats of a candidate, if it has more than the first
        # Events, how many rollouts there are up to the end of each, and how many tokens each rollout of it cost.
        self._taken, self._ends, self._tokens = list[Event](), list[int](), list[int]()
        # Paid for before this ledger was, and not taken yet; and those of them that are set aside.
        self._standing = {event.key: event for event in run.events("rollouts")}
        self._aside: dict[str, Event] = {}
        self._settled = set[str]()  # of them, paid for and not taken

    @property
    def limits(self) -> Limits:
        """What may be spent."""
        return self.budget.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.budget.limits = limits

    @property
    def why(self) -> str:
        """Why a rollout has no score: of several the one whose cell sorts first, whichever came first; empty where all have."""
        return self._whys[min(self._whys)] if self._whys else ""

    @property
    def spent(self) -> int:
        """Rollouts paid for."""
        return self.budget.rollouts

    @property
    def left(self) -> int:
        """Rollouts that may still be bought."""
        return self.budget.left

    @property
    def usage(self) -> Usage:
        """What everything cost so far."""
        return self.budget.usage

    def owed(self, candidates: Iterable[Candidate], tasks: Sequence[Keyed], repeats: int | None = None) -> list[Cell]:
        """Return the cells of these candidates on these tasks that are not scored yet, each once."""
        found: dict[CellKey, Cell] = {}
        most = self.repeats if repeats is None else repeats
        for candidate in candidates:
            name = candidate.key
            for key, task in tasks:
                for repeat in range(most):
                    if (name, key, repeat) not in self._values:
                        found[name, key, repeat] = Cell(candidate, name, key, task, repeat)
        return list(found.values())

    def ask(self, candidates: Iterable[Candidate], tasks: Sequence[Keyed]) -> None:
        """Make sure that each candidate is scored on each task, now.

        Errors: Exhausted when that does not fit the limits (of rollouts: nothing is spent; of others: what was spent is
        kept); UserError of the scorer, and when of a first batch nothing can be scored (it is not written down: what is
        wrong can be mended outside).
        """
        owed = self.owed(candidates, tasks)
        why = self.budget.refusal(len(owed), Usage())
        if why and owed:
            raise Exhausted(why)
        parts = list(chunks(owed, self.batch))
        for several in [parts] if self.threads > 1 else [[part] for part in parts]:
            self._ask_at_once(several)

    def _ask_at_once(self, parts: Sequence[Sequence[Cell]]) -> None:
        """Buy batches, several by as many threads as there are."""
        held = list[tuple[int, Usage]]()
        try:
            for part in parts:
                most = self.most(part)
                self.budget.hold(len(part), most)
                held.append((len(part), most))
            if len(parts) > 1:
                with ThreadPoolExecutor(self.threads, thread_name_prefix="rollouts") as pool:
                    events = list(pool.map(self.buy, parts))
            else:
                events = [self.buy(part) for part in parts]
        finally:
            for count, most in held:
                self.budget.free(count, most)
        for part, event in zip(parts, events, strict=True):
            self.take(part, event)

    def most(self, cells: Sequence[Cell]) -> Usage:
        """Return the most that a call for these cells can cost; nothing where the scorer cannot say."""
        known = getattr(self._scorer, "most", None)
        if known is None or (self.limits.tokens is None and self.limits.money is None):
            return Usage()
        bound: Usage = known(cells)
        return bound

    def set_aside_paid(self) -> None:
        """Set aside what a run that was stopped has paid for and this one has not come to yet: nothing else may take its room."""
        self._aside = {**self._standing, **{event.key: event for event in self.run.events("reflection")}}
        for event in self._aside.values():
            self.budget.set_aside(len(event.payload.get("rollouts", ())), event.cost)

    def set_aside(self, place: str, rollouts: int, most: Usage) -> Usage:
        """Set aside what a call of that key, which was allowed, may cost, or what it has cost already; return that."""
        done = self.run.get(place)
        if done is not None and done.key in self._aside:
            return self._aside.pop(done.key).cost
        most = most if done is None else done.cost
        self.budget.set_aside(rollouts, most)
        return most

    def settle(self, until: str) -> None:
        """Pay for what was bought before event `until` and never taken.

        A run that was stopped may have bought a part of what, when it goes on, is refused as a whole.
        """
        for event in takewhile(lambda one: one.key != until, self.run.events()):
            if event.key in self._standing and event.key not in self._settled:
                count = len(event.payload["rollouts"])
                if self._aside.pop(event.key, None) is not None:
                    self.budget.free(count, event.cost)
                self.budget.pay(count, event.cost)
                self._settled.add(event.key)

    def unpaid(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return those that are neither known nor set aside as paid for, each by a call of its own."""
        fresh = [cell for cell in cells if not self.knows(cell.place)]
        return [cell for cell in fresh if not (self._aside and self.run.has(self.place([cell])))]

    def place(self, cells: Sequence[Cell]) -> str:
        """Return the key of the event that holds the scores of exactly these cells."""
        return f"rollouts/{digest_of([self._identity, [cell.place for cell in cells]])}"

    def buy(self, cells: Sequence[Cell], place: str = "") -> Event:
        """Score cells in one call, and write the event; or return the one that stands. Errors: UserError of the scorer.

        place: the event's key, where the caller has asked for it before.
        """
        place = place or self.place(cells)
        done = self.run.get(place)
        if done is not None:
            return done
        seed, start = self.run.seed_of(place), time.perf_counter()
        rollouts = self._scorer.score(cells, seed)
        if len(cells) > 1 and self.unscored == self.spent and all(one.score.value is None for one in rollouts):
            raise UserError(
                f"none of the first {len(cells)} answers could be scored ({_why(rollouts[0])}): mend that first"
            )
        # What a rollout cost is the event's, and no part of what happened.
        cost = total_of([one.usage for one in rollouts], time.perf_counter() - start)
        bare = _ROLLOUTS.dump_python(rollouts, mode="json", exclude_defaults=True, exclude={"__all__": {"usage"}})
        names = sorted({cell.candidate_key for cell in cells})
        payload = {"candidates": names, "seed": seed, "rollouts": bare}
        return self.run.append(place, "rollouts", payload, cost=cost)

    def take(self, cells: Sequence[Cell], event: Event) -> None:
        """Take the scores of an event into memory, and pay for them."""
        cost, rollouts = event.cost, event.payload["rollouts"]
        before = self._ends[-1] if self._ends else 0
        places = [cell.place for cell in cells]
        values = [given["score"].get("value") for given in rollouts]
        self._values.update(zip(places, values, strict=True))
        self._places.update(zip(places, count(before)))
        for name, _, repeat in places:
            if repeat:
                self._most[name] = max(repeat, self._most.get(name, 0))
        scored = [value for value in values if value is not None]
        self.rewards.update(scored)
        if len(scored) < len(values):
            self._excuse(places, rollouts)
        self._taken.append(event)
        self._ends.append(before + len(cells))
        self._tokens.append(-(-tokens_of(cost) // len(cells)))
        if event.key not in self._settled:
            self.budget.pay(len(cells), cost)
        self._standing.pop(event.key, None)

    def _excuse(self, places: Sequence[CellKey], rollouts: Sequence[Mapping[str, Any]]) -> None:
        """Count the rollouts without a score, and remember why."""
        for place, given in zip(places, rollouts, strict=True):
            if given["score"].get("value") is None:
                self.unscored += 1
                self._whys[place] = _why(Rollout.model_validate(given))

    def pay(self, usage: Usage) -> None:
        """Add what something else cost (a reflection)."""
        self.budget.pay(0, usage)

    def knows(self, place: CellKey) -> bool:
        """Whether a cell was scored (or could not be)."""
        return place in self._values

    def tokens(self, place: CellKey) -> int:
        """Return the tokens that a cell cost: its share of its batch, rounded up."""
        number = self._places.get(place, -1)
        return 0 if number < 0 else self._tokens[bisect_right(self._ends, number)]

    def rollout(self, candidate: str, task: str) -> Rollout:
        """Return the first rollout of a cell that was asked for."""
        number = self._places[candidate, task, 0]
        which = bisect_right(self._ends, number)
        first = self._ends[which - 1] if which else 0
        return Rollout.model_validate(self._taken[which].payload["rollouts"][number - first])

    def value(self, candidate: str, task: str) -> float | None:
        """Return the mean score of a candidate on a task over its repeats; None where it has none."""
        more = self._most.get(candidate)
        if more is None:
            return self._values.get((candidate, task, 0), None)
        scores = (self._values.get((candidate, task, repeat), None) for repeat in range(more + 1))
        values = [score for score in scores if score is not None]
        return fmean(values) if values else None

    def column(self, candidate: str, tasks: Sequence[Keyed]) -> list[float | None]:
        """Return a candidate's scores on the tasks, in their order."""
        return [self.value(candidate, key) for key, _ in tasks]


def total_of(usages: Sequence[Usage], seconds: float) -> Usage:
    """Return the sum of what rollouts cost, with the seconds that they took together."""
    sums = {name: sum(map(attrgetter(name), usages)) for name in _NUMBERS}
    troubled = sum((Usage(troubles=one.troubles) for one in usages if one.troubles), Usage())
    return Usage(**{**sums, "seconds": seconds, "troubles": troubled.troubles})


def _why(rollout: Rollout) -> str:
    """Return why a rollout has no score."""
    return rollout.failure or next(iter(rollout.score.failures), "the rewards were None")
