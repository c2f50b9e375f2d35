"""`scrutable plant`: tuned built-in models whose truth is known, for judging what reads them."""

from __future__ import annotations

import time
from typing import Any

import click

from scrutable.cli.folders import check_run, job, open_run, place_of
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common
from scrutable.organisms import planted
from scrutable.organisms.planted_part import figures, open_part
from scrutable.organisms.planted_plan import KINDS
from scrutable.report.words import number, percent, seconds


@click.command(cls=Verb)
@click.option("--list", "listing", is_flag=True, help="list the kinds of planted changes, and stop")
@common()
@knobs(planted.PlantConfig, leave=("seed",))
def plant(listing: bool, run_name: str | None, seed: int, screen: Screen) -> None:
    """Make models that were changed in a known way, and unchanged ones, each with what it was measured to do.

    Each is an adapter of the built-in model, in an ordinary PEFT directory with its plan and its truth in planted.json. Two
    parts are made of different rules, facts and seeds: one to make readers with, one to judge them by. A part that was
    stopped goes on with what is missing: give the same command again.
    """
    if listing:
        screen.table(("kind", ""), KINDS.items())
        screen.result({"kinds": dict(KINDS)})
        return
    config = config_of(planted.PlantConfig, seed=seed)
    planted.groups(config)  # refuses what cannot be planted before anything is written
    made = job("plant", seed, {}, {"plant": config})
    name = run_name or f"planted-{config.part}"
    check_run(name, made)
    place, began = place_of(name, made), time.perf_counter()
    with open_run(name, made, {"title": f"planted changes, {config.part}"}, {}) as run:
        screen.note(f"run: {place}")
        planted.make(config, run, screen.note)
        spent = run.cost().seconds
    found = {**figures(open_part(place, config.part)), "seconds": spent, "run": place.as_posix()}
    _show(found, screen, time.perf_counter() - began)
    screen.result(found)


def _show(found: dict[str, Any], screen: Screen, wall: float) -> None:
    rows = [
        (
            kind,
            str(told["count"]),
            percent(told["does"]["value"]) if told["does"] else "",
            percent(told["least"]) if told["does"] else "",
            f"{number(told['kl_least'])} to {number(told['kl_most'])}",
        )
        for kind, told in found["kinds"].items()
    ]
    screen.table(("kind", ">models", ">do what they should", ">lowest share of tasks", "KL to the base, nats"), rows)
    screen.say(
        f"{found['changed']} changed and {found['unchanged']} unchanged models in {found['run']}, "
        f"{seconds(found['seconds'])} of work, {seconds(wall)} now"
    )
    if found["short"]:
        screen.say(f"do less than they should: {', '.join(found['short'])}")
    if found["missing"]:
        screen.note(f"{found['missing']} planned models are not made yet: give the command again without --kinds")
