"""The frame of the command line: finds the verb, and turns what went wrong into one line and an exit code.

Verbs stand in a table by name, and a verb's module is imported when it is called: `scrutable --help` imports click and
nothing else. What the user can fix ends with one line and exit code 2, Ctrl-C with 130 after cleaning up, a defect of
scrutable with 1; `--debug` shows the traceback of either.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

FIXABLE, DEFECT, STOPPED = 2, 1, 130

# name -> (where the command is, what it does in one line)
VERBS: Mapping[str, tuple[str, str]] = {
    "demo": ("scrutable.cli.demo:demo", "See it work: RL, evolution, reading and measuring, on the built-in model."),
    "train": ("scrutable.cli.train:train", "Train a LoRA on an environment's reward (GRPO)."),
    "evolve": ("scrutable.cli.evolve:evolve", "Evolve a text on an environment, by reflection."),
    "shorten": ("scrutable.cli.shorten:shorten", "Find the shortest text that is not worse than the whole."),
    "sanitise": ("scrutable.cli.sanitise:sanitise", "Mark sentences that raise the reward and lower the true one."),
    "read": ("scrutable.cli.read:read", "Read what changed between two models, in sentences, and measure them."),
    "measure": ("scrutable.cli.measure:measure", "Measure how much of a change a text carries."),
    "compare": ("scrutable.cli.compare:compare", "Compare runs: do they converge, and on what?"),
    "report": ("scrutable.cli.report:report", "Write the page of a run, and its JSON twin."),
    "runs": ("scrutable.cli.runs:runs", "List the runs."),
    "env": ("scrutable.cli.env:env", "List the built-in environments, or try one: what is wrong with it?"),
    "pidgin": ("scrutable.cli.pidgin:pidgin", "Build the built-in model, or measure its card."),
    "plant": ("scrutable.cli.plant:plant", "Make changed models of known truth, for judging what reads them."),
    "bench": ("scrutable.cli.bench:bench", "Run the scoreboard."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **given: Any) -> None:
        super().__init__(*args, **given)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb and return its command."""
        if cmd_name not in self.table:
            return None
        module, _, name = self.table[cmd_name][0].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing one of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, says) for name, (_, says) in self.table.items()])


@click.group(
    cls=Verbs,
    table=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="scrutable VERB --help tells a verb's options. Begin with: scrutable demo",
)
@click.version_option(package_name="scrutable", prog_name="scrutable", message="%(prog)s %(version)s")
def scrutable() -> None:
    """Read what training teaches a language model, in sentences, and measure how much of it they carry."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    import warnings

    given = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in given[: given.index("--")] if "--" in given else "--debug" in given
    if not debug:
        for kind in (FutureWarning, DeprecationWarning):  # what the libraries will change is no business of the user
            warnings.simplefilter("ignore", kind)
    sys.exit(_run([word for word in given if not (debug and word == "--debug")], debug))


def _run(given: list[str], debug: bool) -> int:
    """Run a verb and return the exit code."""
    try:
        _refuse_bytes(given)
        code = scrutable.main(given, prog_name="scrutable", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return _usage(error)
    except (KeyboardInterrupt, click.Abort):
        _tell("stopped. What is done is kept: the same command goes on from there.")
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain at its end
        return DEFECT
    except Exception as error:  # noqa: BLE001 (the last place that can tell the user)
        return _failed(error, debug)


def _refuse_bytes(given: list[str]) -> None:
    """Refuse words that are no UTF-8 text: no run folder could hold them."""
    for word in given:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = word.encode("ascii", "backslashreplace").decode()
            raise click.UsageError(f"{shown!r} is not UTF-8 text: write it in UTF-8") from None


def _usage(error: click.ClickException) -> int:
    """Tell a wrong command line in one line."""
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return FIXABLE
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    _tell(f"error: {_first_small(error.format_message())}{hint}")
    return FIXABLE


def _failed(error: Exception, debug: bool) -> int:
    """Tell what went wrong: one line for what the user can fix, and where to look for a defect."""
    import traceback

    from scrutable.core.errors import UserError, one_line

    if debug:
        traceback.print_exception(error)
    if isinstance(error, UserError):
        _tell(f"error: {one_line(error, 1000)}")
        return FIXABLE
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _tell("error: the disk is full: make room, and give the same command again")
        return FIXABLE
    if isinstance(error, OSError) and error.filename is not None:
        _tell(f"error: {one_line(error.strerror or error)}: {one_line(error.filename)}")
        return FIXABLE
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    hint = "" if debug else "; run it again with --debug for the traceback, and please report it"
    _tell(f"defect: {type(error).__name__}: {one_line(error)} ({where}){hint}")
    return DEFECT


def _first_small(message: str) -> str:
    line = " ".join(message.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _tell(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except UnicodeEncodeError:
        print(line.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)
