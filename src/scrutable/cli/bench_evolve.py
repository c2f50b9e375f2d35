"""`scrutable bench evolve`: rollouts until a text earns what RL earns, ours and gepa's."""

from __future__ import annotations

from pathlib import Path

import click

from scrutable.bench import evolve as benching
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="evolve", cls=Verb)
@click.option("--run", "folder", default="bench-evolve", metavar="NAME", help="where the cases lie  [bench-evolve]")
@click.option(
    "--rl",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="figures that say what RL earns, of bench rl-to-text or hard-environments; may be given again",
)
@common(run=False, seed=False)
@knobs(benching.EvolveBenchConfig)
def evolve(folder: str, rl: tuple[Path, ...], screen: Screen) -> None:
    """Search with every arm on every environment and seed; stopped, it goes on where it was."""
    config = config_of(benching.EvolveBenchConfig)
    found = benching.evolve_bench(config, benching.rl_of(rl), folder_of(folder), screen.say)
    screen.say("")
    rows = [
        (name, arm, f"{one['rollouts to target, median']:.0f}", f"{one['final']:.3f}")
        for name, arms in found["by environment"].items()
        for arm, one in arms.items()
    ]
    screen.table(("environment", "arm", ">rollouts to target", ">final"), rows)
    screen.result(found)
