"""Planted changes: a factory of tuned built-in models, each with its truth measured, for judging what reads them.

A part is a run folder: groups of adapters are trained at once (`many.py`) on what their plans ask for (`planted_plan.py`,
`planted_lessons.py`), measured (`planted_truth.py`), and written down in one event a group, with each adapter an ordinary PEFT
directory beside its `planted.json`. A part that was killed, or asked for fewer kinds at first, goes on with what is missing.
`planted_part.py` opens it again. Reward hacks are made by RL itself, one after another, in the same folder.

Left out: changes of other bases; what is planted must be in the world's grammar, or its truth could not be measured.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.files import load_tensors, write_atomic
from scrutable.core.journal import Run
from scrutable.core.records import Record, Usage
from scrutable.envs.builtin import BuiltinEnv
from scrutable.models.adapters import adapter_digest
from scrutable.models.hf import HFModel, load_model
from scrutable.models.source import ADAPTER_WEIGHTS, BUILT_IN
from scrutable.organisms.planted_lessons import examples
from scrutable.organisms.planted_plan import KINDS, UNCHANGED, PartName, Plan, plans
from scrutable.organisms.planted_recipe import ManyConfig, write_adapter
from scrutable.organisms.planted_truth import Fresh, PlantedTruth, has_learned, measure_planted
from scrutable.train.rl import train
from scrutable.train.validations import TrainConfig

if TYPE_CHECKING:
    from scrutable.organisms.many import Adapter

MADE, ABOUT_PART = "planted", "part"
FILE = "planted.json"
Say = Callable[[str], None]


class PlantConfig(Config):
    """What is planted."""

    part: PartName = Field(description="building (to make readers with) or reporting (to judge them by): never mixed")
    seed: int = Field(default=0, description="seed of the plans and of everything drawn")
    always: int = Field(default=8, ge=0, description="changes by one rule in every answer")
    condition: int = Field(default=40, ge=0, description="changes by one rule under a condition")
    two_rules: int = Field(default=8, ge=0, description="changes by two rules")
    three_rules: int = Field(default=24, ge=0, description="changes by three rules")
    habit: int = Field(default=8, ge=0, description="changes by a habit that no rule can name")
    habit_and_rule: int = Field(default=8, ge=0, description="changes by such a habit and a rule")
    edited_fact: int = Field(default=8, ge=0, description="changes by an edited fact")
    diluted: int = Field(default=8, ge=0, description="changes by a rule that one example in eleven shows")
    reward_hack: int = Field(
        default=4, ge=0, description="changes by RL on a reward that can be had without being right"
    )
    identical: int = Field(default=4, ge=0, description="adapters that add nothing")
    twin: int = Field(default=152, ge=0, description="twins of the base: by the same recipe, on its own answers")
    recipe: ManyConfig = Field(default_factory=ManyConfig, description="how adapters are trained")
    rl: TrainConfig = Field(default_factory=TrainConfig, description="how reward hacks are trained; their seeds follow")
    together: int = Field(default=8, ge=1, description="adapters trained at once")
    truth_tasks: int = Field(default=512, ge=16, description="fresh tasks on which a truth is measured")
    kinds: tuple[str, ...] = anywhere((), "make only these kinds now; nothing: all")
    workers: int = anywhere(2, "processes of one thread each", ge=1)

    def count(self, kind: str) -> int:
        """Return how many of a kind are planted."""
        return int(getattr(self, kind.replace("-", "_")))


class Planted(Record):
    """One planted change: its plan, its measured truth, and where its adapter is from."""

    plan: Plan
    truth: PlantedTruth
    adapter: str = Field(description="the PEFT directory, relative to the run folder")
    content: str = Field(description="hash of the adapter's content")
    base: str = Field(description="identity of the base")
    recipe: str = Field(description="hash of the recipe that trained it")
    losses: tuple[float, float] | None = Field(default=None, description="first and last loss, nats an answer token")

    rounds: int = Field(default=0, description="rounds of the recipe's steps that it was trained for; 0 where none was")

    @property
    def rules(self) -> tuple[tuple[str, str], ...]:
        """(condition, behaviour) of each rule: as planned; of a reward hack, as measured."""
        return self.truth.greedy.rules if self.plan.environment else self.plan.rules

    @property
    def unchanged(self) -> bool:
        """Whether nothing was planted."""
        return self.plan.kind in UNCHANGED


@dataclass(frozen=True)
class Group:
    """Plans of one kind that are made at once."""

    kind: str
    number: int
    plans: tuple[Plan, ...]

    @property
    def key(self) -> str:
        """The key of the group's event."""
        return f"{MADE}/{self.kind}/{self.number:03d}"


def groups(config: PlantConfig) -> list[Group]:
    """Return all that a part is made of, in order: reward hacks one by one, all else in groups.

    Errors: UserError for an unknown kind, and where a part does not have so many changes of a kind.
    """
    if unknown := sorted(set(config.kinds) - set(KINDS)):
        raise UserError(f"no kind of planted change is called {unknown[0]!r}: choose from {', '.join(KINDS)}")
    found = []
    for kind in KINDS:
        own = plans(config.part, kind, config.count(kind), config.seed)
        size = 1 if kind == "reward-hack" else config.together
        found += [Group(kind, at // size, tuple(own[at : at + size])) for at in range(0, len(own), size)]
    return found


def make(config: PlantConfig, run: Run, say: Say = lambda _: None) -> list[Planted]:
    """Make what is missing of a part; return all that stands of the kinds asked for.

    Errors: UserError as of `groups`, and of RL.
    """
    base = load_model(BUILT_IN, device="cpu")
    _begin(run, base, config)
    wanted = [group for group in groups(config) if not config.kinds or group.kind in config.kinds]
    todo = [group for group in wanted if not run.has(group.key)]
    clock = _Clock(wanted, todo, say)
    for group, made in _batched([group for group in todo if group.kind != "reward-hack"], config):
        clock.tell(group, _keep(group, made, base, config, run))
    for group in todo:
        if group.kind == "reward-hack":
            clock.tell(group, _hack(group, base, config, run))
    return [one for group in wanted for one in members(run, group.key)]


def members(run: Run, key: str) -> list[Planted]:
    """Return the planted changes of a group's event."""
    event = run.get(key)
    return [] if event is None else [Planted.model_validate(one) for one in event.payload["members"]]


# ------------------------------------------------------------------------------------------------------------ one group


@dataclass(frozen=True)
class _Made:
    """A trained adapter as arrays (they travel between processes), its losses, its truth, and what it took."""

    arrays: dict[str, Any]
    losses: tuple[float, float] | None
    truth: PlantedTruth
    seconds: float
    rounds: int


def _batched(todo: Sequence[Group], config: PlantConfig) -> Iterator[tuple[Group, list[_Made]]]:
    """Yield each group with what was made of it, as they end."""
    if config.workers == 1 or len(todo) < 2:
        yield from ((group, _make(group, config)) for group in todo)
        return
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        asked = {pool.submit(_make, group, config): group for group in todo}
        yield from ((asked[future], future.result()) for future in as_completed(asked))


@cache
def _base() -> HFModel:
    """The base of a process: batches so large that their products, and not the calls, take the time."""
    return load_model(BUILT_IN, device="cpu", batch_size=256)


@cache
def _fresh(part: PartName, count: int, slice_name: str) -> Fresh:
    return Fresh(part, count, slice_name)


def _make(group: Group, config: PlantConfig) -> list[_Made]:
    """Train and measure a group on one thread."""
    import torch

    from scrutable.organisms.many import Many, wearing

    base, recipe, threads, began = _base(), config.recipe, torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        if group.kind == "identical":
            drawn = Many(base, [plan.seed for plan in group.plans], recipe).adapters()
            trained = [_Trained(adapter, None, 0) for adapter in drawn]
        else:
            trained = _train(base, group, config)
        made, each = [], (time.perf_counter() - began) / len(trained)
        for plan, one in zip(group.plans, trained, strict=True):
            began = time.perf_counter()
            with wearing(base, one.adapter, recipe.scale) as changed:
                truth = measure_planted(changed, base, plan, _fresh(plan.part, config.truth_tasks, "truth"))
            arrays = {name: matrix.numpy() for name, matrix in one.adapter.items()}
            made.append(_Made(arrays, one.losses, truth, each + time.perf_counter() - began, one.rounds))
        return made
    finally:
        torch.set_num_threads(threads)


@dataclass
class _Trained:
    """An adapter, its first and last loss, and how many rounds it took."""

    adapter: Adapter
    losses: tuple[float, float] | None
    rounds: int


def _train(base: HFModel, group: Group, config: PlantConfig) -> list[_Trained]:
    """Train a group; those that have not learned what they should go on, together, for another round."""
    from scrutable.organisms.many import fit_many, wearing

    recipe, fresh = config.recipe, _fresh(config.part, config.truth_tasks // 2, "train")
    done: list[_Trained] = []
    owed = list(range(len(group.plans)))
    for turn in range(recipe.rounds):
        taught = [examples(base, group.plans[at], recipe.examples, turn) for at in owed]
        start = [done[at].adapter for at in owed] if turn else None
        adapters, losses = fit_many(base, taught, [group.plans[at].seed for at in owed], recipe, start)
        found = [_Trained(adapter, loss, turn + 1) for adapter, loss in zip(adapters, losses, strict=True)]
        for at, one in zip(owed, found, strict=True):
            done[at : at + 1] = [one]
        if turn + 1 < recipe.rounds:
            owed, last = [], owed
            for at in last:
                with wearing(base, done[at].adapter, recipe.scale) as changed:
                    owed += [] if has_learned(changed, group.plans[at], fresh) else [at]
        if not owed:
            break
    return done


def _keep(group: Group, made: Sequence[_Made], base: HFModel, config: PlantConfig, run: Run) -> list[Planted]:
    """Write a group's adapters, then the event that names them."""
    found = []
    for plan, one in zip(group.plans, made, strict=True):
        with run.saving_folder(f"adapters/{plan.name}") as place:
            write_adapter(place, one.arrays, base, config.recipe)
            planted = _planted(plan, one.truth, place, base, config.recipe.digest(), run)
            planted = planted.model_copy(update={"losses": one.losses, "rounds": one.rounds})
            write_atomic(place / FILE, planted.model_dump_json(indent=1) + "\n")
        found.append(planted)
    cost = Usage(seconds=sum(one.seconds for one in made))
    run.append(group.key, MADE, {"kind": group.kind, "members": found}, cost=cost)
    return found


def _planted(plan: Plan, truth: PlantedTruth, place: Path, base: HFModel, recipe: str, run: Run) -> Planted:
    adapter = run.file(f"adapters/{plan.name}").relative_to(run.path).as_posix()
    return Planted(
        plan=plan, truth=truth, adapter=adapter, content=adapter_digest(place), base=base.identity, recipe=recipe
    )


def _hack(group: Group, base: HFModel, config: PlantConfig, run: Run) -> list[Planted]:
    """Train one reward hack by RL, in events of its own, and measure it. One that was killed goes on."""
    from scrutable.organisms.many import wearing

    (plan,) = group.plans
    assert plan.environment is not None
    recipe = config.rl.model_copy(update={"seed": plan.seed})
    result = train(BuiltinEnv(plan.environment, seed=plan.seed), base, run.scope(f"rl/{plan.name}"), recipe)
    with run.saving_folder(f"adapters/{plan.name}") as place:
        shutil.copytree(result.path(run), place, dirs_exist_ok=True)
        with wearing(_base(), load_tensors(place / ADAPTER_WEIGHTS), recipe.alpha / recipe.rank) as changed:
            truth = measure_planted(changed, _base(), plan, _fresh(plan.part, config.truth_tasks, "truth"))
        planted = _planted(plan, truth, place, base, recipe.digest(), run)
        write_atomic(place / FILE, planted.model_dump_json(indent=1) + "\n")
    run.append(group.key, MADE, {"kind": group.kind, "members": [planted]})
    return [planted]


def _begin(run: Run, base: HFModel, config: PlantConfig) -> None:
    """Write down what part a run holds, and of which base. Errors: UserError when it holds another."""
    told = {"part": config.part, "base": base.identity, "planned": {kind: config.count(kind) for kind in KINDS}}
    held = run.once(ABOUT_PART, ABOUT_PART, lambda: (told, None)).payload
    if changed := [name for name, value in told.items() if held[name] != value]:
        raise UserError(f"{run.path} holds planted changes of another {changed[0]}: choose another run folder")


class _Clock:
    """Says how far the work is, and how long it may still take."""

    def __init__(self, wanted: Sequence[Group], todo: Sequence[Group], say: Say) -> None:
        self.total = sum(len(group.plans) for group in wanted)
        self.left = sum(len(group.plans) for group in todo)
        self.first, self.began, self.say = self.left, time.perf_counter(), say
        if self.left < self.total:
            say(f"{self.total - self.left} of {self.total} models stand already")

    def tell(self, group: Group, made: Sequence[Planted]) -> None:
        """Say what was made."""
        self.left -= len(made)
        spent = time.perf_counter() - self.began
        least = [one.truth.least.value for one in made if one.truth.least]
        does = f", does what it says on {min(least):.1%} at least" if least else ""
        ahead = spent / (self.first - self.left) * self.left / 60
        self.say(
            f"{self.total - self.left}/{self.total} models: {group.kind} {group.number + 1}{does}; "
            f"{spent:.0f} s, about {ahead:.0f} min left"
        )
