"""What every verb that makes a run does alike: open it, show what happens, write the result, the page, and where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from scrutable.cli.folders import open_run
from scrutable.cli.live import following
from scrutable.cli.screen import Screen
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Record, Task
from scrutable.envs.loading import says_of
from scrutable.measure.fidelity import MOST_UNKNOWN
from scrutable.measure.language import unknown_words
from scrutable.models.base import Model
from scrutable.models.hf import HFModel
from scrutable.models.loading import server_records
from scrutable.report.page import report
from scrutable.report.words import percent, plural, seconds

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_TASKS = "scrutable.tasks"
LOOKED_AT = 40
"""Prompts whose words are looked up in the model's vocabulary."""


def tasks_from(function: F) -> F:
    """Add `--env` and `--prompts` to a verb; `chosen_tasks` tells which was given."""

    def keep(context: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta.setdefault(_TASKS, []).append(value)

    env = "where the tasks are from: a built-in environment, or a .py file of your own"
    prompts = "tasks without any reward: a .jsonl file, or a .txt file with one a line"
    for name, metavar, says in (("--prompts", "FILE", prompts), ("--env", "ENV", env)):
        function = click.option(name, metavar=metavar, expose_value=False, callback=keep, help=says)(function)
    return function


def chosen_tasks() -> str:
    """Return what `--env` or `--prompts` named. Errors: UserError when it was none or both."""
    given = click.get_current_context().meta.get(_TASKS, [])
    if len(given) != 1:
        only = "only " if given else ""
        raise UserError(
            f"say where the tasks are from: {only}one of --env NAME_OR_FILE and --prompts FILE (.jsonl or .txt)"
        )
    return str(given[0])


def before_and_after(models: Sequence[str]) -> tuple[str | None, str]:
    """Return BEFORE and AFTER of one or two names. Errors: UserError for another number."""
    if len(models) == 1:
        return None, models[0]
    if len(models) == 2:
        return models[0], models[1]
    raise UserError("name two models, BEFORE and AFTER, or one adapter, whose base is then taken from its config")


def load(screen: Screen, what: str, how: Callable[[], T]) -> T:
    """Load a model, and say so where it takes a while: importing torch alone takes seconds."""
    if screen.err.is_terminal:
        with screen.err.status(f"loading {what}"):
            return how()
    return how()


def note_unknown(screen: Screen, model: Model, tasks: Sequence[Task]) -> None:
    """Say so where many words of the prompts are unknown to a model whose tokenizer is here: it cannot read them."""
    if isinstance(model, HFModel):
        lost = unknown_words(model, [task.prompt for task in tasks[:LOOKED_AT]])
        if lost > MOST_UNKNOWN:
            screen.note(
                f"note: {model.name} does not know {percent(lost)} of the words of the prompts: it cannot read them"
            )


def note_servers(screen: Screen, *models: Model | None) -> None:
    """Say what went wrong with the servers that answer for these models, where anything did."""
    for address, told in server_records(*models).items():
        if told.troubles:
            troubles = [what if times == 1 else f"{what} {times:,} times" for what, times in told.troubles.items()]
            waits = [f"away for {seconds(told.away)}"] if told.absences else []
            waits += [f"{seconds(told.paused)} of rest at its request"] if told.paused else []
            screen.note(
                f"note: {told.answered:,} of {plural(told.requests, 'request')} to {address} were answered "
                f"({', '.join(troubles + waits)})"
            )


class Identified(Protocol):
    """What has an identity: an environment, a model."""

    @property
    def identity(self) -> str:
        """Hash of its content."""
        ...


@dataclass
class Work:
    """A run under way, and what came of it: set `result` before the end."""

    run: Run
    result: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def working(
    screen: Screen, run_name: str | None, made: Config, about: Mapping[str, str], inputs: Mapping[str, Identified]
) -> Iterator[Work]:
    """Open the run of a job, show its progress on stderr while the enclosed work is done, and write its result.

    inputs: the environment and the models that it is of. Errors: as `open_run`.
    """
    about = {**about, "rewards": says_of(inputs.get("environment"))}
    with open_run(run_name, made, about, {name: one.identity for name, one in inputs.items()}) as run:
        work = Work(run)
        with following(run, screen):
            screen.note(f"run: {run.path}")
            if run.torn:
                screen.note(f"1 line at the end of its journal was torn ({run.torn} bytes): what it told is done again")
            if run.has("result"):
                screen.note("this run is done: what stands is shown (another --run or --seed makes a new one)")
            yield work
        # a mark that the whole job is done; records stand in events of their own
        run.append("result", "result", {name: value for name, value in work.result.items() if isinstance(value, str)})


def conclude(work: Work, screen: Screen, **places: Path) -> None:
    """Make the page, say where it lies, and hand the result to programs.

    places: members of the result that the run knows relative to its folder, as seen from the working directory.
    """
    paths = report(work.run.path)
    screen.say("", f"page: {paths.html}")
    told = {name: str(place) for name, place in places.items()}
    screen.result({"run": str(work.run.path), "page": str(paths.html), **plain({**work.result, **told})})


def plain(value: Any) -> Any:
    """Return a value as JSON has it: records as their members."""
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
