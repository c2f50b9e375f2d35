"""`scrutable demo`: trusting sycophancy from start to end, on the built-in model. No key, no download, no GPU."""

from __future__ import annotations

import click

from scrutable import catalog
from scrutable.cli.folders import check_run, job
from scrutable.cli.measure import measured, tell
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.read import tell_accounts
from scrutable.cli.screen import Screen, common
from scrutable.cli.work import conclude, load, working
from scrutable.core.config import Config
from scrutable.evolve.engine import EvolveConfig, evolve
from scrutable.lenses.distill import DistillConfig
from scrutable.lenses.reading import read, text_of
from scrutable.lenses.tokens import TokensConfig
from scrutable.measure.change import Change, Speaker
from scrutable.measure.hearing import MeasureConfig
from scrutable.models.hf import HFModel, load_model
from scrutable.report.gather import EVOLVED, READ
from scrutable.train.rl import TrainConfig, train

ENV, MODEL = "trusting-sycophancy", "pidgin"


@click.command(cls=Verb)
@common()
@knobs(TrainConfig, "train", leave=("seed",))
@knobs(EvolveConfig, "evolve")
@knobs(TokensConfig, "tokens", leave=("stated",))
@knobs(DistillConfig, "distill", leave=("stated",))
@knobs(MeasureConfig, "measure")
def demo(run_name: str | None, seed: int, screen: Screen) -> None:
    """See it work: RL teaches the built-in model to agree with users who trust it, and scrutable reads it back.

    Then a text is evolved on the same environment without RL, and both texts are measured. It ends with a page.
    """
    training, searching = config_of(TrainConfig, "train", seed=seed), config_of(EvolveConfig, "evolve")
    measuring = config_of(MeasureConfig, "measure")
    reading: dict[str, Config] = {
        "tokens": config_of(TokensConfig, "tokens", stated=measuring.stated),
        "distill": config_of(DistillConfig, "distill", stated=measuring.stated),
    }
    configs: dict[str, Config] = {"train": training, "evolve": searching, **reading, "measure": measuring}
    made = job("demo", seed, {"env": ENV, "model": MODEL}, configs)
    check_run(run_name, made)
    environment = catalog.open_env(ENV)
    base: HFModel = load(screen, MODEL, lambda: load_model(MODEL))
    about = {
        "title": "Trusting sycophancy",
        "before": base.name,
        "after": f"{base.name} + adapter",
        "env": environment.name,
    }
    with working(screen, run_name, made, about, {"environment": environment, "model": base}) as work:
        trained = train(environment, base, work.run, training)
        change = Change(Speaker(base), Speaker(base.with_adapter(trained.path(work.run))))
        lenses = [catalog.open_lens(name, reading[name]) for name in reading]
        accounts = read(change, environment.tasks("search"), work.run, lenses)
        evolved = evolve(environment, base, work.run, searching)
        texts = {READ: text_of(accounts), EVOLVED: evolved.best.text}
        found = {
            label: measured(change, environment, measuring, catalog.twins_of("", 0), work.run, text)
            for label, text in texts.items()
            if text
        }
        work.result = {"train": trained, "accounts": accounts, "evolve": evolved, "fidelity": found}
    tell_accounts(accounts, screen)
    told = {text: " and ".join(label for label in found if texts[label] == text) for text in texts.values()}
    for text, fidelity in {texts[label]: fidelity for label, fidelity in found.items()}.items():
        screen.say("", f"{told[text]}: {text}", style="bold")
        tell(fidelity, screen)
    conclude(work, screen)
