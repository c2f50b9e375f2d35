"""validation: what does it cost, or bring, not to score every child on the whole pool?

The search as it is shipped, and the same one that scores each accepted child on all of its pool, with one budget, seed by seed.
Told are what is returned in the end, scored on report tasks, and how much of what was paid for no writer saw.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from scrutable.bench.evolve import ENVIRONMENTS
from scrutable.bench.searches import SearchCase, difference, run_search
from scrutable.core.config import Config
from scrutable.evolve.engine import EvolveConfig
from scrutable.models.hf import load_model

Say = Callable[[str], None]
ARMS = {"shipped": False, "full": True}


class ValidationConfig(Config):
    """What is compared. Seeds up to 102 are for building."""

    seeds: int = Field(default=5, ge=1, description="seeds of each environment")
    first_seed: int = Field(default=103, description="the first seed; the others follow it")
    environments: tuple[str, ...] = Field(default=ENVIRONMENTS, description="built-in environments")
    model: str = Field(default="pidgin", description="the model that answers and writes")
    budget: int = Field(default=600, ge=100, description="rollouts of a search, everything counted")
    target: float = Field(default=0.95, gt=0, le=1, description="share of the true text's reward to be reached")


def validation(config: ValidationConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every search; return the figures. Killed, it goes on. Half a minute a search on a core of its own."""
    model = load_model(config.model)
    rows: dict[str, dict[str, Any]] = {}
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        for name in config.environments:
            for arm, full in ARMS.items():
                case = SearchCase(
                    seed=seed,
                    environment=name,
                    arm=arm,
                    evolve=EvolveConfig(budget=config.budget, validate_all=full),
                    model=config.model,
                    budget=config.budget,
                    target=config.target,
                )
                rows[case.name] = one = run_search(case, model, folder)
                say(f"{case.name}: {one['final']:.3f} in the end, {one['unseen']:.0%} of rollouts unseen")
    return {**figures(rows, config), "cases": rows}


def figures(rows: dict[str, dict[str, Any]], config: ValidationConfig) -> dict[str, Any]:
    """Return what each arm comes to, and the paired differences, shipped minus full, with intervals over cases."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    columns = {arm: [rows[f"{name}-{seed}-{arm}"] for name in config.environments for seed in seeds] for arm in ARMS}
    pairs = list(zip(columns["shipped"], columns["full"], strict=True))
    found: dict[str, Any] = {
        arm: {what: fmean(one[what] for one in column) for what in ("final", "unseen", "to target")}
        for arm, column in columns.items()
    }
    found["unseen of all rollouts, shipped"] = _unseen(columns["shipped"])
    found["final, shipped minus full"] = difference([a["final"] - b["final"] for a, b in pairs], "validation")
    found["rollouts to the target, shipped minus full"] = difference(
        [a["to target"] - b["to target"] for a, b in pairs], "validation"
    )
    found["by environment"] = {
        name: {
            "final, shipped minus full": fmean(
                rows[f"{name}-{seed}-shipped"]["final"] - rows[f"{name}-{seed}-full"]["final"] for seed in seeds
            ),
            "unseen, shipped": fmean(rows[f"{name}-{seed}-shipped"]["unseen"] for seed in seeds),
        }
        for name in config.environments
    }
    return found


def _unseen(column: list[dict[str, Any]]) -> float:
    """Return the share of all rollouts of these searches together that no writer saw."""
    unseen, made = (sum(one[what] for one in column) for what in ("unseen rollouts", "rollouts"))
    return float(unseen / made)
