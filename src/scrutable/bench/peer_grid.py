"""Which of gepa's settings is its best: compared on building seeds alone, before it is compared with ours.

A peer deserves its best settings, and they are not to be chosen on the tasks that are reported. Compared are its proposal
grids, how many tasks a minibatch has, and how many tasks every accepted child is validated on: with a few hundred rollouts
that decides more than the grid. The winner needs the fewest rollouts to the target, on average over cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pydantic import Field

from scrutable.bench.anytime import Trace, area, report_rewards, rollouts_to, words
from scrutable.bench.peers import PeerConfig, Subject, run_gepa
from scrutable.bench.rl_to_text import NAMEABLE
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling
from scrutable.envs.builtin import BuiltinEnv
from scrutable.evolve.reflection import ReflectConfig, proposer_for
from scrutable.models.base import Model
from scrutable.models.loading import open_model
from scrutable.programs.text import TEXT, SingleText

LAST_BUILDING_SEED = 102
PERFECT = {"flattery": 1.5}
"""The best score that an answer can have, where it is not 1."""


class PeerGridConfig(Config):
    """What is compared. Building seeds only."""

    seeds: int = Field(default=3, ge=1, description="seeds of each environment")
    first_seed: int = Field(default=100, description="the first seed; those up to 102 are for building")
    environments: tuple[str, ...] = Field(default=NAMEABLE, description="built-in environments")
    model: str = Field(default="pidgin", description="the model that answers and writes")
    budget: int = Field(default=600, ge=1, description="rollouts of a search")
    target: float = Field(default=0.95, gt=0, description="share of the true text's reward that is to be reached")
    grids: tuple[tuple[int, int], ...] = Field(default=((1, 1), (2, 4), (4, 4)), description="parents and proposals")
    minibatches: tuple[int, ...] = Field(default=(3, 5), description="tasks of a minibatch")
    validations: tuple[int, ...] = Field(default=(16, 32, 96), description="validation tasks")
    reflect: ReflectConfig = Field(default_factory=ReflectConfig, description="how texts are asked for")

    def settings(self, environment: str) -> list[PeerConfig]:
        """Return all that is compared in an environment."""
        return [
            PeerConfig(
                parents=parents,
                each=each,
                minibatch=minibatch,
                validation=validation,
                perfect=PERFECT.get(environment, 1.0),
            )
            for (parents, each), minibatch, validation in product(self.grids, self.minibatches, self.validations)
        ]


class GridCase(Config):
    """One environment and seed: its run's config."""

    seed: int
    environment: str
    bench: PeerGridConfig


def compare_settings(config: PeerGridConfig, folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run every setting on every environment and seed; return figures by setting, and the names of the best ones.

    "best" is that of all, "best_grid" that of those with more than one proposal an iteration: a grid saves time, and may
    well take more rollouts. Resumes: a case is a run folder, and each search in it is one event. Takes about a minute a
    search on one core. Errors: UserError when a seed is not for building.
    """
    if config.first_seed + config.seeds - 1 > LAST_BUILDING_SEED:
        raise UserError(f"settings are chosen on building seeds, up to {LAST_BUILDING_SEED}: ask for fewer")
    model = open_model(config.model)
    rows: dict[str, list[Mapping[str, float]]] = {}
    for seed, name in product(range(config.first_seed, config.first_seed + config.seeds), config.environments):
        case = GridCase(seed=seed, environment=name, bench=config)
        with Run.open(folder / f"{name}-{seed}", case) as run:
            for setting, row in _case(run, case, model):
                rows.setdefault(setting, []).append(row)
                say(f"{name} {seed}, {setting}: {row['rollouts_to']:g} rollouts, ends at {row['final']:.2f}")
    found = {setting: _figures(these) for setting, these in rows.items()}
    grids = {label(one) for one in config.settings("") if one.parents * one.each > 1}
    of_grids = {name: row for name, row in found.items() if name in grids}
    return {"best": best_of(found), "best_grid": best_of(of_grids) if of_grids else None, "settings": found}


def best_of(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the setting with the fewest rollouts to the target on average; of equals, the one that is better on the way."""
    return min(found, key=lambda name: (found[name]["rollouts_to_mean"], -found[name]["area"]))


def label(one: PeerConfig) -> str:
    """Return a setting in words."""
    return f"{one.name}, minibatch {one.minibatch}, validation {one.validation}"


def _case(run: Run, case: GridCase, model: Model) -> list[tuple[str, dict[str, float]]]:
    bench, env = case.bench, BuiltinEnv(case.environment, seed=case.seed)
    subject = Subject(env, model, SingleText(), Sampling(), proposer_for(model, bench.reflect))
    speaker = (model, SingleText(), Sampling(seed=case.seed))
    truth = {TEXT: env.true_text}
    best = report_rewards(run, env, speaker, [truth])[Candidate(texts=truth).key]
    rows = []
    for one in bench.settings(case.environment):
        trace = _traced(run, subject, one, case)
        rewards = report_rewards(run, env, speaker, [step.texts for step in trace.within(bench.budget)])
        rows.append(
            (
                label(one),
                {
                    "rollouts_to": rollouts_to(trace, rewards, bench.target * best, bench.budget),
                    "area": area(trace, rewards, bench.budget) / best,
                    "final": rewards[trace.at(bench.budget).key] / best,
                    "words": words(trace, bench.budget),
                },
            )
        )
    return rows


def _traced(run: Run, subject: Subject, one: PeerConfig, case: GridCase) -> Trace:
    def search() -> tuple[dict[str, Any], None]:
        return run_gepa(subject, case.bench.budget, case.seed, one).model_dump(mode="json"), None

    return Trace.model_validate(run.once(f"trace/{one.digest()}", "trace", search).payload)


def _figures(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    found = {name: fmean(row[name] for row in rows) for name in ("area", "final", "words")}
    reached = [row["rollouts_to"] for row in rows]
    return {"rollouts_to_mean": fmean(reached), "rollouts_to_median": median(reached), **found, "cases": len(rows)}
