"""`scrutable evolve`: a text evolved on an environment, or one for each of several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from scrutable.cli import compare
from scrutable.cli.folders import check_run, default_name, job
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.plan import show_search
from scrutable.cli.screen import Screen, common
from scrutable.cli.work import Identified, Work, conclude, load, note_servers, note_unknown, plain, working
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.envs.base import Environment
from scrutable.envs.loading import open_env
from scrutable.evolve import engine, reflection
from scrutable.evolve.engine import EvolveResult
from scrutable.evolve.sentences import sentences
from scrutable.measure.agreement import CompareConfig, Compared
from scrutable.measure.change import Speaker
from scrutable.models.api import ServedOptions
from scrutable.models.base import Model
from scrutable.models.hf import HFModel, Loading
from scrutable.models.loading import listen, open_model, told_addresses
from scrutable.programs.wanted import program_for
from scrutable.report.page import report
from scrutable.report.words import between, number, plural

MODEL = 'a directory, a hub name, the built-in one, "served:NAME" (at OPENAI_BASE_URL), or http://host:port/v1#NAME'


@dataclass(frozen=True)
class Searched:
    """What is searched, by whom, and how: all but the seed."""

    environment: Environment
    answers: Model
    writes: Model | None
    config: engine.EvolveConfig
    loading: Loading
    served: ServedOptions
    subject: Mapping[str, str]
    start: tuple[str, ...]

    def made(self, seed: int) -> Config:
        """Return the config of the run of a seed."""
        return job("evolve", seed, self.subject, self.configs)

    @property
    def configs(self) -> dict[str, Config]:
        """The configs of what a run calls."""
        return {"evolve": self.config, "loading": self.loading, "served": self.served}


@click.command(cls=Verb)
@click.argument("env")
@click.option("--model", default="pidgin", help=f"who answers: {MODEL}  [pidgin]")
@click.option("--reflector", default=None, metavar="MODEL", help="who writes the texts  [the model itself]")
@click.option(
    "--start", multiple=True, metavar="TEXT", help="a text to start from; may be given again  [the empty text]"
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=1,
    metavar="N",
    help="evolve for this many seeds, each in a run of its own (NAME-SEED), and compare what they find  [1]",
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
    seeds: int,
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
    configs = {"evolve": config, "loading": loading, "served": served}
    named = _names(run_name, seed, seeds, job("evolve", 0, subject, configs))
    if not asked["dry_run"]:
        for one, name in named.items():
            check_run(name, job("evolve", one, subject, configs))
    answers = load(screen, model, lambda: open_model(model, loading, served))
    writes = None if reflector is None else load(screen, reflector, lambda: open_model(reflector, loading, served))
    listen(screen.note, answers, writes)
    if asked["dry_run"]:
        show_search(screen, answers, writes or answers, environment, config)
        if seeds > 1:
            screen.say(f"That is for one seed; {seeds} of them take {seeds} times as much, and the comparison.")
        return
    searched = Searched(environment, answers, writes, config, loading, served, subject, start or ("",))
    if seeds == 1:
        work, result = _search(searched, seed, run_name, screen)
        _tell(result, screen)
        note_servers(screen, answers, writes)
        conclude(work, screen)
    else:
        _many(searched, named, screen)


def _names(run_name: str | None, first: int, seeds: int, made: Config) -> dict[int, str | None]:
    """Return the name of each seed's run; of several, the seed follows a name that does not depend on it."""
    if seeds == 1:
        return {first: run_name}
    stem = run_name or default_name(made)
    return {seed: f"{stem}-{seed}" for seed in range(first, first + seeds)}


def _search(searched: Searched, seed: int, run_name: str | None, screen: Screen) -> tuple[Work, EvolveResult]:
    """Evolve for one seed in its run."""
    environment, answers, writes = searched.environment, searched.answers, searched.writes
    inputs: dict[str, Identified] = {"environment": environment, "model": answers}
    inputs |= {} if writes is None else {"reflector": writes}
    writer = None if writes is None else reflection.proposer_for(writes, searched.config.reflect)
    about = {"title": f"A text for {environment.name}", "before": answers.name, "after": f"{answers.name} + text"}
    about |= told_addresses(answers, writes)
    with working(screen, run_name, searched.made(seed), {**about, "env": environment.name}, inputs) as work:
        note_unknown(screen, answers, environment.tasks("search"))
        wanted = program_for(environment)
        result = engine.evolve(environment, answers, work.run, searched.config, writer, wanted, start=searched.start)
        work.result = {"evolve": result, "text": result.best.text}
    return work, result


def _tell(result: EvolveResult, screen: Screen) -> None:
    """Say what one search came to."""
    screen.say(result.best.text or "(the empty text: nothing better was found)")
    if result.base is not None and result.score is not None:
        screen.say(
            f"score {number(result.base.value)} → {number(result.score.value)} ({between(result.score, 'plain')}) on "
            f"{plural(result.score.count or 0, 'task')} that decided nothing"
        )
    screen.say(
        f"it ended because {result.stopped}; {result.rollouts:,} rollouts, {plural(result.reflections, 'reflection')}"
    )
    for line in result.notes:
        screen.note(f"note: {line}")
    if result.failures:
        screen.note(f"note: {plural(result.failures, 'answer')} of the writer held no usable text")
    if result.usage.retries:
        screen.note(f"note: {plural(result.usage.retries, 'request')} to a server had to be made again")


def _many(searched: Searched, named: Mapping[int, str | None], screen: Screen) -> None:
    """Evolve for each seed, a line for each, and compare what they found."""
    texts: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for seed, name in named.items():
        work, result = _search(searched, seed, name, screen)
        page = report(work.run.path).html
        texts[work.run.name] = result.best.text
        rows.append({"seed": seed, "run": str(work.run.path), "page": str(page), "evolve": plain(result)})
        score = (
            "no score" if result.score is None else f"{number(result.score.value)} ({between(result.score, 'plain')})"
        )
        screen.say(f"seed {seed}: {score} after {result.rollouts:,} rollouts: {result.best.text or '(the empty text)'}")
    found = _compare(searched, named, texts, screen)
    told = {} if found is None else {"comparison": plain(found.result), "compared": str(found.run.path)}
    if found is not None:
        screen.say("", f"page: {report(found.run.path).html}")
    screen.result({"runs": rows, **told})


def _compare(
    searched: Searched, named: Mapping[int, str | None], texts: Mapping[str, str], screen: Screen
) -> Work | None:
    """Compare what the seeds found, on tasks that decided nothing; None where that cannot be done."""
    model, config = searched.answers, CompareConfig()
    if not isinstance(model, HFModel):
        screen.note(f"note: {model.name} gives no log-probabilities over its vocabulary, so the runs are not compared")
        return None
    try:
        searched.environment.tasks(config.split)
    except UserError as error:
        screen.note(f"note: the runs are not compared: {error}")
        return None
    members = [Compared(name, "text", Speaker(model, text), tuple(sentences(text))) for name, text in texts.items()]
    subject = {"env": searched.subject["env"], "model": searched.subject["model"]}
    subject |= {"runs": "\n".join(texts), "texts": ""}
    made = job("compare", min(named), subject, {"compare": config, "loading": searched.loading})
    stem = str(next(iter(named.values()))).rpartition("-")[0]
    place = f"{stem}-compare-{made.digest()[:6]}"  # other seeds are another comparison
    return compare.compared(screen, compare.Asked(members, model, searched.environment, made, config, place))
