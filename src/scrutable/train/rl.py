"""RL on an environment: a LoRA is trained to raise the reward, and the best of it by validation is saved.

The objective is TRL's GRPO with a KL term that holds the tuned model near its base: a tuned model that no longer speaks
cannot be read. Every step, validation and checkpoint is an event; a second call with the same run goes on from the last
checkpoint, or returns the result that stands. Left out: full fine-tuning, learned reward models, several processes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import stdev

from pydantic import Field

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Sampling, Score, Split, Task, Usage
from scrutable.envs.base import Environment
from scrutable.models.base import Model
from scrutable.models.hf import HFModel
from scrutable.programs.evaluate import evaluate
from scrutable.programs.text import TEXT, SingleText, place_text
from scrutable.train.grpo import Drawing, Rollouts, checkpoint_folder, make_trainer, means, why_unscored
from scrutable.train.lora import (
    Recipe,
    base_name,
    begin,
    fits,
    must_be_base,
    quietly,
    seed_for,
)
from scrutable.train.policy import Voice, trainable_copy
from scrutable.train.watch import Watcher


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


class Validation(Record):
    """The reward on keep tasks after a step (0: of the base)."""

    step: int
    reward: float | None = Field(description="mean over the scored answers, drawn at the training's temperature")
    error: float | None = Field(default=None, description="standard error of that mean")
    true_reward: float | None = None
    count: int = Field(description="answers asked for")
    unscored: float = Field(default=0.0, description="share of them that could not be scored")
    adapter: str | None = Field(default=None, description="folder of the adapter, kept while it is the best")


class TrainResult(Record):
    """What a training came to. Rewards are means over the validation tasks, drawn at the training's temperature."""

    adapter: str = Field(description="the saved adapter, relative to the run folder: that of the best validation")
    base: str = Field(description="how the adapter names its base")
    steps: int = Field(description="steps taken")
    best_step: int = Field(description="the step that the saved adapter is from")
    base_reward: float
    final_reward: float | None
    best_reward: float = Field(description="the highest of several validations, so fresh tasks may give a little less")
    base_true: float | None = None
    best_true: float | None = None
    unscored: float = Field(default=0.0, description="share of the answers trained on that could not be scored")
    unscored_answers: int = Field(default=0, description="how many could not, of training and validation together")
    stopped_why: str
    usage: Usage = Field(default_factory=Usage)

    @property
    def seconds(self) -> float:
        """What training and validation took, loading and set-up aside."""
        return self.usage.seconds

    def path(self, run: Run) -> Path:
        """Where the adapter is."""
        return run.path / self.adapter


def train(
    env: Environment, model: Model, run: Run, config: TrainConfig | None = None, watchers: Sequence[Watcher] = ()
) -> TrainResult:
    """Train a LoRA on the environment's reward; events go under `train/` of the run.

    A run that holds the result returns it; one that was cut off goes on from its last checkpoint (on the CPU exactly as
    it would have gone: what was already told of later steps stands).
    Errors: UserError when the model has no weights here or is an adapter, when the environment has no reward or scores
    nothing, when the run holds a training of something else.
    """
    config = config or TrainConfig()
    base, run = must_be_base(model), run.scope("train")
    check_env(env)
    says = f"RL: {base.name} on {env.name}, up to {config.steps} steps of {config.answers} answers"
    begin(run, "train", says, config, {"environment": env, "model": base})
    if done := run.get("result"):
        _clean(run)
        return TrainResult.model_validate(done.payload)
    validate = _Validations(env, run, config)
    with quietly(config, base.module):
        validate(base, 0)
        if not verdict(validate.done, config):
            _descend(env, base, run, validate, watchers)
    result = _result(base, run, validate)
    run.append("result", "result", result)
    _clean(run)
    return result


def check_env(env: Environment) -> None:
    """Refuse an environment that cannot be trained on.

    Errors: UserError when it has no reward, or a split that training needs is empty.
    """
    if not env.rewarded:
        raise UserError(
            f"{env.name} has no reward to train on: give it a reward function, or use `read` with a tuned model"
        )
    needed: tuple[Split, ...] = ("search", "keep")
    for split in needed:
        env.tasks(split)


class _Validations:
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


def _descend(env: Environment, base: HFModel, run: Run, validate: _Validations, watchers: Sequence[Watcher]) -> None:
    """Take the steps that are left."""
    config = validate.config
    tasks = [t for t in env.tasks("search") if fits(base, place_text(t.messages, config.text), config.max_tokens)]
    if not tasks:
        raise UserError(f"no task of {env.name} fits {base.name}: shorten the prompts, or lower max_tokens")
    rollouts = Rollouts(env, base, tasks, run, config, watchers, Drawing(config.looks, config.draws))
    place = run.file("checkpoints")
    last = _last_checkpoint(run, place)
    with trainable_copy(base) as module:
        settings = {"beta": config.beta, "save_steps": config.checkpoint_every, "output_dir": str(place)}
        hear = partial(_hear, run, rollouts, validate)
        trainer = make_trainer(module, rollouts, settings, hear)
        trainer.train(resume_from_checkpoint=str(checkpoint_folder(place, last)) if last else None)


def _hear(run: Run, rollouts: Rollouts, validate: _Validations, what: str, step: int, kl: float | None) -> bool:
    """Write down what the trainer tells; return whether the training is over."""
    if what == "checkpoint":
        path = checkpoint_folder(run.file("checkpoints"), step).relative_to(run.path).as_posix()
        run.append(f"checkpoint/{step:05d}", "checkpoint", {"step": step, "path": path})
        return False
    payload, cost = rollouts.told(kl)
    # A step that is taken again after a kill stands as it was told, should a GPU have rounded differently.
    if not run.has(f"step/{step:05d}"):
        run.append(f"step/{step:05d}", "step", payload, cost=cost)
    if step % validate.config.validate_every and step < validate.config.steps:
        return False
    validate(rollouts.voice.speaker(), step, rollouts.voice)
    return bool(verdict(validate.done, validate.config))


def _last_checkpoint(run: Run, place: Path) -> int:
    """Return the step of the last whole checkpoint (0: none), and remove those that were cut off while written."""
    told = {int(event.payload["step"]) for event in run.events("checkpoint")}
    there = {int(p.name.rpartition("-")[2]) for p in place.glob("checkpoint-*")} if place.is_dir() else set()
    for step in there - told:
        shutil.rmtree(checkpoint_folder(place, step))
    return max(there & told, default=0)


def _result(base: HFModel, run: Run, validate: _Validations) -> TrainResult:
    best, first, last = validate.best, validate.done[0], validate.done[-1]
    if best is None or best.reward is None or best.adapter is None or first.reward is None:
        raise UserError(
            f"no validation of {validate.env.name} could be scored, so nothing was learned that can be kept"
        )
    with run.saving_folder("adapter") as place:
        shutil.copytree(run.path / best.adapter, place, dirs_exist_ok=True)
    steps = run.events("step")
    lost = [(event.payload["unscored"], event.payload["answers"]) for event in steps]
    lost += [(one.unscored, one.count) for one in validate.done]
    why = verdict(validate.done, validate.config)
    if not rose(validate.done):
        why += f"; no validation was clearly above the base's {first.reward:.3f}"
    if steps and not any(event.payload["signal"] for event in steps):
        why += "; no two answers to a task earned different rewards, so there was nothing to learn"
    return TrainResult(
        adapter=run.file("adapter").relative_to(run.path).as_posix(),
        base=base_name(base),
        steps=last.step,
        best_step=best.step,
        base_reward=first.reward,
        final_reward=last.reward,
        best_reward=best.reward,
        base_true=first.true_reward,
        best_true=best.true_reward,
        unscored=sum(event.payload["unscored"] for event in steps) / max(1, len(steps)),
        unscored_answers=sum(round(share * count) for share, count in lost),
        stopped_why=why,
        usage=run.cost(),
    )


def _clean(run: Run) -> None:
    """Remove what only a training under way needs."""
    shutil.rmtree(run.file("checkpoints"), ignore_errors=True)
    for place in run.file("adapter").parent.glob("best-*"):
        shutil.rmtree(place)
