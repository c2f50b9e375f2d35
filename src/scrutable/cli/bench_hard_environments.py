"""`scrutable bench hard-environments`: what there is to earn where search engines are told apart, and what RL earns."""

from __future__ import annotations

import click

from scrutable.bench import hard_environments as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common

_NAME = "bench-hard-environments"


@click.command(name="hard-environments", cls=Verb)
@click.option("--run", "folder", default=_NAME, metavar="NAME", help=f"where the cases lie  [{_NAME}]")
@common(run=False, seed=False)
@knobs(benching.HardConfig)
def hard_environments(folder: str, screen: Screen) -> None:
    """Run every case, each in a run folder of its own; killed, it goes on where it stopped."""
    screen.result(benching.hard_environments(config_of(benching.HardConfig), folder_of(folder), screen.say))
