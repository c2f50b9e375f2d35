"""`scrutable bench with-rl`: text and RL, alone and together, from the same number of rollouts."""

from __future__ import annotations

import click

from scrutable.bench import with_rl as benching
from scrutable.bench import with_rl_table as told
from scrutable.cli.folders import folder_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common


@click.command(name="with-rl", cls=Verb)
@click.option("--run", "folder", default="bench-with-rl", metavar="NAME", help="where the cases lie  [bench-with-rl]")
@common(run=False, seed=False)
@knobs(benching.WithRlConfig)
def with_rl(folder: str, screen: Screen) -> None:
    """Run every arm of every case, each case in a run folder of its own; killed, it goes on where it stopped."""
    found = benching.with_rl(config_of(benching.WithRlConfig), folder_of(folder), screen.note)
    for name, case in found["cases"].items():
        screen.say("", f"{name}: at most {case['rollouts']:,} rollouts an arm; rewards and KL on report tasks (95%)")
        screen.table(told.COLUMNS, told.table(case))
        if case["explained"]:
            screen.say("")
            screen.table(told.EXPLAINED, told.explained_table(case))
    for name, whole in found["environments"].items():
        if len([case for case in found["cases"] if case.rpartition("-")[0] == name]) < 2:
            continue  # its one seed was just shown
        screen.say("", f"{name}, all seeds: mean (least to most)")
        screen.table(told.OVER, told.over_table(whole))
    screen.result(found)
