"""`scrutable bench rl-to-text`: RL teaches a known rule, the tuned weights are read back, the text is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scrutable.bench import rl_to_text as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="rl-to-text", cls=Verb)
@click.option(
    "--run", "folder", default="bench-rl-to-text", metavar="NAME", help="where the cases lie  [bench-rl-to-text]"
)
@common(run=False, seed=False)
@knobs(benching.RlToTextConfig)
def rl_to_text(folder: str, screen: Screen) -> None:
    """Run every case, each in a run folder of its own; killed, it goes on where it stopped."""
    place: Path = folder_of(folder)
    found = benching.rl_to_text(config_of(benching.RlToTextConfig), place, screen.say)
    screen.say("")
    screen.table(("figure", ">value"), ((name, _short(value)) for name, value in found.items() if name != "cases"))
    screen.result(found)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
