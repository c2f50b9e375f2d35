"""The recipe of a LoRA: the knobs that every training here shares, and what follows from them for a given model.

Which steps are taken is said elsewhere: train/rl.py by a reward, train/supervised.py by given answers. What is
trained, and how it is saved, is in train/policy.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field

from scrutable.core.config import Config, anywhere
from scrutable.core.errors import ModelFailure, UserError
from scrutable.core.journal import Run
from scrutable.core.records import Conversation
from scrutable.models.base import Model
from scrutable.models.hf import HFModel
from scrutable.models.source import BUILT_IN

SMALL = 50_000_000
"""Parameters below which one thread is quickest, and a whole step fits into one pass."""


class Recipe(Config):
    """How an adapter is trained, whatever it is trained on. Two trainings are of the same recipe when these are equal."""

    steps: int = Field(default=200, ge=1, description="optimizer steps at most")
    learning_rate: float = Field(default=1e-3, gt=0, description="AdamW's step size, constant over the run")
    group: int = Field(
        default=8, ge=2, description="answers to one task that a step learns from, compared with each other"
    )
    tasks_per_step: int = Field(default=8, ge=1, description="tasks in one step; answers a step are group times this")
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
    checkpoint_every: int = Field(default=20, ge=1, description="steps between checkpoints: at most so many are lost")
    threads: int = anywhere(0, "torch threads; 0: one for small models, else as torch has it", ge=0)

    @property
    def answers(self) -> int:
        """Answers in one step."""
        return self.group * self.tasks_per_step


def must_be_base(model: Model) -> HFModel:
    """Return the model as one whose weights are here. Errors: UserError for a served model, and for an adapter."""
    if not isinstance(model, HFModel):
        raise UserError(f"{model.name} has no weights here to train: give a model directory or a hub name")
    if model.base is not model:
        raise UserError(f"{model.name} is an adapter already: train its base, or merge the two into a full model first")
    return model


def base_name(model: HFModel) -> str:
    """Return how an adapter names its base: "pidgin", a hub name, or the directory's whole path."""
    path = str(model.module.name_or_path)
    if path == BUILT_IN:
        return BUILT_IN
    return model.name if "/" in model.name else str(Path(path).resolve())


def is_small(module: Any) -> bool:
    """Whether the model is so small that a second thread or a smaller pass only costs time."""
    return bool(sum(p.numel() for p in module.parameters()) < SMALL)


def at_once(recipe: Recipe, module: Any) -> int:
    """Return how many answers go through the model in one pass: a divisor of the answers in a step."""
    most = recipe.at_once or (recipe.answers if is_small(module) else 8)
    return max(n for n in range(1, min(most, recipe.answers) + 1) if recipe.answers % n == 0)


def lora_config(module: Any, recipe: Recipe) -> Any:
    """Return PEFT's LoraConfig of the recipe.

    Errors: UserError when a name in `targets` fits no module of the model.
    """
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    names = [name.strip() for name in recipe.targets.split(",") if name.strip()]
    whole = names in ([], ["all-linear"])
    there = {
        name.rsplit(".", 1)[-1] for name, inner in module.named_modules() if getattr(inner, "weight", None) is not None
    }
    if not whole and (unknown := sorted(set(names) - there)):
        raise UserError(f"the model has no module {unknown[0]!r} to put a LoRA on; it has {', '.join(sorted(there))}")
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear" if whole else names,
        fan_in_fan_out=any(isinstance(inner, Conv1D) for inner in module.modules()),
        task_type="CAUSAL_LM",
    )


def fits(model: HFModel, conversation: Conversation, max_tokens: int) -> bool:
    """Whether a conversation can be encoded and leaves room for an answer of `max_tokens`."""
    positions = getattr(model.module.config.get_text_config(), "max_position_embeddings", None)
    try:
        return positions is None or len(model.encode(conversation)) + max_tokens <= int(positions)
    except ModelFailure:
        return False


def seed_for(run: Run, recipe: Recipe, what: str) -> int:
    """Return the seed of a draw: of the run's seed, the recipe's, and what is drawn."""
    return run.seed_of(f"{recipe.seed}/{what}")


def shuffled(count: int, needed: int, seed: int) -> list[int]:
    """Return `needed` numbers below `count`, shuffled, all of them before any comes again."""
    draws, order = Random(seed), list[int]()
    while len(order) < needed:
        order += draws.sample(range(count), count)
    return order[:needed]


def begin(run: Run, name: str, says: str, recipe: Recipe, of: Mapping[str, Any]) -> None:
    """Write the stage's event, or refuse a run that holds a training of something else.

    One that came to nothing may be begun anew: what was wrong may have been the environment.
    of: what decides the outcome beside the recipe: records' or models' identities, by a name that people understand.
    Errors: UserError that names what differs.
    """
    held = {**{k: getattr(v, "identity", v) for k, v in of.items()}, "config": recipe.digest()}
    payload = {"name": name, "says": says, "seconds_expected": None, "total": recipe.steps, "of": held}
    begun = [event.payload["of"] for event in run.events("stage")]
    changed = [key for key, value in held.items() if begun and begun[-1].get(key) != value]
    if changed and len(run.events()) > len(begun):
        raise UserError(f"{run.path} holds a training with another {' and '.join(changed)}: choose another run folder")
    if changed or not begun:
        run.append(f"stage/{len(begun)}" if begun else "stage", "stage", payload)


@contextmanager
def quietly(recipe: Recipe, module: Any) -> Iterator[None]:
    """Hold the number of threads, and the libraries' chatter: what happens is told by events alone."""
    import logging as standard

    import torch
    from transformers.utils import logging

    threads, loud, bars = torch.get_num_threads(), logging.get_verbosity(), logging.is_progress_bar_enabled()
    trl = standard.getLogger("trl")  # shows each answer that could not be scored; the events count them
    told = trl.level
    trl.setLevel(standard.ERROR)
    torch.set_num_threads(recipe.threads or (1 if is_small(module) else threads))
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
        trl.setLevel(told)
        if bars:
            logging.enable_progress_bar()
