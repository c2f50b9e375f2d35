"""`scrutable bench staleness`: does it cost anything to begin proposals from a state that is out of date?"""

from __future__ import annotations

import click

from scrutable.bench import staleness as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="staleness", cls=Verb)
@click.option("--run", "folder", default="bench-staleness", metavar="NAME", help="where it lies  [bench-staleness]")
@common(run=False, seed=False)
@knobs(benching.StalenessConfig)
def staleness(folder: str, screen: Screen) -> None:
    """Search with 1, 4 and 16 proposals under way, seed by seed; stopped, it goes on where it was."""
    screen.result(benching.staleness(config_of(benching.StalenessConfig), folder_of(folder), screen.say))
