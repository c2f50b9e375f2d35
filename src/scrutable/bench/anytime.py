"""Anytime: what a search would return if it were stopped after so many rollouts, and how good that is on report tasks.

Any engine can be told in this way: a step is written whenever the candidate that it would return changes. Report tasks are
looked at only here, once a text, and no search sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from pydantic import Field

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Sampling, Task
from scrutable.envs.base import Environment
from scrutable.evolve.sentences import length
from scrutable.models.base import Model
from scrutable.programs.base import Program
from scrutable.programs.evaluate import evaluate


class Step(Record):
    """From so many rollouts on, this is what would be returned."""

    rollouts: int
    texts: dict[str, str]
    score: float | None = Field(default=None, description="as the search saw it, on its own tasks")

    @property
    def key(self) -> str:
        """The candidate's key."""
        return Candidate(texts=self.texts).key


class Trace(Record):
    """One search, as what it would have returned at any time. The first step is at rollout 0: the text it started from."""

    arm: str
    steps: tuple[Step, ...] = Field(min_length=1)
    rollouts: int = Field(description="made in all; a search that looks at its budget now and then may exceed it")
    reflections: int
    accepted: int = Field(description="candidates that were kept, the start not among them")

    def at(self, rollouts: int) -> Step:
        """Return the step that holds after so many rollouts."""
        return [step for step in self.steps if step.rollouts <= rollouts][-1]

    def within(self, budget: int) -> tuple[Step, ...]:
        """Return the steps that a budget of rollouts reaches."""
        return tuple(step for step in self.steps if step.rollouts <= budget)


def report_rewards(
    run: Run, env: Environment, speaker: tuple[Model, Program, Sampling], texts: Iterable[Mapping[str, str]]
) -> dict[str, float]:
    """Return the mean reward of each candidate on the report tasks, by its key; an unscored task is left out.

    One event a candidate, so that none is measured twice, in whatever arm it was found. All are answered with one seed.
    """
    tasks = env.tasks("report")
    found: dict[str, float] = {}
    for one in (Candidate(texts=dict(text)) for text in texts):
        if one.key not in found:
            found[one.key] = _reward(run, env, speaker, one, tasks)
    return found


def _reward(
    run: Run, env: Environment, speaker: tuple[Model, Program, Sampling], one: Candidate, tasks: Sequence[Task]
) -> float:
    model, program, sampling = speaker

    def ask() -> tuple[dict[str, object], None]:
        rollouts = evaluate(program, one, model, env, tasks, sampling)
        values = [rollout.score.value for rollout in rollouts if rollout.score.value is not None]
        return {"texts": one.texts, "reward": fmean(values) if values else None}, None

    reward = run.once(f"report/{one.key}", "report", ask).payload["reward"]
    return float("-inf") if reward is None else float(reward)


def rollouts_to(trace: Trace, rewards: Mapping[str, float], target: float, budget: int) -> int:
    """Return after how many rollouts the candidate to be returned first has the target; the whole budget where it never has."""
    reached = [step.rollouts for step in trace.within(budget) if rewards[step.key] >= target]
    return min(reached, default=budget)


def area(trace: Trace, rewards: Mapping[str, float], budget: int) -> float:
    """Return the mean, over the budget's rollouts, of the reward of the candidate that would be returned after each."""
    steps = trace.within(budget)
    ends = [step.rollouts for step in steps[1:]] + [budget]
    return sum(rewards[step.key] * (end - step.rollouts) for step, end in zip(steps, ends, strict=True)) / budget


def words(trace: Trace, budget: int) -> int:
    """Return the number of words of what is returned at the end."""
    return length(trace.at(budget).texts)
