"""`scrutable bench compare`: planted runs are compared; is the number of behaviours right?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scrutable.bench import compare as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="compare", cls=Verb)
@click.option("--run", "folder", default="bench-compare", metavar="NAME", help="where the cases lie  [bench-compare]")
@common(run=False, seed=False)
@knobs(benching.CompareBenchConfig)
def compare(folder: str, screen: Screen) -> None:
    """Plant texts whose rules are known, compare them, and say how often the behaviours were told right."""
    place: Path = folder_of(folder)
    found = benching.bench_compare(config_of(benching.CompareBenchConfig), place, screen.say)
    screen.say("")
    screen.table(("figure", ">value"), ((name, _short(value)) for name, value in found.items() if name != "cases"))
    screen.result(found)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
