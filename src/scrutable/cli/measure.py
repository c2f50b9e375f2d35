"""`scrutable measure`: how much of a change a text carries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from scrutable import catalog
from scrutable.cli.folders import check_run, job
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common
from scrutable.cli.work import (
    Identified,
    before_and_after,
    chosen_tasks,
    conclude,
    load,
    note_servers,
    tasks_from,
    working,
)
from scrutable.core.accounts import Fidelity
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Usage
from scrutable.core.stats import quantile
from scrutable.envs import prompts
from scrutable.envs.base import Environment
from scrutable.measure import fidelity, match
from scrutable.measure.change import Change, Speaker
from scrutable.measure.hearing import MeasureConfig
from scrutable.models.api import ServedOptions
from scrutable.models.base import OpenModel
from scrutable.models.hf import Loading
from scrutable.models.loading import is_served, listen, open_pair, told_addresses
from scrutable.report.first import NAMES, bar_of, told_apart
from scrutable.report.words import between, number, percent, plural

F = TypeVar("F", bound=Callable[..., Any])


def add_twins(function: F) -> F:
    """Add `--twins` to a verb."""
    says = "twins to make (the base tuned on its own answers, by the recipe that made AFTER): they set what counts as a change"
    return click.option("--twins", type=click.IntRange(0, 20), default=0, metavar="N", help=f"{says}  [0]")(function)


@click.command(cls=Verb)
@click.argument("text")
@click.argument("models", nargs=-1, metavar="[BEFORE] AFTER")
@tasks_from
@add_twins
@common()
@knobs(MeasureConfig)
@knobs(Loading)
@knobs(ServedOptions, "served")
def measure(text: str, models: tuple[str, ...], twins: int, run_name: str | None, seed: int, screen: Screen) -> None:
    """Measure how much of the change from BEFORE to AFTER comes back when BEFORE is given TEXT.

    TEXT is the text itself, @FILE, or - for stdin. Both models are transformers directories, hub names, PEFT adapters or
    pidgin; of an adapter alone the base is taken from its config. Either may be served ("served:NAME" at OPENAI_BASE_URL, or
    http://host:port/v1#NAME): then sampled answers are compared, in place of distributions. Where nothing measurable
    changed, it says so and prints no share.
    """
    tasks, (before, after) = chosen_tasks(), before_and_after(models)
    text = read_text(text)
    environment = catalog.open_env(tasks)
    config, loading, served = config_of(MeasureConfig), config_of(Loading), config_of(ServedOptions, "served")
    environment.tasks(config.split)
    remote = refuse_twins(before, after, twins)
    subject = {"env": tasks, "before": before or "", "after": after, "text": text, "twins": str(twins)}
    made = job(
        "measure", seed, subject, {"measure": config, "loading": loading, **({"served": served} if remote else {})}
    )
    check_run(run_name, made)
    base, tuned = load(screen, after, lambda: open_pair(before, after, loading, served))
    listen(screen.note, base, tuned)
    change = Change(Speaker(base), Speaker(tuned))
    if not remote:
        change.check()
    about = {"title": change.name, "before": base.name, "after": tuned.name, "env": environment.name}
    about |= told_addresses(base, tuned)
    makers = catalog.twins_of(after, twins)
    inputs: dict[str, Identified] = {"environment": environment, "BEFORE": base, "AFTER": tuned}
    with working(screen, run_name, made, about, inputs) as work:
        found = measured(change, environment, config, makers, work.run, text)
        work.result = {"fidelity": found}
    tell(found, screen)
    note_servers(screen, base, tuned)
    conclude(work, screen)


def refuse_twins(before: str | None, after: str, twins: int) -> bool:
    """Return whether one of the two is served. Errors: UserError when one is, and twins are wanted."""
    remote = is_served(before) or is_served(after)
    if remote and twins:
        raise UserError("twins are tuned from BEFORE, which must be a model that is loaded here: leave out --twins")
    return remote


def measured(
    change: Change,
    environment: Environment,
    config: MeasureConfig,
    twins: catalog.Twins,
    run: Run,
    text: str,
) -> Fidelity:
    """Measure a text, by sampled answers where a model is served; what it cost stands beside the events that cost it."""
    tasks = environment.tasks(config.split)
    if all(isinstance(speaker.model, OpenModel) for speaker in (change.before, change.after)):
        twin_speakers = twins(change.before, environment, run)
        found = fidelity.measure(change, text, tasks, run, config, environment, twin_speakers)
    else:
        found = match.measure(change, text, tasks, run, config, environment)
    return found.model_copy(update={"usage": Usage()})


def read_text(given: str) -> str:
    """Return the text itself, or what is in @FILE or on stdin (-). Errors: UserError when it cannot be read, or is empty."""
    where, text = "TEXT", given
    if given == "-":
        where = "stdin"
        try:
            text = sys.stdin.read().strip()
            text.encode()  # what is no UTF-8 passes some terminals' settings as lone surrogates
        except UnicodeError as error:
            raise UserError("stdin is not UTF-8 text: save what it is from as UTF-8") from error
    elif given.startswith("@"):
        where = given[1:]
        text = prompts.read_text(Path(where)).strip()
    if not text.strip():
        raise UserError(f"{where} holds no text: give the sentences that are to be measured")
    return text


def tell(found: Fidelity, screen: Screen) -> None:
    """Say what was measured: every share with its interval and its nulls, or that nothing measurable changed."""
    screen.say("")
    if not found.changed:
        screen.say(
            "Nothing measurable changed, so no share is printed.",
            _not_above(found),
        )
        return
    rows: list[tuple[str, ...]] = []
    for share in found.shares:
        name = NAMES[share.name][0] if share.name in NAMES else share.name
        if share.value is None:
            rows.append((name, "none", "", "", "", share.why_not))
            continue
        nulls = _quantile(share.unrelated, 0.95), _quantile(share.random, 1.0)
        mixed = _quantile(share.shuffled, 0.5)
        rows.append((name, percent(share.value.value), between(share.value), *nulls, mixed))
    screen.table(("", ">share", ">95% interval", ">unrelated", ">random", ">shuffled"), rows)
    screen.say("unrelated texts: 95th percentile; random texts: highest; its own words shuffled: median")
    screen.say(f"left: {_left(found)}; {plural(found.tasks, 'task')} × {plural(found.answers, 'answer')}")
    if found.match is not None and "base + text" in found.match.told:
        screen.say(f"{told_apart(found.match)}.")
    weak = [bar.name for share in found.shares if (bar := bar_of(share)).above_nulls is False]
    if weak:
        screen.say(f"no more than unrelated texts: {', '.join(weak)}")
    for line in found.notes:
        screen.note(f"note: {line}")


def _not_above(found: Fidelity) -> str:
    limit = number(found.threshold)
    if found.match is not None:
        return f"The gap in likeness is {number(found.match.gap.value)}, not above {limit}, which exchanged answers reach too."
    return f"KL(tuned ‖ base) is {number(found.kl.value) if found.kl else '?'} nats an answer, not above {limit}"


def _left(found: Fidelity) -> str:
    if found.match is not None:
        return f"{number(found.match.left.value)} of {number(found.match.gap.value)} of the gap in likeness"
    if found.kl is None or found.kl_left is None:
        return "not measured"
    return f"{number(found.kl_left.value)} of {number(found.kl.value)} nats an answer"


def _quantile(values: tuple[float, ...], q: float) -> str:
    return percent(quantile(values, q)) if values else ""
