"""staleness: does a search lose anything, rollout for rollout, when proposals begin before those before them have ended?

The same deterministic search, with so many proposals under way at once that a parent may be that much out of date; nothing else
differs. What it would return after any rollout is scored on report tasks. Compared are arms of one seed: the mean reward over the
first `budget` rollouts, and the rollouts until a share of the true text's reward is reached. The search's own budget is larger,
since a small one bounds by itself how many proposals can be under way.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import Field

from scrutable.bench.anytime import area, report_rewards, rollouts_to
from scrutable.bench.evolve import trace_of
from scrutable.core import draws
from scrutable.core.config import Config
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling
from scrutable.core.stats import bootstrap_mean
from scrutable.envs.builtin import BuiltinEnv
from scrutable.evolve.engine import EvolveConfig, evolve
from scrutable.evolve.reflection import proposer_for
from scrutable.models.hf import HFModel, load_model
from scrutable.programs.wanted import program_for

Say = Callable[[str], None]


class StalenessConfig(Config):
    """What is compared."""

    seeds: int = Field(default=10, ge=1, description="seeds of each environment")
    first_seed: int = Field(
        default=60, description="the first seed: building seeds, nothing is reported of them elsewhere"
    )
    environments: tuple[str, ...] = Field(default=("two-rules", "four-rules"), description="built-in environments")
    model: str = Field(default="pidgin", description="the model that answers and writes")
    ahead: tuple[int, ...] = Field(default=(1, 4, 16), description="proposals under way at once, an arm each")
    budget: int = Field(default=600, ge=50, description="rollouts over which the arms are compared")
    target: float = Field(default=0.9, gt=0, le=1, description="share of the true text's reward to be reached")
    evolve: EvolveConfig = Field(
        default_factory=lambda: EvolveConfig(budget=6000, proposals=18, patience=18), description="the search"
    )


class StaleCase(Config):
    """One search: its run's config."""

    seed: int
    environment: str
    ahead: int
    evolve: EvolveConfig
    model: str

    @property
    def name(self) -> str:
        """What its run folder is called."""
        return f"{self.environment}-{self.seed}-{self.ahead}"


def staleness(config: StalenessConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every search; return the figures. Killed, it goes on. Half a minute a search on a core of its own."""
    model = load_model(config.model)
    rows: dict[str, dict[str, Any]] = {}
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        for name in config.environments:
            for ahead in config.ahead:
                knobs = config.evolve.model_copy(update={"ahead": ahead})
                case = StaleCase(seed=seed, environment=name, ahead=ahead, evolve=knobs, model=config.model)
                rows[case.name] = one = run_case(case, config, model, folder)
                say(f"{case.name}: mean reward {one['area']:.3f}, {one['to target']} rollouts to the target")
    return {**figures(rows, config), "cases": rows}


def run_case(case: StaleCase, config: StalenessConfig, model: HFModel, folder: Path) -> dict[str, Any]:
    """Run one search in its own run folder; return its row."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)
    with Run.open(folder / case.name, case) as run:
        done = run.get("row")
        if done is None:
            done = run.append("row", "result", _row(case, config, model, run))
        return dict(done.payload)


def _row(case: StaleCase, config: StalenessConfig, model: HFModel, run: Run) -> dict[str, Any]:
    env, knobs = BuiltinEnv(case.environment, seed=case.seed), case.evolve
    program = program_for(env)
    sampling = Sampling(temperature=knobs.temperature, max_tokens=knobs.max_tokens)
    result = evolve(env, model, run, knobs, proposer_for(model, knobs.reflect), program)
    trace = trace_of(run, result, knobs)
    true = dict.fromkeys(program.modules, env.true_text) if len(program.modules) == 1 else dict(env.true_texts)
    texts = [true, *(step.texts for step in trace.within(config.budget))]
    rewards = report_rewards(run, env, (model, program, sampling), texts)
    target = config.target * rewards[Candidate(texts=true).key]
    return {
        "steps": [[step.rollouts, round(rewards[step.key], 4)] for step in trace.within(config.budget)],
        "area": area(trace, rewards, config.budget),
        "to target": rollouts_to(trace, rewards, target, config.budget),
        "target": target,
        "rollouts": result.rollouts,
    }


def figures(rows: dict[str, dict[str, Any]], config: StalenessConfig) -> dict[str, Any]:
    """Return for each environment and arm its means, and the paired difference to the first arm with an interval."""
    found: dict[str, Any] = {}
    for name in config.environments:
        arms = {ahead: _column(rows, config, name, ahead) for ahead in config.ahead}
        first = arms[config.ahead[0]]
        found[name] = {
            str(ahead): {
                "mean reward": fmean(one[0] for one in column),
                "rollouts to the target": fmean(one[1] for one in column),
                "reward minus the first arm's": _difference([a[0] - b[0] for a, b in zip(column, first, strict=True)]),
                "rollouts minus the first arm's": _difference(
                    [a[1] - b[1] for a, b in zip(column, first, strict=True)]
                ),
            }
            for ahead, column in arms.items()
        }
    return found


def _column(
    rows: dict[str, dict[str, Any]], config: StalenessConfig, name: str, ahead: int
) -> list[tuple[float, float]]:
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    return [(one["area"], one["to target"]) for one in (rows[f"{name}-{seed}-{ahead}"] for seed in seeds)]


def _difference(values: Sequence[float]) -> dict[str, float | None]:
    told = bootstrap_mean(np.asarray(values), rng=draws.rng(0, "staleness"))
    return {"value": told.value, "low": told.low, "high": told.high}
