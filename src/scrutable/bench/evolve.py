"""evolve: how many rollouts until the text that would be returned earns what RL earns? This engine, and gepa.

One case is an environment and a seed; every arm has the same tasks, the same model, the same writer and the same budget. What
an arm would return if it were stopped after any rollout is scored on report tasks, which no search sees. The target is a share
of what RL earns; an arm that never reaches it counts with its whole budget. What RL earns comes from the figures of other
benches (`--rl`), which have their own report tasks: so it is told in parts of what the true texts earned on those, and
the true texts are scored on the case's tasks too.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from pydantic import Field

from scrutable.bench.anytime import Step, Trace, area, report_rewards, words
from scrutable.bench.peer_grid import PERFECT
from scrutable.bench.peers import PeerConfig, Subject, run_gepa
from scrutable.core import draws
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Sampling
from scrutable.envs.builtin import BuiltinEnv
from scrutable.envs.recipes import HARD, RECIPES
from scrutable.evolve.engine import EvolveConfig, EvolveResult, evolve
from scrutable.evolve.reflection import proposer_for
from scrutable.models.hf import HFModel, load_model
from scrutable.programs.wanted import program_for

Say = Callable[[str], None]
OURS = "scrutable"
KNOWN = {**RECIPES, **HARD}
ENVIRONMENTS = tuple(name for name, recipe in KNOWN.items() if recipe.rules or recipe.steps)


class EvolveBenchConfig(Config):
    """What is compared. Seeds up to 102 are for building."""

    seeds: int = Field(default=10, ge=1, description="seeds of each environment")
    first_seed: int = Field(default=103, description="the first seed; the others follow it")
    environments: tuple[str, ...] = Field(default=ENVIRONMENTS, description="built-in environments")
    model: str = Field(default="pidgin", description="the model that answers and writes")
    budget: int = Field(default=600, ge=100, description="rollouts of a search, everything counted")
    target: float = Field(default=0.95, gt=0, le=1, description="share of RL's reward that is to be reached")
    evolve: EvolveConfig = Field(default_factory=EvolveConfig, description="our search; its budget is the bench's")
    peers: tuple[PeerConfig, ...] = Field(
        default=(
            PeerConfig(parents=2, each=4, minibatch=5, validation=108),
            PeerConfig(minibatch=5, validation=24),
        ),
        description="settings of gepa, each an arm: its grid with as many validation tasks as our pool has, and its default "
        "loop with few",
    )


class Earned(Record):
    """What RL earns in an environment, and what the true texts earn, on the same tasks."""

    rl: float
    true_texts: float


class CaseConfig(Config):
    """One case: its run's config. The number of seeds and the list of environments are no part of it: more may follow."""

    seed: int
    environment: str
    bench: dict[str, Any]

    @property
    def name(self) -> str:
        """What the case and its run folder are called."""
        return f"{self.environment}-{self.seed}"


def evolve_bench(config: EvolveBenchConfig, rl: Mapping[str, Earned], folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every case, seed by seed, and return figures and cases. Killed, it goes on where it stopped.

    rl: what RL and the true texts earn, by environment. About a minute a case on a core of its own.
    Errors: UserError of an unknown environment, or of one that RL's figures lack.
    """
    for name in config.environments:
        if name not in KNOWN:
            raise UserError(f"no built-in environment is called {name!r}: choose from {', '.join(KNOWN)}")
        if name not in rl:
            raise UserError(f"the figures of RL say nothing of {name}: give them with --rl (bench hard-environments)")
    model = load_model(config.model)
    shared = {k: v for k, v in config.identity().items() if k not in ("seeds", "first_seed", "environments")}
    rows: dict[str, dict[str, Any]] = {}
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        for name in config.environments:
            case = CaseConfig(seed=seed, environment=name, bench=shared)
            rows[case.name] = run_case(case, config, model, folder)
            told = _judged(rows[case.name], target_of(rows[case.name], config, rl[name]), config)
            say(f"{case.name}: " + ", ".join(f"{arm} {one['to target']:.0f}" for arm, one in told.items()))
    return {
        **figures(rows, config, rl),
        "rl": {name: one.model_dump(mode="json") for name, one in rl.items()},
        "cases": rows,
    }


def rl_of(files: Sequence[Path]) -> dict[str, Earned]:
    """Return what RL earns by environment, from the figures of `rl-to-text` and `hard-environments` (means over seeds).

    Where RL learned nothing (no more than the base earns), it is what the true texts earn.

    Errors: UserError where a file is no such figures.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for file in files:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            for name, row in told.get("cases", {}).items():
                found.setdefault(name.rpartition("-")[0], []).append(
                    (float(row["rl_reward"]), float(row["rules_reward"]))
                )
            for name, row in told.get("environments", {}).items():
                arms = {arm: row["arms"][arm]["proxy"] for arm in ("rl", "base", "true_text")}
                # Where RL learned nothing, what it earns is no target: then it is what the true texts earn.
                learned = float(arms["rl"]["value"]) > float(arms["base"]["high"])
                true = float(arms["true_text"]["value"])
                found.setdefault(name, []).append((float(arms["rl"]["value"]) if learned else true, true))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} holds no figures of RL ({error!r:.80}): run bench hard-environments") from error
    return {
        name: Earned(rl=fmean(rl for rl, _ in pairs), true_texts=fmean(true for _, true in pairs))
        for name, pairs in found.items()
    }


def target_of(row: Mapping[str, Any], config: EvolveBenchConfig, rl: Earned) -> float:
    """Return the reward that a case's arms are to reach, on the case's report tasks."""
    return config.target * rl.rl * float(row["true texts"]) / rl.true_texts


def run_case(case: CaseConfig, config: EvolveBenchConfig, model: HFModel, folder: Path) -> dict[str, Any]:
    """Run all arms of a case in its own run folder; return its row: each arm's trace, with the report reward of each step."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what other libraries will change is no business of the user
    with Run.open(folder / case.name, case) as run:
        done = run.get("row")
        if done is None:
            done = run.append("row", "result", _row(case, config, model, run))
        return dict(done.payload)


def _row(case: CaseConfig, config: EvolveBenchConfig, model: HFModel, run: Run) -> dict[str, Any]:
    env = BuiltinEnv(case.environment, seed=case.seed)
    knobs = config.evolve.model_copy(update={"budget": config.budget})
    program = program_for(env)
    sampling = Sampling(temperature=knobs.temperature, max_tokens=knobs.max_tokens)
    subject = Subject(env, model, program, sampling, proposer_for(model, knobs.reflect))
    traces = {OURS: _ours(subject, knobs, run)}
    for peer in config.peers:
        given = peer.model_copy(update={"perfect": PERFECT.get(case.environment, 1.0)})
        name = f"{peer.name}, minibatch {peer.minibatch}, validation {peer.validation}"
        event = run.once(f"trace/{name}", "trace", partial(_peer, subject, config, case.seed, given))
        traces[name] = Trace.model_validate(event.payload)
    texts = [step.texts for trace in traces.values() for step in trace.within(config.budget)]
    rewards = report_rewards(run, env, (model, program, sampling), [*texts, env.true_texts])
    arms = {
        name: {"steps": _steps(trace, rewards, config.budget), **_told(trace, rewards, config.budget)}
        for name, trace in traces.items()
    }
    return {"true texts": rewards[Candidate(texts=env.true_texts).key], "arms": arms}


def _peer(subject: Subject, config: EvolveBenchConfig, seed: int, peer: PeerConfig) -> tuple[Trace, None]:
    return run_gepa(subject, config.budget, seed, peer), None


def _steps(trace: Trace, rewards: Mapping[str, float], budget: int) -> list[list[float]]:
    return [[step.rollouts, round(rewards[step.key], 4)] for step in trace.within(budget)]


def _told(trace: Trace, rewards: Mapping[str, float], budget: int) -> dict[str, Any]:
    last = trace.at(budget)
    return {
        "final": rewards[last.key],
        "area": area(trace, rewards, budget),
        "words": words(trace, budget),
        "rollouts": trace.rollouts,
        "reflections": trace.reflections,
        "text": Candidate(texts=last.texts).text,
    }


def _ours(subject: Subject, knobs: EvolveConfig, run: Run) -> Trace:
    """Search with our engine, and read from its events what it would have returned at any time."""
    result = evolve(subject.env, subject.model, run, knobs, subject.writer, subject.program)
    return trace_of(run, result, knobs)


def trace_of(run: Run, result: EvolveResult, knobs: EvolveConfig) -> Trace:
    """Return a finished search (in the run's scope "evolve") as what it would have returned at any time."""
    texts = {}
    for event in run.events("candidate"):
        candidate = Candidate.model_validate(event.payload["candidate"])
        texts[candidate.key] = candidate.texts
    start = dict.fromkeys(result.best.texts, "")
    steps, used, held = [Step(rollouts=0, texts=start)], knobs.explore, None
    for event in run.events("proposal"):
        used += int(event.payload["charged"])
        best = str(event.payload["best"])
        if best != held:
            steps.append(Step(rollouts=used, texts=texts[best]))
            held = best
    score = result.score.value if result.score else None
    steps.append(Step(rollouts=result.rollouts, texts=result.best.texts, score=score))
    accepted = sum(len(event.payload["accepted"]) for event in run.events("proposal"))
    return Trace(
        arm=OURS, steps=tuple(steps), rollouts=result.rollouts, reflections=result.reflections, accepted=accepted
    )


# ------------------------------------------------------------------------------------------------------------- figures


def _judged(row: Mapping[str, Any], target: float, config: EvolveBenchConfig) -> dict[str, dict[str, float]]:
    """Return for each arm the rollouts to the target."""
    return {
        arm: {"to target": _reached(one["steps"], target, config.budget), "final": one["final"]}
        for arm, one in row["arms"].items()
    }


def _reached(steps: Sequence[Sequence[float]], target: float, budget: int) -> float:
    return min((max(1.0, at) for at, reward in steps if reward >= target), default=float(budget))


def figures(
    rows: Mapping[str, Mapping[str, Any]], config: EvolveBenchConfig, rl: Mapping[str, Earned]
) -> dict[str, Any]:
    """Return, for each peer's arm, the median ratio of rollouts to the target, ours over the peer's, with its interval."""
    judged = {
        name: _judged(row, target_of(row, config, rl[name.rpartition("-")[0]]), config) for name, row in rows.items()
    }
    rows = {name: row["arms"] for name, row in rows.items()}
    found: dict[str, Any] = {"cases run": len(rows), "reached by ours": _share(judged, OURS, config)}
    for arm in next(iter(rows.values())):
        if arm == OURS:
            continue
        ratios = [one[OURS]["to target"] / one[arm]["to target"] for one in judged.values()]
        low, high = _median_interval(ratios)
        found[arm] = {
            "median ratio of rollouts": median(ratios),
            "low": low,
            "high": high,
            "reached": _share(judged, arm, config),
            "final, ours minus the peer's": {
                name: fmean(
                    row[OURS]["final"] - row[arm]["final"]
                    for key, row in rows.items()
                    if key.rpartition("-")[0] == name
                )
                for name in config.environments
            },
            "words, ours and the peer's": [fmean(row[a]["words"] for row in rows.values()) for a in (OURS, arm)],
        }
    found["by environment"] = {
        name: {
            arm: {
                "rollouts to target, median": median(
                    one[arm]["to target"] for key, one in judged.items() if key.rpartition("-")[0] == name
                ),
                "final": fmean(one[arm]["final"] for key, one in judged.items() if key.rpartition("-")[0] == name),
            }
            for arm in next(iter(rows.values()))
        }
        for name in config.environments
        if any(key.rpartition("-")[0] == name for key in judged)
    }
    return found


def _share(judged: Mapping[str, Mapping[str, Mapping[str, float]]], arm: str, config: EvolveBenchConfig) -> float:
    return fmean(one[arm]["to target"] < config.budget for one in judged.values())


def _median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% percentile-bootstrap interval of the median over cases."""
    rng = draws.rng(0, "evolve bench/median")
    column = np.asarray(values)
    drawn = np.median(column[rng.integers(column.size, size=(4000, column.size))], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
