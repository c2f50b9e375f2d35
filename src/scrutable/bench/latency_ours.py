"""This engine under the latency harness: the same minibatches, acceptances and full validation as the peers, no barriers.

The search is the one that users have (`evolve/engine.py`), in mode throughput, with the reference's gate switched on; its
scorer and its writer sleep. Everything is journaled, as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from threading import Lock

from scrutable.bench.latency import START, Arm, Harness
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task
from scrutable.evolve.drive import Mode
from scrutable.evolve.engine import EvolveConfig, Search
from scrutable.evolve.ledger import Cell
from scrutable.evolve.parts import Sizes, divide
from scrutable.evolve.reflection import Item, Proposal
from scrutable.evolve.showing import show_rollout
from scrutable.evolve.slots import Slots
from scrutable.programs.text import TEXT


def our_arm(ahead: int = 32, mode: Mode = "throughput") -> Arm:
    """Return this engine as an arm, with so many proposals under way at once."""
    return Arm(f"scrutable ({mode}, {ahead} under way)", lambda harness: _run(harness, ahead, mode, whole=True))


def our_racing_arm(ahead: int = 32) -> Arm:
    """Return the same without full validation: what is saved by not scoring every accepted child everywhere."""
    return Arm(
        f"scrutable, no full validation ({ahead} under way)",
        lambda harness: _run(harness, ahead, "throughput", whole=False),
    )


def _run(harness: Harness, ahead: int, mode: Mode, *, whole: bool) -> int:
    config = harness.config
    search = EvolveConfig(
        budget=10_000_000,
        pool=config.validation,
        explore=config.minibatch,
        width=1,
        ahead=ahead,
        mode=mode,
        gate="improves",
        validate_all=whole,
        compose=False,
        proposals=config.proposals,
        patience=config.proposals + 1,
    )
    tasks = [Task.ask(f"task {i}") for i in range(config.validation + len(harness.train))]
    kept = [Task.ask(f"kept {i}") for i in range(4)]
    with Run.temporary({"seed": config.seed}) as run:
        sizes = Sizes(search.pool, search.keep, (search.budget, search.budget))
        parts = divide(tasks, kept, sizes, run)
        named = {key: f"validation {i}" for i, (key, _) in enumerate(parts.pool)}
        named |= {key: f"train {i}" for i, (key, _) in enumerate(parts.shown)}
        writer = _Writer(harness)
        start = Candidate(texts={TEXT: START})
        made = Search(_Sleeper(harness, named), writer, (tasks, kept), run, search, [start], show_rollout)
        made.go(Slots(config.rollout_slots, config.reflection_slots))
        return writer.made


class _Sleeper:
    """A Scorer whose rollouts sleep."""

    identity = "sleeper"

    def __init__(self, harness: Harness, named: Mapping[str, str]) -> None:
        self._harness, self._named = harness, named

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Sleep as long as each rollout takes, one after the other."""
        return [
            Rollout(
                task=cell.key,
                candidate=cell.candidate_key,
                answer="",
                score=Score(value=self._harness.rollout(cell.candidate.texts[TEXT], self._named[cell.key])),
            )
            for cell in cells
        ]


class _Writer:
    """A Proposer that sleeps, and whose texts are accepted or not by the script."""

    items = 3

    def __init__(self, harness: Harness) -> None:
        self._harness, self._numbers, self._lock = harness, count(1), Lock()
        self.made = 0

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Write the text of the next proposal by the script."""
        with self._lock:
            number = next(self._numbers)
            self.made = number
        return Proposal(texts=(self._harness.reflect(texts[TEXT], number),), votes=(1,))
