"""hard-environments: what the base, the base under the true texts, and RL earn where search engines are told apart.

These are the marks that a search is held against: J(base) to J(RL), on report tasks, which neither saw. One case is an
environment, in a run folder of its own, so a bench that was killed goes on where it stopped. Where an environment wants a
program of several modules, each module learns weights of its own, one after the other (see `turns.py`), by the reward that
they share; while one learns, those before it are tuned already, and the base answers for those after it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from scrutable.bench.turns import Taught, Turns
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling
from scrutable.core.stats import bootstrap_mean
from scrutable.envs.builtin import BuiltinEnv
from scrutable.envs.recipes import HARD
from scrutable.models.base import Model
from scrutable.models.hf import HFModel, load_model
from scrutable.programs.base import Program
from scrutable.programs.evaluate import evaluate
from scrutable.programs.wanted import program_for
from scrutable.train.rl import TrainConfig, TrainResult, train

Say = Callable[[str], None]
Arm = tuple[Program, Model, Mapping[str, str]]
"""What answers: a program, a model, and texts."""


class HardConfig(Config):
    """What the bench runs."""

    seed: int = Field(default=103, description="seed of the environments, of RL, and of the answers measured")
    environments: tuple[str, ...] = Field(default=tuple(HARD), description="hard built-in environments")
    model: str = Field(default="pidgin", description="the model that RL trains")
    train: TrainConfig = Field(default_factory=TrainConfig, description="the RL recipe; its seed is the bench's")
    shared: bool = Field(
        default=True, description="pay every module the program's reward, and not what the rater says of it alone"
    )
    answers: int = Field(default=2, ge=1, description="answers measured to each report task")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of an answer that is measured")


class HardCase(Config):
    """One case: its run's config."""

    seed: int
    environment: str
    bench: HardConfig


def hard_environments(config: HardConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every case and return its row by the environment's name.

    Errors: UserError of an unknown environment. Takes two to ten minutes a case on one core.
    """
    unknown = [name for name in config.environments if name not in HARD]
    if unknown:
        raise UserError(f"no hard environment is called {unknown[0]!r}: choose from {', '.join(HARD)}")
    rows = {}
    for name in config.environments:
        # Which others are run is no business of a case, so that one run alone is not run again with all.
        alone = config.model_copy(update={"environments": (name,)})
        case = HardCase(seed=config.seed, environment=name, bench=alone)
        rows[name] = run_case(case, folder)
        say(line(name, rows[name]))
    return {"seed": config.seed, "model": config.model, "environments": rows}


def run_case(case: HardCase, folder: Path) -> dict[str, Any]:
    """Run one case in its own run folder and return its row."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)  # what the libraries will change is no business of the user
    with Run.open(folder / f"{case.environment}-{case.seed}", case) as run:
        if (done := run.get("row")) is None:
            done = run.append("row", "result", _row(case, run))
        return dict(done.payload)


def _row(case: HardCase, run: Run) -> dict[str, Any]:
    env, base = BuiltinEnv(case.environment, seed=case.seed), load_model(case.bench.model)
    untold = program_for(env)
    empty = dict.fromkeys(untold.modules, "")
    tuned, passes = _tuned(env, base, case, run)
    taught = Taught(env.modules, tuned) if env.modules else untold
    arms: dict[str, Arm] = {
        "base": (untold, base, empty),
        "true_text": (untold, base, env.true_texts),
        "rl": (taught, tuned[0], empty),
    }
    return {
        "true_texts": env.true_texts,
        "arms": {name: _earned(env, arm, case, run.scope(f"report/{name}")) for name, arm in arms.items()},
        "rl": [
            {
                "steps": one.steps,
                "best_step": one.best_step,
                "rewards": [one.base_reward, one.best_reward],
                "rollouts": one.rollouts,
                "seconds": one.seconds,
                "stopped": one.stopped_why,
            }
            for one in passes
        ],
    }


def _tuned(env: BuiltinEnv, base: HFModel, case: HardCase, run: Run) -> tuple[list[HFModel], list[TrainResult]]:
    """Train on the environment, module by module where it wants several; return what each became, and the trainings."""
    config = case.bench.train.model_copy(update={"seed": case.seed})
    tuned: list[HFModel] = []
    passes = []
    for number in range(max(1, len(env.modules))):
        scope = run.scope(f"pass/{number}")
        sampling = Sampling(max_tokens=config.max_tokens, seed=case.seed)
        rest = base if case.bench.shared else None
        asked = Turns(env, env.modules, tuple(tuned), sampling, rest) if env.modules else env
        passes.append(train(asked, base, scope, config))
        tuned.append(base.with_adapter(passes[-1].path(scope)))
    return tuned, passes


def _earned(env: BuiltinEnv, arm: Arm, case: HardCase, run: Run) -> dict[str, Any]:
    """Return proxy and true reward on report tasks with their intervals, which resample tasks."""
    (program, model, texts), tasks = arm, env.tasks("report")
    sampling = Sampling(max_tokens=case.bench.max_tokens, seed=case.seed)
    repeats = [
        evaluate(program, Candidate(texts=dict(texts)), model, env, tasks, sampling, repeat)
        for repeat in range(case.bench.answers)
    ]
    found = {}
    for name in ("value", "true"):
        means = []
        for rollouts in zip(*repeats, strict=True):
            known = [one for rollout in rollouts if (one := getattr(rollout.score, name)) is not None]
            means += [sum(known) / len(known)] if known else []
        found["proxy" if name == "value" else "true"] = bootstrap_mean(means, rng=run.rng(name)).model_dump(mode="json")
    return found


def line(name: str, row: Mapping[str, Any]) -> str:
    """Return one case in one line, for people."""
    told = {arm: (found["proxy"]["value"], found["true"]["value"]) for arm, found in row["arms"].items()}
    says = ", ".join(f"{arm} {proxy:.3f} (true {true:.3f})" for arm, (proxy, true) in told.items())
    return f"{name}: {says}; RL took {sum(one['seconds'] for one in row['rl']):.0f} s"
