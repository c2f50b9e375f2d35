"""staleness: does a search lose anything, rollout for rollout, when proposals begin before those before them have ended?

The same deterministic search, with so many proposals under way at once that a parent may be that much out of date; nothing else
differs. What it would return after any rollout is scored on report tasks. Compared are arms of one seed: the mean reward over the
first `budget` rollouts, and the rollouts until a share of the true text's reward is reached. The search's own budget is larger,
since a small one bounds by itself how many proposals can be under way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from scrutable.bench.searches import SearchCase, difference, run_search
from scrutable.core.config import Config
from scrutable.evolve.engine import EvolveConfig
from scrutable.models.hf import load_model

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


def staleness(config: StalenessConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every search; return the figures. Killed, it goes on. Half a minute a search on a core of its own."""
    model = load_model(config.model)
    rows: dict[str, dict[str, Any]] = {}
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        for name in config.environments:
            for ahead in config.ahead:
                knobs = config.evolve.model_copy(update={"ahead": ahead})
                case = SearchCase(
                    seed=seed,
                    environment=name,
                    arm=str(ahead),
                    evolve=knobs,
                    model=config.model,
                    budget=config.budget,
                    target=config.target,
                )
                rows[case.name] = one = run_search(case, model, folder)
                say(f"{case.name}: mean reward {one['area']:.3f}, {one['to target']} rollouts to the target")
    return {**figures(rows, config), "cases": rows}


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
                "reward minus the first arm's": difference(
                    [a[0] - b[0] for a, b in zip(column, first, strict=True)], "staleness"
                ),
                "rollouts minus the first arm's": difference(
                    [a[1] - b[1] for a, b in zip(column, first, strict=True)], "staleness"
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
