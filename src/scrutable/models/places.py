"""Places in a decoder at which numbers can be read or added, by names that hold for any of transformers' decoders.

    embedding                        what enters the first layer
    residual.3                       what leaves layer 3 (counted from 0): the residual stream after it
    in.3.mlp.down_proj               what enters a module of layer 3, by its path within the layer
    out.3.mlp.down_proj              what leaves it
    gradient.residual.3              the gradient at any of these

A decoder is taken as a stack: the one list of modules that is as long as its config says it has layers. Read by plain
forward hooks. Left out: attention weights, what lies behind the last layer (norm and head: `HFModel.logprobs`), and places inside
a module that has no submodule there (an expert among several that lie in one tensor).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scrutable.core.errors import UserError
from scrutable.models.adapters import features

if TYPE_CHECKING:
    import torch

Look = Callable[["torch.Tensor"], "torch.Tensor | None"]
"""Is shown a tensor [B, T, width] on its way; what it returns goes on in its place (None: nothing changes)."""

_FORMS = "embedding, residual.LAYER, in.LAYER.MODULE, out.LAYER.MODULE, or gradient. before any of these"


@dataclass(frozen=True)
class Place:
    """A place, read from its name."""

    kind: Literal["embedding", "residual", "in", "out"]
    layer: int = 0
    module: str = ""
    gradient: bool = False

    @classmethod
    def named(cls, name: str) -> Place:
        """Read a name. Errors: UserError when it names no place."""
        whole = name.removeprefix("gradient.")
        gradient = whole != name
        kind, _, rest = whole.partition(".")
        layer, _, module = rest.partition(".")
        if whole == "embedding":
            return cls("embedding", gradient=gradient)
        if layer.isascii() and layer.isdigit():
            if kind == "residual" and not module:
                return cls("residual", int(layer), gradient=gradient)
            if kind in ("in", "out") and module:
                return cls("in" if kind == "in" else "out", int(layer), module, gradient)
        raise UserError(f"{name!r} names no place in a model: use {_FORMS}")

    @property
    def name(self) -> str:
        """How it is written."""
        told = [self.kind] if self.kind == "embedding" else [self.kind, str(self.layer), self.module]
        return ".".join(part for part in ("gradient" if self.gradient else "", *told) if part)


@dataclass(frozen=True)
class Stack:
    """The layers of a decoder, and the width of the stream that runs through them. model: how it is called in errors."""

    layers: Any
    width: int
    model: str

    @classmethod
    def of(cls, module: Any, model: str) -> Stack:
        """Find the stack of a transformers module. Errors: UserError when there is none, or more than one."""
        from torch.nn import ModuleList

        config = module.config.get_text_config()
        depth, width = (getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size"))
        within = module.get_decoder() if hasattr(module, "get_decoder") else module
        for place in (within, module):
            found = _outermost([m for m in place.modules() if isinstance(m, ModuleList) and len(m) == depth])
            if len(found) == 1 and isinstance(width, int):
                return cls(found[0], width, model)
        raise UserError(
            f"{model} is a {type(module).__name__}, which has no known stack of layers "
            f"({len(found)} lists of modules are as long as its config says): use a decoder of transformers"
        )

    @property
    def residuals(self) -> tuple[str, ...]:
        """The names of the residual stream's places after each layer."""
        return tuple(f"residual.{layer}" for layer in range(len(self.layers)))

    def linear(self, layer: int) -> tuple[str, ...]:
        """Paths of the linear modules of a layer, LoRA's own left out: for names such as `in.LAYER.PATH`."""
        found: list[str] = []
        for path, inner in self.layers[layer].named_modules():
            inside = any(path.startswith(f"{outer}.") for outer in found)
            if path and not inside and features(inner) is not None:
                found.append(path)
        return tuple(found)

    def target(self, place: Place) -> Any:
        """Return the module whose input or output a place is. Errors: UserError when the model has no such place."""
        if place.layer >= len(self.layers):
            raise UserError(f"{self.model} has {len(self.layers)} layers, counted from 0: there is no {place.name}")
        layer = self.layers[place.layer]
        if not place.module:
            return layer
        try:
            return layer.get_submodule(place.module)
        except AttributeError:
            there = ", ".join(self.linear(place.layer)) or "none that is linear"
            raise UserError(f"{self.model} has no {place.name}: modules of that layer are {there}") from None

    def size(self, place: Place) -> int:
        """Return how many numbers a token has at a place; for a module that is not linear, as many as the stream."""
        size = features(self.target(place)) if place.module else None
        return self.width if size is None else size[place.kind == "out"]

    def must_be_wide(self, width: int) -> None:
        """Refuse vectors of another width. Errors: UserError."""
        if width != self.width:
            raise UserError(f"{self.model} is {self.width} wide, the vectors {width}: use vectors read from this model")

    def attach(self, place: Place, look: Look) -> Any:
        """Show `look` every tensor that passes a place from now on; return the handle whose `remove()` ends it."""
        target = self.target(place)
        return _before(target, look) if place.kind in ("embedding", "in") else _after(target, look)


def _outermost(lists: list[Any]) -> list[Any]:
    """Return the modules that lie within no other of these: a layer may hold as many experts as there are layers."""
    within = {id(inner) for one in lists for inner in one.modules() if inner is not one}
    return [one for one in lists if id(one) not in within]


def _before(target: Any, look: Look) -> Any:
    """Attach to the first tensor that a module is given, however it is passed."""
    import torch

    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args and isinstance(args[0], torch.Tensor):
            new = look(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        name = next((name for name, value in kwargs.items() if isinstance(value, torch.Tensor)), None)
        new = None if name is None else look(kwargs[name])
        return None if name is None or new is None else (args, {**kwargs, name: new})

    return target.register_forward_pre_hook(hook, with_kwargs=True)


def _after(target: Any, look: Look) -> Any:
    """Attach to what a module returns, or to the first of several things."""

    def hook(_: Any, __: tuple[Any, ...], output: Any) -> Any:
        several = isinstance(output, tuple | list)
        new = look(output[0] if several else output)
        if new is None:
            return None
        return type(output)((new, *output[1:])) if several else new

    return target.register_forward_hook(hook)
