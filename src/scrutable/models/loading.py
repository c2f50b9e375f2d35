"""Names to models: one for each verb's argument, and pairs that share what they can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scrutable.core.errors import UserError
from scrutable.models.adapters import base_of
from scrutable.models.api import ServedModel, ServedOptions
from scrutable.models.base import Model
from scrutable.models.hf import HFModel, Loading, load_model
from scrutable.models.limiter import ServerRecord
from scrutable.models.source import find_source

SERVED = "served:"


def open_model(name: str | Path, loading: Loading | None = None, served: ServedOptions | None = None) -> Model:
    """Open a model by its name.

    "served:NAME" is asked at OPENAI_BASE_URL, "http://host:port/v1#NAME" at that address; all else is loaded: a
    transformers or PEFT directory, a hub name, or "pidgin". Errors: UserError.
    """
    text = str(name)
    if text.startswith(SERVED):
        if not text.removeprefix(SERVED):
            raise UserError("served: needs the model's name on the server, such as served:my-model")
        return ServedModel(text.removeprefix(SERVED), options=served)
    if is_served(text):
        url, _, model = text.partition("#")
        if not model:
            raise UserError("the address names no model: write it as http://host:port/v1#NAME")
        return ServedModel(model, base_url=url, options=served)
    return load_model(name, loading)


def is_served(name: str | Path | None) -> bool:
    """Return whether a name is that of a served model."""
    return name is not None and str(name).startswith((SERVED, "http://", "https://"))


def open_pair(
    before: str | Path | None, after: str | Path, loading: Loading | None = None, served: ServedOptions | None = None
) -> tuple[Model, Model]:
    """Open a model before and after training, of which either may be served (see `open_model`, `load_pair`).

    Errors: UserError, also where BEFORE is missing: a server does not say what a model was trained from.
    """
    if not is_served(before) and not is_served(after):
        return load_pair(before, after, loading)
    if before is None:
        raise UserError(f"{after} is served, which does not tell what it was trained from: name BEFORE, too")
    return open_model(before, loading, served), open_model(after, loading, served)


def told_addresses(*models: Model | None) -> dict[str, str]:
    """Return {"served": "NAME at URL, ..."} of those models that a server answers for, as a run tells it; else {}."""
    served = (f"{one.name} at {one.address}" for one in models if isinstance(one, ServedModel))
    said = ", ".join(dict.fromkeys(served))
    return {"served": said} if said else {}


def listen(say: Callable[[str], None], *models: Model | None) -> None:
    """Let `say` have the lines that tell of waiting for a server, of those models that one answers for."""
    for one in models:
        if isinstance(one, ServedModel):
            one.listen(say)


def server_records(*models: Model | None) -> dict[str, ServerRecord]:
    """Return {address: what asking that server came to} of those models that a server answers for."""
    return {one.address: one.record for one in models if isinstance(one, ServedModel)}


def load_pair(
    before: str | Path | None, after: str | Path, loading: Loading | None = None, *, verify: bool = True
) -> tuple[HFModel, HFModel]:
    """Load a model before and after training, with shared weights where one is an adapter of the other.

    before None: `after` must be an adapter, and its base is taken from its config. verify False lets an adapter be
    put on a base other than the one it names, if the shapes fit. Errors: UserError.
    """
    if before is None:
        if not find_source(after).adapter:
            raise UserError(f"{after} is a full model: name the model it was trained from as BEFORE, too")
        tuned = load_model(after, loading)
        return tuned.base, tuned
    first = load_model(before, loading)
    found = find_source(after)
    if found.folder.resolve() == find_source(before).folder.resolve():
        return first, first
    if not found.adapter:
        return first, load_model(after, loading)
    if first.base is not first and base_of(found.folder) != base_of(find_source(before).folder):
        return first, load_model(after, loading)
    return first, first.base.with_adapter(after, verify=verify)
