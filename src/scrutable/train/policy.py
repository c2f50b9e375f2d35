"""A policy in training: a copy of a base that can be trained without touching the base, and saved as a PEFT directory.

The copy shares every weight with the model it was made from, so training needs no second set of weights, and the model
goes on answering as it did. Left out: full fine-tuning, and adapters on top of adapters.
"""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scrutable.core.errors import UserError
from scrutable.models.hf import HFModel
from scrutable.models.source import ADAPTER_WEIGHTS, read_json
from scrutable.train.lora import base_name, is_small


@contextmanager
def trainable_copy(model: HFModel) -> Iterator[Any]:
    """Yield a bare module that shares the base's weights, to wrap and train; afterwards all is as it was.

    Global random states are put back too: libraries seed them, and nobody else's draws should move for that.
    """
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    twin = _bare_copy(model)
    flags = [(p, p.requires_grad) for p in twin.parameters()]
    try:
        with torch.random.fork_rng():
            yield twin
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _bare_copy(model: HFModel, own: Collection[int] = ()) -> Any:
    """Copy the base's module without the adapters beside it. Weights are shared, but for those whose ids are in `own`.

    The copy counts positions by its mask: TRL pads prompts on the left and gives no positions, and a model that counts
    them absolutely (GPT-2) would see them shifted.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    with model.opened() as module:
        shared = {id(t): t for t in (*module.parameters(), *module.buffers()) if id(t) not in own}
        twin = copy.deepcopy(module, shared)
    for name, inner in list(twin.named_modules()):
        if isinstance(inner, BaseTunerLayer):
            parent, _, last = name.rpartition(".")
            setattr(twin.get_submodule(parent), last, inner.get_base_layer())
    if "position_ids" in inspect.signature(twin.base_model.forward).parameters:
        twin.base_model.register_forward_pre_hook(_count_positions, with_kwargs=True)
    return twin


def _count_positions(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    mask = given.get("attention_mask")
    if mask is not None and given.get("position_ids") is None and given.get("past_key_values") is None:
        given = {**given, "position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}
    return args, given


class Voice:
    """How a policy in training answers: by the base's own tokenizer, template and decoding.

    On a small model an adapter's layers take more time than they compute, so it answers through a second module whose
    trained matrices are base plus adapter, renewed before each use. A large one answers through the adapter itself.
    """

    def __init__(self, model: HFModel, tuned: Any) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._tuned = tuned
        module = tuned.get_base_model()
        self._layers: list[tuple[Any, Any]] = []
        if is_small(module):
            adapted = {name: inner for name, inner in module.named_modules() if isinstance(inner, BaseTunerLayer)}
            module = _bare_copy(model, own={id(layer.get_base_layer().weight) for layer in adapted.values()})
            self._layers = [(layer, module.get_submodule(name)) for name, layer in adapted.items()]
        self._model = model.over(module, "in training")

    def speaker(self) -> HFModel:
        """Return the policy as it is now."""
        import torch

        with torch.no_grad():
            for layer, plain in self._layers:
                plain.weight.copy_(layer.get_base_layer().weight + layer.get_delta_weight("default"))
        return self._model

    def save(self, place: Path) -> None:
        """Write the adapter as a PEFT directory into the empty folder `place`, naming the base by `base_name`."""
        save_adapter(self._tuned, place, base_name(self._model))


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


def put_weights(tuned: Any, folder: Path) -> None:
    """Give a PeftModel's adapter the weights of the adapter in `folder`, which must be of the same recipe.

    Errors: UserError when it is of another rank, scale or place.
    """
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    held, here = read_json(folder / "adapter_config.json"), tuned.peft_config["default"]
    other = f"{folder} is an adapter of another recipe, so no training goes on from it"
    for name in ("r", "lora_alpha"):
        if held.get(name) != getattr(here, name):
            raise UserError(f"{other}: its {name} is {held.get(name)} and not {getattr(here, name)}")
    with torch.no_grad():
        found = set_peft_model_state_dict(tuned, load_file(folder / ADAPTER_WEIGHTS))
    lost = [name for name in found.missing_keys if ".lora_" in name] + list(found.unexpected_keys)
    if lost:
        raise UserError(f"{other}: {lost[0]} is not trained by both")
