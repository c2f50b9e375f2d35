"""The ledger: every score that a search has paid for, and what is left to pay with.

A score is bought once: what is asked for is looked up by content (texts, task, repeat; model and sampling are the scorer's
identity), and only what is owed goes to the scorer, many candidates in one batch. A batch is one "rollouts" event, written
before anything uses it, so a killed search pays for nothing twice. The budget of rollouts is hard: a request that does not
fit is refused whole, before anything is spent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from statistics import fmean
from typing import Any, Protocol, runtime_checkable

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Task, Usage, digest_of
from scrutable.measure.answers import chunks

Keyed = tuple[str, Task]
"""A task with its key."""


@dataclass(frozen=True)
class Cell:
    """One thing to score: a candidate on a task, for the `repeat`-th time. `candidate_key` and `key` are the two's keys."""

    candidate: Candidate
    candidate_key: str
    key: str
    task: Task
    repeat: int = 0


@runtime_checkable
class Scorer(Protocol):
    """What a search maximises."""

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


class Exhausted(Exception):
    """The budget does not allow what was asked for; says which budget."""


@dataclass(frozen=True)
class Limits:
    """What may be spent. Rollouts are hard; tokens and seconds are looked at between batches.

    reserved: rollouts beyond these that are kept back for later, to be told where these do not suffice.
    """

    rollouts: int
    tokens: int | None = None
    seconds: float | None = None
    reserved: int = 0


class Ledger:
    """Asks the scorer for what is owed, remembers all that was scored, and refuses what is over the limits."""

    def __init__(self, run: Run, scorer: Scorer, limits: Limits, *, batch: int = 256, repeats: int = 1) -> None:
        self.run = run
        self.limits = limits
        self.repeats = repeats
        self.spent = 0
        self.unscored = 0
        self.why = ""  # the first of these has no score
        self.usage = Usage()
        self._scorer, self._identity = scorer, scorer.identity
        self._batch = batch
        self._cells: dict[tuple[str, str], list[Rollout]] = {}

    @property
    def left(self) -> int:
        """Rollouts that may still be bought."""
        return self.limits.rollouts - self.spent

    def owed(self, candidates: Sequence[Candidate], tasks: Sequence[Keyed]) -> list[Cell]:
        """Return the cells of these candidates on these tasks that are not scored yet, each once."""
        found: dict[tuple[str, str, int], Cell] = {}
        for candidate in candidates:
            name = candidate.key
            for key, task in tasks:
                for repeat in range(len(self._cells.get((name, key), ())), self.repeats):
                    found[name, key, repeat] = Cell(candidate, name, key, task, repeat)
        return list(found.values())

    def ask(self, candidates: Sequence[Candidate], tasks: Sequence[Keyed]) -> None:
        """Make sure that each candidate is scored on each task.

        Errors: Exhausted when that does not fit the limits (then nothing is spent on it, or, for tokens and seconds,
        what was spent is kept); UserError of the scorer, and when of a first batch nothing can be scored (it is not
        written down: what is wrong can be mended outside).
        """
        owed = self.owed(candidates, tasks)
        if len(owed) > self.left:
            kept = f" ({self.limits.reserved} more are reserved for the end)" if self.limits.reserved else ""
            most = self.limits.rollouts
            raise Exhausted(f"the next {len(owed)} rollouts do not fit: of {most}, {self.spent} are spent{kept}")
        for part in chunks(owed, self._batch):
            self._within_limits()
            place = f"rollouts/{digest_of([self._identity, [[c.candidate_key, c.key, c.repeat] for c in part]])}"
            event = self.run.once(place, "rollouts", partial(self._scored, part, self.run.seed_of(place)))
            self.pay(event.cost)
            self.spent += len(part)
            for cell, given in zip(part, event.payload["rollouts"], strict=True):
                self._remember(cell, Rollout.model_validate(given))

    def _remember(self, cell: Cell, rollout: Rollout) -> None:
        self._cells.setdefault((cell.candidate_key, cell.key), []).append(rollout)
        if rollout.score.value is None:
            self.unscored += 1
            self.why = self.why or _why(rollout)

    def pay(self, usage: Usage) -> None:
        """Add what something else cost (a reflection)."""
        self.usage += usage

    def rollout(self, candidate: str, task: str) -> Rollout:
        """Return the first rollout of a cell that was asked for."""
        return self._cells[candidate, task][0]

    def value(self, candidate: str, task: str) -> float | None:
        """Return the mean score of a candidate on a task over its repeats; None where it has none."""
        values = [r.score.value for r in self._cells.get((candidate, task), ()) if r.score.value is not None]
        return fmean(values) if values else None

    @property
    def rewards(self) -> set[float]:
        """All different scores that were given so far."""
        scores = (one.score.value for cell in self._cells.values() for one in cell)
        return {score for score in scores if score is not None}

    def column(self, candidate: str, tasks: Sequence[Keyed]) -> list[float | None]:
        """Return a candidate's scores on the tasks, in their order."""
        return [self.value(candidate, key) for key, _ in tasks]

    def _within_limits(self) -> None:
        tokens = self.usage.prompt_tokens + self.usage.answer_tokens
        if self.limits.tokens is not None and tokens >= self.limits.tokens:
            raise Exhausted(f"the budget of {self.limits.tokens} tokens is spent")
        if self.limits.seconds is not None and self.usage.seconds >= self.limits.seconds:
            raise Exhausted(f"the budget of {self.limits.seconds:g} seconds is spent")

    def _scored(self, part: Sequence[Cell], seed: int) -> tuple[dict[str, Any], Usage]:
        """Score one batch; return the event's payload and cost. What a rollout cost is the event's, and no part of it."""
        start = time.perf_counter()
        rollouts = self._scorer.score(part, seed)
        if len(part) > 1 and self.unscored == self.spent and all(one.score.value is None for one in rollouts):
            raise UserError(
                f"none of the first {len(part)} answers could be scored ({_why(rollouts[0])}): mend that first"
            )
        cost = reduce(add, (one.usage for one in rollouts), Usage())
        cost = cost.model_copy(update={"seconds": time.perf_counter() - start})
        bare = [
            one.model_copy(update={"usage": Usage()}).model_dump(mode="json", exclude_defaults=True) for one in rollouts
        ]
        return {"candidates": sorted({cell.candidate_key for cell in part}), "seed": seed, "rollouts": bare}, cost


def _why(rollout: Rollout) -> str:
    """Return why a rollout has no score."""
    return rollout.failure or next(iter(rollout.score.failures), "the rewards were None")
