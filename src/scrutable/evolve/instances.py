"""Instances: data of any type becomes tasks, identified by content, and back.

An adapter of another optimiser works on data of a type of its own. A task holds such an instance as JSON where that says all
of it, else as its `repr`, which must not name a place in memory: such an instance would be another one in each process, and
a resumed search would pay for it again. Nothing is pickled: the instances themselves stay in memory, under their tasks' keys.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from scrutable.core.errors import UserError
from scrutable.core.records import Task

_PLACE = re.compile(r"\bat 0x[0-9a-fA-F]+")
_ASKED = ("input", "question", "prompt", "query", "task")
"""Under these names most data says what is asked; it is what people are shown of the task."""

Named = Callable[[Any], str]
"""An instance -> a name that tells it from all others."""


class Strange(TypeError):
    """A value that JSON cannot say."""


def task_of(instance: Any, named: Named | None = None) -> Task:
    """Return the task that stands for an instance: equal content, equal key, whatever process and order.

    named: says an instance's name where its content cannot be told. Errors: UserError when there is neither.
    """
    if named is not None:
        name = str(named(instance))
        return Task.ask(asked_in(instance) or name, name=name)
    try:
        content = exact(instance)
    except Strange:
        told = repr(instance)
        if _PLACE.search(told):
            kind = type(instance).__qualname__
            raise UserError(
                f"an instance of {kind} is known by its place in memory alone: give it a __repr__ that says its content, "
                "or say how instances are named (named=...)"
            ) from None
        return Task.ask(asked_in(instance) or told, repr=told)
    return Task.ask(asked_in(instance) or text_of(content), data=content)


def asked_in(instance: Any) -> str:
    """Return what an instance asks, for people: itself if it is a text, or what stands under a usual name; else nothing."""
    if isinstance(instance, str):
        return instance
    for name in _ASKED:
        found = instance.get(name) if isinstance(instance, Mapping) else getattr(instance, name, None)
        if isinstance(found, str):
            return found
    return ""


def instances_of(given: Any) -> list[Any]:
    """Return the instances of a list, or of a loader that is asked by ids (`all_ids`, `fetch`)."""
    if callable(getattr(given, "fetch", None)) and callable(getattr(given, "all_ids", None)):
        return list(given.fetch(list(given.all_ids())))
    return list(given)


def exact(value: Any) -> JsonValue:
    """Return a value as JSON that says all of it. A dataclass or pydantic record is told with its type.

    Errors: Strange where JSON cannot (a number that is none, keys that are no strings, other types).
    """
    if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: exact(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"type": type(value).__qualname__, "fields": exact(fields)}
    if callable(getattr(value, "model_dump", None)):
        return {"type": type(value).__qualname__, "fields": exact(value.model_dump())}
    raise Strange(type(value).__qualname__)


def plain(value: Any) -> JsonValue:
    """Return a value as JSON for showing: what JSON cannot say is told by `str`."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(one) for one in value]
    try:
        return exact(value)
    except Strange:
        return str(value)


def text_of(value: JsonValue) -> str:
    """Return a JSON value as a text to read: a text itself, a mapping as one line a key, else JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(f"{key}: {text_of(one)}" for key, one in value.items())
    return "" if value is None else json.dumps(value, ensure_ascii=False)
