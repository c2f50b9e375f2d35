"""One search of ours, as the benches that compare settings of it look at it.

What it would return after any rollout is scored on report tasks, which no search sees; and of all that it paid for, how much did
no writer see? Searches of one environment and seed have the same tasks and draws, so that two settings are compared pair by pair.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from scrutable.models.hf import HFModel
from scrutable.programs.wanted import program_for


class SearchCase(Config):
    """One search: its run's config. arm: what the setting is called."""

    seed: int
    environment: str
    arm: str
    evolve: EvolveConfig
    model: str
    budget: int
    target: float

    @property
    def name(self) -> str:
        """What its run folder is called."""
        return f"{self.environment}-{self.seed}-{self.arm}"


def run_search(case: SearchCase, model: HFModel, folder: Path) -> dict[str, Any]:
    """Run one search in its own run folder; return its row.

    steps: [rollouts, report reward of what would be returned then]; area: the mean of that over the first `budget`
    rollouts; "to target": rollouts until it reaches `target` of the true text's; final: the reward of what was returned;
    unseen: the share of all rollouts that no writer saw.
    """
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)
    with Run.open(folder / case.name, case) as run:
        done = run.get("row")
        if done is None:
            done = run.append("row", "result", _row(case, model, run))
        return dict(done.payload)


def _row(case: SearchCase, model: HFModel, run: Run) -> dict[str, Any]:
    env, knobs = BuiltinEnv(case.environment, seed=case.seed), case.evolve
    program = program_for(env)
    sampling = Sampling(temperature=knobs.temperature, max_tokens=knobs.max_tokens)
    result = evolve(env, model, run, knobs, proposer_for(model, knobs.reflect), program)
    trace = trace_of(run, result, knobs)
    texts = [env.true_texts, *(step.texts for step in trace.within(case.budget)), result.best.texts]
    rewards = report_rewards(run, env, (model, program, sampling), texts)
    target = case.target * rewards[Candidate(texts=env.true_texts).key]
    seen = {tuple(pair) for event in run.events("proposal") for pair in event.payload["shown"]}
    return {
        "steps": [[step.rollouts, round(rewards[step.key], 4)] for step in trace.within(case.budget)],
        "area": area(trace, rewards, case.budget),
        "to target": rollouts_to(trace, rewards, target, case.budget),
        "target": target,
        "final": rewards[result.best.key],
        "rollouts": result.rollouts,
        "unseen": 1 - len(seen) / result.rollouts,
        "unseen rollouts": result.rollouts - len(seen),
    }


def difference(values: Sequence[float], key: str) -> dict[str, float | None]:
    """Return the mean of paired differences with its 95% interval by bootstrap."""
    told = bootstrap_mean(np.asarray(values), rng=draws.rng(0, key))
    return {"value": told.value, "low": told.low, "high": told.high}
