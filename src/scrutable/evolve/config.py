"""What a search is told, and what it comes to: the config of `evolve`, and its result."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from scrutable.core.accounts import Interval
from scrutable.core.config import Config, anywhere
from scrutable.core.records import Candidate, Record, Usage
from scrutable.evolve.drive import Mode
from scrutable.evolve.finish import Worth
from scrutable.evolve.reflection import ReflectConfig

_AHEAD = 4  # of a served model: so many wait for it at once that its slots stay in use
SEED_ALONE = "budgets of seconds and money depend on more than the seed: use mode throughput for them"


class EvolveConfig(Config):
    """How a text is evolved. The seed is the run's."""

    budget: int = Field(default=6000, ge=100, description="rollouts that may be paid for in all; never exceeded")
    reserve: float = Field(default=0.2, gt=0, lt=1, description="share of the budget kept back for the end")
    tokens: int | None = Field(
        default=None, ge=1, description="tokens (read and written) that may be taken in all; never exceeded"
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        description="seconds of models at work, summed over calls, after which nothing is begun; needs mode throughput",
    )
    money: float | None = Field(
        default=None,
        gt=0,
        description="US dollars that it may cost in all, by the served prices; needs mode throughput",
    )
    mode: Mode = Field(
        default="deterministic",
        description="deterministic: the seed alone decides the result; throughput: what ends first is used first",
    )
    ahead: int | None = Field(
        default=None,
        ge=1,
        description="proposals under way at once; None: 4 of a served model, 1 of a local one, whose batches more would fill",
    )
    proposals: int = Field(default=200, ge=0, description="most proposals")
    patience: int = Field(default=16, ge=1, description="stop after this many proposals without a better text")
    target: float | None = Field(
        default=None, description="stop when the best text's mean over the tasks it was scored on reaches this"
    )
    pool: int = Field(default=108, ge=2, description="search tasks that texts are tried on")
    keep: int = Field(
        default=96, ge=1, description="keep tasks for choosing and pruning, and as many for the final score"
    )
    explore: int = Field(default=12, ge=1, description="answers of its parent that a proposal may show to the writer")
    contrasts: int = Field(
        default=28, ge=0, description="other candidates' answers to those tasks that a proposal may show beside them"
    )
    width: int = Field(default=6, ge=1, description="most children that a proposal screens")
    screen: int = Field(default=2, ge=1, description="shown tasks that children are screened on at a time")
    look: int = Field(default=4, ge=1, description="tasks between two looks of the test")
    tested: int = Field(default=1, ge=1, description="children of a proposal that are tested, the best of the screened")
    finalists: int = Field(default=3, ge=1, description="candidates compared at the end")
    compose: bool | None = Field(
        default=None,
        description="also try single sentences of what was written, and merges; None: unless a chat model writes",
    )
    gate: Literal["test", "improves"] = Field(
        default="test",
        description="test: a child must be shown to be better on fresh tasks; improves: its sum on what was shown is higher",
    )
    validate_all: bool = Field(default=False, description="score each accepted child on the whole pool")
    false_accept: float = Field(
        default=0.1, gt=0, lt=1, description="chance that a child no better than its parent passes the test"
    )
    false_reject: float = Field(
        default=0.35,
        gt=0,
        lt=1,
        description="chance that a child better by `effect` is given up before the pool is used up",
    )
    effect: float = Field(default=0.1, gt=0, lt=1, description="gain worth finding, as a share of the scores' range")
    bound: float | None = Field(
        default=None,
        gt=0,
        description="largest difference expected of two scores on one task; None: the range of accepted texts' scores",
    )
    least: float = Field(default=0.0, ge=0, description="a sentence of the best text stays only if it is worth more")
    temperature: float = Field(default=1.0, ge=0, description="temperature at which tasks are answered")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    repeats: int = Field(default=1, ge=1, description="answers to each task, whose scores are averaged")
    batch: int = Field(default=256, ge=1, description="rollouts that a local model makes at once")
    slots: int = anywhere(32, "rollouts of a served model under way at once", ge=1)
    reflect: ReflectConfig = Field(default_factory=ReflectConfig, description="how texts are asked for")

    def under_way(self, *, inline: bool) -> int:
        """Return how many proposals are under way at once. inline: calls are made one after the other, so none is waited for."""
        return self.ahead or (1 if inline else _AHEAD)

    @model_validator(mode="after")
    def _seed_alone(self) -> Self:
        if self.mode == "deterministic" and (self.seconds is not None or self.money is not None):
            raise ValueError(SEED_ALONE)
        return self


class EvolveResult(Record):
    """What a search came to. Scores are on keep tasks that decided nothing; None where none could be scored."""

    best: Candidate
    score: Interval | None = Field(description="of the best text")
    base: Interval | None = Field(description="of the first text it started from")
    gain: Interval | None = Field(description="of the best over the first, task by task")
    worth: tuple[Worth, ...] = Field(default=(), description="what each sentence of the best is worth")
    candidates: tuple[Candidate, ...] = Field(description="the starts, all that were accepted, and the best")
    rollouts: int = Field(description="paid for; failed ones count")
    unscored: int = Field(default=0, description="rollouts without a score: the model, or a reward, failed there")
    reflections: int
    failures: int = Field(description="answers of the writer that were no usable text, and reflections that failed")
    stopped: str = Field(description="why the search ended")
    notes: tuple[str, ...] = ()
    usage: Usage = Field(default_factory=Usage)
