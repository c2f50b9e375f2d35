"""Adapters of gepa (`gepa.GEPAAdapter`) as they are: what they evaluate is scored here, what they show is what a writer reads.

An adapter is known by its shape: `evaluate(batch, candidate, capture_traces)` and `make_reflective_dataset(candidate,
evaluation, components)`; gepa itself is never imported. `evolve_adapter` searches with one.

What an adapter would show of a rollout is asked for when the rollout is made, one rollout at a time, and is recorded with
it: a trace may be of any type, so it cannot be written down, and a search that was killed must not pay for it again. So an
adapter that draws among many traces, or compares them, sees one. Left out: an adapter's own state (`get_adapter_state`), and
its own count of metric calls: a rollout is one instance under one candidate.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from threading import RLock
from types import SimpleNamespace
from typing import Any, Protocol, cast

from scrutable.core.errors import AdapterFailure, UserError, boundary
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task, digest_of
from scrutable.evolve.adapter_writers import Shown, Writer, writer_for
from scrutable.evolve.engine import EvolveConfig, EvolveResult, search
from scrutable.evolve.instances import Named, Strange, exact, instances_of, plain, task_of, text_of
from scrutable.evolve.ledger import Cell
from scrutable.evolve.reflection import ChatWriter
from scrutable.measure.answers import distinct_tasks


class Adapter(Protocol):
    """What is asked of an adapter: gepa's interface, by its shape. Beside it, `batch_evaluate` and `propose_new_texts`."""

    def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Return an evaluation: `outputs`, `scores`, `trajectories`, one each an instance."""
        ...

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return what to show of an evaluation, records by component."""
        ...


class Instances:
    """An adapter's data as tasks, and each task's instance. Instances of equal content are one task."""

    def __init__(self, named: Named | None = None) -> None:
        self._named = named
        self._held: dict[str, Any] = {}

    def tasks(self, given: Any) -> list[Task]:
        """Take instances in (a list, or a loader); return their tasks. Errors: UserError (see `task_of`)."""
        made = [(task_of(one, self._named), one) for one in instances_of(given)]
        self._held |= {task.key: one for task, one in made}
        return [task for task, _ in made]

    def __getitem__(self, key: str) -> Any:
        return self._held[key]


class AdapterScorer:
    """A `Scorer` that lets an adapter evaluate: cells of one candidate are one batch, and traces are always captured.

    instances: what the tasks stand for. identity: hash or name of what decides the adapter's scores; by default its type and
    those of its members that are plain values or named functions. threads: the adapter may be called by several at once.
    """

    def __init__(
        self, adapter: Adapter, instances: Instances, *, identity: str | None = None, threads: bool = False
    ) -> None:
        self._adapter, self._instances = adapter, instances
        self.identity = digest_of(["adapter", identity or derived_identity(adapter)])
        self._threads, self._lock = threads, RLock()

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Evaluate each cell (see `Scorer`). An adapter takes no seed: it answers the same twice only if it draws nothing.

        A batch that raises is evaluated again, instance by instance, so that one costs its siblings nothing.
        """
        if self._threads:
            return self._score(cells)
        with self._lock:
            return self._score(cells)

    def _score(self, cells: Sequence[Cell]) -> list[Rollout]:
        groups: dict[tuple[str, int], list[int]] = {}
        for row, cell in enumerate(cells):
            groups.setdefault((cell.candidate_key, cell.repeat), []).append(row)
        batches = [[cells[row] for row in rows] for rows in groups.values()]
        found: dict[int, Rollout] = {}
        for rows, rollouts in zip(groups.values(), self._evaluated(batches), strict=True):
            found |= dict(zip(rows, rollouts, strict=True))
        return [found[row] for row in range(len(cells))]

    def _evaluated(self, batches: Sequence[Sequence[Cell]]) -> list[list[Rollout]]:
        """Evaluate batches, each of one candidate: all in one call where the adapter has one for that."""
        together = getattr(self._adapter, "batch_evaluate", None)
        if callable(together) and len(batches) > 1:
            items = [(dict(batch[0].candidate.texts), self._data(batch)) for batch in batches]
            try:
                with boundary(AdapterFailure):
                    given = list(together(items))
                    return [
                        self._rollouts(batch, _checked(one, len(batch)))
                        for batch, one in zip(batches, given, strict=True)
                    ]
            except AdapterFailure:
                pass  # which of them it was, they are asked one by one
        return [self._batch(batch) for batch in batches]

    def _batch(self, cells: Sequence[Cell]) -> list[Rollout]:
        try:
            with boundary(AdapterFailure):
                given = self._adapter.evaluate(self._data(cells), dict(cells[0].candidate.texts), capture_traces=True)
                evaluation = _checked(given, len(cells))
        except AdapterFailure as failure:
            if len(cells) > 1:
                return [one for cell in cells for one in self._batch([cell])]
            return [_bare(cells[0], failure=str(failure))]
        return self._rollouts(cells, evaluation)

    def _data(self, cells: Sequence[Cell]) -> list[Any]:
        return [self._instances[cell.key] for cell in cells]

    def _rollouts(self, cells: Sequence[Cell], evaluation: Any) -> list[Rollout]:
        return [self._rollout(cell, _row(evaluation, row)) for row, cell in enumerate(cells)]

    def _rollout(self, cell: Cell, one: Any) -> Rollout:
        """Return the rollout of an evaluation of one instance."""
        shown, failures = self._shown(cell, one)
        value = _number(one.scores[0])
        if value is None:
            failures.insert(0, str(AdapterFailure(f"a score that is no number: {one.scores[0]!r}")))
        parts = {str(name): _number(part) for name, part in ((one.objective_scores or [{}])[0] or {}).items()}
        score = Score(value=value, feedback=json.dumps(shown), parts=parts, failures=tuple(failures))
        return _bare(cell, answer=text_of(plain(one.outputs[0])), score=score)

    def _shown(self, cell: Cell, one: Any) -> tuple[Shown, list[str]]:
        """Return what the adapter shows of an evaluation, by component, and how that failed."""
        shown: Shown = {}
        failures: list[str] = []
        if not one.trajectories:
            return shown, [str(AdapterFailure("evaluate returned no trajectories, though they were asked for"))]
        texts = cell.candidate.texts
        for component in sorted(texts):
            try:
                with boundary(AdapterFailure):
                    found = self._adapter.make_reflective_dataset(dict(texts), one, [component])
                    records = [plain(dict(record)) for record in found.get(component, ())]
                shown[component] = cast("list[dict[str, Any]]", records)
            except AdapterFailure as failure:
                failures.append(str(failure))
        return shown, failures


def _bare(cell: Cell, answer: str = "", score: Score | None = None, failure: str | None = None) -> Rollout:
    return Rollout(
        task=cell.key,
        candidate=cell.candidate_key,
        answer=answer,
        score=score or Score(),
        repeat=cell.repeat,
        failure=failure,
    )


def _checked(evaluation: Any, count: int) -> Any:
    """Return an evaluation that has one output and score an instance. Errors: ValueError."""
    for name in ("outputs", "scores", "trajectories", "objective_scores"):
        found = getattr(evaluation, name, None)
        if found is None and name in ("trajectories", "objective_scores"):
            continue
        if found is None or len(found) != count:
            told = "no" if found is None else len(found)
            raise ValueError(f"evaluate returned {told} {name} for {count} instances")
    return evaluation


def _row(evaluation: Any, row: int) -> Any:
    """Return an evaluation of one instance, of the same type where that is a dataclass."""
    names = ("outputs", "scores", "trajectories", "objective_scores")
    found = {name: getattr(evaluation, name, None) for name in names}
    one = {name: None if values is None else [values[row]] for name, values in found.items()}
    if dataclasses.is_dataclass(evaluation) and not isinstance(evaluation, type):
        has = {field.name for field in dataclasses.fields(evaluation)}
        return dataclasses.replace(evaluation, **{name: values for name, values in one.items() if name in has})
    return SimpleNamespace(**one)


def _number(value: Any) -> float | None:
    """Return a score as a number; None where it is none (never 0 for that)."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def derived_identity(adapter: Any) -> str:
    """Return a hash of an adapter's type and of its members: plain values as they are, functions and others by name.

    Two adapters that differ in what a function does, or inside a member that is no plain value, look the same: give an
    identity to tell them apart.
    """
    members = {name: _told(value) for name, value in sorted(getattr(adapter, "__dict__", {}).items())}
    return digest_of([_name_of(type(adapter)), members])


def _told(value: Any) -> Any:
    try:
        return exact(value)
    except Strange:
        return _name_of(value if callable(value) and hasattr(value, "__qualname__") else type(value))


def _name_of(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}"


# ------------------------------------------------------------------------------------------------------------- search


@dataclasses.dataclass(frozen=True)
class Handling:
    """What cannot be read off an adapter and its data.

    identity: what decides the adapter's scores (see `derived_identity`). threads: it may be called by several threads at
    once. named: an instance's name, where its content cannot be told.
    """

    identity: str | None = None
    threads: bool = False
    named: Named | None = None


def evolve_adapter(
    adapter: Adapter,
    data: tuple[Any, Any | None],
    run: Run,
    start: Mapping[str, str] | Sequence[Mapping[str, str]],
    writer: Writer | None = None,
    config: EvolveConfig | None = None,
    handling: Handling | None = None,
) -> EvolveResult:
    """Evolve the texts of a system that an adapter of gepa runs: the adapter as it is, the search of `evolve`.

    data: the instances to search on, and those to choose and score on (None: every third of the first, drawn from the run's
    seed). start: the texts to start from, by component. writer: a Proposer, a model, or a function from a prompt to an
    answer, which is asked in English; None: the adapter's own `propose_new_texts`. Events go to `run` under "evolve/".
    Errors: UserError as `evolve`; when data have no stable content; when nobody writes.
    """
    config, handling = config or EvolveConfig(), handling or Handling()
    proposer = writer_for(adapter, writer, config.reflect)
    if config.compose is None:  # the search looks for a chat model, and here it stands behind the adapter
        inner = getattr(proposer, "inner", proposer)
        config = config.model_copy(update={"compose": not isinstance(inner, ChatWriter)})
    instances = Instances(handling.named)
    made = AdapterScorer(adapter, instances, identity=handling.identity, threads=handling.threads)
    texts = [start] if isinstance(start, Mapping) else list(start)
    starts = [Candidate(texts=dict(one)) for one in texts]
    if len({frozenset(one.texts) for one in starts}) > 1:
        raise UserError("the texts to start from name different components: give each of them all")
    return search(made, proposer, _parted(instances, data, run), run.scope("evolve"), config, starts)


def _parted(instances: Instances, data: tuple[Any, Any | None], run: Run) -> tuple[list[Task], list[Task]]:
    """Return the tasks to search on and those to choose on."""
    searched = instances.tasks(data[0])
    if data[1] is not None:
        return searched, instances.tasks(data[1])
    drawn = [task for _, task in distinct_tasks(searched)]
    run.random("evolve/instances").shuffle(drawn)
    return drawn[len(drawn) // 3 :], drawn[: len(drawn) // 3]
