"""A policy in training: a copy of a base that can be trained without touching the base, and saved as a PEFT directory.

The copy shares every weight with the model it was made from, so training needs no second set of weights, and the model
goes on answering as it did. Left out: full fine-tuning, and adapters on top of adapters.
"""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scrutable.models.adapters import SharedWeights
from scrutable.models.hf import HFModel
from scrutable.train.lora import is_small


@contextmanager
def trainable_copy(model: HFModel) -> Iterator[Any]:
    """Yield a bare module that shares the base's weights, to wrap and train; afterwards all is as it was.

    Adapters that are loaded beside the base are left out of the copy. Global random states are put back too: libraries
    seed them, and nobody else's draws should move for that.
    """
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    with model.opened() as module:
        tensors = (*module.parameters(), *module.buffers())
        twin = _bare(copy.deepcopy(module, {id(t): t for t in tensors}))
    flags = [(p, p.requires_grad) for p in twin.parameters()]
    try:
        with torch.random.fork_rng():
            yield twin
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _bare(module: Any) -> Any:
    """Take PEFT's layers out of a module and see that it counts positions by its mask.

    TRL pads prompts on the left and gives no positions; a model that counts them absolutely (GPT-2) would see them shifted.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, inner in list(module.named_modules()):
        if isinstance(inner, BaseTunerLayer):
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, inner.get_base_layer())

    def count(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = given.get("attention_mask")
        if given.get("position_ids") is None and given.get("past_key_values") is None and mask is not None:
            given = {**given, "position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}
        return args, given

    if "position_ids" in inspect.signature(module.base_model.forward).parameters:
        module.base_model.register_forward_pre_hook(count, with_kwargs=True)
    return module


class Voice:
    """How a policy in training answers: by the model's own tokenizer, template and decoding.

    On a small model the adapter's layers cost more time than they compute, so it answers through a second module whose
    trained matrices are base plus adapter, renewed before each use. On a large one it answers through the adapter itself.
    """

    def __init__(self, model: HFModel, tuned: Any) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        module = tuned.get_base_model()
        self.layers: list[tuple[Any, Any]] = []
        if is_small(model.module):
            adapted = {name: inner for name, inner in module.named_modules() if isinstance(inner, BaseTunerLayer)}
            weights = {id(layer.get_base_layer().weight) for layer in adapted.values()}
            kept = (t for t in (*module.parameters(), *module.buffers()) if id(t) not in weights)
            merged = _bare(copy.deepcopy(module, {id(t): t for t in kept}))
            self.layers = [(layer, merged.get_submodule(name)) for name, layer in adapted.items()]
            module = merged
        self._model = HFModel(
            SharedWeights(module, model.name), model._chat, name=model.name, identity="in training", batch_size=model.batch_size
        )

    def speaker(self) -> HFModel:
        """Return the policy as it is now."""
        import torch

        with torch.no_grad():
            for layer, plain in self.layers:
                plain.weight.copy_(layer.get_base_layer().weight + layer.get_delta_weight("default"))
        return self._model


def save_adapter(tuned: Any, place: Path, base: str) -> None:
    """Write a PeftModel's adapter into the folder `place`, naming its base.

    Leaves adapter_config.json and adapter_model.safetensors, and no model card: it would say nothing that is known.
    """
    config = tuned.peft_config["default"]
    config.base_model_name_or_path = base
    if isinstance(config.target_modules, set):  # whose order would differ from process to process
        config.target_modules = sorted(config.target_modules)
    tuned.save_pretrained(place, safe_serialization=True, save_embedding_layers=False)
    (place / "README.md").unlink(missing_ok=True)
