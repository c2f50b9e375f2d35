"""`scrutable train`: RL on an environment; saves a standard adapter."""

from __future__ import annotations

import click

from scrutable.cli.folders import check_run, job
from scrutable.cli.options import Verb, config_of, knobs
from scrutable.cli.plan import show_training
from scrutable.cli.screen import Screen, common
from scrutable.cli.work import Identified, conclude, load, note_unknown, working
from scrutable.envs.loading import open_env
from scrutable.models.hf import Loading, load_model
from scrutable.report.words import number, plural, seconds
from scrutable.train import rl
from scrutable.train.lora import must_be_base


@click.command(cls=Verb)
@click.argument("env")
@click.option("--model", default="pidgin", help="a transformers directory, a hub name, or the built-in one  [pidgin]")
@click.option("--dry-run", is_flag=True, help="say what it would cost, and stop")
@common()
@knobs(rl.TrainConfig, leave=("seed",))
@knobs(Loading)
def train(env: str, model: str, run_name: str | None, seed: int, dry_run: bool, screen: Screen) -> None:
    """Train a LoRA of a model on the reward of ENV (a built-in environment or a .py file), by GRPO.

    The adapter is saved in the run folder as an ordinary PEFT directory. A run that was stopped goes on from its last
    checkpoint: give the same command again.
    """
    environment = open_env(env)
    rl.check_env(environment)
    config, loading = config_of(rl.TrainConfig, seed=seed), config_of(Loading)
    made = job("train", seed, {"env": env, "model": model}, {"train": config, "loading": loading})
    if not dry_run:
        check_run(run_name, made)
    base = must_be_base(load(screen, model, lambda: load_model(model, loading)))
    if dry_run:
        show_training(screen, base, environment, config)
        return
    about = {"title": f"RL on {environment.name}", "before": base.name, "after": f"{base.name} + adapter"}
    inputs: dict[str, Identified] = {"environment": environment, "model": base}
    with working(screen, run_name, made, {**about, "env": environment.name}, inputs) as work:
        note_unknown(screen, base, environment.tasks("search"))
        last = max((int(event.payload["step"]) for event in work.run.events("checkpoint")), default=0)
        if last and not work.run.has("train/result"):
            screen.note(f"the training goes on from the checkpoint of step {last}")
        result = rl.train(environment, base, work.run, config)
        adapter, validations = result.path(work.run), len(work.run.events("validation"))
        work.result = {"train": result, "adapter": result.adapter}
    screen.say(
        f"reward {number(result.base_reward)} → {number(result.best_reward)} on validation tasks, at step {result.best_step}, "
        f"the best of {plural(validations, 'validation')}: fresh tasks may give a little less"
        + (
            ""
            if result.best_true is None
            else f"; true reward {number(result.base_true or 0)} → {number(result.best_true)}"
        ),
        f"it ended because {result.stopped_why}, after {seconds(result.seconds)}",
        f"adapter: {adapter}",
    )
    if result.unscored_answers:
        lost = plural(result.unscored_answers, "answer")
        screen.note(f"note: {lost} could not be scored (`scrutable env check` may tell why)")
    conclude(work, screen, adapter=adapter)
