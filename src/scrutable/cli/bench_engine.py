"""`scrutable bench engine`: seconds a proposal and slots in use, ours and the peer's; each engine's own time."""

from __future__ import annotations

import click

from scrutable.bench import engine as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="engine", cls=Verb)
@click.option("--run", "folder", default="bench-engine", metavar="NAME", help="where it lies  [bench-engine]")
@common(run=False, seed=False)
@knobs(benching.EngineConfig)
def engine(folder: str, screen: Screen) -> None:
    """Measure with simulated latencies, every arm in turn in one process; stopped, it goes on where it was."""
    found = benching.engine_bench(config_of(benching.EngineConfig), folder_of(folder), screen.say)
    screen.result(found)
