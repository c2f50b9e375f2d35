"""pidgin, the built-in model: trained from nothing on lessons of the built-in world, exported, and its card measured.

A build is decided by its config (the seed, the shape, the number of steps), never by the clock; it resumes from its last
checkpoint. The directory it writes is an ordinary transformers directory, loaded by the same code as any other model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from scrutable.core.config import Config, anywhere
from scrutable.core.files import replacing_folder
from scrutable.organisms import lessons

if TYPE_CHECKING:
    from scrutable.organisms.card import Card
    from scrutable.organisms.packing import SharedExample
    from scrutable.organisms.trainer import Progress, TrainerConfig

CARD = "card.json"


class PidginConfig(Config):
    """How the built-in model is built."""

    seed: int = Field(default=0, description="seed of the first weights and of every lesson")
    steps: int = Field(default=10_500, ge=1, description="optimizer steps until the learning rate has fallen to zero")
    decay: float = Field(default=0.5, gt=0, le=1, description="last share of the steps over which it falls")
    again: float = Field(default=0.35, ge=0, description="steps after them, as a share, over which it falls once more")
    obeying: float = Field(default=0.475, ge=0, le=1, description="first share of the steps with few writing lessons")
    lessons: int = Field(default=64, ge=1, description="lessons a step; a lesson under a text asks several tasks")
    width: int = Field(default=128, description="width of the residual stream")
    layers: int = Field(default=4, description="number of layers")
    hidden: int = Field(default=352, description="width of the MLP's hidden layer")
    workers: int = anywhere(2, "processes of one thread each that share every step", ge=1)


def trainer_config(config: PidginConfig) -> TrainerConfig:
    """Return the trainer's own config."""
    from scrutable.organisms.trainer import TrainerConfig

    vocabulary = -(-len(lessons.vocabulary()) // 16) * 16
    return TrainerConfig(
        vocabulary=vocabulary,
        positions=1024,
        width=config.width,
        layers=config.layers,
        heads=config.width // 32,
        hidden=config.hidden,
        steps=config.steps,
        decay=config.decay,
        again=round(config.again * config.steps),
        seed=config.seed,
        workers=config.workers,
    )


def build(config: PidginConfig, folder: Path, on_step: Callable[[Progress], None] | None = None) -> Path:
    """Train the built-in model in `folder`/training and write it to `folder`/pidgin; return that directory.

    A build that was killed goes on from its last checkpoint. The card is measured apart (`write_card`).
    """
    from scrutable.organisms import trainer
    from scrutable.organisms.tokenizer import write_tokenizer

    training, made = folder / "training", folder / "pidgin"
    training.mkdir(parents=True, exist_ok=True)

    def examples(step: int) -> list[SharedExample]:
        mixture = lessons.Mixture() if step >= config.obeying * config.steps else lessons.OBEYING
        if step >= config.steps:
            mixture = lessons.CLOSING
        return lessons.lessons(config.seed, step, config.lessons, mixture)

    trainer.train(trainer_config(config), examples, training, on_step)
    made.mkdir(exist_ok=True)
    ids = {word: i for i, word in enumerate(lessons.vocabulary())}
    trainer.export(training, made, bos=ids[lessons.START], eos=ids[lessons.END], pad=ids[lessons.PAD])
    write_tokenizer(made)
    (made / "build.json").write_text(json.dumps(config.identity(), indent=1) + "\n", encoding="utf-8")
    return made


def write_card(card: Card, directory: Path) -> Path:
    """Write a measured card beside the weights it was measured on."""
    path = directory / CARD
    path.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def read_card(directory: Path) -> Card:
    """Read the card that stands beside the weights."""
    from scrutable.organisms.card import Card

    return Card.model_validate_json((directory / CARD).read_text(encoding="utf-8"))


def install(made: Path, package: Path) -> None:
    """Replace the package's own weights by a built directory; on an error they stay as they were."""
    with replacing_folder(package) as place:
        shutil.copytree(made, place, dirs_exist_ok=True)
