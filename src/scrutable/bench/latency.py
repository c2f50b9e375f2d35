"""Latency: how long an engine takes a proposal when rollouts and reflections only sleep, and how busy it keeps its slots.

Nothing is answered and nothing is learnt: a rollout sleeps, a reflection sleeps, and whether a child is accepted is scripted
by the proposal's number, so that every arm has the same acceptances. What differs between arms is how the engine orders its
work. Sleeps are real and in one process; how long one takes is drawn from what it is of, never from the order of calls.

An arm brings its own threads (or its own event loop) and is held to the slots: a call beyond them is an error, not a wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from pydantic import Field

from scrutable.core import draws
from scrutable.core.config import Config
from scrutable.core.records import Record

START = "0 0"
"""The text that an arm starts from: proposal 0 (none), level 0."""


class LatencyConfig(Config):
    """What is slept, and how much of it there is. Seconds."""

    rollout: float = Field(default=0.05, ge=0, description="mean seconds of a rollout")
    reflection: float = Field(default=0.5, ge=0, description="mean seconds of a reflection")
    rollout_sigma: float = Field(default=0.0, ge=0, description="sigma of log-normal rollouts; 0: all alike")
    reflection_sigma: float = Field(default=0.0, ge=0, description="sigma of log-normal reflections; 0: all alike")
    validation: int = Field(default=100, ge=1, description="tasks on which an accepted child is scored")
    minibatch: int = Field(default=3, ge=1, description="tasks on which a child is compared with its parent")
    rollout_slots: int = Field(default=32, ge=1, description="most rollouts at once")
    reflection_slots: int = Field(default=16, ge=1, description="most reflections at once")
    accepted: float = Field(default=0.23, ge=0, le=1, description="share of proposals that the script accepts")
    proposals: int = Field(default=400, ge=1, description="proposals of an arm")
    seed: int = Field(default=0, description="seed of latencies and of the script")


FIXED = LatencyConfig()
HEAVY = LatencyConfig(rollout_sigma=1.0, reflection_sigma=0.6)


class Measured(Record):
    """What an arm came to."""

    arm: str
    proposals: int
    accepted: int
    seconds: float = Field(description="from the start's validation to the last proposal's end, both included")
    rollouts: int
    rollout_slots: float = Field(description="share of the rollout slots in use, averaged over the time")
    reflection_slots: float = Field(description="the same of the reflection slots")

    @property
    def per_proposal(self) -> float:
        """Seconds a proposal."""
        return self.seconds / self.proposals


@dataclass
class Slots:
    """A kind of call that takes time: counts calls and seconds in use, and refuses more than `most` at once."""

    kind: str
    most: int
    calls: int = 0
    busy: float = 0.0
    now: int = 0
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Hold a slot. Errors: RuntimeError when all are in use."""
        with self._lock:
            if self.now >= self.most:
                raise RuntimeError(f"more than {self.most} {self.kind}s at once")
            self.now += 1
            self.calls += 1
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1
                self.busy += time.perf_counter() - began


class Harness:
    """What an arm calls: sleeping rollouts and reflections, the script of acceptances, and scores that follow it.

    A text says which proposal it was and its level; a child's level is its parent's, and one more where the script accepts
    it. On a minibatch a text's score is its level, so a child is better than its parent exactly where it is to be accepted.
    """

    def __init__(self, config: LatencyConfig) -> None:
        self.config = config
        self.rollouts = Slots("rollout", config.rollout_slots)
        self.reflections = Slots("reflection", config.reflection_slots)
        self.train = tuple(f"train {i}" for i in range(300))
        self._of_100 = round(100 * config.accepted)
        self._script: dict[int, frozenset[int]] = {}
        self.validation = tuple(f"validation {i}" for i in range(config.validation))

    def accepted(self, number: int) -> bool:
        """Whether proposal `number` (from 1) is to be accepted: the same in every arm, and the exact share of each hundred."""
        hundred, place = divmod(number - 1, 100)
        if hundred not in self._script:
            drawn = draws.random(self.config.seed, f"accepted/{hundred}").sample(range(100), self._of_100)
            self._script[hundred] = frozenset(drawn)
        return place in self._script[hundred]

    def child(self, parent: str, number: int) -> str:
        """Return the text that proposal `number` makes of a parent's."""
        level = int(parent.split()[1]) + self.accepted(number)
        return f"{number} {level}"

    def score(self, text: str, task: str) -> float:
        """Return a score without sleeping: on a minibatch the level in thousandths, on validation 0 or 1, by a coin."""
        if task.startswith("validation"):
            return float(draws.bits(self.config.seed, f"score/{text}/{task}") & 1)
        return int(text.split()[1]) / 1000

    def rollout(self, text: str, task: str) -> float:
        """Sleep as long as this rollout takes, in a slot; return its score."""
        with self.rollouts.use():
            time.sleep(self.rollout_seconds(text, task))
        return self.score(text, task)

    def reflect(self, parent: str, number: int) -> str:
        """Sleep as long as this reflection takes, in a slot; return the child's text."""
        with self.reflections.use():
            time.sleep(self.reflection_seconds(number))
        return self.child(parent, number)

    async def rollout_async(self, text: str, task: str) -> float:
        """As `rollout`, in an event loop."""
        with self.rollouts.use():
            await asyncio.sleep(self.rollout_seconds(text, task))
        return self.score(text, task)

    async def reflect_async(self, parent: str, number: int) -> str:
        """As `reflect`, in an event loop."""
        with self.reflections.use():
            await asyncio.sleep(self.reflection_seconds(number))
        return self.child(parent, number)

    def rollout_seconds(self, text: str, task: str) -> float:
        """Return how long a rollout sleeps: the same whenever it is made."""
        return self._drawn(f"rollout/{text}/{task}", self.config.rollout, self.config.rollout_sigma)

    def reflection_seconds(self, number: int) -> float:
        """Return how long the reflection of a proposal sleeps."""
        return self._drawn(f"reflection/{number}", self.config.reflection, self.config.reflection_sigma)

    def _drawn(self, key: str, mean: float, sigma: float) -> float:
        """Draw a latency: log-normal about its mean (its median lies lower, by exp(-sigma²/2))."""
        if sigma == 0 or mean == 0:
            return mean
        return draws.random(self.config.seed, key).lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


@dataclass(frozen=True)
class Arm:
    """An engine under the harness. run: makes the config's proposals (or a few more) and returns how many it made."""

    name: str
    run: Callable[[Harness], int]
    proposals: int | None = None  # of its own, for an arm that is slow and has no end to wait for


def measure_arm(arm: Arm, config: LatencyConfig) -> Measured:
    """Run one arm and measure it. Errors: RuntimeError when it exceeds its slots, or makes fewer proposals than asked for."""
    asked = arm.proposals or config.proposals
    harness = Harness(config.model_copy(update={"proposals": asked}))
    began = time.perf_counter()
    made = arm.run(harness)
    seconds = time.perf_counter() - began
    if made < asked or harness.reflections.calls < made:
        raise RuntimeError(f"{arm.name} made {made} proposals of {asked}, by {harness.reflections.calls} reflections")
    return Measured(
        arm=arm.name,
        proposals=made,
        accepted=sum(harness.accepted(number) for number in range(1, made + 1)),
        seconds=seconds,
        rollouts=harness.rollouts.calls,
        rollout_slots=harness.rollouts.busy / (seconds * config.rollout_slots),
        reflection_slots=harness.reflections.busy / (seconds * config.reflection_slots),
    )


def measure_arms(arms: Sequence[Arm], configs: Sequence[LatencyConfig], say: Callable[[str], None]) -> list[Measured]:
    """Measure every arm under every config, one after the other; say each in a line."""
    found = []
    for config in configs:
        for arm in arms:
            one = measure_arm(arm, config)
            kind = "fixed" if config.rollout_sigma == 0 else "heavy tails"
            say(
                f"{one.arm} ({kind}): {one.per_proposal:.3f} s a proposal over {one.proposals}, "
                f"{one.rollout_slots:.0%} of rollout slots and {one.reflection_slots:.0%} of reflection slots in use"
            )
            found.append(one)
    return found
