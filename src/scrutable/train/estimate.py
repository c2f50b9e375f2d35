"""What a training will take, before it is begun: one step's work is done on the real model, timed, and multiplied.

Nothing is written and nothing is learned. What it cannot know: how long answers become while training, when the
validation stops it, and how long a user's reward takes (the environment is asked for tasks, never to rate).
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from scrutable.core.errors import UserError
from scrutable.core.records import Record, Sampling
from scrutable.envs.base import Environment
from scrutable.models.base import Model
from scrutable.models.hf import HFModel
from scrutable.programs.text import place_text
from scrutable.train.lora import at_once, fits, lora_config, must_be_base, quietly
from scrutable.train.policy import trainable_copy
from scrutable.train.rl import TrainConfig
from scrutable.train.supervised import Encoded, Learner

_IMPORTS = 5.0  # seconds until TRL and its like are there
_REFERENCE = 0.3  # a pass of the base without gradients, as a share of a pass of the policy with its gradients


class TrainEstimate(Record):
    """What a training will take at most: if no validation stops it earlier, and every look is taken."""

    steps: int
    answers: int = Field(description="answers generated and rated, those of validations too, if every look is taken")
    answer_tokens: int = Field(description="tokens of those answers, if they stay as long as the base's")
    forward_passes: int = Field(
        description="sequences passed through the model to learn from them, and by its reference"
    )
    seconds: float
    memory: int = Field(description="bytes for weights, adapter and one pass, beside what Python and torch take")


def estimate(env: Environment, model: Model, config: TrainConfig | None = None) -> TrainEstimate:
    """Return what `train` with the same arguments would take.

    Errors: UserError as `train` raises, as far as they show before anything is rated.
    """
    config, base = config or TrainConfig(), must_be_base(model)
    if not env.rewarded:
        raise UserError(f"{env.name} has no reward to train on: give it a reward function")
    tasks = [t for t in env.tasks("search") if fits(base, place_text(t.messages, config.text), config.max_tokens)]
    if not tasks:
        raise UserError(f"no task of {env.name} fits {base.name}: shorten the prompts, or lower max_tokens")
    asked = [place_text(t.messages, config.text) for t in tasks[: config.tasks_per_step] for _ in range(config.group)]
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    with quietly(config, base.module):
        base.generate(asked[:2], sampling.model_copy(update={"max_tokens": 2}))  # the first call is slower
        began = time.perf_counter()
        made = base.generate(asked, sampling)
        generation = time.perf_counter() - began
        pairs = [(base.encode(c), list(g.tokens)) for c, g in zip(asked, made, strict=True) if g.tokens]
        if not pairs:
            raise UserError(f"{base.name} could not answer a task of {env.name}: {made[0].failure}")
        learning, held = _learn_once(base, pairs, config)
    steps, each = config.steps, min(config.validation_tasks, len(env.tasks("keep")))
    if config.rollouts is not None:
        steps = max(1, min(steps, (config.rollouts - 2 * each) // config.most))
    checked = each * (1 + -(-steps // config.validate_every))
    passes = steps * config.answers * (2 if config.beta else 1)
    answers = steps * config.most + checked
    share = len(asked) / config.answers  # fewer tasks than a step takes
    step = (generation * config.looks * config.draws + learning * (1 + _REFERENCE * bool(config.beta))) / share
    return TrainEstimate(
        steps=steps,
        answers=answers,
        answer_tokens=round(answers * sum(len(answer) for _, answer in pairs) / len(pairs)),
        forward_passes=passes,
        seconds=_IMPORTS + steps * step + checked * generation / len(asked),
        memory=held,
    )


def _learn_once(base: HFModel, pairs: list[Encoded], config: TrainConfig) -> tuple[float, int]:
    """Return the seconds of learning from the pairs once, and the bytes that it takes."""
    import torch
    from peft import get_peft_model

    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with trainable_copy(base) as module:
        tuned = get_peft_model(module, lora_config(module, config)).eval()
        learner = Learner(tuned, config)
        once = pairs[: at_once(config, module)]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            learner.step(once)
        began = time.perf_counter()
        learner.step(once)
        seconds = (time.perf_counter() - began) * len(pairs) / len(once)
        weights = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in tuned.parameters()}
        adapter = sum(p.numel() * 12 for p in learner.weights.values())  # gradient and two moments
    return seconds, sum((weights | kept).values()) + adapter
