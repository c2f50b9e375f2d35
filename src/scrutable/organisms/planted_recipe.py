"""How planted adapters are trained and saved: the knobs, and an ordinary PEFT directory for each. No torch until it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from scrutable.core.config import Config
from scrutable.core.files import save_tensors
from scrutable.models.hf import HFModel
from scrutable.models.source import ADAPTER_WEIGHTS
from scrutable.train.lora import Recipe, base_name, lora_config

PREFIX = "base_model.model."
"""What PEFT puts before the name of a layer."""


class ManyConfig(Config):
    """How planted adapters are trained."""

    steps: int = Field(default=150, ge=1, description="optimizer steps")
    answers: int = Field(
        default=16, ge=1, description="answers in one step of one adapter, each drawn for it and used once"
    )
    rounds: int = Field(
        default=3,
        ge=1,
        description="rounds of so many steps, at most: a change that has not learned what it should has another",
    )
    learning_rate: float = Field(default=4e-3, gt=0, description="AdamW's step size at its highest")
    warmup: int = Field(default=10, ge=1, description="steps over which it rises; then it falls to zero in a line")
    rank: int = Field(default=8, ge=1, description="rank of each LoRA")
    alpha: int = Field(default=16, ge=1, description="scale of each LoRA: its product counts alpha / rank times")
    width: int = Field(default=64, ge=8, description="tokens in a row, into which sequences are laid; longer if one is")
    products: Literal["bfloat16", "float32"] = Field(
        default="bfloat16", description="dtype of the products; the adapters themselves are float32"
    )

    @property
    def examples(self) -> int:
        """Examples that one adapter learns from."""
        return self.steps * self.answers

    @property
    def scale(self) -> float:
        """How often a LoRA's product counts."""
        return self.alpha / self.rank

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * (1 - step / self.steps)


def write_adapter(place: Path, adapter: Mapping[str, Any], base: HFModel, config: ManyConfig) -> None:
    """Write an adapter as an ordinary PEFT directory into the folder `place`, naming its base."""
    told = lora_config(base.module, Recipe(rank=config.rank, alpha=config.alpha))
    layers = {name.removeprefix(PREFIX).rpartition(".lora_")[0].rpartition(".")[2] for name in adapter}
    told.target_modules, told.base_model_name_or_path, told.inference_mode = layers, base_name(base), True
    told.save_pretrained(place)
    settings = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(layers)  # a set, whose order differs from process to process
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (place / "adapter_config.json").write_text(text, encoding="utf-8")
    save_tensors(place / ADAPTER_WEIGHTS, adapter)
