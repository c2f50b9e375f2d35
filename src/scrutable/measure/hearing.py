"""What a measurement of a change stands on: how much is drawn, who was heard, and the tab that pays for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.config import Config, anywhere
from scrutable.core.records import Split, Task, digest_of
from scrutable.core.stats import bootstrap_mean
from scrutable.envs.base import Environment
from scrutable.measure.answers import Said, answers_of, within
from scrutable.measure.change import Change, Speaker
from scrutable.measure.divergence import Meter
from scrutable.measure.language import Language
from scrutable.measure.nulls import stated
from scrutable.measure.rewards import Rewards, rewards_of
from scrutable.measure.tab import Tab


class MeasureConfig(Config):
    """How much is drawn, and of what."""

    split: Split = Field(default="report", description="which split the tasks are of; a text must not have seen it")
    tasks: int = Field(default=300, ge=2, description="most tasks; fewer are noted")
    answers: int = Field(default=4, ge=1, description="answers a task, of each speaker")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    unrelated: int = Field(default=20, ge=0, description="unrelated texts tried as nulls")
    random: int = Field(default=5, ge=0, description="random texts of equal length tried as nulls")
    shuffled: int = Field(default=5, ge=0, description="orders of the same words tried beside the nulls")
    null_tasks: int = Field(default=100, ge=2, description="tasks on which nulls are measured")
    null_answers: int = Field(default=2, ge=1, description="answers a task on which nulls are measured")
    stated: float = stated()
    batch: int = Field(default=128, ge=1, description="answers drawn and measured at once; the unit that is recorded")
    memory_mb: int = anywhere(512, "megabytes for distributions kept between texts, and as many again for work", ge=1)


@dataclass(frozen=True)
class Heard:
    """A speaker, what it said, and what the rater made of it."""

    speaker: Speaker
    said: list[Said]
    rewards: Rewards

    def fewer(self, keys: set[str], repeats: int) -> Heard:
        """Return the same on some tasks only, with the first `repeats` answers to each."""
        return Heard(self.speaker, within(self.said, keys, repeats), self.rewards)


@dataclass(frozen=True)
class Hearing:
    """What any measurement of a change stands on. place: before the keys of what it tells displays."""

    change: Change
    tab: Tab
    config: MeasureConfig
    env: Environment | None
    rng: np.random.Generator
    place: ClassVar[str] = "measure"

    def rated(self, speaker: Speaker, tasks: Sequence[tuple[str, Task]], repeats: int) -> tuple[list[Said], Rewards]:
        """Draw answers of a speaker, and return them with what the rater made of them."""
        said = answers_of(speaker, tasks, repeats, self.tab, self.config.batch, self.config.max_tokens)
        rater = self.env if self.env is not None and self.env.rewarded else None
        return said, rewards_of(said, rater, self.tab, self.config.batch)

    def mean(self, values: Mapping[str, float]) -> Interval:
        """Return the mean over tasks with its interval."""
        return bootstrap_mean([values[key] for key in sorted(values)], rng=self.rng)

    def stage(self, name: str, says: str, total: int, text: str) -> None:
        """Tell displays what begins; total: how many "answers" and "divergence" events it will take at most."""
        place = f"{self.place}/stage/{name}/{self.change.identity}/{digest_of([text, total])}"
        payload = {"name": f"measure/{name}", "says": says, "seconds_expected": None, "total": total}
        self.tab.run.append(place, "stage", payload)


@dataclass(frozen=True)
class Setting(Hearing):
    """What a measurement by divergences stands on."""

    meter: Meter
    language: Language

    @property
    def unrelated(self) -> tuple[str, ...]:
        """The unrelated texts that are tried."""
        return self.language.unrelated[: self.config.unrelated]

    def digest(self, text: str, keyed: Sequence[tuple[str, Task]], twins: Sequence[Speaker]) -> str:
        """Return what tells the outcome for a text from others in the same run."""
        rater = self.env.identity if self.env is not None and self.env.rewarded else None
        others = [[key for key, _ in keyed], rater, [twin.identity for twin in twins]]
        speech = [self.unrelated, self.language.parses is not None]
        return digest_of([self.change.identity, text, self.config.identity(), *others, *speech])

    def hear(self, speaker: Speaker, tasks: Sequence[tuple[str, Task]], repeats: int) -> Heard:
        """Draw answers of a speaker and rate them."""
        return Heard(speaker, *self.rated(speaker, tasks, repeats))
