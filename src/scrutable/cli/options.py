"""Options: made from the frozen configs, so that a knob is declared once, beside the function that reads it.

`knobs(TrainConfig)` gives a command one option a field: its name, type, limits and sentence are the field's. Only what was
typed is passed on, so that the default has one home. `config_of` reads it back. What click cannot check, pydantic does.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from scrutable.core.config import Config
from scrutable.core.errors import UserError, one_line

C = TypeVar("C", bound=Config)
F = TypeVar("F", bound=Callable[..., Any])

_TYPED = "scrutable.typed"
_LIMITS = {"ge": ("min", False), "gt": ("min", True), "le": ("max", False), "lt": ("max", True)}


def knobs(config: type[Config], prefix: str = "", leave: Collection[str] = ()) -> Callable[[F], F]:
    """Return a decorator that adds one option for each field of a config; those of a config within it carry its name.

    prefix: put before the names ("distill" makes `--distill-rounds`). leave: fields that the verb sets itself.
    """

    def add(function: F) -> F:
        for name, field in reversed(config.model_fields.items()):
            inner = field.annotation
            if name in leave:
                continue
            if isinstance(inner, type) and issubclass(inner, Config):
                function = knobs(inner, "-".join(part for part in (prefix, name.replace("_", "-")) if part))(function)
            else:
                function = _option(config, name, field, prefix)(function)
        return function

    return add


def config_of(config: type[C], **given: Any) -> C:
    """Return the config as typed on the command line; `given` stands where nothing was typed.

    Errors: UserError that names the option.
    """
    typed = click.get_current_context().meta.get(_TYPED, {}).get(config, {})
    values = {**given, **{name: value for name, (_, value) in typed.items()}}
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config) and name not in values:
            values[name] = config_of(field.annotation)
    try:
        return config(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field_name = str(first["loc"][0]) if first["loc"] else ""
        option = typed[field_name][0] if field_name in typed else field_name
        raise UserError(f"{option or config.__name__}: {one_line(first['msg'])}") from error


def was_typed(config: type[Config], field: str) -> bool:
    """Return whether a field was given on the command line."""
    return field in click.get_current_context().meta.get(_TYPED, {}).get(config, {})


def _option(config: type[Config], name: str, field: FieldInfo, prefix: str) -> Callable[[F], F]:
    whole = "-".join(part for part in (prefix, name.replace("_", "-")) if part)
    kind, flag = _kind(field)

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            typed = context.meta.setdefault(_TYPED, {}).setdefault(config, {})
            typed[name] = (f"--{whole}", value)

    return click.option(
        f"--{whole}/--no-{whole}" if flag else f"--{whole}",
        f"{config.__name__}_{name}".lower(),
        type=kind,
        default=None,
        metavar=None if flag else _metavar(kind),
        help=_sentence(field),
        expose_value=False,
        callback=keep,
        cls=Knob,
        section=_title(config),
    )


def _title(config: type[Config]) -> str:
    """Return the first sentence of a config's docstring as a heading: 'How RL is done'."""
    return (config.__doc__ or config.__name__).strip().split("\n")[0].partition(":")[0].partition(".")[0]


class Knob(click.Option):
    """An option made from a config's field: it knows under which heading it stands."""

    def __init__(self, *args: Any, section: str, **given: Any) -> None:
        super().__init__(*args, **given)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Leave out click's own remarks: the sentence has the default, and a wrong value is told its limits."""
        return {}


class Verb(click.Command):
    """A command whose help puts the knobs of each config under a heading of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own options first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                sections.setdefault(option.section if isinstance(option, Knob) else "Options", []).append(record)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _sentence(field: FieldInfo) -> str:
    """Return a field's description with its default."""
    said = field.description or ""
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return f"{said}  [required]"
    if default in (None, "", (), {}, []):
        return said
    if isinstance(default, bool):
        default = "yes" if default else "no"
    return f"{said}  [{default}]"


def _kind(field: FieldInfo) -> tuple[click.ParamType[Any] | None, bool]:
    """Return click's type for a field, and whether it is a flag."""
    inner = _without_none(field.annotation)
    limits: dict[str, Any] = {}
    for constraint in field.metadata:
        for word, (end, opened) in _LIMITS.items():
            value = getattr(constraint, word, None)
            if value is not None:
                limits[end] = value
                limits[f"{end}_open"] = opened
    if inner is bool:
        return None, True
    if inner is int:
        return (click.IntRange(**limits) if limits else click.INT), False
    if inner is float:
        return (click.FloatRange(**limits) if limits else click.FLOAT), False
    if get_origin(inner) is Literal:
        return click.Choice([str(choice) for choice in get_args(inner)]), False
    if inner is str:
        return click.STRING, False
    return Json(), False


def _without_none(annotation: Any) -> Any:
    """Return T of `T | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [inner for inner in get_args(annotation) if inner is not type(None)]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def _metavar(kind: click.ParamType[Any] | None) -> str | None:
    if isinstance(kind, click.Choice):
        return "|".join(kind.choices)
    if isinstance(kind, Json):
        return "JSON"
    return {"integer": "N", "integer range": "N", "float": "X", "float range": "X"}.get(
        kind.name if kind else "", "TEXT"
    )


class Json(click.ParamType):  # type: ignore[type-arg]
    """A value that has no simpler form."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read JSON."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is no JSON", param, ctx)


def values_of(configs: Mapping[str, Config]) -> dict[str, Any]:
    """Return the knobs that decide results, by the configs' names: for what a verb prints."""
    return {name: config.identity() for name, config in configs.items()}
