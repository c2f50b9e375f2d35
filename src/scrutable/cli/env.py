"""`scrutable env`: which environments are built in, and what is wrong with one."""

from __future__ import annotations

import click

from scrutable.cli.screen import Screen, common
from scrutable.core.errors import UserError
from scrutable.envs import check as checking
from scrutable.envs.loading import builtin_environments, says_of


@click.group()
def env() -> None:
    """List the built-in environments, or try one: what is wrong with it?"""


@env.command("list")
@common(run=False, seed=False)
def list_(screen: Screen) -> None:
    """List the built-in environments, with what each rewards."""
    known = {name: says_of(make()) for name, make in builtin_environments().items()}
    screen.table(("environment", ""), known.items())
    screen.result({"environments": known})


@env.command()
@click.argument("file")
@common(run=False, seed=False)
def check(file: str, screen: Screen) -> None:
    """Run the environment FILE (or a built-in name) on a few rows, and say in one line each what is wrong.

    Answers are dummies: enough to find what fails. Exit code 2 when something is wrong.
    """
    findings = checking.check(file)
    marks = {"fine": "ok", "warning": "look", "wrong": "wrong"}
    screen.table(("", "about", ""), ((marks[found.level], found.about, found.says) for found in findings))
    wrong = sum(found.level == "wrong" for found in findings)
    screen.result({"wrong": wrong, "findings": [found.model_dump(mode="json") for found in findings]})
    if wrong:
        raise UserError(f"{file}: {wrong} {'thing is' if wrong == 1 else 'things are'} wrong; mend and check again")
