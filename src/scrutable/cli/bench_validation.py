"""`scrutable bench validation`: what does it cost, or bring, not to score every child on the whole pool?"""

from __future__ import annotations

import click

from scrutable.bench import validation as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="validation", cls=Verb)
@click.option("--run", "folder", default="bench-validation", metavar="NAME", help="where it lies  [bench-validation]")
@common(run=False, seed=False)
@knobs(benching.ValidationConfig)
def validation(folder: str, screen: Screen) -> None:
    """Search as shipped and with full validation, seed by seed; stopped, it goes on where it was."""
    screen.result(benching.validation(config_of(benching.ValidationConfig), folder_of(folder), screen.say))
