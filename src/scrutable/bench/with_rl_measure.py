"""What an arm of with-rl came to on report tasks: rewards, and how far it is from the base, in nats a whole answer.

All arms answer the same tasks. KL(arm || base) is along the arm's own answers, and exact at each position
(`measure/divergence.py`); the base is given no text, so a text in context counts as distance too. Intervals resample tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.journal import Run
from scrutable.core.stats import bootstrap_mean, bootstrap_ratio, finite
from scrutable.envs.base import Environment
from scrutable.measure.answers import answers_of, by_length, distinct_tasks
from scrutable.measure.change import Speaker
from scrutable.measure.divergence import Meter
from scrutable.measure.fluency import by_task
from scrutable.measure.language import language_of
from scrutable.measure.nulls import stated
from scrutable.measure.rewards import rewards_of
from scrutable.measure.tab import Tab
from scrutable.models.hf import HFModel

Columns = Mapping[str, Mapping[str, float]]
"""What was measured of one speaker: "proxy", "true", "kl" and "parses", each by the task's key."""


class GaugeConfig(Config):
    """How the arms are measured."""

    tasks: int = Field(default=384, ge=2, description="report tasks")
    answers: int = Field(default=1, ge=1, description="answers to each")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of an answer")
    batch: int = Field(default=128, ge=1, description="answers drawn or measured at once")
    stated: float = stated()


class Gauge:
    """Measures speakers on the same report tasks; what was measured stands in the run."""

    def __init__(self, env: Environment, base: HFModel, run: Run, config: GaugeConfig) -> None:
        self.env, self.base, self.config = env, Speaker(base), config
        self.tab = Tab(run)
        self.tasks = by_length(distinct_tasks(env.tasks("report"))[: config.tasks])
        self.parses = language_of(base).parses

    def columns(self, speaker: Speaker) -> Columns:
        """Answer all tasks and return what came of it. What could not be answered or scored is left out, and is no 0."""
        config, tab = self.config, self.tab
        said = answers_of(speaker, self.tasks, config.answers, tab, config.batch, config.max_tokens)
        rewards = rewards_of(said, self.env, tab, config.batch)
        apart = Meter(tab, config.batch).along(said, speaker, self.base)
        found = {
            "proxy": by_task(said, rewards.proxy),
            "true": by_task(said, rewards.true),
            "kl": by_task(said, {one.cell: one.kl for one in apart}),
        }
        if self.parses is not None:
            answered = [one for one in said if one.generation.failure is None]
            found["parses"] = by_task(said, {one.cell: float(self.parses(one.generation.answer)) for one in answered})
        return found


def told(columns: Columns, run: Run) -> dict[str, Any]:
    """Return each column's mean over tasks with its interval, as JSON; None where no task has a value."""
    return {
        name: bootstrap_mean(list(values.values()), rng=run.rng(name)).model_dump(mode="json") if values else None
        for name, values in columns.items()
    }


def explained(arm: Columns, rl: Columns, base: Columns, stated: float, run: Run) -> dict[str, Any]:
    """Return what share of RL's change an arm did not learn, as JSON: 1 - its change / RL's, each from the base.

    kl: of KL(tuned || base); proxy and true: of the rise (or fall) of the reward. A ratio of sums over tasks; it is negative
    where more was learned, and above 1 where the reverse was. None where RL's own change is not measurable.
    """
    mean = bootstrap_mean(list(rl["kl"].values()), rng=run.rng("kl/whole")).value if rl["kl"] else 0.0
    nothing = dict.fromkeys(base["kl"], 0.0)
    found = {
        name: _share(arm[name], rl[name], nothing if name == "kl" else base[name], run, name)
        for name in ("kl", "proxy", "true")
    }
    return {
        name: None if share is None or mean <= stated else share.model_dump(mode="json")
        for name, share in found.items()
    }


def _share(
    arm: Mapping[str, float], rl: Mapping[str, float], base: Mapping[str, float], run: Run, name: str
) -> Interval | None:
    """Return 1 - sum(arm - base) / sum(rl - base) over the tasks that all three have a value on; None as `bootstrap_ratio`."""
    keys: Sequence[str] = [key for key in base if key in arm and key in rl]
    if not keys:
        return None
    one, whole, start = (finite([values[key] for key in keys]) for values in (arm, rl, base))
    return bootstrap_ratio(whole - one, whole - start, rng=run.rng(name))
