"""gepa under the latency harness: its default loop and its proposal grids, with all that can run at once run at once.

gepa leaves what is parallel to the adapter and to the reflector: `batch_evaluate` gets all rollouts of a stage, and
`reflect_many` all reflections of an iteration. Both are given as many threads as there are slots, which is the best it can
do. Its own time an iteration, without any latency, is measured by `peer_overhead`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from types import SimpleNamespace
from typing import Any

from pydantic import Field

from scrutable.bench.latency import START, Arm, Harness, LatencyConfig
from scrutable.bench.peers import Silent, gepa_module
from scrutable.core.records import Record

TEXT = "text"


def gepa_arm(parents: int = 1, each: int = 1, proposals: int | None = None) -> Arm:
    """Return gepa as an arm: its default (one proposal an iteration), or a grid of `parents` by `each` proposals."""
    name = "gepa default" if parents * each == 1 else f"gepa {parents}x{each}"
    return Arm(name, lambda harness: _run(harness, parents, each), proposals)


def gepa_arms() -> list[Arm]:
    """Return the arms that ours is compared with. The default makes fewer proposals: they are slow, and one like another."""
    return [gepa_arm(proposals=100), gepa_arm(2, 4), gepa_arm(4, 4)]


def _run(harness: Harness, parents: int, each: int) -> int:
    config = harness.config
    with ThreadPoolExecutor(config.rollout_slots) as rolling, ThreadPoolExecutor(config.reflection_slots) as writing:
        writer = _Reflector(harness, writing)
        grid = None
        if parents * each > 1:
            grid = gepa_module("strategies.proposal_sampling").PxNSampling(parents, each)
        gepa_module().optimize(
            seed_candidate={TEXT: START},
            trainset=list(harness.train),
            valset=list(harness.validation),
            adapter=_Sleeper(harness, rolling),
            reflection_strategy=writer,
            reflection_minibatch_size=config.minibatch,
            sampling_strategy=grid,
            stop_callbacks=lambda state: writer.number >= config.proposals,
            logger=Silent(),
            seed=config.seed,
        )
        return writer.number


class _Sleeper:
    """A `gepa.GEPAAdapter` whose rollouts sleep, all of a stage at once."""

    propose_new_texts = None

    def __init__(self, harness: Harness, pool: ThreadPoolExecutor | None) -> None:
        self.spent = (0.0, 0.0)  # seconds in here by the wall and the processor, which are not gepa's own
        self._harness, self._pool = harness, pool
        self._batch: Any = gepa_module("core.adapter").EvaluationBatch

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Evaluate one candidate (gepa's interface)."""
        return self.batch_evaluate([(candidate, batch)])[0]

    def batch_evaluate(self, items: list[tuple[dict[str, str], list[str]]]) -> list[Any]:
        """Evaluate several candidates at once (gepa's interface)."""
        began = (time.perf_counter(), time.process_time())
        cells = [(texts[TEXT], task) for texts, tasks in items for task in tasks]
        if self._pool is None:
            scores = iter([self._harness.score(*cell) for cell in cells])
        else:
            scores = iter(list(self._pool.map(lambda cell: self._harness.rollout(*cell), cells)))
        found = []
        for _, tasks in items:
            own = [next(scores) for _ in tasks]
            found.append(self._batch(outputs=list(tasks), scores=own, trajectories=list(tasks)))
        ended = (time.perf_counter(), time.process_time())
        self.spent = (self.spent[0] + ended[0] - began[0], self.spent[1] + ended[1] - began[1])
        return found

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Return one record a task (gepa's interface)."""
        return {name: [{"Inputs": one} for one in eval_batch.outputs] for name in components_to_update}


class _Reflector:
    """A reflector of gepa's interface that sleeps, all proposals of an iteration at once; numbers them in their order."""

    def __init__(self, harness: Harness, pool: ThreadPoolExecutor | None) -> None:
        self.number = 0
        self._harness, self._pool = harness, pool

    def reflect(self, candidate: Mapping[str, str], dataset: Any, components: Sequence[str]) -> tuple[Any, Any]:
        """Write one proposal (gepa's interface)."""
        return self.reflect_many([(candidate, dataset, components)])[0]

    def reflect_many(self, jobs: Sequence[tuple[Mapping[str, str], Any, Sequence[str]]]) -> list[tuple[Any, Any]]:
        """Write a proposal a job, at once (gepa's interface)."""
        asked = [(job[0][TEXT], self.number + place) for place, job in enumerate(jobs, start=1)]
        self.number += len(jobs)
        if self._pool is None:
            texts = [self._harness.child(*one) for one in asked]
        else:
            texts = list(self._pool.map(lambda one: self._harness.reflect(*one), asked))
        return [
            (SimpleNamespace(new_texts={TEXT: text}, prompts={}, raw_lm_outputs={}, metadata={}), self)
            for text in texts
        ]


# ----------------------------------------------------------------------------------------------------------- overhead


class Overhead(Record):
    """What an engine itself takes, without any latency. Milliseconds an iteration, by how many candidates it holds then."""

    arm: str
    tasks: int
    iteration: dict[int, float] = Field(description="candidates -> median of the 20 iterations up to there")
    cpu: dict[int, float] = Field(description="the same in the processor's time, which other processes do not lengthen")
    saved: bool = Field(description="whether it wrote its state at every iteration, as a run that can resume must")


def peer_overhead(marks: Sequence[int] = (50, 100, 200, 400), *, tasks: int = 300, saved: bool = True) -> Overhead:
    """Measure gepa's own time an iteration at so many candidates: every proposal is accepted, every rollout is at once.

    Scores on validation are coins, so that no candidate is better than all others. Time in the adapter is not counted. At
    300 tasks and 400 candidates it takes minutes, since each iteration takes longer than the one before.
    """
    harness = Harness(LatencyConfig(accepted=1.0, validation=tasks, proposals=max(marks)))
    adapter, writer = _Sleeper(harness, None), _Reflector(harness, None)
    watch = _Clock(adapter)
    with tempfile.TemporaryDirectory(prefix="scrutable-") as folder:
        gepa_module().optimize(
            seed_candidate={TEXT: START},
            trainset=list(harness.train),
            valset=list(harness.validation),
            adapter=adapter,
            reflection_strategy=writer,
            stop_callbacks=lambda state: len(state.program_candidates) >= max(marks) + 1,
            logger=Silent(),
            run_dir=folder if saved else None,
            callbacks=[watch],
        )
    wall, cpu = ({mark: 1000 * median(took[max(0, mark - 20) : mark]) for mark in marks} for took in watch.took)
    return Overhead(arm="gepa default", tasks=tasks, iteration=wall, cpu=cpu, saved=saved)


class _Clock:
    """Listens for the beginnings of iterations; keeps what each took, by both clocks, without what the adapter took."""

    def __init__(self, adapter: _Sleeper) -> None:
        self.took: tuple[list[float], list[float]] = ([], [])
        self._adapter = adapter
        self._last: tuple[float, float] | None = None

    def on_iteration_start(self, event: Mapping[str, Any]) -> None:
        """Take the time since the last beginning."""
        own = self._adapter.spent
        now = (time.perf_counter() - own[0], time.process_time() - own[1])
        if self._last is not None:
            for took, here, before in zip(self.took, now, self._last, strict=True):
                took.append(here - before)
        self._last = now
