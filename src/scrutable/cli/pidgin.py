"""`scrutable pidgin`: build the built-in model, and measure its card."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common
from scrutable.core.errors import UserError
from scrutable.models.source import BUILT_IN_FOLDER
from scrutable.organisms import lessons
from scrutable.organisms import pidgin as making
from scrutable.organisms.card import Card, CardConfig, measure_card
from scrutable.report.words import number, percent, seconds

if TYPE_CHECKING:
    from scrutable.organisms.trainer import Progress


@click.group()
def pidgin() -> None:
    """Build the built-in model, or measure its card."""


@pidgin.command(cls=Verb)
@click.option("--folder", type=Path, default=Path("build/pidgin"), help="where it is built  [build/pidgin]")
@click.option("--install", is_flag=True, help="also replace the weights that ship with the package")
@common(run=False, seed=False)
@knobs(making.PidginConfig)
def build(folder: Path, install: bool, screen: Screen) -> None:
    """Train the built-in model from nothing, and measure its card. It resumes: give the same command again."""
    config = config_of(making.PidginConfig)
    said = [0.0]
    began: deque[tuple[int, float]] = deque(maxlen=200)

    def tell(progress: Progress) -> None:
        began.append((progress.step, time.monotonic()))
        if progress.step - said[0] >= 50 or progress.step == progress.last:
            said[0] = progress.step
            (first, then), (_, now) = began[0], began[-1]
            left = (progress.last - progress.step) * (now - then) / max(1, progress.step - first)
            screen.note(
                f"step {progress.step:,}/{progress.last:,}: {number(progress.loss)} nats an answer, "
                f"{progress.tokens_per_second:,.0f} tokens/s, about {seconds(left)} left"
            )

    made = making.build(config, folder, tell)
    _write_card(made, screen, CardConfig())
    if install:
        making.install(made, BUILT_IN_FOLDER)
    screen.say(f"built: {BUILT_IN_FOLDER if install else made}")


@pidgin.command(cls=Verb)
@click.option("--measure", is_flag=True, help="measure every number on fresh draws (about ten minutes)")
@click.option("--model", type=Path, default=BUILT_IN_FOLDER, help="a built directory  [the one in the package]")
@common(run=False, seed=False)
@knobs(CardConfig)
def card(measure: bool, model: Path, screen: Screen) -> None:
    """Show the card of the built-in model, or measure it again; exit code 2 when a number falls short."""
    if measure:
        found = _write_card(model, screen, config_of(CardConfig))
    else:
        found = _read_card(model)
        _tell(found, screen)
    if short := found.misses():
        raise UserError(f"{len(short)} numbers fall short: {'; '.join(short)}")


def _read_card(model: Path) -> Card:
    """Return the card in a directory. Errors: UserError when there is none that can be read."""
    if not model.is_dir():
        raise UserError(f"there is no directory {model}: name one that `scrutable pidgin build` made")
    try:
        return making.read_card(model)
    except FileNotFoundError:
        raise UserError(f"{model} has no card: give --measure to measure it") from None
    except ValueError as error:
        raise UserError(f"the card in {model} is damaged: give --measure to measure it again") from error


def _write_card(model: Path, screen: Screen, config: CardConfig) -> Card:
    from scrutable.models.hf import load_model

    loaded = load_model(model)
    if strange := sorted(set(lessons.vocabulary()) - loaded.vocabulary.keys()):
        raise UserError(
            f"{model} does not have the built-in model's words ({strange[0]!r} is none of its tokens), so no card can be "
            "measured of it: name a directory that `scrutable pidgin build` made"
        )
    found = measure_card(loaded, config, lambda what: screen.note(f"measuring {what}"))
    making.write_card(found, model)
    _tell(found, screen)
    return found


def _tell(found: Card, screen: Screen) -> None:
    values = found.model_dump(mode="json", exclude={"config"})
    rows = []
    for name, value in values.items():
        whole = {"": value} if "value" in value else value
        for key, interval in whole.items():
            span = f"{percent(interval['low'])} to {percent(interval['high'])}"
            rows.append((f"{name.replace('_', ' ')} {key}".strip(), percent(interval["value"]), span))
    screen.table(("", ">rate", ">95% interval"), rows)
    screen.result({**values, "misses": found.misses(), "config": json.loads(found.config.model_dump_json())})
