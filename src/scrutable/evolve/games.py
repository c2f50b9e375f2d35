"""Games: what a text is worth, in up to three currencies, measured on the same tasks.

`proxy` and `true` are the rewards of the same answers (the true one only where the environment knows it); `kl` is closeness to
a tuned model, minus KL(tuned || model + text) in nats an answer, where there is one. Every score is bought from a ledger, so
it is paid once, a killed run goes on, and the budget of rollouts is hard; closeness generates nothing and has a ledger of
its own with the same limit. One answer a text and task: where there are answers to spend, more tasks tell more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Sampling, Usage, digest_of
from scrutable.core.stats import Array, bootstrap_mean, score_interval
from scrutable.envs.base import Environment
from scrutable.evolve.ledger import Keyed, Ledger, Limits
from scrutable.evolve.scorers import ClosenessScorer, RewardScorer
from scrutable.evolve.sentences import sentences
from scrutable.measure.answers import answers_of, distinct_tasks
from scrutable.measure.change import Change
from scrutable.measure.tab import Tab
from scrutable.models.base import Model
from scrutable.programs.base import Program
from scrutable.programs.text import TEXT, SingleText

Game = Literal["proxy", "true", "kl"]
GAMES: tuple[Game, ...] = ("proxy", "true", "kl")


@dataclass(frozen=True)
class Subject:
    """What texts are tried on: an environment, a model, and how it is given them; a change, whose before is the model."""

    env: Environment
    model: Model
    program: Program = field(default_factory=SingleText)
    change: Change | None = None

    def check(self) -> None:
        """Refuse what cannot be measured. Errors: UserError."""
        check_rewarded(self.env)
        if self.change is not None:
            self.change.check()
            if self.program.modules != (TEXT,):
                raise UserError("closeness to a tuned model is measured of a single text: leave the tuned model out")

    def identity(self, config: Config, texts: Mapping[str, str]) -> list[str]:
        """What decides all that is measured of some texts: told in the run, so that it is not gone on with by mistake."""
        change = self.change.identity if self.change else ""
        asked = [self.env.identity, self.model.identity, self.program.identity, change]
        return [digest_of(asked), config.digest(), digest_of(dict(texts))]


def check_rewarded(env: Environment) -> None:
    """Refuse an environment without a reward. Errors: UserError."""
    if not env.rewarded:
        raise UserError(f"{env.name} has no reward, so no sentence can be worth any: add a reward function")


def begin(run: Run, name: str, text: Candidate, identity: Sequence[str]) -> None:
    """Write down what is measured. Errors: UserError when the text has no sentence, or the run holds something else."""
    if not any(sentences(one) for one in text.texts.values()):
        raise UserError(f"the text has no sentence: give one to {name}")
    says = "trying the text without its sentences"
    begun = run.get("stage")
    if begun is not None and begun.payload["measured"] != list(identity):
        raise UserError(
            f"{run.path} holds another measurement (another environment, text, model or config): choose another run folder"
        )
    payload = {"name": name, "says": says, "seconds_expected": None, "total": None, "measured": list(identity)}
    run.append("stage", "stage", payload)


@dataclass(frozen=True)
class Spending:
    """What may be spent, and how answers are drawn."""

    budget: int
    batch: int = 256
    temperature: float = 1.0
    max_tokens: int = 64


class Games:
    """Texts tried on tasks. `tasks`: all that will be asked for; the tuned model answers them first, where there is one."""

    def __init__(self, subject: Subject, run: Run, spending: Spending, tasks: Sequence[Keyed]) -> None:
        sampling = Sampling(temperature=spending.temperature, max_tokens=spending.max_tokens)
        limits = Limits(spending.budget)
        scorer = RewardScorer(subject.env, subject.model, subject.program, sampling)
        self.run = run
        self.ledger = Ledger(run, scorer, limits, batch=spending.batch)
        self.closeness: Ledger | None = None
        self._heard = Usage()
        if subject.change is not None:
            tab = Tab(run)
            said = answers_of(subject.change.after, tasks, 1, tab, spending.batch, spending.max_tokens)
            if not any(one.usable for one in said):
                why = said[0].generation.failure if said else "there are no tasks"
                raise UserError(f"{subject.change.after.name} answered none of {len(said)} tasks: {why}")
            near = ClosenessScorer(subject.change, {one.cell: one for one in said}, "")
            self.closeness = Ledger(run.scope("kl"), near, limits, batch=spending.batch)
            self._heard = tab.cost

    @property
    def usage(self) -> Usage:
        """What all of it has cost so far."""
        near = self.closeness.usage if self.closeness else Usage()
        return self.ledger.usage + near + self._heard

    @property
    def left(self) -> int:
        """Rollouts that may still be bought."""
        return self.ledger.left

    def ask(self, candidates: Sequence[Candidate], tasks: Sequence[Keyed]) -> None:
        """Make sure that each candidate is scored on each task, in every game.

        Errors: Exhausted when that does not fit the budget (then nothing is spent on it); UserError of the scorers.
        """
        self.ledger.ask(candidates, tasks)
        if self.closeness is not None:
            self.closeness.ask(candidates, tasks)

    def row(self, game: Game, candidate: str, tasks: Sequence[Keyed]) -> Array:
        """Return a candidate's scores [tasks] in one game, by its key; NaN where there is none. They must be asked for."""
        scores: Sequence[float | None]
        if game == "proxy":
            scores = self.ledger.column(candidate, tasks)
        elif game == "true":
            scores = [self.ledger.rollout(candidate, key).score.true for key, _ in tasks]
        else:
            scores = self.closeness.column(candidate, tasks) if self.closeness else [None] * len(tasks)
        return np.array([np.nan if one is None else one for one in scores], dtype=np.float64)

    def rows(self, game: Game, candidates: Sequence[str], tasks: Sequence[Keyed]) -> Array:
        """Return the scores [candidates, tasks] in one game."""
        return np.stack([self.row(game, one, tasks) for one in candidates])

    def known(self, candidate: str, tasks: Sequence[Keyed]) -> list[Game]:
        """Return the games in which a candidate has any score on the tasks."""
        return [game for game in GAMES if not np.isnan(self.row(game, candidate, tasks)).all()]

    @property
    def spread(self) -> float:
        """The range of all proxy rewards given so far: the scale on which a margin is told."""
        given = self.ledger.rewards
        return max(given) - min(given) if given else 0.0


class Standing(Record):
    """What a text scores, by game, on tasks that decided nothing."""

    candidate: Candidate
    games: dict[str, Interval]


def standing(games: Games, one: Candidate, tasks: Sequence[Keyed]) -> Standing:
    """Return what a candidate that was asked for scores on the tasks."""
    found = {game: _mean(games, games.row(game, one.key, tasks), f"{one.key}/{game}") for game in GAMES}
    return Standing(candidate=one, games={game: value for game, value in found.items() if value is not None})


def gained(games: Games, first: Candidate, second: Candidate, tasks: Sequence[Keyed]) -> dict[str, Interval]:
    """Return second minus first, task by task, by game; tasks on which either has no score are left out."""
    place = f"{first.key}-{second.key}"
    found = {
        game: _mean(games, games.row(game, second.key, tasks) - games.row(game, first.key, tasks), f"{place}/{game}")
        for game in GAMES
    }
    return {game: value for game, value in found.items() if value is not None}


def _mean(games: Games, values: Array, place: str) -> Interval | None:
    return mean_of(games, values, f"standing/{place}")


_FEW = 20  # with fewer tasks than these, equal differences prove little


def mean_of(games: Games, values: Array, place: str, level: float = 0.95, draws: int = 2000) -> Interval | None:
    """Return the mean of differences [tasks] with an interval that a few equal ones do not make empty; None of none.

    They are held to lie within the range of the rewards seen, or their own where that is larger.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    rewards = games.ledger.rewards
    spread = max(max(rewards, default=0.0) - min(rewards, default=0.0), float(np.abs(known).max()))
    if known.size < _FEW and np.ptp(known) == 0:
        return score_interval(known, (-spread, spread), rng=games.run.rng(place), level=level)
    return bootstrap_mean(known, rng=games.run.rng(place), level=level, draws=draws)


@dataclass(frozen=True)
class Shares:
    """Tasks by use: `choose` decide, `check` confirm what was decided, `report` decide nothing."""

    choose: tuple[Keyed, ...]
    check: tuple[Keyed, ...]
    report: tuple[Keyed, ...]

    @property
    def all(self) -> list[Keyed]:
        """All of them."""
        return [*self.choose, *self.check, *self.report]


def shares_of(env: Environment, run: Run | None, choose: int, check: int, report: int) -> Shares:
    """Divide tasks: those that decide are of the keep split, those that are reported on of the report split.

    Drawn from the run's seed and the tasks' content (without a run: not drawn, for a plan). Where the keep split has too few
    for both, each gets its part. Errors: UserError when a split is empty, or has too few different tasks.
    """
    kept, told = distinct_tasks(env.tasks("keep")), distinct_tasks(env.tasks("report"))
    if len(kept) < 4:
        raise UserError(f"the keep split has {len(kept)} different tasks, and four are needed: give more rows")
    seen = {key for key, _ in kept}
    told = [one for one in told if one[0] not in seen]
    if len(told) < 2:
        raise UserError("the report split has fewer than two tasks that the keep split has not: give more rows")
    if run is not None:
        run.random("tasks/keep").shuffle(kept)
        run.random("tasks/report").shuffle(told)
    if choose + check > len(kept):
        choose = max(2, len(kept) * choose // (choose + check))
    return Shares(tuple(kept[:choose]), tuple(kept[choose : choose + check]), tuple(told[:report]))
