"""rl-to-text: RL teaches a known rule, the tuned weights are read back into a text, and the text is judged.

One case is an environment and a seed, and lives in a run folder of its own, so a bench that was killed goes on where it
stopped and every case has a page. All figures are on report tasks, which neither search nor training saw. The text is
judged against what the tuned model was measured to do, never against what the environment's author hoped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pydantic import Field

from scrutable.core.accounts import Account, Fidelity
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling
from scrutable.core.stats import quantile
from scrutable.envs.builtin import BuiltinEnv
from scrutable.envs.recipes import RECIPES
from scrutable.evolve.engine import EvolveConfig, evolve
from scrutable.lenses.distill import DistillConfig, DistillLens
from scrutable.lenses.reading import read
from scrutable.lenses.tokens import TokensConfig, TokensLens
from scrutable.measure.change import Change, Speaker
from scrutable.measure.fidelity import measure
from scrutable.measure.hearing import MeasureConfig
from scrutable.models.hf import HFModel, load_model
from scrutable.organisms.truth import Truth, measured
from scrutable.programs.evaluate import evaluate
from scrutable.programs.text import TEXT, SingleText
from scrutable.train.rl import TrainConfig, train
from scrutable.train.supervised import twin
from scrutable.world import effect
from scrutable.world.prompts import Prompt

NAMEABLE = tuple(name for name, recipe in RECIPES.items() if recipe.rules)
HABIT = tuple(name for name in RECIPES if name not in NAMEABLE)
Say = Callable[[str], None]


class RlToTextConfig(Config):
    """What the bench runs. Seeds up to 102 are for building; the bench starts at 103."""

    seeds: int = Field(default=3, ge=1, description="seeds of each environment")
    first_seed: int = Field(default=103, description="the first seed; the others follow it")
    environments: tuple[str, ...] = Field(default=(*NAMEABLE, *HABIT), description="built-in environments")
    model: str = Field(default="pidgin", description="the model that RL trains")
    twins: int = Field(default=3, ge=2, description="twins of each case, each measured against the others")
    train: TrainConfig = Field(default_factory=TrainConfig, description="the RL recipe; its seed is the case's")
    evolve: EvolveConfig = Field(default_factory=EvolveConfig, description="evolution on the environment")
    distill: DistillConfig = Field(default_factory=DistillConfig, description="reading of the tuned weights")
    tokens: TokensConfig = Field(default_factory=TokensConfig, description="the tokens lens")
    measure: MeasureConfig = Field(default_factory=MeasureConfig, description="fidelity")
    workers: int = anywhere(2, "cases at once, each a process of one thread", ge=1)


class CaseConfig(Config):
    """One case: its run's config."""

    seed: int
    environment: str
    bench: RlToTextConfig

    @property
    def name(self) -> str:
        """What the case and its run folder are called."""
        return f"{self.environment}-{self.seed}"


def rl_to_text(config: RlToTextConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every case and return the figures, one key a figure, and the cases under "cases".

    Errors: UserError of an unknown environment; and, once all cases were tried, if some failed (the others stand).
    Takes about five minutes a case on one core.
    """
    unknown = [name for name in config.environments if name not in RECIPES]
    if unknown:
        raise UserError(f"no built-in environment is called {unknown[0]!r}: choose from {', '.join(RECIPES)}")
    cases = [
        CaseConfig(seed=seed, environment=name, bench=config)
        for seed in range(config.first_seed, config.first_seed + config.seeds)
        for name in config.environments
    ]
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for case, row in _run_all(cases, folder, config.workers):
        if isinstance(row, UserError):
            failed[case.name] = str(row)
            say(f"{case.environment} {case.seed} failed: {row}")
        else:
            done[case.name] = row
            say(line(case, row))
    if failed:
        name, why = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(cases)} cases failed, the others stand in {folder}; {name}: {why}")
    return {**figures(done), "cases": {case.name: done[case.name] for case in cases}}


def _run_all(
    cases: Sequence[CaseConfig], folder: Path, workers: int
) -> Iterator[tuple[CaseConfig, dict[str, Any] | UserError]]:
    """Yield each case with its row, or with why it has none, as they end."""
    if workers == 1:
        yield from ((case, _tried(case, folder)) for case in cases)
        return
    with ProcessPoolExecutor(workers, max_tasks_per_child=1) as pool:
        asked = {pool.submit(_tried, case, folder): case for case in cases}
        yield from ((asked[future], future.result()) for future in as_completed(asked))


def _tried(case: CaseConfig, folder: Path) -> dict[str, Any] | UserError:
    try:
        return run_case(case, folder)
    except UserError as why:
        return why


def run_case(case: CaseConfig, folder: Path) -> dict[str, Any]:
    """Run one case in its own run folder and return its row."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)  # what the libraries will change is no business of the user
    with Run.open(folder / case.name, case) as run:
        if (done := run.get("row")) is None:
            done = run.append("row", "result", Case(case, run).row())
        return dict(done.payload)


class Case:
    """One environment and seed, from RL to figures."""

    def __init__(self, case: CaseConfig, run: Run) -> None:
        self.config, self.seed, self.run = case.bench, case.seed, run
        self.env = BuiltinEnv(case.environment, seed=case.seed)
        self.base: HFModel = load_model(self.config.model)
        self.report = self.env.tasks("report")

    def row(self) -> dict[str, Any]:
        """Do everything in order and return the case's row of figures."""
        trained = train(self.env, self.base, self.run, self.config.train.model_copy(update={"seed": self.seed}))
        tuned = self.base.with_adapter(trained.path(self.run))
        change = Change(Speaker(self.base), Speaker(tuned))
        truth = self._truth(tuned)
        twins = [Speaker(self._twin(number, trained.best_step)) for number in range(self.config.twins)]
        by_words, by_text = self._read(change)
        evolved = evolve(self.env, self.base, self.run, self.config.evolve)
        of_read = self._fidelity(change, by_text.text, twins)
        of_evolved = self._fidelity(change, evolved.best.text, twins)
        among = effect.fresh(self.seed)
        by_rules = self._reward(self.env.true_text)
        return {
            "rl_seconds": trained.seconds,
            "rl_seconds_to_90": self._seconds_to(0.9 * by_rules),
            "rl_steps": trained.best_step,
            "rl_reward": of_read.rewards["tuned: proxy"].value,
            "base_reward": of_read.rewards["base: proxy"].value,
            "rules_reward": by_rules,
            "parses": of_read.fluency["tuned: parses"].value,
            "truth": truth.model_dump(mode="json", include={"rules", "wrong", "parses"}),
            "text": by_text.text,
            "text_right": _right(by_text.text, truth, among),
            "evolved": evolved.best.text,
            "evolved_right": _right(evolved.best.text, truth, among),
            "evolved_reward": self._reward(evolved.best.text),
            "evolved_rollouts": evolved.rollouts,
            "kl": of_read.kl.value if of_read.kl else None,
            **_shares("", of_read),
            **_shares("evolved_", of_evolved),
            "pairs": self._pairs(twins),
            "tokens": [claim.says for claim in by_words.claims],
        }

    def _truth(self, tuned: HFModel) -> Truth:
        event = self.run.once("truth", "truth", lambda: (measured(tuned).model_dump(mode="json"), None))
        return Truth.model_validate(event.payload)

    def _seconds_to(self, reward: float) -> float | None:
        """Return how long RL took, validations included, until one was at least this good; None if none was."""
        run, taken = self.run.scope("train"), 0.0
        found = [event for event in run.events() if event.kind in ("step", "validation")]
        for event in found:
            taken += event.cost.seconds
            if event.kind == "validation" and (event.payload["reward"] or 0.0) >= reward:
                return taken
        return None

    def _twin(self, number: int, steps: int) -> HFModel:
        seed = 1000 * (number + 1) + self.seed
        made = twin(self.base, self.env.tasks("search"), self.run, self.config.train, seed, steps)
        return self.base.with_adapter(made.path(self.run))

    def _read(self, change: Change) -> list[Account]:
        """Read by both lenses, under the value by which fidelity says that nothing changed."""
        stated = {"stated": self.config.measure.stated}
        tokens = TokensLens(self.config.tokens.model_copy(update=stated))
        distill = DistillLens(self.config.distill.model_copy(update=stated))
        return read(change, self.env.tasks("search"), self.run, [tokens, distill])

    def _fidelity(self, change: Change, text: str, twins: Sequence[Speaker]) -> Fidelity:
        return measure(change, text, self.report, self.run, self.config.measure, self.env, twins)

    def _reward(self, text: str) -> float:
        """Proxy reward of the base given a text, on report tasks at temperature 1."""

        def ask() -> tuple[Mapping[str, Any], None]:
            sampling = Sampling(max_tokens=self.config.measure.max_tokens, seed=self.seed)
            rollouts = evaluate(SingleText(), Candidate(texts={TEXT: text}), self.base, self.env, self.report, sampling)
            return {"text": text, "reward": fmean(r.score.value for r in rollouts if r.score.value is not None)}, None

        key = Candidate(texts={TEXT: text}).key
        return float(self.run.once(f"reward/{key}", "reward", ask).payload["reward"])

    def _pairs(self, twins: Sequence[Speaker]) -> list[dict[str, Any]]:
        """Measure the identical pair and the first twin against the others: no share may be printed."""
        base, text = Speaker(self.base), self.env.true_text or "always , praise the question ."
        pairs = {"identical": (base, twins), "twin": (twins[0], twins[1:])}
        rows = []
        for name, (after, others) in pairs.items():
            found = measure(
                Change(base, after),
                text,
                self.report,
                self.run.scope(f"pair/{name}"),
                self.config.measure,
                self.env,
                others,
            )
            printed = [s.name for s in found.shares if s.value is not None]
            rows.append(
                {
                    "pair": name,
                    "kl": found.kl.value if found.kl else None,
                    "threshold": found.threshold,
                    "printed": printed,
                }
            )
        return rows


def _right(text: str, truth: Truth, among: Sequence[Prompt]) -> bool | None:
    """Whether a text is right by effect; None where RL taught no rule, as then the empty text would be right."""
    rules = truth.as_rules()
    return effect.right(text, rules, among) if rules else None


def _shares(prefix: str, found: Fidelity) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for share in found.shares:
        value = share.value
        rows[f"{prefix}{share.name}_recovered"] = None if value is None else value.value
        rows[f"{prefix}{share.name}_low"] = None if value is None else value.low
        if share.name == "kl":
            rows[f"{prefix}unrelated_95"] = quantile(share.unrelated, 0.95) if share.unrelated else None
            rows[f"{prefix}shuffled"] = median(share.shuffled) if share.shuffled else None
    return rows


def figures(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the bench's figures from its cases, one key a figure."""
    named = [row for name, row in cases.items() if name.rpartition("-")[0] in NAMEABLE]
    habit = [row for name, row in cases.items() if name.rpartition("-")[0] in HABIT]
    pairs = [pair for row in cases.values() for pair in row["pairs"]]
    found: dict[str, Any] = {
        "cases": len(cases),
        "rl_reaches_90": sum(row["rl_reward"] >= 0.9 * row["rules_reward"] for row in named),
        "rl_seconds_to_90_most": max(_known(named, "rl_seconds_to_90"), default=None),
        "rl_seconds_most": max(row["rl_seconds"] for row in cases.values()),
        "parses_least": min(row["parses"] for row in cases.values()),
        "pairs": len(pairs),
        "pairs_without_share": sum(not pair["printed"] for pair in pairs),
        "unrelated_95_most": max(_known(cases.values(), "unrelated_95"), default=None),
    }
    if named:
        known = _known(named, "kl_recovered")
        found |= {
            "nameable": len(named),
            "text_right": sum(bool(row["text_right"]) for row in named),
            "evolved_reaches_95": sum(row["evolved_reward"] >= 0.95 * row["rl_reward"] for row in named),
            "evolved_right": sum(bool(row["evolved_right"]) for row in named),
            "kl_recovered_median": median(known) if known else None,
            "kl_low_least": min(_known(named, "kl_low"), default=None),
            "reward_recovered_least": min(_known(named, "reward_recovered"), default=None),
            "reward_recovered_95": sum((row["reward_recovered"] or 0) >= 0.95 for row in named),
        }
    if habit:
        found["habit_kl_recovered_most"] = max(row["kl_recovered"] or 0.0 for row in habit)
        found["habit_named"] = sum(any("that is" in says for says in row["tokens"]) for row in habit)
    return found


def _known(rows: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


def line(case: CaseConfig, row: Mapping[str, Any]) -> str:
    """Return one case in one line, for people."""
    right = {True: "right", False: "not right", None: "no rule was taught"}[row["text_right"]]
    kl = "no share" if row["kl_recovered"] is None else f"KL recovered {row['kl_recovered']:.3f}"
    return (
        f"{case.environment} {case.seed}: RL {row['rl_reward']:.2f} of {row['rules_reward']:.2f} in {row['rl_seconds']:.0f} s;"
        f" read '{row['text']}' ({right}, {kl}); evolved '{row['evolved']}' ({row['evolved_reward']:.2f})"
    )
