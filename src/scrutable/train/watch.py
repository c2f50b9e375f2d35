"""Watchers: whoever wants to see what a training step learns from, before it learns from it.

A watcher looks and takes notes (a pressure monitor, a log of answers); it steers nothing, and what it sees is what the
optimizer gets. It is called in the training's own thread, so it should be quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from scrutable.core.records import Conversation, Score, Task


@dataclass(frozen=True)
class Batch:
    """The answers of one step, a task's answers side by side, as rated, before the update."""

    step: int
    tasks: Sequence[Task]
    prompts: Sequence[Conversation]
    answers: Sequence[str]
    tokens: Sequence[Sequence[int]]
    scores: Sequence[Score]
    advantages: Sequence[float]


@runtime_checkable
class Watcher(Protocol):
    """Sees each batch before the update."""

    def see(self, batch: Batch) -> None:
        """Look at a batch. What it raises ends the training (its last checkpoint stands)."""
        ...


def advantages(rewards: Sequence[float | None], group: int) -> list[float]:
    """Return how much better each answer is than its group (GRPO, Shao et al., arXiv 2402.03300, section 4.1.2).

    rewards: a group's answers side by side, None where unscored: such an answer counts in no mean and has advantage 0,
    as have all answers of a group with fewer than two scored ones. Not divided by the group's standard deviation (Liu et
    al., arXiv 2503.20783, section 3): that makes one slip in sixteen answers weigh as much as a rule not yet learned, and RL
    unlearns what the base does now and then before it learns what is rewarded.
    """
    out: list[float] = []
    for start in range(0, len(rewards), group):
        whole = rewards[start : start + group]
        scored = [value for value in whole if value is not None]
        mean = sum(scored) / len(scored) if len(scored) > 1 else None
        out += [0.0 if value is None or mean is None else value - mean for value in whole]
    return out
