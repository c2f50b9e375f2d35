"""The plan of a reading, a training or a search: what it takes, memory and time, told before anything is spent.

Numbers are the most that it takes; a search or a training that finds nothing better stops early. Time is told from one timed
batch of the model on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from scrutable.cli.screen import Screen
from scrutable.core.errors import ModelFailure
from scrutable.core.records import Task, Usage
from scrutable.envs.base import Environment
from scrutable.evolve.engine import EvolveConfig
from scrutable.evolve.reflection import FORMAT
from scrutable.lenses.base import Lens
from scrutable.measure import fidelity, match
from scrutable.measure.change import Change
from scrutable.measure.hearing import MeasureConfig
from scrutable.models.base import Model
from scrutable.models.beside import file_of
from scrutable.models.cost import Estimate, estimate
from scrutable.models.hf import HFModel
from scrutable.programs.wanted import program_for
from scrutable.report.words import count, seconds
from scrutable.train import estimate as training
from scrutable.train.rl import TrainConfig

ANSWER = 16
"""Tokens that an answer is taken to have, where nothing has been answered yet; no more than the limit."""

_SAMPLES = 8  # answers that a writer of rules draws at once, where the config does not say


def show_plan(
    screen: Screen,
    change: Change,
    environment: Environment,
    lenses: Sequence[Lens],
    config: MeasureConfig | None,
    twins: int = 0,
) -> None:
    """Say what each part of a reading would cost at most, on this machine. A model on a server is not timed."""
    tasks, model = environment.tasks("search"), change.before.model
    parts = {f"the {lens.name} lens": lens.planned(len(tasks)) for lens in lenses}
    local = isinstance(model, HFModel) and isinstance(change.after.model, HFModel)
    if config is not None:
        there = len(environment.tasks(config.split))
        parts["fidelity"] = fidelity.planned(config, there, twins) if local else match.planned(config, there)
    timed = None
    if local and isinstance(model, HFModel):
        timed = estimate(model, prompt_tokens=_tokens(model, tasks), answer_tokens=ANSWER)
    total = sum(parts.values(), Usage())
    rows = [(name, *_row(usage, timed)) for name, usage in {**parts, "in all": total}.items()]
    screen.table(("at most", ">forward passes", ">answers", ">about"), rows)
    if timed is not None:
        screen.say(
            f"weights: {timed.parameters:,} parameters, {_size(timed.weight_bytes)}; "
            f"a batch takes {_size(timed.batch_bytes)} more"
        )
    screen.say("An answer is taken to have 16 tokens. A search that finds nothing better stops early.")
    plan = {n: {"forward_passes": usage.forward_passes, "answers": usage.generations} for n, usage in parts.items()}
    weighed = {} if timed is None else {"seconds": _seconds(total, timed), **_weighed(timed)}
    screen.result({"plan": plan, **weighed})


def _weighed(timed: Estimate) -> dict[str, int]:
    return {"parameters": timed.parameters, "weight_bytes": timed.weight_bytes, "batch_bytes": timed.batch_bytes}


def show_training(screen: Screen, model: HFModel, environment: Environment, config: TrainConfig) -> None:
    """Say what a training would take at most, on this machine. Errors: UserError as `train` raises."""
    told = training.estimate(environment, model, config)
    row = "train", count(told.answers), count(told.answer_tokens), count(told.forward_passes), seconds(told.seconds)
    screen.table(("at most", ">rollouts", ">tokens of them", ">forward passes", ">about"), [row])
    screen.say(
        f"memory: {_size(told.memory)} beside what Python and torch take",
        "A validation may end it earlier; how long a reward takes is not counted.",
    )
    screen.result({"plan": told.model_dump(mode="json")})


def show_search(screen: Screen, model: Model, writer: Model, environment: Environment, config: EvolveConfig) -> None:
    """Say what evolving a text would take at most, on this machine. A model on a server is not timed."""
    tasks = environment.tasks("search")
    samples = (config.reflect.samples or _SAMPLES) if file_of(writer, FORMAT) else 1 + (config.reflect.samples or 1)
    written = min(config.proposals, config.budget // (config.width * config.screen)) * samples
    modules = len(program_for(environment).modules)  # a rollout of a program is an answer of each
    asked = {"rollouts": (model, config.budget), "answers of the writer": (writer, written)}
    answers = {"rollouts": config.budget * modules, "answers of the writer": written}
    here = {one.identity: one for one in (model, writer) if isinstance(one, HFModel)}
    timed = {key: estimate(one, prompt_tokens=_tokens(one, tasks), answer_tokens=ANSWER) for key, one in here.items()}
    took = {
        what: _seconds(Usage(generations=answers[what]), timed[one.identity]) if one.identity in timed else None
        for what, (one, _) in asked.items()
    }
    rows = [
        (what, count(number), "as the server" if (known := took[what]) is None else seconds(known))
        for what, (_, number) in asked.items()
    ]
    screen.table(("at most", ">number", ">about"), rows)
    for key, cost in timed.items():
        screen.say(
            f"weights of {here[key].name}: {_size(cost.weight_bytes)}; a batch takes {_size(cost.batch_bytes)} more"
        )
    if modules > 1:
        screen.say(f"A rollout is {modules} answers, one of each module.")
    limits = {"tokens": config.tokens, "of money": config.money, "seconds": config.seconds}
    for what, most in limits.items():
        if most is not None:
            screen.say(f"Nor more than {most:,g} {what}.")
    screen.say("An answer is taken to have 16 tokens. A search that finds nothing better stops early.")
    screen.result(
        {
            "plan": {what: {"number": number, "seconds": took[what]} for what, (_, number) in asked.items()},
            "weight_bytes": sum(cost.weight_bytes for cost in timed.values()),
            "batch_bytes": max((cost.batch_bytes for cost in timed.values()), default=0),
        }
    )


def _tokens(model: HFModel, tasks: Sequence[Task]) -> int:
    """Return the mean length of some prompts in tokens."""
    lengths = []
    for task in tasks[:20]:
        try:
            lengths.append(len(model.encode(task.messages)))
        except ModelFailure:
            continue
    return max(1, round(fmean(lengths))) if lengths else 32


def _seconds(usage: Usage, timed: Estimate) -> float:
    # an answer is drawn token by token; a step with a cache takes about a tenth of a pass over the whole
    return timed.seconds_per_pass * (usage.forward_passes + usage.generations * (1 + ANSWER / 10))


def _row(usage: Usage, timed: Estimate | None) -> tuple[str, str, str]:
    about = "as the server" if timed is None else seconds(_seconds(usage, timed))
    return count(usage.forward_passes), count(usage.generations), about


def _size(amount: int) -> str:
    return f"{amount / 2**30:.1f} GB" if amount >= 2**30 else f"{amount / 2**20:.0f} MB"
