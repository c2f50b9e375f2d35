"""`scrutable read`: what changed between two models, in sentences, with their fidelity, on a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from scrutable import catalog
from scrutable.cli.evolve import MODEL
from scrutable.cli.folders import check_run, job
from scrutable.cli.measure import add_twins, measured, refuse_twins, tell
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.plan import show_plan
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
from scrutable.core.accounts import Account
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.envs.base import Environment
from scrutable.lenses import reading
from scrutable.lenses.adapter import AdapterConfig
from scrutable.lenses.amplified import AmplifiedConfig
from scrutable.lenses.base import Lens
from scrutable.lenses.blackbox import BlackboxConfig
from scrutable.lenses.distill import DistillConfig
from scrutable.lenses.interview import InterviewConfig
from scrutable.lenses.tokens import TokensConfig
from scrutable.measure.change import Change, Speaker
from scrutable.measure.hearing import MeasureConfig
from scrutable.models.api import ServedOptions
from scrutable.models.base import Model
from scrutable.models.hf import Loading
from scrutable.models.loading import listen, open_model, open_pair, told_addresses
from scrutable.report.words import percent


@click.command(cls=Verb)
@click.argument("models", nargs=-1, metavar="[BEFORE] AFTER")
@tasks_from
@click.option(
    "--lens",
    "lenses",
    multiple=True,
    metavar="NAME",
    help=f"one of {', '.join(catalog.LENSES)}; may be given again  [{', '.join(catalog.READ)}; of served models those that "
    "need answers alone]",
)
@click.option("--reflector", metavar="MODEL", help=f"who puts it into words: {MODEL}  [BEFORE itself]")
@click.option("--fidelity/--no-fidelity", default=True, help="also measure how much the sentences carry  [yes]")
@add_twins
@click.option("--dry-run", is_flag=True, help="say what it would cost, and stop")
@common()
@knobs(TokensConfig, "tokens", leave=("stated",))
@knobs(DistillConfig, "distill", leave=("stated",))
@knobs(BlackboxConfig, "blackbox")
@knobs(AmplifiedConfig, "amplified", leave=("stated",))
@knobs(InterviewConfig, "interview", leave=("stated", "questions"))
@knobs(AdapterConfig, "adapter", leave=("stated",))
@knobs(MeasureConfig, "measure")
@knobs(Loading)
@knobs(ServedOptions, "served")
def read(models: tuple[str, ...], screen: Screen, run_name: str | None, seed: int, dry_run: bool, **asked: Any) -> None:
    """Read what training taught: what changed from BEFORE to AFTER, in sentences, and how much of it they carry.

    Both are transformers directories, hub names, PEFT adapters or pidgin; of an adapter alone the base is taken from its
    config. Either may be served ("served:NAME" at OPENAI_BASE_URL, or http://host:port/v1#NAME): then it is read by answers
    alone. The tasks come from an environment, with or without a reward (--env, --prompts).
    """
    tasks, (before, after) = chosen_tasks(), before_and_after(models)
    environment = catalog.open_env(tasks)
    remote = refuse_twins(before, after, asked["twins"])
    names = chosen_lenses(asked["lenses"], remote)
    measuring, loading, served = (
        config_of(MeasureConfig, "measure"),
        config_of(Loading),
        config_of(ServedOptions, "served"),
    )
    configs = _configs(names, measuring.stated)
    fidelity = {"measure": measuring} if asked["fidelity"] else {}
    _check_splits(environment, measuring if fidelity else None)
    subject = {"env": tasks, "before": before or "", "after": after, "reflector": asked["reflector"] or ""}
    subject |= {"twins": str(asked["twins"])}
    made = job("read", seed, subject, {**configs, **fidelity, "loading": loading, "served": served})
    if not dry_run:
        check_run(run_name, made)
    base, tuned = load(screen, after, lambda: open_pair(before, after, loading, served))
    left_out = [name for name in catalog.READ if name not in names and not asked["lenses"]]
    if left_out:
        screen.note(f"left out, since they need more than answers: {', '.join(left_out)}")
    writer = None
    if asked["reflector"]:
        writer = load(screen, asked["reflector"], lambda: open_model(asked["reflector"], loading, served))
    listen(screen.note, base, tuned, writer)
    lenses = [_lens(name, configs[name], writer) for name in names]
    change = Change(Speaker(base), Speaker(tuned))
    if not remote:
        change.check()
    if dry_run:
        show_plan(screen, change, environment, lenses, measuring if fidelity else None, int(asked["twins"]))
        return
    about = {"title": change.name, "before": base.name, "after": tuned.name, "env": environment.name}
    about |= told_addresses(base, tuned, writer)
    measures = (
        partial(measured, change, environment, measuring, catalog.twins_of(after, asked["twins"])) if fidelity else None
    )
    inputs: dict[str, Identified] = {"environment": environment, "BEFORE": base, "AFTER": tuned}
    if writer is not None:
        inputs["reflector"] = writer
    with working(screen, run_name, made, about, inputs) as work:
        accounts = reading.read(change, environment.tasks("search"), work.run, lenses)
        text = reading.text_of(accounts)
        found = measures(work.run, text) if measures is not None and text else None
        work.result = {"accounts": accounts, "text": text, "fidelity": found}
    tell_accounts(accounts, screen)
    if found is not None:
        tell(found, screen)
    note_servers(screen, base, tuned, writer)
    conclude(work, screen)


def _configs(names: Sequence[str], stated: float) -> dict[str, Config]:
    """Return the configs of the lenses that read, by name. stated: nats an answer up to which nothing has changed."""
    configs: dict[str, Config] = {
        "tokens": config_of(TokensConfig, "tokens", stated=stated),
        "distill": config_of(DistillConfig, "distill", stated=stated),
        "blackbox": config_of(BlackboxConfig, "blackbox"),
        "amplified": config_of(AmplifiedConfig, "amplified", stated=stated),
        "interview": config_of(InterviewConfig, "interview", stated=stated),
        "adapter": config_of(AdapterConfig, "adapter", stated=stated),
    }
    return {name: config for name, config in configs.items() if name in names}


_WRITE = ("distill", "blackbox", "amplified", "adapter")  # lenses that have texts written


def chosen_lenses(asked: Sequence[str], remote: bool) -> tuple[str, ...]:
    """Return the lenses that read: those asked for, or those that read where none is named. remote: whether a model is served.

    Errors: UserError for a name that is no lens, and for a lens that was asked for and cannot read served models.
    """
    for name in asked:
        catalog.check_lens(name)
    if not remote:
        return tuple(asked or catalog.READ)
    able = [name for name in catalog.READ if name in catalog.ANSWERS_ONLY]
    unable = [name for name in asked if name not in catalog.ANSWERS_ONLY]
    if unable:
        raise UserError(
            f"the {unable[0]} lens needs log-probabilities, which no server gives: take --lens {able[0]}, or local models"
        )
    return tuple(asked or able)


def _check_splits(environment: Environment, measuring: MeasureConfig | None) -> None:
    """Refuse an environment without the tasks that a reading and, with `measuring`, its fidelity need."""
    environment.tasks("search")
    if measuring is not None:
        try:
            environment.tasks(measuring.split)
        except UserError as error:
            raise UserError(f"{error}; or leave out the measuring with --no-fidelity") from error


def _lens(name: str, config: Config, writer: Model | None) -> Lens:
    return catalog.open_lens(name, config, **({"reflector": writer} if name in _WRITE else {}))


def tell_accounts(accounts: Sequence[Account], screen: Screen) -> None:
    """Say what each lens found."""
    for account in accounts:
        screen.say("", f"{account.lens}:", style="bold")
        for claim in account.claims:
            rates = (
                f"  ({percent(claim.before)} → {percent(claim.after)})"
                if claim.before is not None and claim.after is not None
                else ""
            )
            screen.say(f"  {claim.text or claim.says}{rates if claim.text else ''}")
        if not account.claims:
            screen.say("  nothing")
        for note in account.notes:
            screen.note(f"  {note}")
