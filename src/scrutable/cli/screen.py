"""The screen: where a verb's words go. What people read and what programs read never mix.

Progress goes to stderr. The outcome goes to stdout; with `--json -` the JSON goes there and the words go to stderr, with
`--json FILE` it goes to the file. What a model wrote is shown with its control characters made visible: an escape sequence
in an answer must not reach the terminal.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scrutable.core.errors import UserError
from scrutable.core.files import write_atomic
from scrutable.report.words import visible

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

F = TypeVar("F", bound=Callable[..., Any])


class Screen:
    """Says things to people, and hands the result to programs."""

    def __init__(self, json_to: str | None = None) -> None:
        """Make a screen. json_to: a file, - for stdout. Errors: UserError when the file cannot be written."""
        self.json_to = json_to
        self._held: list[str] | None = None
        self._lock = threading.Lock()
        if json_to is not None and json_to != "-":
            _refuse_file(json_to)

    @cached_property
    def out(self) -> Console:
        """Where the outcome goes."""
        return self._console(to_stderr=self.json_to == "-")

    @cached_property
    def err(self) -> Console:
        """Where progress goes."""
        return self._console(to_stderr=True)

    def say(self, *lines: str, style: str = "") -> None:
        """Write lines of the outcome, as they are: no markup is read out of them."""
        for line in lines:
            self.out.print(visible(line), style=style or None, markup=False, highlight=False, soft_wrap=True)

    def note(self, line: str) -> None:
        """Write a line about the progress, or hold it back (`hold`)."""
        with self._lock:
            if self._held is not None:
                self._held.append(line)
            else:
                self._note(line)

    def hold(self) -> None:
        """Hold back what is noted from now on, until `release`."""
        with self._lock:
            self._held = []

    def release(self, *, drop: bool = False) -> None:
        """Write what was held back, or drop it, and hold nothing back any more."""
        with self._lock:
            lines, self._held = self._held or [], None
            for line in () if drop else lines:
                self._note(line)

    def _note(self, line: str) -> None:
        self.err.print(visible(line), markup=False, highlight=False, soft_wrap=True, style="dim")

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """Write a plain table. Only the last column is wrapped where the terminal is narrow; '>' aligns to the right."""
        from rich.table import Table
        from rich.text import Text

        made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
        names = list(columns)
        for at, column in enumerate(names):
            side: JustifyMethod = "right" if column.startswith(">") else "left"
            made.add_column(column.lstrip(">"), justify=side, overflow="fold", no_wrap=at < len(names) - 1)
        for row in rows:
            made.add_row(*(Text(visible(cell)) for cell in row))
        self.out.print(made)

    def result(self, values: Mapping[str, Any]) -> None:
        """Hand the result to programs, if one asked."""
        if self.json_to is None:
            return
        text = json.dumps(values, indent=1, ensure_ascii=True) + "\n"
        if self.json_to == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            write_atomic(Path(self.json_to), text)

    def _console(self, to_stderr: bool) -> Console:
        from rich.console import Console

        stream = sys.stderr if to_stderr else sys.stdout
        wide = None if stream.isatty() else 1000  # a pipe has no width to wrap at
        return Console(stderr=to_stderr, emoji=False, markup=False, highlight=False, width=wide)


def _refuse_file(given: str) -> None:
    """Refuse a file that cannot be written, before anything is done for what it is to hold."""
    path = Path(given)
    nearest = next((place for place in path.absolute().parents if place.exists()), Path("/"))
    why = ""
    if path.is_dir():
        why = "it is a folder"
    elif not nearest.is_dir():
        why = f"{nearest} is no folder"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        why = f"{nearest} may not be written to"
    if why:
        raise UserError(f"--json: {given or repr(given)} cannot be written ({why}): name another file, or - for stdout")


def common(*, run: bool = True, seed: bool = True) -> Callable[[F], F]:
    """Return a decorator that adds the options of every verb, and hands a `screen` to it.

    run: the verb writes a run (`--run`, passed on as `run_name`). seed: it draws (`--seed`).
    """

    def add(function: F) -> F:
        @wraps(function)
        def with_screen(*args: Any, json_to: str | None, **given: Any) -> Any:
            return function(*args, screen=Screen(json_to), **given)

        made: Any = click.option(
            "--json", "json_to", metavar="FILE", help="write the result as JSON to FILE; - is stdout"
        )(with_screen)
        made = click.option("--debug", is_flag=True, expose_value=False, help="show the traceback of what went wrong")(
            made
        )
        if seed:
            made = click.option("--seed", type=int, default=0, help="seed of every draw  [0]")(made)
        if run:
            said = "name of the run in runs/, or its folder; an old one is gone on with  [named by what it does]"
            made = click.option("--run", "run_name", metavar="NAME", help=said)(made)
        return made  # type: ignore[no-any-return]

    return add
