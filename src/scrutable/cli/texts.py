"""What `shorten` and `sanitise` do alike: take a text, load what it is tried on, tell the plan, tell what sentences are worth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from scrutable.cli.folders import existing, job
from scrutable.cli.measure import read_text
from scrutable.cli.options import config_of
from scrutable.cli.plan import ANSWER
from scrutable.cli.screen import Screen
from scrutable.cli.work import Identified, load
from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate
from scrutable.envs.base import Environment
from scrutable.envs.loading import open_env
from scrutable.evolve.games import GAMES, Standing, Subject, check_rewarded
from scrutable.evolve.sentences import Cut
from scrutable.evolve.worth import Plan, TextWorth
from scrutable.measure.change import Change, Speaker
from scrutable.models.api import ServedOptions
from scrutable.models.cost import estimate
from scrutable.models.hf import HFModel, Loading
from scrutable.models.loading import load_pair, open_model
from scrutable.programs.text import TEXT
from scrutable.report.words import between, count, number, plural, seconds

F = TypeVar("F", bound=Callable[..., Any])
CALLED = {"proxy": "reward", "true": "true reward", "kl": "nats closer to AFTER"}


@dataclass(frozen=True)
class Asked:
    """What was asked for: a text, who is given it, and what beside it."""

    text: str
    model: str
    after: str | None
    dry_run: bool


def takes_text(function: F) -> F:
    """Add `--text`, `--of`, `--model`, `--after` and `--dry-run` to a verb, and hand `asked` to it."""

    @wraps(function)
    def with_text(
        *args: Any, given: str | None, source: str | None, model: str, after: str | None, dry_run: bool, **rest: Any
    ) -> Any:
        return function(*args, asked=Asked(text_of(given, source), model, after, dry_run), **rest)

    options = (
        click.option("--text", "given", default=None, metavar="TEXT", help="the text itself, @FILE, or - for stdin"),
        click.option("--of", "source", default=None, metavar="RUN", help="take the best text of a finished evolve run"),
        click.option("--model", default="pidgin", help="who is given the text  [pidgin]"),
        click.option(
            "--after", default=None, metavar="MODEL", help="a tuned model: closeness to it is a third measure of worth"
        ),
        click.option("--dry-run", is_flag=True, help="say what it would cost, and stop"),
    )
    made: Any = with_text
    for option in reversed(options):
        made = option(made)
    return made  # type: ignore[no-any-return]


def text_of(given: str | None, source: str | None) -> str:
    """Return the text that was given, or the best of a run. Errors: UserError when it is none or both, or cannot be had."""
    if (given is None) == (source is None):
        raise UserError("say which text: one of --text TEXT and --of RUN")
    if given is not None:
        return read_text(given)
    assert source is not None
    run = Run.read(existing(source))
    found = [event.payload["candidate"] for event in run.events("result") if "candidate" in event.payload]
    if not found:
        raise UserError(f"{run.path} holds no finished evolution: name another run, or give --text")
    best = Candidate.model_validate(found[0])
    if set(best.texts) != {TEXT}:
        raise UserError(f"{run.path} evolved texts of several modules ({', '.join(best.texts)}): give one with --text")
    if not best.texts[TEXT].strip():
        raise UserError(f"the best text of {run.path} is the empty one: there is no sentence to leave out")
    return best.texts[TEXT]


@dataclass(frozen=True)
class Opened:
    """What a text is tried on, loaded."""

    subject: Subject
    inputs: Mapping[str, Identified]


def job_of(verb: str, config: Config, env: str, asked: Asked, seed: int) -> Config:
    """Return the run's config of a verb that tries a text on an environment."""
    subject = {"env": env, "model": asked.model, "after": asked.after or "", "text": asked.text}
    configs = {verb: config, "loading": config_of(Loading), "served": config_of(ServedOptions, "served")}
    return job(verb, seed, subject, configs)


def opened(screen: Screen, env: str, asked: Asked) -> Opened:
    """Open the environment and the models. Errors: UserError."""
    model, after = asked.model, asked.after
    environment: Environment = open_env(env)
    check_rewarded(environment)  # before anything is loaded
    loading = config_of(Loading)
    if after is None:
        answers = load(screen, model, lambda: open_model(model, loading, config_of(ServedOptions, "served")))
        return Opened(Subject(environment, answers), {"environment": environment, "model": answers})
    base, tuned = load(screen, after, lambda: load_pair(model, after, loading))
    subject = Subject(environment, base, change=Change(Speaker(base), Speaker(tuned)))
    subject.check()
    return Opened(subject, {"environment": environment, "model": base, "AFTER": tuned})


def show_worth(screen: Screen, subject: Subject, chosen: Plan, text: str, rest: int) -> None:
    """Say what measuring would take at most. rest: rollouts beside those that the worth of sentences takes."""
    amount = len(Cut.of({TEXT: text}).parts)
    each = f"{1 << amount} subsets" if chosen.method == "subsets" else f"{2 * chosen.pairs} orders a task"
    parts = {f"{plural(amount, 'sentence')}: {each} on {chosen.tasks} tasks": chosen.rollouts, "the rest": rest}
    parts["in all"] = chosen.rollouts + rest
    model, took = subject.model, None
    if isinstance(model, HFModel):
        timed = estimate(model, prompt_tokens=48, answer_tokens=ANSWER)
        took = timed.seconds_per_pass * (1 + ANSWER / 10)
        took += timed.seconds_per_pass if subject.change else 0.0
    rows = [
        (name, count(number), "as the server" if took is None else seconds(took * number))
        for name, number in parts.items()
    ]
    screen.table(("at most", ">rollouts", ">about"), rows)
    screen.result(
        {
            "plan": {"method": chosen.method, "tasks": chosen.tasks, "rollouts": parts["in all"]},
            "seconds": None if took is None else took * parts["in all"],
        }
    )


def tell_worth(screen: Screen, found: TextWorth, marked: Collection[str] = ()) -> None:
    """Say what each sentence is worth, in every game, with its interval; the marked ones have a mark."""
    games = [game for game in GAMES if game in found.whole]
    head = [name for game in games for name in (f">{CALLED[game]}", ">95% interval", ">left out")]
    rows = []
    for one in found.sentences:
        cells = []
        for game in games:
            value = one.games[game]
            alone = "" if value.left_out is None else number(value.left_out.value)
            cells += [number(value.shapley.value), between(value.shapley, "plain"), alone]
        rows.append((*cells, ("! " if one.sentence in marked else "") + one.sentence))
    screen.table((*head, "sentence"), rows)
    for line in found.notes:
        screen.note(f"note: {line}")


def tell_standing(screen: Screen, named: Mapping[str, Standing], gained: Mapping[str, Interval], change: str) -> None:
    """Say what texts score on the tasks that decided nothing, and what the change from one to the other is."""
    games = [game for game in GAMES if game in gained]
    rows = [
        (name, *(number(one.games[game].value) if game in one.games else "" for game in games))
        for name, one in named.items()
    ]
    rows.append((change, *(f"{number(gained[game].value)} ({between(gained[game], 'plain')})" for game in games)))
    called = {**CALLED, "kl": "nats (minus KL)"}
    screen.table(("", *(f">{called[game]}" for game in games)), rows)
