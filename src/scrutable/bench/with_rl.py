"""with-rl: text and RL, each alone and together, from the same number of rollouts; and what a text leaves for RL to learn.

An arm is a row of phases: a search for a text (S) or some RL (R). Every arm may draw the same number of answers, and an answer
counts once whoever draws it: a rollout of the search, its choosing and scoring, an answer that a step looks at, a validation. How
an arm divides them is one rule (`quotas`), and what a phase leaves goes to the next. RL always saves its last step, so no arm is
picked by a validation. The base writes in every arm; a search that follows RL is around the tuned model, which answers.

Inoculation (Tan et al., arXiv 2510.04340): RL with the found text in context; then the text is taken away. What is then missing
was not learned, since the text explained it. Its null is the same number of rollouts of RL with an unrelated text in context.

One case is an environment and a seed, in a run folder of its own; killed, it goes on. All figures are on report tasks, which no
phase saw. Left out: sharing RL between arms that begin alike, which would save time, and tie their figures together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from scrutable.bench.with_rl_measure import Columns, Gauge, GaugeConfig, explained, told
from scrutable.bench.with_rl_table import line, over_seeds
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Record
from scrutable.envs.builtin import BuiltinEnv
from scrutable.envs.recipes import RECIPES
from scrutable.evolve.engine import EvolveConfig, evolve
from scrutable.evolve.reflection import proposer_for
from scrutable.measure.change import Speaker
from scrutable.measure.language import language_of
from scrutable.models.hf import HFModel, load_model
from scrutable.train.rl import TrainConfig, train

Say = Callable[[str], None]
SEARCH, RL = "S", "R"
ARMS = ("text", "rl", "text-rl", "inoculated", "unrelated", "rl-text", "interleaved")
"""All arms. "inoculated" is the model of text-rl, which trains for both; "unrelated", its null, takes its rollouts."""
LEAST_SEARCH = 100
"""The smallest budget of a search (`EvolveConfig`)."""
NEEDS: Mapping[str, int] = {"flattery": 9_000}
"""Rollouts that RL alone needs, seen on seeds for building; with fewer there is nothing that a text could explain."""
MOST_NEEDED = 30_000
"""Rollouts where `NEEDS` names none: *trusting-sycophancy* needs them."""


SAYS: Mapping[str, str] = {
    "text": "text alone",
    "rl": "RL alone",
    "text-rl": "a text is found, then RL with it in context",
    "inoculated": "as text-rl, and the text is taken away",
    "unrelated": "inoculated, but by an unrelated text: the null",
    "rl-text": "RL, then a text is found for the tuned model",
    "interleaved": "RL and search in turns; RL goes on with the text",
}


class WithRlConfig(Config):
    """What the bench runs: more seeds and environments may be asked for later. Seeds up to 102 are for building."""

    environments: tuple[str, ...] = anywhere(("flattery", "trusting-sycophancy"), "built-in environments")
    arms: tuple[str, ...] = anywhere(ARMS, "arms to run; the base is always measured")
    seeds: int = anywhere(1, "seeds of each environment", ge=1)
    first_seed: int = anywhere(103, "the first seed; the others follow it")
    model: str = Field(default="pidgin", description="the model that answers, is tuned, and writes")
    rollouts: int = Field(
        default=0,
        ge=0,
        description="answers that each arm may draw; 0: what RL alone needs, 9,000 on flattery, else 30,000",
    )
    search: float = Field(
        default=0.25, gt=0, lt=1, description="share of them that searches get, at most, in an arm that has both"
    )
    rounds: int = Field(default=2, ge=1, description="searches of the interleaved arm, each between two trainings")
    train: TrainConfig = Field(
        default=TrainConfig(group=4, patience=0),
        description="the RL recipe; its steps, text, rollouts, validations and seed are the arm's",
    )
    evolve: EvolveConfig = Field(default_factory=EvolveConfig, description="the search; its budget is the arm's")
    gauge: GaugeConfig = Field(default_factory=GaugeConfig, description="what is measured on report tasks")

    def budget(self, environment: str) -> int:
        """Return how many answers each arm may draw on an environment."""
        return self.rollouts or NEEDS.get(environment, MOST_NEEDED)


class WithRlCase(Config):
    """One case: its run's config."""

    seed: int
    environment: str
    rollouts: int
    bench: WithRlConfig

    @property
    def name(self) -> str:
        """What the case and its run folder are called."""
        return f"{self.environment}-{self.seed}"


class Phase(Record):
    """What a phase came to."""

    kind: str
    quota: int = Field(description="rollouts that it could draw, with what the phases before it left")
    rollouts: int = Field(description="rollouts that it drew")
    steps: int = Field(default=0, description="steps of RL")
    reflections: int = 0
    seconds: float = Field(description="of models at work; loading aside")
    text: str = Field(description="that stood in context (RL), or was found (search)")
    adapter: str = Field(default="", description="folder of the tuned model's adapter after it, relative to the run")


def phases_of(config: WithRlConfig) -> dict[str, str]:
    """Return the phases of each arm that divides the rollouts by `quotas`."""
    return {
        "text": SEARCH,
        "rl": RL,
        "text-rl": SEARCH + RL,
        "rl-text": RL + SEARCH,
        "interleaved": RL + (SEARCH + RL) * config.rounds,
    }


def quotas(phases: str, rollouts: int, search: float) -> list[int]:
    """Return up to how many rollouts an arm may have drawn at the end of each of its phases; the last is all of them.

    Where both kinds are there, searches get the share `search` together and RL the rest, each divided evenly among its phases.
    """
    kinds = {kind: phases.count(kind) for kind in (SEARCH, RL)}
    both = all(kinds.values())
    share = {SEARCH: search if both else 1.0, RL: 1 - search if both else 1.0}
    ends, sofar = [], 0.0
    for kind in phases:
        sofar += share[kind] / kinds[kind]
        ends.append(round(rollouts * sofar))
    return [*ends[:-1], rollouts]


def check(config: WithRlConfig) -> None:
    """Refuse what cannot be run. Errors: UserError of an unknown environment or arm, or a phase with too few rollouts."""
    for what, given, there in (
        ("built-in environment", config.environments, tuple(RECIPES)),
        ("arm", config.arms, ARMS),
    ):
        unknown = [name for name in given if name not in there]
        if unknown:
            raise UserError(f"no {what} is called {unknown[0]!r}: choose from {', '.join(there)}")
    least = {SEARCH: LEAST_SEARCH, RL: config.train.most + 2 * config.train.validation_tasks}
    for rollouts in sorted({config.budget(name) for name in config.environments}):
        for name, phases in phases_of(config).items():
            before = 0
            for kind, end in zip(phases, quotas(phases, rollouts, config.search), strict=True):
                if end - before < least[kind]:
                    what = "a search" if kind == SEARCH else "RL"
                    raise UserError(
                        f"--rollouts: of {rollouts}, {what} of the arm {name} would get {end - before}, "
                        f"and it needs {least[kind]}"
                    )
                before = end


def with_rl(config: WithRlConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every case and return the cases by name: of each its arms' rows, and what the texts explained.

    "environments" holds the same over the seeds of each. Errors: UserError as `check`. A case takes some ten minutes on a core
    of its own at 9,000 rollouts an arm, and twice as long at 30,000.
    """
    check(config)
    model = load_model(config.model)
    cases: dict[str, Any] = {}
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        for name in config.environments:
            case = WithRlCase(seed=seed, environment=name, rollouts=config.budget(name), bench=config)
            cases[case.name] = run_case(case, folder, model, say)
    by_environment = {
        name: over_seeds([case for key, case in cases.items() if key.rpartition("-")[0] == name])
        for name in config.environments
    }
    return {"search": config.search, "environments": by_environment, "cases": cases}


def run_case(case: WithRlCase, folder: Path, model: HFModel, say: Say) -> dict[str, Any]:
    """Run one case in its own run folder and return what came of it: "rollouts", "arms" by name, "explained"."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)  # what the libraries will change is no business of the user
    with Run.open(folder / case.name, case) as run:
        whole = Case(case, run, model)
        rows: dict[str, dict[str, Any]] = {}
        for name, row in whole.rows():
            rows[name] = row
            say(f"{case.name} {name}: {line(row)}")
        return {"rollouts": case.rollouts, "arms": rows, "explained": whole.explained()}


class Case:
    """One environment and seed: the arms in order, and what each came to on report tasks."""

    def __init__(self, case: WithRlCase, run: Run, model: HFModel) -> None:
        self.config, self.rollouts, self.run, self.base = case.bench, case.rollouts, run, model
        self.env = BuiltinEnv(case.environment, seed=case.seed)
        self.gauge = Gauge(self.env, model, run, self.config.gauge)
        self._columns: dict[str, Columns] = {}

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name and the row of each arm as it ends; the base first, which draws nothing."""
        yield "base", self._row("base", "neither", [])
        for name in ARMS:
            if name in self.config.arms:
                yield name, self._row(name, SAYS[name], self._phases_of(name))

    def _phases_of(self, name: str) -> list[Phase]:
        """Run an arm, or look it up where it was run."""
        if name == "inoculated":
            return self._phases_of("text-rl")
        if name == "unrelated":
            text = self.run.random("unrelated").choice(language_of(self.base).unrelated)
            return self._phases(name, RL, [self._phases_of("text-rl")[-1].quota], text)
        phases = phases_of(self.config)[name]
        return self._phases(name, phases, quotas(phases, self.rollouts, self.config.search))

    def _phases(self, arm: str, phases: str, ends: Sequence[int], text: str = "") -> list[Phase]:
        """Run the phases of an arm, each from where the one before it ended. ends: as `quotas` gives them."""
        done: list[Phase] = []
        adapter = ""
        for number, (kind, end) in enumerate(zip(phases, ends, strict=True)):
            quota = end - sum(one.rollouts for one in done)
            place = self.run.scope(f"{arm}/{number}")
            done.append((self._search if kind == SEARCH else self._train)(place, quota, text, adapter))
            text, adapter = done[-1].text, done[-1].adapter
        return done

    def _search(self, run: Run, quota: int, text: str, adapter: str) -> Phase:
        """Search for a text around the tuned model, from the text so far and from none; the base writes."""
        writer = proposer_for(self.base, self.config.evolve.reflect)
        config = self.config.evolve.model_copy(update={"budget": quota})
        found = evolve(self.env, self._tuned(adapter), run, config, writer, start=("", text) if text else ("",))
        return Phase(
            kind=SEARCH,
            quota=quota,
            rollouts=found.rollouts,
            reflections=found.reflections,
            seconds=found.usage.seconds,
            text=found.best.text,
            adapter=adapter,
        )

    def _train(self, run: Run, quota: int, text: str, adapter: str) -> Phase:
        """Train for a quota of rollouts with a text in context; it goes on from the adapter, if there is one."""
        recipe = self.config.train
        steps = max(
            1, quota // (recipe.answers * recipe.draws)
        )  # a step that looks once draws so many; more are not to be had
        told = {"steps": steps, "validate_every": steps, "rollouts": quota, "text": text, "seed": self.run.seed}
        start = self.run.path / adapter if adapter else None
        found = train(self.env, self.base, run, recipe.model_copy(update=told), start=start)
        return Phase(
            kind=RL,
            quota=quota,
            rollouts=found.rollouts,
            steps=found.steps,
            seconds=found.seconds,
            text=text,
            adapter=found.adapter,
        )

    def _tuned(self, adapter: str) -> HFModel:
        return self.base.with_adapter(self.run.path / adapter) if adapter else self.base

    def _row(self, name: str, says: str, phases: Sequence[Phase]) -> dict[str, Any]:
        """Measure what an arm came to, with its text in context and without."""
        text, adapter = (phases[-1].text, phases[-1].adapter) if phases else ("", "")
        model = self._tuned(adapter)
        given, bare = Speaker(model, text), Speaker(model)
        without = self._columns[name] = self.gauge.columns(bare)
        of = {kind: sum(one.rollouts for one in phases if one.kind == kind) for kind in (SEARCH, RL)}
        return {
            "says": says,
            "rollouts": of[SEARCH] + of[RL],
            "search": of[SEARCH],
            "training": of[RL],
            "steps": sum(one.steps for one in phases),
            "reflections": sum(one.reflections for one in phases),
            "seconds": sum(one.seconds for one in phases),
            "text": text,
            "with_text": told(self.gauge.columns(given), self.run.scope(given.identity)),
            "without": told(without, self.run.scope(bare.identity)),
            "phases": [one.model_dump(mode="json") for one in phases],
        }

    def explained(self) -> dict[str, Any]:
        """Return of inoculation and of its null what share of RL's change was not learned; nothing where one was not run."""
        at, names = self._columns, ("inoculated", "unrelated")
        if not {"rl", *names} <= at.keys():
            return {}
        stated = self.config.gauge.stated
        return {
            name: explained(at[name], at["rl"], at["base"], stated, self.run.scope(f"{name}/explained"))
            for name in names
        }
