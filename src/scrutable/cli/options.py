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

_TYPED = "scrutable.typed"  # in a context's meta: (config, prefix) -> field -> value
_ALL = "scrutable.all"
_LIMITS = {"ge": ("min", False), "gt": ("min", True), "le": ("max", False), "lt": ("max", True)}


def knobs(
    config: type[Config], prefix: str = "", leave: Collection[str] = (), defaults: Config | None = None
) -> Callable[[F], F]:
    """Return a decorator that adds one option for each field of a config; those of a config within it carry its name.

    prefix: put before the names ("distill" makes `--distill-tasks`). leave: fields that the verb sets itself. defaults: the
    values that stand where nothing is typed, where they are not the config's own.
    """

    def add(function: F) -> F:
        for name, field in reversed(config.model_fields.items()):
            if name in leave:
                continue
            default = _default(field) if defaults is None else getattr(defaults, name)
            if isinstance(default, Config):
                function = knobs(type(default), _joined(prefix, name), defaults=default)(function)
            else:
                function = _option(config, name, prefix, default)(function)
        return function

    return add


def config_of(config: type[C], prefix: str = "", **given: Any) -> C:
    """Return the config as typed on the command line; `given` stands where nothing was typed.

    Errors: UserError that names the option.
    """
    values = {**given, **_typed(config, prefix)}
    try:
        return config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = "-".join(part for part in (prefix, *(str(step) for step in first["loc"])) if part)
        raise UserError(f"--{where.replace('_', '-')}: {one_line(first['msg'])}") from error


def _typed(config: type[Config], prefix: str, defaults: Config | None = None) -> dict[str, Any]:
    """Return what was typed for a config and for those within it; of these the whole, where anything was."""
    values = dict(click.get_current_context().meta.get(_TYPED, {}).get((config, prefix), {}))
    for name, field in config.model_fields.items():
        default = _default(field) if defaults is None else getattr(defaults, name)
        if isinstance(default, Config) and (inner := _typed(type(default), _joined(prefix, name), default)):
            values[name] = {**default.model_dump(), **inner}
    return values


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _joined(prefix: str, name: str) -> str:
    return "-".join(part for part in (prefix, name.replace("_", "-")) if part)


def _option(config: type[Config], name: str, prefix: str, default: Any) -> Callable[[F], F]:
    field, whole = config.model_fields[name], _joined(prefix, name)
    kind, flag = _kind(field)

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            context.meta.setdefault(_TYPED, {}).setdefault((config, prefix), {})[name] = value

    return click.option(
        f"--{whole}/--no-{whole}" if flag else f"--{whole}",
        f"knob_{whole}".replace("-", "_"),
        type=kind,
        default=None,
        metavar=None if flag else _metavar(kind),
        help=_sentence(field, default),
        expose_value=False,
        callback=keep,
        cls=Knob,
        section=_title(config),
        prefix=prefix,
    )


class Knob(click.Option):
    """An option made from a config's field: it knows under which heading it stands."""

    def __init__(self, *args: Any, section: str, prefix: str, **given: Any) -> None:
        super().__init__(*args, **given)
        self.section = section
        self.prefix = prefix

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Leave out click's own remarks: the sentence has the default, and a wrong value is told its limits."""
        return {}


class Verb(click.Command):
    """A command whose help puts the knobs of each config under a heading of their own.

    Knobs with a prefix are many, and rarely turned: `--help` says in a line that they are there, `--help-all` lists them.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_help_all,
                help="show every knob",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own options first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        folded: dict[str, tuple[str, int]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is None:
                continue
            if isinstance(option, Knob) and option.prefix and not ctx.meta.get(_ALL):
                title, amount = folded.get(option.prefix.partition("-")[0], (option.section, 0))
                folded[option.prefix.partition("-")[0]] = title, amount + 1
            else:
                sections.setdefault(option.section if isinstance(option, Knob) else "Options", []).append(record)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
        if folded:
            with formatter.section("More knobs, shown by --help-all"):
                formatter.write_dl(
                    [(f"--{prefix}-...", f"{title} ({amount})") for prefix, (title, amount) in folded.items()]
                )


def _help_all(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help())
        ctx.exit()


def _sentence(field: FieldInfo, default: Any) -> str:
    """Return a field's description with its default."""
    said = field.description or ""
    if default is PydanticUndefined:
        return f"{said}  [required]"
    if default in (None, "", (), {}, []):
        return said
    if isinstance(default, tuple):
        default = ",".join(str(part) for part in default)
    if isinstance(default, bool):
        default = "yes" if default else "no"
    return f"{said}  [{default}]"


def _title(config: type[Config]) -> str:
    """Return the first sentence of a config's docstring as a heading: 'How RL is done'."""
    return (config.__doc__ or config.__name__).strip().split("\n")[0].partition(":")[0].partition(".")[0]


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
    return (Words() if inner == tuple[str, ...] else Json()), False


def _without_none(annotation: Any) -> Any:
    """Return T of `T | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [inner for inner in get_args(annotation) if inner is not type(None)]
        return rest[0] if len(rest) == 1 else annotation
    return annotation


def _metavar(kind: click.ParamType[Any] | None) -> str | None:
    if isinstance(kind, click.Choice):
        return "|".join(kind.choices)
    if isinstance(kind, Json | Words):
        return "JSON" if isinstance(kind, Json) else "A,B"
    named: Mapping[str, str] = {"integer": "N", "integer range": "N", "float": "X", "float range": "X"}
    return named.get(kind.name if kind else "", "TEXT")


class Words(click.ParamType):  # type: ignore[type-arg]
    """Names divided by commas."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split at commas."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Json(click.ParamType):  # type: ignore[type-arg]
    """A value that has no simpler form."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read JSON."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is no JSON", param, ctx)
