"""`scrutable bench worth`: is the worth of sentences right, and does what is built on it help?"""

from __future__ import annotations

from typing import Any

import click

from scrutable.bench import worth as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="worth", cls=Verb)
@click.option("--run", "folder", default="bench-worth", metavar="NAME", help="where the cases lie  [bench-worth]")
@common(run=False, seed=False)
@knobs(benching.WorthBenchConfig)
def worth(folder: str, screen: Screen) -> None:
    """Run every case, each in a run folder of its own; killed, it goes on where it stopped."""
    found = benching.worth_bench(config_of(benching.WorthBenchConfig), folder_of(folder), screen.say)
    screen.say("")
    shown = ((name, _short(value)) for name, value in found.items() if not isinstance(value, dict))
    screen.table(("figure", ">value"), shown)
    screen.result(found)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
