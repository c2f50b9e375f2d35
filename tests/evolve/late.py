"""The toy world behind a slow server: calls take times that nobody can foretell, and everything that was paid is counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from tests.evolve.toy import Guesser, ToyEnv, ToyModel, rule

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Sampling, Usage
from scrutable.evolve.engine import EvolveConfig, EvolveResult, search
from scrutable.evolve.ledger import Cell, CellKey
from scrutable.evolve.reflection import Item, Proposal
from scrutable.evolve.scorers import RewardScorer
from scrutable.evolve.slots import Slots
from scrutable.programs.text import SingleText

TWO = f"{rule('sun', 'yes')} {rule('rain', 'no')}"
ANSWER = 12
"""Most tokens of an answer; what one takes is drawn by its seed."""


class Latency:
    """Waits for a drawn time; of any thread."""

    def __init__(self, seed: int, mean: float) -> None:
        self._draws, self._mean, self._lock = Random(seed), mean, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            wait = self._draws.expovariate(1 / self._mean) if self._mean else 0.0
        if wait:
            time.sleep(wait)


class LateScorer:
    """The toy's reward after a while. paid: how often each cell was scored; fails: raises UserError at that call, once."""

    identity = "late"

    def __init__(self, latency: Latency, noise: float = 0.05, fails: int | None = None) -> None:
        self._inner = RewardScorer(ToyEnv(TWO), ToyModel(noise), SingleText(), Sampling(max_tokens=ANSWER))
        self._latency, self._lock = latency, threading.Lock()
        self.paid: Counter[CellKey] = Counter()
        self.calls, self.fails = 0, fails
        self.together, self.most_together = 0, 0

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        with self._lock:
            self.calls += 1
            failing = self.calls == self.fails
            self.together += 1
            self.most_together = max(self.most_together, self.together)
        self._latency()
        try:
            if failing:
                raise UserError("the server is gone")
            found = self._inner.score(cells, seed)
            tokens = Random(seed).randint(1, ANSWER)
            cost = [Usage(generations=1, prompt_tokens=self._prompt(one), answer_tokens=tokens) for one in cells]
            with self._lock:
                self.paid.update(cell.place for cell in cells)
            return [one.model_copy(update={"usage": usage}) for one, usage in zip(found, cost, strict=True)]
        finally:
            with self._lock:
                self.together -= 1

    @staticmethod
    def _prompt(cell: Cell) -> int:
        return 6 + sum(len(text.split()) for text in cell.candidate.texts.values())


class BoundedScorer(LateScorer):
    """One that knows the most that a call takes."""

    def most(self, cells: Sequence[Cell]) -> Usage:
        return Usage(prompt_tokens=sum(map(self._prompt, cells)), answer_tokens=ANSWER * len(cells))


class LateWriter(Guesser):
    """The toy's writer after a while; raises at every so many-th call. most: of a reflection."""

    most = Usage(answer_tokens=60)

    def __init__(self, latency: Latency, raises: int = 0) -> None:
        super().__init__()
        self._latency, self._raises = latency, raises
        self.asked: list[tuple[str, tuple[str, ...], Proposal]] = []

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        self._latency()
        if self._raises and seed % self._raises == 0:
            raise RuntimeError("no idea")
        made = super().propose(texts, module, items, seed)
        self.asked.append((texts[module], tuple(item.prompt for item in items), made))
        return made


SMALL: dict[str, Any] = {"pool": 32, "keep": 16, "patience": 6, "explore": 6, "width": 6, "budget": 400}


def searched(
    run: Run,
    *,
    latency: int = 0,
    mean: float = 0.0005,
    slots: int = 8,
    scorer: LateScorer | None = None,
    writer: Guesser | None = None,
    starts: Sequence[str] = ("",),
    **config: Any,
) -> tuple[EvolveResult, LateScorer]:
    """Search the toy world with threads; return the result and the scorer that was paid."""
    settings = EvolveConfig(**{**SMALL, **config})
    scorer = scorer or LateScorer(Latency(latency, mean))
    writer = writer or LateWriter(Latency(latency + 1, 4 * mean))
    tasks = ToyEnv(TWO).tasks("search"), ToyEnv(TWO).tasks("keep")
    found = search(
        scorer,
        writer,
        tasks,
        run,
        settings,
        [Candidate(texts={"text": text}) for text in starts],
        slots=Slots(slots, max(2, settings.under_way(inline=False))),
    )
    return found, scorer


def journaled(run: Run) -> Counter[CellKey]:
    """Return how often each cell stands in the journal."""
    return Counter(
        (one["candidate"], one["task"], one.get("repeat", 0))
        for event in run.events("rollouts")
        for one in event.payload["rollouts"]
    )
