"""Overhead: what the engine itself costs an iteration, with a scorer and a writer that take no time.

Every proposal is accepted and scored on the whole pool, the most that the engine can have to do: so after `proposals` of them
there are as many candidates. Scores on the pool are coins, so that no candidate is better than all others. Time is that of
the processor, so that others at work on the machine do not count. Rollouts are journaled as ever; what they cost is told
apart by a stated price each. What the scorer takes to make its records is counted too, and told: Python's collector mostly
runs there, and walks over what the engine holds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import count

import numpy as np
from pydantic import Field

from scrutable.core import draws
from scrutable.core.config import Config
from scrutable.core.journal import Event, Run
from scrutable.core.records import Candidate, Record, Rollout, Score, Task
from scrutable.evolve.engine import EvolveConfig, Search
from scrutable.evolve.ledger import Cell
from scrutable.evolve.parts import Sizes, divide
from scrutable.evolve.reflection import Item, Proposal
from scrutable.evolve.showing import show_rollout
from scrutable.evolve.slots import Slots
from scrutable.programs.text import TEXT

JOURNALED = 50e-6
"""Seconds that a rollout may take to be written down and taken in."""


class OverheadConfig(Config):
    """How large the search is."""

    tasks: int = Field(default=300, ge=10, description="tasks of the pool")
    proposals: int = Field(default=1000, ge=200, description="proposals, each accepted")
    seed: int = Field(default=0, description="seed of scores")


class Overhead(Record):
    """What it came to. Seconds of the processor."""

    iterations: int
    rollouts: int
    per_iteration: float = Field(description="an iteration, without what its rollouts may take to be journaled")
    per_rollout: float = Field(description="a rollout made, journaled and taken in: by regression over iterations")
    whole: float = Field(description="an iteration with everything")
    last_to_first: float = Field(description="the last hundred iterations over the first hundred, with everything")
    scorer: float = Field(description="what of an iteration the scorer took")


def overhead(config: OverheadConfig) -> Overhead:
    """Run the search and measure it; half a minute to two."""
    knobs = EvolveConfig(
        budget=10_000_000,
        pool=config.tasks,
        explore=3,
        width=1,
        ahead=1,
        gate="improves",
        validate_all=True,
        compose=False,
        proposals=config.proposals,
        patience=config.proposals + 1,
    )
    tasks = [Task.ask(f"task {i}") for i in range(2 * config.tasks)]
    kept = [Task.ask(f"kept {i}") for i in range(4)]
    clocks, bought = list[float](), list[int]()
    with Run.temporary({"seed": config.seed}) as run:
        spent = count_rollouts(run)

        def look(event: Event) -> None:
            if event.kind == "proposal":
                clocks.append(time.process_time())
                bought.append(spent[0])

        run.subscribe(look)
        sizes = Sizes(knobs.pool, knobs.keep, (knobs.budget, knobs.budget))
        pool = {key for key, _ in divide(tasks, kept, sizes, run).pool}
        scorer = _Free(config.seed, pool)
        search = Search(scorer, _Next(), (tasks, kept), run, knobs, [_START], show_rollout)
        scorer.spent = 0.0
        clocks.append(time.process_time())
        bought.append(spent[0])
        search.go(Slots())
    return _told(np.diff(clocks), np.diff(bought), scorer.spent)


def count_rollouts(run: Run) -> list[int]:
    """Return a list whose one member is kept at the number of rollouts that the run holds."""
    spent = [0]

    def look(event: Event) -> None:
        if event.kind == "rollouts":
            spent[0] += len(event.payload["rollouts"])

    run.subscribe(look)
    return spent


def _told(seconds: np.ndarray, rollouts: np.ndarray, scorer: float) -> Overhead:
    design = np.stack([np.ones(seconds.size), rollouts.astype(np.float64)], axis=1)
    slope = float(np.linalg.lstsq(design, seconds, rcond=None)[0][1]) if np.ptp(rollouts) else float("nan")
    return Overhead(
        iterations=seconds.size,
        rollouts=int(rollouts.sum()),
        per_iteration=float((seconds - JOURNALED * rollouts).mean()),
        per_rollout=slope,
        whole=float(seconds.mean()),
        last_to_first=float(seconds[-100:].mean() / seconds[:100].mean()),
        scorer=scorer / seconds.size,
    )


_START = Candidate(texts={TEXT: "0"})


class _Free:
    """A Scorer that takes little time of its own: coins on the pool, elsewhere the text's number.

    spent: seconds of the processor that it took.
    """

    identity = "free"

    def __init__(self, seed: int, pool: set[str]) -> None:
        self._seed, self._pool = seed, pool
        self.spent = 0.0

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Score each cell."""
        start = time.process_time()
        drawn = draws.rng(self._seed, f"free/{seed}").integers(2, size=len(cells)).tolist()
        made = [
            Rollout(
                task=cell.key,
                candidate=cell.candidate_key,
                answer="an answer of some words",
                score=Score(
                    value=coin if cell.key in self._pool else float(cell.candidate.texts[TEXT]), feedback="good ."
                ),
            )
            for cell, coin in zip(cells, drawn, strict=True)
        ]
        self.spent += time.process_time() - start
        return made


class _Next:
    """A Proposer whose every text is better than all before."""

    items = 3

    def __init__(self) -> None:
        self._numbers = count(1)

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Write the next text."""
        return Proposal(texts=(str(2 * next(self._numbers)),), votes=(1,))
