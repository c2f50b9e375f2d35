"""`scrutable report`: write the page of a run, and its JSON twin."""

from __future__ import annotations

import click

from scrutable.cli.folders import existing
from scrutable.cli.screen import Screen, common
from scrutable.report import page


@click.command()
@click.argument("run")
@common(run=False, seed=False)
def report(run: str, screen: Screen) -> None:
    """Write report.html and report.json into the folder of RUN (a name in runs/, or a folder).

    It is made from the run's events alone, at any time, also while the run goes on.
    """
    paths = page.report(existing(run))
    screen.say(str(paths.html), str(paths.json))
    screen.result({"html": str(paths.html), "json": str(paths.json)})
