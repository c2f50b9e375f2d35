"""Adapters on shared weights: one base in memory, any number of LoRA-like adapters switched on and off.

Switching costs a walk over the layers, and is skipped when the wanted adapter is already on. All use goes through
`SharedWeights.active`, which holds a lock: two threads take turns, each with its own adapter. Adapters are never merged
into the base. Left out: adapters that change the prompt (prompt and prefix tuning), or train the base's own biases,
since neither can be switched off on shared weights.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import ModelFailure, UserError, boundary
from scrutable.core.records import digest_of
from scrutable.models.source import ADAPTER_WEIGHTS, BUILT_IN, BUILT_IN_FOLDER, read_json, weights_digest

if TYPE_CHECKING:
    import torch

_PREFIX = "base_model.model."
_NOT_SHARED = {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "ADAPTION_PROMPT"}


def base_of(folder: str | Path) -> str:
    """Return the base an adapter directory names: a directory if there is one, else "pidgin" or a hub name.

    A relative path is taken from the adapter's own folder first, then from the working directory.
    Errors: UserError when the adapter names no base, or a path that does not exist.
    """
    folder = Path(folder)
    name = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise UserError(f"{folder} does not say which base it was trained on: give the base as BEFORE")
    for place in (folder / name, Path(name)):
        if place.is_dir():
            return str(place.resolve())
    # The built-in model lies elsewhere on each machine.
    if name == BUILT_IN or Path(name).parts[-3:] == BUILT_IN_FOLDER.parts[-3:]:
        return BUILT_IN
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(f"the base of {folder} is not there any more ({name}): give its present place as BEFORE")
    return name


def adapter_digest(folder: Path) -> str:
    """Return the content hash of an adapter: its weights, and what of its config decides the outcome."""
    config = read_json(folder / "adapter_config.json")
    told = {k: v for k, v in config.items() if k not in ("base_model_name_or_path", "inference_mode", "peft_version")}
    return digest_of({"weights": weights_digest(folder), "config": told})


class SharedWeights:
    """A transformers model in memory and the adapters loaded beside it. folder: where the weights came from, if known."""

    def __init__(self, module: Any, name: str, folder: Path | None = None) -> None:
        self.module = module
        self.name = name
        self.folder = folder
        self._peft: Any = None
        self._lock = threading.RLock()
        self._depth = 0
        self._current: str | None = None
        self._loaded: set[str] = set()

    @contextmanager
    def active(self, adapter: str | None) -> Iterator[Any]:
        """Hold the model with `adapter` on (None: the bare base), and yield it.

        Uses may nest within a thread: the outer one finds its own adapter on again.
        """
        with self._lock:
            outer = self._current
            self._switch(adapter)
            self._depth += 1
            try:
                yield self.module
            finally:
                self._depth -= 1
                if self._depth:
                    self._switch(outer)

    def load(self, folder: Path) -> str:
        """Load the adapter of `folder` (once for the same content) and return its name here.

        Errors: UserError when it is of another base, or of a kind that cannot share weights.
        """
        name = "a" + hashlib.sha256(adapter_digest(folder).encode()).hexdigest()[:12]
        with self._lock:
            if name not in self._loaded:
                _check_kind(folder)
                with self.active(None):
                    _check_fits(self.module, folder, self.name)
                    _check_leaves_base(self.module, folder)
                    self._attach(folder, name)
                self._loaded.add(name)
        return name

    def _switch(self, adapter: str | None) -> None:
        if adapter == self._current:
            return
        if adapter is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            if self._current is None:
                self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(adapter, inference_mode=True)
        self._current = adapter

    def _attach(self, folder: Path, name: str) -> None:
        from peft import PeftModel

        device = str(self.module.device)
        try:
            with boundary(ModelFailure), warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # what the libraries will change is no business of the user
                if self._peft is None:
                    self._peft = PeftModel.from_pretrained(
                        self.module, str(folder), adapter_name=name, torch_device=device
                    )
                    missing: list[str] = []
                else:
                    missing = list(self._peft.load_adapter(str(folder), name, torch_device=device).missing_keys)
                if missing:
                    raise ValueError(f"{len(missing)} tensors are missing, {missing[0]} among them")
        except ModelFailure as failure:
            raise UserError(f"the adapter {folder} cannot be loaded on {self.name}: {failure.args[0]}") from failure
        finally:
            if self._peft is not None:
                self._peft.base_model.disable_adapter_layers()
                self.module.eval().requires_grad_(False)


def _check_kind(folder: Path) -> None:
    config = read_json(folder / "adapter_config.json")
    kind = str(config.get("peft_type"))
    if kind in _NOT_SHARED:
        raise UserError(
            f"{folder} is an adapter of kind {kind}, which cannot be read: use LoRA, or merge it into a full model"
        )
    if config.get("bias", "none") != "none":
        raise UserError(f"{folder} also trains the base's biases: merge it into a full model and give that directory")


def _check_fits(module: torch.nn.Module, folder: Path, base: str) -> None:
    """Compare every LoRA matrix with the layer it is for, before anything is changed in the model."""
    modules = dict(module.named_modules())
    told = f"{folder} is an adapter of another base than {base}"
    fix = "give the base it was trained on"
    for key, tensor in _tensors(folder):
        path, _, part = key.removeprefix(_PREFIX).rpartition(".lora_")
        if part not in ("A.weight", "B.weight"):
            continue
        if path not in modules:
            raise UserError(f"{told}, which has no layer {path}: {fix}")
        size, shape = features(modules[path]), tensor.get_shape()
        if size is None or len(shape) != 2:
            continue
        have, want = (shape[1], size[0]) if part[0] == "A" else (shape[0], size[1])
        if have != want:
            raise UserError(f"{told}: its layer {path} takes {want} numbers, the adapter's {have}: {fix}")


def _check_leaves_base(module: torch.nn.Module, folder: Path) -> None:
    """Refuse an adapter that brings weights in place of the base's: loaded, they would change the base, too.

    PEFT saves a whole embedding that was resized or has a LoRA, and loading writes it over the base's. What the config
    names in `modules_to_save` is kept beside the base's and switched, and a copy that equals the base's does no harm.
    """
    import torch

    modules = dict(module.named_modules())
    beside = tuple(read_json(folder / "adapter_config.json").get("modules_to_save") or ())
    for key, tensor in _tensors(folder):
        path, _, name = key.removeprefix(_PREFIX).replace(".base_layer.", ".").rpartition(".")
        layer = modules.get(path)
        held = getattr(getattr(layer, "base_layer", layer), name, None)
        if not isinstance(held, torch.nn.Parameter) or path.endswith(beside):
            continue
        given = tensor[:]
        if held.shape != given.shape or not torch.equal(held.cpu(), given.to(held.dtype)):
            how = (
                "with other numbers" if held.shape == given.shape else f"with {len(given)} rows instead of {len(held)}"
            )
            raise UserError(
                f"{folder} also holds the base's own {path}, {how}: merge it into a full model and give that directory"
            )


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield an adapter's tensors by name, unread: slices of safetensors. Errors: UserError when the file is damaged."""
    from safetensors import SafetensorError, safe_open

    file = folder / ADAPTER_WEIGHTS
    try:
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                yield key, tensors.get_slice(key)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged: fetch or save the adapter again ({error})") from error


def features(module: Any) -> tuple[int, int] | None:
    """Return a layer's (inputs, outputs), or None where it is no plain matrix."""
    module = getattr(module, "base_layer", module)
    for names in (("in_features", "out_features"), ("nx", "nf")):  # nn.Linear; GPT-2's Conv1D
        if all(hasattr(module, name) for name in names):
            return int(getattr(module, names[0])), int(getattr(module, names[1]))
    return None
