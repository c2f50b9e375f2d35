"""`scrutable compare`: do several runs converge?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from scrutable import catalog
from scrutable.cli.folders import check_run, existing, job
from scrutable.cli.measure import read_text
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.screen import Screen, common
from scrutable.cli.work import Identified, Work, conclude, load, note_unknown, working
from scrutable.core.accounts import Account
from scrutable.core.comparisons import Comparison
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.envs.base import Environment
from scrutable.evolve.sentences import sentences
from scrutable.measure import agreement
from scrutable.measure.agreement import Compared
from scrutable.measure.change import Speaker
from scrutable.models.hf import HFModel, Loading
from scrutable.models.loading import open_model
from scrutable.report.words import between, number, plural, shortened


@dataclass(frozen=True)
class Found:
    """What a run folder holds that can be compared. adapter: of an RL run; text: of an evolved one, or what was read."""

    name: str
    env: str
    model: str
    text: str = ""
    adapter: Path | None = None

    def compared(self, base: HFModel) -> Compared:
        """Return it as a member of a comparison. Errors: UserError when its adapter does not fit the base."""
        said = tuple(sentences(self.text))
        if self.adapter is not None:
            return Compared(self.name, "rl", Speaker(base.with_adapter(self.adapter)), said)
        return Compared(self.name, "text", Speaker(base, self.text), said)


@dataclass(frozen=True)
class Asked:
    """What is compared, and where that is written: the run's name, its seed and config, and all who speak."""

    members: Sequence[Compared]
    base: HFModel
    environment: Environment
    made: Config
    config: agreement.CompareConfig
    run_name: str | None = None
    about: Mapping[str, str] = field(default_factory=dict)


@click.command(cls=Verb)
@click.argument("runs", nargs=-1, metavar="RUN...")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="a text to compare, too: itself, or @FILE")
@click.option("--env", default=None, metavar="ENV", help="where the tasks are from  [that of the runs]")
@click.option("--model", default=None, help="the model that the runs started from  [that of the runs]")
@common()
@knobs(agreement.CompareConfig)
@knobs(Loading)
def compare(
    runs: tuple[str, ...],
    texts: tuple[str, ...],
    env: str | None,
    model: str | None,
    run_name: str | None,
    seed: int,
    screen: Screen,
) -> None:
    """Compare finished runs of `evolve` and `train`, and texts: do they converge?

    Says into how many behaviours they fall and how far they are apart, what each earns, and which sentences do the same,
    however they are spelled. Two behaviours are two where they are shown to be farther apart than idle words put them.
    """
    found = [found_in(place) for place in dict.fromkeys(existing(name) for name in runs)]
    if len({one.name for one in found}) < len(found):
        raise UserError("two of the runs have the same name: rename the folder of one")
    given = [read_text(text) for text in texts]
    if len(found) + len(given) < 2:
        raise UserError("name at least two runs or texts to compare: scrutable compare RUN RUN, or --text TEXT")
    tasks = env or _agreed([one.env for one in found], "environment", "--env")
    name = model or _agreed([one.model for one in found] or ["pidgin"], "model", "--model")
    config, loading = config_of(agreement.CompareConfig), config_of(Loading)
    environment = catalog.open_env(tasks)
    environment.tasks(config.split)
    subject = {
        "env": tasks,
        "model": name,
        "runs": "\n".join(one.name for one in found),
        "texts": "\n---\n".join(given),
    }
    made = job("compare", seed, subject, {"compare": config, "loading": loading})
    check_run(run_name, made)
    base = must_be_open(load(screen, name, lambda: open_model(name, loading)))
    members = [one.compared(base) for one in found]
    members += [
        Compared(f"text {at}", "text", Speaker(base, text), tuple(sentences(text))) for at, text in enumerate(given, 1)
    ]
    conclude(compared(screen, Asked(members, base, environment, made, config, run_name)), screen)


def _texts_of(run: Run) -> Mapping[str, str]:
    """Return the texts that an evolution ended with, by module; none where it has not ended."""
    ended = run.get("evolve/result")
    found: Mapping[str, str] = ended.payload["candidate"]["texts"] if ended else {}
    return found


def found_in(place: Path) -> Found:
    """Return what a run folder holds. Errors: UserError when it is no finished run of `evolve` or `train`."""
    run = Run.read(place)
    verb, name = run.config.get("verb"), place.name
    env, model = str(run.config.get("env", "")), str(run.config.get("model", ""))
    if verb == "evolve":
        done = run.get("result")
        if done is None or not isinstance(done.payload.get("text"), str):
            raise UserError(f"{place} is not finished: give its command again, it goes on where it stopped")
        if len(_texts_of(run)) > 1:
            raise UserError(f"{place} evolved the texts of a program of several modules, which cannot be compared yet")
        return Found(name, env, model, text=done.payload["text"])
    if verb == "train":
        done = run.get("train/result")
        if done is None:
            raise UserError(f"{place} is not finished: give its command again, it goes on where it stopped")
        return Found(name, env, model, _read_in(run), run.path / str(done.payload["adapter"]))
    raise UserError(
        f"{place} was made by `scrutable {verb or '(a script)'}`: only runs of evolve and train are compared"
    )


def _read_in(run: Run) -> str:
    """Return what accounts in the run say of the whole change, as one text."""
    whole = [event for event in run.events("account") if "remainder" not in event.key.split("/")]
    return " ".join(text for event in whole if (text := Account.model_validate(event.payload).text))


def _agreed(values: Sequence[str], what: str, option: str) -> str:
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        raise UserError(
            f"the runs are of another {what} each ({', '.join(different[:3])}): say with {option} which to use"
        )
    if not different:
        raise UserError(f"texts alone do not say which {what}: give it with {option}")
    return different[0]


def must_be_open(model: Any) -> HFModel:
    """Return the model. Errors: UserError where its distributions cannot be had (a served model)."""
    if not isinstance(model, HFModel):
        raise UserError(f"{model.name} gives no log-probabilities over its vocabulary: compare runs of a local model")
    return model


def compared(screen: Screen, asked: Asked) -> Work:
    """Compare in a run of its own, and say what was found; `conclude` what is returned, or make its page."""
    names = [one.name for one in asked.members]
    about = {
        "title": f"Do {plural(len(names), 'run')} converge?",
        "before": asked.base.name,
        "after": shortened(", ".join(names), 120),
        "env": asked.environment.name,
        **asked.about,
    }
    inputs: dict[str, Identified] = {"environment": asked.environment, "model": asked.base}
    inputs |= {one.name: one.speaker for one in asked.members}
    with working(screen, asked.run_name, asked.made, about, inputs) as work:
        note_unknown(screen, asked.base, asked.environment.tasks(asked.config.split))
        found = agreement.compare(asked.members, Speaker(asked.base), asked.environment, work.run, asked.config)
        work.result = {"comparison": found}
    tell(found, screen)
    return work


def tell(found: Comparison, screen: Screen) -> None:
    """Say how many behaviours there are, what each member earns, and what they say alike and alone."""
    names = [one.name for one in found.members]
    screen.say("", str(found))
    rows = []
    for number_of, group in enumerate(found.clusters, 1):
        for at in group:
            one = found.members[at]
            rewards = [number(one.rewards[name].value) if name in one.rewards else "" for name in ("proxy", "true")]
            far = max((found.js(at, other) for other in group), default=0.0)
            rows.append((str(number_of), one.name, *rewards, number(one.from_base.value), number(far), one.text))
    columns = (">behaviour", "run", ">reward", ">true", ">from the base", ">apart within", "text")
    screen.table(columns, rows)
    for name, value in found.between.items():
        screen.say(f"{name}: {number(value.value)} nats an answer apart ({between(value, 'plain')})")
    screen.say(f"one behaviour up to {number(found.limit)} nats an answer ({found.limit_from})")
    for claim in found.in_common:
        screen.say(f"in common: {claim.says}")
    for claim in found.alone:
        screen.say(f"alone, {names[claim.members[0]]}: {claim.says}")
    for line in found.notes:
        screen.note(f"note: {line}")
