"""RL on an environment: a LoRA is trained to raise the reward, and the best of it by validation is saved.

The objective is TRL's GRPO with a KL term that holds the tuned model near its base: a tuned model that no longer speaks
cannot be read. Every step, validation and checkpoint is an event; a second call with the same run goes on from the last
checkpoint, or returns the result that stands. Left out: full fine-tuning, learned reward models, several processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import Field

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Record, Split, Usage
from scrutable.envs.base import Environment
from scrutable.models.base import Model
from scrutable.models.hf import HFModel
from scrutable.programs.text import place_text
from scrutable.train.grpo import Drawing, Rollouts, checkpoint_folder, make_trainer
from scrutable.train.lora import (
    base_name,
    begin,
    fits,
    must_be_base,
    quietly,
)
from scrutable.train.policy import put_weights, trainable_copy
from scrutable.train.validations import TrainConfig, Validations, rose
from scrutable.train.watch import Watcher

__all__ = ["TrainConfig", "TrainResult", "check_env", "train"]


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
    rollouts: int = Field(default=0, description="answers drawn: by the steps, and by the validations")

    @property
    def seconds(self) -> float:
        """What training and validation took, loading and set-up aside."""
        return self.usage.seconds

    def path(self, run: Run) -> Path:
        """Where the adapter is."""
        return run.path / self.adapter


def train(
    env: Environment,
    model: Model,
    run: Run,
    config: TrainConfig | None = None,
    watchers: Sequence[Watcher] = (),
    start: Path | None = None,
) -> TrainResult:
    """Train a LoRA on the environment's reward; events go under `train/` of the run.

    start: an adapter of the model, by the same recipe, whose weights the training goes on from (the optimizer begins anew, and
    the KL is still to the model); what is saved is the best of the steps after it.

    A run that holds the result returns it; one that was cut off goes on from its last checkpoint (on the CPU exactly as
    it would have gone: what was already told of later steps stands).
    Errors: UserError when the model has no weights here or is an adapter, when the environment has no reward or scores
    nothing, when the run holds a training of something else, when `rollouts` leaves no room for a step.
    """
    config = config or TrainConfig()
    base, run = must_be_base(model), run.scope("train")
    check_env(env)
    says = f"RL: {base.name} on {env.name}, up to {config.steps} steps of {config.answers} answers"
    speaker = base if start is None else base.with_adapter(start)
    of = {"environment": env, "model": base, "start": speaker if start else None}
    begin(run, "train", says, config, of)
    if done := run.get("result"):
        _clean(run)
        return TrainResult.model_validate(done.payload)
    validate = Validations(env, run, config)
    if config.rollouts is not None and not validate.room(0):
        least = config.most + 2 * len(validate.tasks)
        raise UserError(f"{config.rollouts} rollouts leave no room for a step between two validations: give {least}")
    with quietly(config, base.module):
        validate(speaker, 0)
        if not validate.over:
            _descend(env, base, run, validate, watchers, start)
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


def _descend(
    env: Environment,
    base: HFModel,
    run: Run,
    validate: Validations,
    watchers: Sequence[Watcher],
    start: Path | None,
) -> None:
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
        if start is not None:
            put_weights(trainer.model, start)
        trainer.train(resume_from_checkpoint=str(checkpoint_folder(place, last)) if last else None)


def _hear(run: Run, rollouts: Rollouts, validate: Validations, what: str, step: int, kl: float | None) -> bool:
    """Write down what the trainer tells; return whether the training is over."""
    if what == "checkpoint":
        path = checkpoint_folder(run.file("checkpoints"), step).relative_to(run.path).as_posix()
        run.append(f"checkpoint/{step:05d}", "checkpoint", {"step": step, "path": path})
        return False
    payload, cost = rollouts.told(kl)
    # A step that is taken again after a kill stands as it was told, should a GPU have rounded differently.
    if not run.has(f"step/{step:05d}"):
        run.append(f"step/{step:05d}", "step", payload, cost=cost)
    if step % validate.config.validate_every and step < validate.config.steps and validate.room(step):
        return False
    validate(rollouts.voice.speaker(), step, rollouts.voice)
    return bool(validate.over)


def _last_checkpoint(run: Run, place: Path) -> int:
    """Return the step of the last whole checkpoint (0: none), and remove those that were cut off while written."""
    told = {int(event.payload["step"]) for event in run.events("checkpoint")}
    there = {int(p.name.rpartition("-")[2]) for p in place.glob("checkpoint-*")} if place.is_dir() else set()
    for step in there - told:
        shutil.rmtree(checkpoint_folder(place, step))
    return max(there & told, default=0)


def _result(base: HFModel, run: Run, validate: Validations) -> TrainResult:
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
    why = validate.over
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
        rollouts=validate.spent(last.step),
        usage=run.cost(),
    )


def _clean(run: Run) -> None:
    """Remove what only a training under way needs."""
    shutil.rmtree(run.file("checkpoints"), ignore_errors=True)
    for place in run.file("adapter").parent.glob("best-*"):
        shutil.rmtree(place)
