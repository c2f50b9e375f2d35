"""Peers: gepa's own engine on our environments, models and programs, with our writer, at a matched budget of rollouts.

Everything but the engine is shared: the tasks of the same splits, the same model and sampling, and the same writer, which
stands behind gepa's interface for proposers (it takes one text, so the most voted one). gepa (an optional extra) is imported
when an arm runs. Its budget is looked at between iterations, so it may exceed it: what it found later is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from scrutable.bench.anytime import Step, Trace
from scrutable.core import draws
from scrutable.core.config import Config
from scrutable.core.errors import ProposerFailure, UserError, boundary
from scrutable.core.records import Candidate, Rollout, Sampling, Task
from scrutable.envs.base import Environment
from scrutable.evolve.adapter_writers import FEEDBACK, INPUTS, OUTPUTS
from scrutable.evolve.ledger import Cell, Keyed
from scrutable.evolve.reflection import Item, Proposer
from scrutable.evolve.scorers import RewardScorer
from scrutable.measure.answers import distinct_tasks
from scrutable.models.base import Model
from scrutable.programs.base import Program

MADE_FOR = "0.1.4"


class PeerConfig(Config):
    """How gepa is run. What is not said here is its default."""

    parents: int = Field(default=1, ge=1, description="parents of an iteration")
    each: int = Field(default=1, ge=1, description="proposals from each parent; 1 and 1 is its default")
    minibatch: int = Field(default=3, ge=1, description="tasks shown to the writer, on which a child must do better")
    validation: int = Field(
        default=32, ge=1, description="keep tasks on which every accepted candidate is scored; it has no default"
    )
    perfect: float | None = Field(
        default=1.0, description="a minibatch with this score on every task is not reflected on; None: all are"
    )
    merge: bool = Field(default=False, description="let it merge candidates of several components")

    @property
    def name(self) -> str:
        """What the arm is called."""
        default = (self.parents, self.each, self.minibatch) == (1, 1, 3)
        return "gepa default" if default else f"gepa {self.parents}x{self.each}"


@dataclass(frozen=True)
class Subject:
    """What an engine is run on: everything that all arms share."""

    env: Environment
    model: Model
    program: Program
    sampling: Sampling
    writer: Proposer

    @property
    def scorer(self) -> RewardScorer:
        """The score of a candidate on a task: a rollout."""
        return RewardScorer(self.env, self.model, self.program, self.sampling)


def gepa_module(name: str = "") -> Any:
    """Import gepa, or a module of it. Errors: UserError where it is not installed."""
    from importlib import import_module

    try:
        return import_module(f"gepa.{name}" if name else "gepa")
    except ImportError as error:
        raise UserError("this arm needs gepa: install it with `pip install 'scrutable[gepa]'`") from error


def run_gepa(
    subject: Subject, budget: int, seed: int, config: PeerConfig | None = None, start: Mapping[str, str] | None = None
) -> Trace:
    """Let gepa search until `budget` rollouts are made; return what it would have returned at any time.

    start: the texts it starts from (empty ones). Nothing is written to disk, printed, or sent.
    Errors: UserError where gepa is not installed, of the environment and the model; RuntimeError where gepa's account of its
    rollouts is not ours.
    """
    config, gepa = config or PeerConfig(), gepa_module()
    texts = dict(start) if start is not None else dict.fromkeys(subject.program.modules, "")
    adapter, watch = _Adapter(subject.scorer, seed), _Watch(texts)
    writing = _Writing(subject.writer, seed)
    grid = None
    if (config.parents, config.each) != (1, 1):
        grid = gepa_module("strategies.proposal_sampling").PxNSampling(config.parents, config.each)
    found = gepa.optimize(
        seed_candidate=texts,
        trainset=distinct_tasks(subject.env.tasks("search")),
        valset=validation_tasks(subject.env, config.validation, seed),
        adapter=adapter,
        custom_candidate_proposer=writing,
        reflection_minibatch_size=config.minibatch,
        skip_perfect_score=config.perfect is not None,
        perfect_score=config.perfect,
        sampling_strategy=grid,
        use_merge=config.merge,
        max_metric_calls=budget,
        logger=Silent(),
        callbacks=[watch],
        seed=seed,
    )
    if adapter.rollouts != found.total_metric_calls or watch.steps[-1].texts != found.best_candidate:
        raise RuntimeError(
            f"gepa tells of {found.total_metric_calls} rollouts and we made {adapter.rollouts}: this is made for {MADE_FOR}"
        )
    return Trace(
        arm=config.name,
        steps=tuple(watch.steps),
        rollouts=adapter.rollouts,
        reflections=writing.calls,
        accepted=len(found.candidates) - 1,
    )


def validation_tasks(env: Environment, count: int, seed: int) -> list[Keyed]:
    """Return so many tasks of the keep split, drawn by the seed and the tasks' content."""
    kept = distinct_tasks(env.tasks("keep"))
    draws.random(seed, "peer/validation").shuffle(kept)
    return kept[:count]


class Silent:
    """A logger that says nothing."""

    def log(self, message: str) -> None:
        """Say nothing."""


class _Watch:
    """Listens to gepa's events: which candidate is the best on validation, after how many rollouts by gepa's count.

    gepa swallows what a listener raises, so nothing is concluded here: `run_gepa` checks what came of it.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.steps = [Step(rollouts=0, texts=dict(texts))]
        self._spent = 0

    def on_budget_updated(self, event: Mapping[str, Any]) -> None:
        """Take the count: it is told before the candidate that it was spent on."""
        self._spent = int(event["metric_calls_used"])

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """Take a candidate that is the best from now on. Of the start's own validation no count is told."""
        spent = self._spent or int(event["num_examples_evaluated"])
        if event["is_best_program"] and event["candidate"] != self.steps[-1].texts:
            self.steps.append(Step(rollouts=spent, texts=dict(event["candidate"]), score=float(event["average_score"])))


class _Adapter:
    """A `gepa.GEPAAdapter` over our rollouts. An instance is a task with its key.

    What could not be scored counts as 0 there, since gepa knows no missing score. Each evaluation draws anew.
    """

    propose_new_texts = None

    def __init__(self, scorer: RewardScorer, seed: int) -> None:
        self.rollouts = 0
        self._scorer, self._seed, self._calls = scorer, seed, 0
        self._batch: Any = gepa_module("core.adapter").EvaluationBatch

    def evaluate(self, batch: list[Keyed], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Evaluate one candidate (gepa's interface)."""
        return self.batch_evaluate([(candidate, batch)])[0]

    def batch_evaluate(self, items: list[tuple[dict[str, str], list[Keyed]]]) -> list[Any]:
        """Evaluate several candidates, each on its own tasks, in one batch of the model (gepa's interface)."""
        made = [Candidate(texts=dict(texts)) for texts, _ in items]
        cells = [
            Cell(one, one.key, key, task) for one, (_, tasks) in zip(made, items, strict=True) for key, task in tasks
        ]
        self._calls += 1
        rollouts = self._scorer.score(cells, draws.seed_of(self._seed, f"peer/rollouts/{self._calls}"))
        self.rollouts += len(cells)
        found, place = [], 0
        for _, tasks in items:
            part = [(cell.task, one) for cell, one in zip(cells, rollouts, strict=True)][place : place + len(tasks)]
            place += len(tasks)
            found.append(self._evaluation(part))
        return found

    def _evaluation(self, part: Sequence[tuple[Task, Rollout]]) -> Any:
        return self._batch(
            outputs=[one.answer for _, one in part],
            scores=[one.score.value if one.score.value is not None else 0.0 for _, one in part],
            trajectories=list(part),
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Return what our own writer is shown in our own search: prompt, answer, the rater's words, the score."""
        records = [
            {INPUTS: task.prompt, OUTPUTS: one.answer, FEEDBACK: one.score.feedback, "score": one.score.value}
            for task, one in eval_batch.trajectories
        ]
        return dict.fromkeys(components_to_update, records)


class _Writing:
    """Our writer behind gepa's interface for proposers: of its texts the most voted one; none where it wrote none."""

    def __init__(self, writer: Proposer, seed: int) -> None:
        self.calls = 0
        self._writer, self._seed = writer, seed

    def __call__(
        self, candidate: dict[str, str], reflective_dataset: Mapping[str, Any], components_to_update: list[str]
    ) -> dict[str, str]:
        """Write each component anew (gepa's interface)."""
        found = {}
        for name in components_to_update:
            items = [
                Item(prompt=one[INPUTS], answer=one[OUTPUTS], score=one["score"], feedback=one[FEEDBACK])
                for one in reflective_dataset[name]
            ]
            self.calls += 1
            seed = draws.seed_of(self._seed, f"peer/reflection/{self.calls}")
            try:
                with boundary(ProposerFailure):  # gepa would ask again for all of an iteration
                    texts = self._writer.propose(candidate, name, items, seed).texts
            except ProposerFailure:
                texts = ()
            if texts:
                found[name] = texts[0]
        return found
