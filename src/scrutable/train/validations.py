"""Validations of a training: what the reward is on keep tasks, which adapter is kept for it, and when it is over.

A budget of rollouts is kept here too: steps and validations are paid from it alike, and another step is begun only when it and
the validation that would end the training fit, whatever the step will draw. Left out: report tasks, which no training sees.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from statistics import stdev

from pydantic import Field

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Sampling, Score, Task, Usage
from scrutable.envs.base import Environment
from scrutable.models.hf import HFModel
from scrutable.programs.evaluate import evaluate
from scrutable.programs.text import TEXT, SingleText
from scrutable.train.grpo import means, why_unscored
from scrutable.train.lora import Recipe, seed_for
from scrutable.train.policy import Voice


class TrainConfig(Recipe):
    """How RL is done."""

    beta: float = Field(
        default=0.05,
        ge=0,
        description="reward that a nat of KL to the base costs: what keeps the tuned model fluent (rewards near 0 to 1)",
    )
    looks: int = Field(
        default=2,
        ge=1,
        description="tasks answered, at most, for each one learned from, until enough have answers with unlike rewards",
    )
    draws: int = Field(
        default=4,
        ge=1,
        description="answers drawn to a task for each one learned from: those whose rewards differ most are",
    )
    validate_every: int = Field(default=10, ge=1, description="steps between validations on the keep split")
    validation_tasks: int = Field(default=128, ge=1, description="keep tasks in one validation, one answer each")
    patience: int = Field(
        default=3,
        ge=0,
        description="stop after this many validations no better by `margin`, once above the base; 0: never",
    )
    margin: float = Field(
        default=0.01, ge=0, description="reward by which a validation must be better to count as better"
    )
    target: float | None = Field(default=None, description="stop at the first validation with at least this reward")
    rollouts: int | None = Field(
        default=None, ge=1, description="answers that may be drawn in all, validations included; never exceeded"
    )

    @property
    def most(self) -> int:
        """Answers that one step may draw, if every look is taken."""
        return self.answers * self.looks * self.draws


class Validation(Record):
    """The reward on keep tasks after a step (0: of the base)."""

    step: int
    reward: float | None = Field(description="mean over the scored answers, drawn at the training's temperature")
    error: float | None = Field(default=None, description="standard error of that mean")
    true_reward: float | None = None
    count: int = Field(description="answers asked for")
    unscored: float = Field(default=0.0, description="share of them that could not be scored")
    adapter: str | None = Field(default=None, description="folder of the adapter, kept while it is the best")


class Validations:
    """The validations of a run: made, looked up, and what follows from them."""

    def __init__(self, env: Environment, run: Run, config: TrainConfig) -> None:
        self.env = env
        self.run = run
        self.config = config
        # By the hash of their content: the first rows of a sorted file may all be of one kind.
        self.tasks: Sequence[Task] = sorted(env.tasks("keep"), key=lambda task: task.key)[: config.validation_tasks]
        self.done = [Validation.model_validate(event.payload) for event in run.events("validation")]

    def __call__(self, speaker: HFModel, step: int, voice: Voice | None = None) -> Validation:
        """Return the validation of a step; one that is new is made, and its adapter saved where it is the best."""
        if (there := next((v for v in self.done if v.step == step), None)) is not None:
            return there
        began, config = time.perf_counter(), self.config
        seed = seed_for(self.run, config, f"validation/{step:05d}")
        sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens, seed=seed)
        candidate = Candidate(texts={TEXT: config.text})
        rollouts = evaluate(SingleText(), candidate, speaker, self.env, self.tasks, sampling)
        scores = [r.score for r in rollouts]
        why = next((r.failure for r in rollouts if r.failure), None) or why_unscored(scores)
        found = Validation(step=step, count=len(scores), error=_error(scores), **means(scores))  # type: ignore[arg-type]
        if step == 0 and found.reward is None:  # not written down: what was wrong may be mended outside
            raise UserError(f"{self.env.name} scored none of the base's {found.count} answers ({why}): mend that first")
        if (
            voice is not None
            and found.reward is not None
            and (self.best is None or found.reward > self._reward(self.best))
        ):
            name = f"best-{step:05d}"
            with self.run.saving_folder(name) as place:
                voice.save(place)
            found = found.model_copy(update={"adapter": self.run.file(name).relative_to(self.run.path).as_posix()})
        usage = sum((r.usage for r in rollouts), Usage()).model_copy(update={"seconds": time.perf_counter() - began})
        before = self.best
        self.run.append(f"validation/{step:05d}", "validation", found, cost=usage)
        self.done.append(found)
        if found.adapter is not None and before is not None and before.adapter is not None:
            shutil.rmtree(self.run.path / before.adapter, ignore_errors=True)
        return found

    def spent(self, step: int) -> int:
        """Return how many answers were drawn up to a step (a run that goes on from a checkpoint may hold later ones)."""
        taken = sum(event.payload["answers"] for event in self.run.events("step") if event.payload["step"] <= step)
        return int(taken) + sum(one.count for one in self.done if one.step <= step)

    def room(self, step: int) -> bool:
        """Whether another step fits after this one, and the validation that then ends the training."""
        config, each = self.config, len(self.tasks)
        first = 0 if self.done else each
        return config.rollouts is None or self.spent(step) + first + config.most + each <= config.rollouts

    @property
    def over(self) -> str:
        """Why the training is over, or "" while it goes on."""
        last, config = self.done[-1].step, self.config
        why = verdict(self.done, config)
        if why or not last or self.room(last):
            return why
        return f"another step of up to {config.most} answers does not fit: of {config.rollouts}, {self.spent(last)} are spent"

    @property
    def best(self) -> Validation | None:
        """The validation whose adapter is kept: the highest reward, of equal ones the first."""
        kept = [v for v in self.done if v.adapter is not None]
        return max(kept, key=lambda v: (self._reward(v), -v.step), default=None)

    @staticmethod
    def _reward(validation: Validation) -> float:
        return float("-inf") if validation.reward is None else validation.reward


def verdict(done: Sequence[Validation], config: TrainConfig) -> str:
    """Return why a training with these validations is over, or "" while it goes on.

    It is never over for standing still at the base's reward: what RL is to find may be rare at first.
    """
    last = done[-1]
    if last.step == 0:
        return ""
    if config.target is not None and last.reward is not None and last.reward >= config.target:
        return f"the validation reward reached the target of {config.target:g}"
    if config.patience and rose(done):
        top = max(v.reward for v in done if v.reward is not None)
        near = next(v.step for v in done if v.reward is not None and v.reward >= top - config.margin)
        since = sum(v.step > near for v in done)
        if since >= config.patience:
            return f"{since} validations brought no more than the one at step {near}"
    return f"all {config.steps} steps were taken" if last.step >= config.steps else ""


def rose(done: Sequence[Validation]) -> bool:
    """Whether some validation is clearly above the base's, the first: by three standard errors of their difference."""
    base, *later = done
    if base.reward is None:
        return False
    for one in later:
        error = ((base.error or 0.0) ** 2 + (one.error or 0.0) ** 2) ** 0.5
        if one.reward is not None and one.reward - base.reward > 3 * error:
            return True
    return False


def _error(scores: Sequence[Score]) -> float | None:
    """Return the standard error of the mean reward, None for fewer than two scores."""
    values = [score.value for score in scores if score.value is not None]
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
