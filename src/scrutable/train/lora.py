"""What every training here shares: the recipe of a LoRA, and a copy of a model that can be trained without touching it.

The copy shares every weight with the model it was made from, so training needs no second set of weights, and the model
goes on answering as it did. Adapters are ordinary PEFT directories in safetensors. Which steps are taken is said elsewhere
(train/rl.py by a reward, train/supervised.py by given answers).
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.models.base import Model
from scrutable.models.hf import HFModel

if TYPE_CHECKING:
    import torch

SMALL = 50_000_000
"""Parameters below which one thread is quickest, and a whole step fits into one pass."""


class Recipe(Config):
    """How an adapter is trained, whatever it is trained on. Two trainings are of the same recipe when these are equal."""

    steps: int = Field(default=150, ge=1, description="optimizer steps at most")
    learning_rate: float = Field(default=5e-4, gt=0, description="AdamW's step size, constant over the run")
    group: int = Field(default=16, ge=2, description="answers to one task in one step, compared with each other")
    tasks_per_step: int = Field(default=4, ge=1, description="tasks in one step; answers a step = group x this")
    max_tokens: int = Field(default=24, ge=1, description="most tokens of one answer")
    temperature: float = Field(default=1.0, gt=0, description="temperature of the answers trained on (never truncated)")
    rank: int = Field(default=8, ge=1, description="rank of the LoRA")
    alpha: int = Field(default=16, ge=1, description="scale of the LoRA: its product counts alpha / rank times")
    targets: str = Field(
        default="all-linear", description="what the LoRA is put on: all-linear, or names of modules divided by commas"
    )
    text: str = Field(default="", description="a text that stands in context during the training (inoculation)")
    seed: int = Field(default=0, description="seed of the adapter's start, the order of tasks, and the answers")
    at_once: int = Field(
        default=0, ge=0, description="answers in one pass, for memory; 0: all of a step for small models, else 8"
    )
    threads: int = anywhere(0, "torch threads; 0: one for small models, else as torch has it", ge=0)

    @property
    def answers(self) -> int:
        """Answers in one step."""
        return self.group * self.tasks_per_step


def must_be_open(model: Model) -> HFModel:
    """Return the model as one with weights here. Errors: UserError for a served or scripted one."""
    if not isinstance(model, HFModel):
        raise UserError(f"{model.name} has no weights here to train: give a model directory or a hub name")
    return model


def parameters(module: torch.nn.Module) -> int:
    """Return the number of parameters, tied ones once."""
    return sum(p.numel() for p in module.parameters())


def micro_batch(recipe: Recipe, module: torch.nn.Module) -> int:
    """Return how many answers go through the model at once: a divisor of the answers in a step."""
    most = recipe.at_once or (recipe.answers if parameters(module) < SMALL else 8)
    return max(n for n in range(1, min(most, recipe.answers) + 1) if recipe.answers % n == 0)


def lora_config(module: torch.nn.Module, recipe: Recipe) -> Any:
    """Return PEFT's LoraConfig of the recipe.

    Errors: UserError when a name in `targets` fits no linear layer of the model.
    """
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    names = [name.strip() for name in recipe.targets.split(",") if name.strip()]
    whole = names in ([], ["all-linear"])
    there = {name.rsplit(".", 1)[-1] for name, inner in module.named_modules() if getattr(inner, "weight", None) is not None}
    if not whole and (unknown := sorted(set(names) - there)):
        raise UserError(f"the model has no module {unknown[0]!r} to put a LoRA on; it has {', '.join(sorted(there))}")
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear" if whole else names,
        fan_in_fan_out=any(isinstance(inner, Conv1D) for inner in module.modules()),
        task_type="CAUSAL_LM",
    )


@contextmanager
def trainable_copy(model: HFModel) -> Iterator[torch.nn.Module]:
    """Yield a module like the model's own that shares its weights, to wrap and train; afterwards all is as it was.

    Global random states are put back too: libraries seed them, and nobody else's draws should move for that.
    """
    import numpy as np
    import torch

    held = [(p, p.requires_grad) for p in model.module.parameters()]
    shared: dict[int, Any] = {id(t): t for t in (*model.module.parameters(), *model.module.buffers())}
    states = (random.getstate(), np.random.get_state())
    try:
        with torch.random.fork_rng():
            yield copy.deepcopy(model.module, shared)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for parameter, flag in held:
            parameter.requires_grad_(flag)


@contextmanager
def quietly(recipe: Recipe, module: torch.nn.Module) -> Iterator[None]:
    """Hold the number of threads, and the libraries' chatter: what happens is told by events, and by them alone."""
    import torch
    from transformers.utils import logging

    threads, loud, bars = torch.get_num_threads(), logging.get_verbosity(), logging.is_progress_bar_enabled()
    wanted = recipe.threads or (1 if parameters(module) < SMALL else threads)
    torch.set_num_threads(wanted)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        torch.set_num_threads(threads)
        logging.set_verbosity(loud)
        if bars:
            logging.enable_progress_bar()


def save_adapter(tuned: Any, place: Path, base: str) -> None:
    """Write a PeftModel's adapter into the folder `place`, naming the base as the user named it.

    Leaves adapter_config.json and adapter_model.safetensors, and no model card: it would say nothing that is known.
    """
    config = tuned.peft_config["default"]
    config.base_model_name_or_path = base
    tuned.save_pretrained(place, safe_serialization=True, save_embedding_layers=False)
    (place / "README.md").unlink(missing_ok=True)
