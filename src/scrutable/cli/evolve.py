"""`scrutable evolve`: a text evolved on an environment."""

from __future__ import annotations

from typing import Any

import click

from scrutable.cli.folders import check_run, job
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.plan import show_search
from scrutable.cli.screen import Screen, common
from scrutable.cli.work import Identified, conclude, load, note_servers, note_unknown, working
from scrutable.envs.loading import open_env
from scrutable.evolve import engine, reflection
from scrutable.models.api import ServedOptions
from scrutable.models.hf import Loading
from scrutable.models.loading import listen, open_model, told_addresses
from scrutable.programs.wanted import program_for
from scrutable.report.words import between, number, plural

MODEL = 'a directory, a hub name, the built-in one, "served:NAME" (at OPENAI_BASE_URL), or http://host:port/v1#NAME'


@click.command(cls=Verb)
@click.argument("env")
@click.option("--model", default="pidgin", help=f"who answers: {MODEL}  [pidgin]")
@click.option("--reflector", default=None, metavar="MODEL", help="who writes the texts  [the model itself]")
@click.option(
    "--start", multiple=True, metavar="TEXT", help="a text to start from; may be given again  [the empty text]"
)
@click.option("--dry-run", is_flag=True, help="say what it would cost, and stop")
@common()
@knobs(engine.EvolveConfig)
@knobs(Loading)
@knobs(ServedOptions, "served")
def evolve(
    env: str,
    model: str,
    reflector: str | None,
    start: tuple[str, ...],
    run_name: str | None,
    seed: int,
    screen: Screen,
    **asked: Any,
) -> None:
    """Evolve a text on ENV (a built-in environment or a .py file): what to tell the model so that the reward rises.

    A run that was stopped goes on where it was: give the same command again. Nothing that was scored is paid for twice.
    """
    environment = open_env(env)
    engine.splits_of(environment)
    config, loading, served = config_of(engine.EvolveConfig), config_of(Loading), config_of(ServedOptions, "served")
    subject = {"env": env, "model": model, "reflector": reflector or model, "start": "\n---\n".join(start)}
    made = job("evolve", seed, subject, {"evolve": config, "loading": loading, "served": served})
    if not asked["dry_run"]:
        check_run(run_name, made)
    answers = load(screen, model, lambda: open_model(model, loading, served))
    inputs: dict[str, Identified] = {"environment": environment, "model": answers}
    writer, writes = None, None
    if reflector is not None:
        writes = load(screen, reflector, lambda: open_model(reflector, loading, served))
        writer = reflection.proposer_for(writes, config.reflect)
        inputs["reflector"] = writes
    listen(screen.note, answers, writes)
    if asked["dry_run"]:
        show_search(screen, answers, writes or answers, environment, config)
        return
    about = {"title": f"A text for {environment.name}", "before": answers.name, "after": f"{answers.name} + text"}
    about |= told_addresses(answers, writes)
    with working(screen, run_name, made, {**about, "env": environment.name}, inputs) as work:
        note_unknown(screen, answers, environment.tasks("search"))
        wanted = program_for(environment)
        result = engine.evolve(environment, answers, work.run, config, writer, wanted, start=start or ("",))
        work.result = {"evolve": result, "text": result.best.text}
    screen.say(result.best.text or "(the empty text: nothing better was found)")
    if result.base is not None and result.score is not None:
        screen.say(
            f"score {number(result.base.value)} → {number(result.score.value)} ({between(result.score, 'plain')}) on "
            f"{plural(result.score.count or 0, 'task')} that decided nothing"
        )
    screen.say(f"it ended because {result.stopped}; {result.rollouts:,} rollouts, {result.reflections:,} reflections")
    for line in result.notes:
        screen.note(f"note: {line}")
    if result.failures:
        screen.note(f"note: {plural(result.failures, 'answer')} of the writer held no usable text")
    if result.usage.retries:
        screen.note(f"note: {plural(result.usage.retries, 'request')} to a server had to be made again")
    note_servers(screen, answers, writes)
    conclude(work, screen)
