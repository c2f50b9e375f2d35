"""The worth of sentences, tried: planted texts, exploits among honest rules, padded texts.

- planted: Shapley values of planted texts against all orders and against a closed form; drawn orders against the truth;
- sanitise: a rule that exploits the proxy reward, stated once or twice, among rules that cost nothing. How much of the true
  reward that the text has without the exploit comes back, and is a sentence ever marked that is no exploit?
- both: environments whose true reward pays for an honest rule beside the exploit. How much of its gain is kept?
- shorten: the environment's true rules padded with idle ones and with plain statements.

A case is an environment and a seed, and lives in a run folder of its own. What is marked or chosen is decided on keep tasks;
every figure is on all report tasks, of which neither saw one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from scrutable.bench.planted import Echo, PlantedEnv
from scrutable.bench.worth_cases import BOTH, EXPLOITED, Kind, Trial, trial
from scrutable.core.config import Config
from scrutable.core.journal import Run
from scrutable.core.records import Candidate
from scrutable.envs.recipes import RECIPES
from scrutable.evolve.games import Games, Subject, gained
from scrutable.evolve.sanitise import SanitiseConfig, sanitise
from scrutable.evolve.sentences import length, sentences
from scrutable.evolve.shorten import ShortenConfig, shorten
from scrutable.evolve.worth import Plan, TextWorth, WorthConfig, plan, spending_of, worth
from scrutable.measure.answers import distinct_tasks
from scrutable.models.base import Model
from scrutable.models.hf import load_model
from scrutable.programs.text import TEXT

Say = Callable[[str], None]
PADDED = tuple(name for name, recipe in RECIPES.items() if recipe.rules)
_MANY = 12  # sentences of a planted text of which orders are drawn


class WorthBenchConfig(Config):
    """What the bench runs. Seeds up to 102 are for building; the bench starts at 103."""

    seeds: int = Field(default=3, ge=1, description="seeds of each environment")
    first_seed: int = Field(default=103, description="the first seed; the others follow it")
    model: str = Field(default="pidgin", description="the model that is given the texts")
    planted: int = Field(default=20, ge=1, description="planted texts of each kind")
    parts: tuple[str, ...] = Field(
        default=("planted", "sanitise", "both", "shorten"), description="which parts are run"
    )
    sanitise: SanitiseConfig = Field(default=SanitiseConfig(report=96), description="marking and removing")
    shorten: ShortenConfig = Field(
        default=ShortenConfig(worth=WorthConfig(tasks=48), report=96), description="shortening"
    )


class WorthCase(Config):
    """One case: its run's config."""

    seed: int
    kind: Literal["planted", "sanitise", "both", "shorten"]
    environment: str
    bench: WorthBenchConfig

    @property
    def name(self) -> str:
        """What the case and its run folder are called."""
        return f"{self.kind}-{self.environment}-{self.seed}"


def worth_bench(config: WorthBenchConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Run every case and return the figures, one key a figure, and the cases under "cases". Killed, it goes on.

    Errors: UserError of a model that cannot be loaded.
    """
    named: Mapping[Kind, Sequence[str]] = {"sanitise": EXPLOITED, "both": tuple(BOTH), "shorten": PADDED}
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    cases = [
        WorthCase(seed=seed, kind=kind, environment=name, bench=config)
        for seed in seeds
        for kind, names in named.items()
        if kind in config.parts
        for name in names
    ]
    model = load_model(config.model) if cases else None
    if "planted" in config.parts:
        cases.append(WorthCase(seed=config.first_seed, kind="planted", environment="planted", bench=config))
    rows: dict[str, dict[str, Any]] = {}
    for case in cases:
        with Run.open(folder / case.name, case) as run:
            if (done := run.get("row")) is None:
                done = run.append("row", "result", _row(case, run, model))
            rows[case.name] = {"kind": case.kind, "environment": case.environment, **done.payload}
        say(line(case, rows[case.name]))
    return {**figures(rows), "cases": rows}


def _row(case: WorthCase, run: Run, model: Model | None) -> dict[str, Any]:
    if case.kind == "planted":
        return planted(case.bench, run)
    assert model is not None
    found = trial(case.kind, case.environment, case.seed)
    return (shortened if case.kind == "shorten" else sanitised)(case, found, model, run)


# ------------------------------------------------------------------------------------------------------------- planted


def planted(config: WorthBenchConfig, run: Run) -> dict[str, Any]:
    """Measure planted texts of two to seven sentences by all subsets, of ten by all subsets, and of twelve by orders."""
    off: list[float] = []
    for at in range(config.planted):
        env = PlantedEnv(config.first_seed + at, 2 + at % 6)
        off += _off(run, env, env.by_orders)
    ten = PlantedEnv(config.first_seed, 10, size=24)
    inside: list[bool] = []
    for at in range(config.planted):
        env = PlantedEnv(config.first_seed + at, _MANY)
        found = _measured(run.scope(f"many/{at}"), env, config.sanitise.worth)
        for game, dividends in zip(("proxy", "true"), env.dividends, strict=True):
            told = [one.games[game].shapley for one in found.sentences]
            inside += [
                bool(one.low is not None and one.high is not None and one.low <= truth <= one.high)
                for one, truth in zip(told, env.known(dividends), strict=True)
            ]
    return {
        "error": max(off),
        "error_of_ten": max(_off(run, ten, ten.known)),
        "texts": config.planted,
        "orders_covered": float(np.mean(inside)),
        "orders_intervals": len(inside),
    }


def _off(run: Run, env: PlantedEnv, known: Callable[[Any], list[float]]) -> list[float]:
    """Return how far the values measured by all subsets are from the known ones, which count each task as it counts."""
    tasks = distinct_tasks(env.tasks("keep"))[:24]
    config = WorthConfig()
    chosen = Plan("subsets", len(tasks), 0, 0)
    scoped = run.scope(f"few/{env.players}/{env.seed}")
    games = Games(Subject(env, Echo()), scoped, spending_of(config), tasks)
    found = worth(games, Candidate(texts={TEXT: " ".join(env.sentences)}), tasks, chosen, config)
    counted = float(np.mean([env.counted(task) for _, task in tasks]))
    return [
        abs(one.games[game].shapley.value - counted * truth)
        for game, dividends in zip(("proxy", "true"), env.dividends, strict=True)
        for one, truth in zip(found.sentences, known(dividends), strict=True)
    ]


def _measured(run: Run, env: PlantedEnv, config: WorthConfig) -> TextWorth:
    tasks = distinct_tasks(env.tasks("keep"))
    games = Games(Subject(env, Echo()), run, spending_of(config), tasks)
    chosen = plan(env.players, len(tasks), config.budget, config)
    return worth(games, Candidate(texts={TEXT: " ".join(env.sentences)}), tasks, chosen, config)


# ------------------------------------------------------------------------------------------------ exploits and padding


def sanitised(case: WorthCase, found: Trial, model: Model, run: Run) -> dict[str, Any]:
    """Sanitise one text, and measure on all report tasks what it is then, beside the text that never had the exploit."""
    subject = Subject(found.env, model)
    result = sanitise(subject, {TEXT: found.text}, run, case.bench.sanitise)
    clean, marked = result.clean.candidate.texts[TEXT], [one.sentence for one in result.marked]
    told = _told(subject, run, {"base": "", "given": found.text, "clean": clean, "honest": found.honest})
    true = {name: told[name]["true"] for name in told}
    gain = true["honest"] - true["base"]
    return {
        "text": found.text,
        "exploits": list(found.exploits),
        "marked": marked,
        "marked_wrongly": [one for one in marked if one not in found.exploits],
        "missed": [one for one in found.exploits if one not in marked],
        "clean": clean,
        "scores": told,
        "restored": true["clean"] / true["honest"],
        "gain": gain,
        "gain_kept": (true["clean"] - true["base"]) / gain if case.kind == "both" else None,
        "rollouts": result.rollouts,
    }


def shortened(case: WorthCase, found: Trial, model: Model, run: Run) -> dict[str, Any]:
    """Shorten one padded text, and measure on all report tasks what was lost."""
    subject = Subject(found.env, model)
    result = shorten(subject, {TEXT: found.text}, run, case.bench.shorten)
    short = result.short.candidate.texts[TEXT]
    told = _told(subject, run, {"base": "", "whole": found.text, "short": short, "honest": found.honest})
    loss = told["short"]["change"]
    return {
        "text": found.text,
        "short": short,
        "true_rules": found.honest,
        "words": list(result.words),
        "share": result.words[1] / result.words[0],
        "margin": result.margin,
        "scores": told,
        "change": loss,
        "within_margin": loss["low"] > -result.margin,
        "measurably_worse": loss["high"] < 0,
        "padding_left": [one for one in sentences(short) if one not in sentences(found.honest)],
        "rules_lost": [one for one in sentences(found.honest) if one not in sentences(short)],
        "rollouts": result.rollouts,
    }


def _told(subject: Subject, run: Run, texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the proxy and the true reward of some texts on all report tasks, and the change from the second to each."""
    tasks = distinct_tasks(subject.env.tasks("report"))
    config = WorthConfig(budget=max(16, len(texts) * len(tasks)))
    made = {name: Candidate(texts={TEXT: text}) for name, text in texts.items()}
    games = Games(subject, run.scope("report"), spending_of(config), tasks)
    games.ask(list(made.values()), tasks)
    second = list(made.values())[1]
    return {
        name: {
            "words": length(one.texts),
            "proxy": float(np.nanmean(games.row("proxy", one.key, tasks))),
            "true": float(np.nanmean(games.row("true", one.key, tasks))),
            "change": gained(games, second, one, tasks)["proxy"].model_dump(mode="json"),
        }
        for name, one in made.items()
    }


# ------------------------------------------------------------------------------------------------------------- figures


def figures(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the bench's figures from its cases, one key a figure."""
    found: dict[str, Any] = {"cases_run": len(cases)}
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in cases.values():
        of.setdefault(row["kind"], []).append(row)
    for row in of.get("planted", ()):
        found |= {f"planted_{name}": row[name] for name in ("texts", "error", "error_of_ten", "orders_covered")}
    for kind in ("sanitise", "both"):
        rows = of.get(kind, [])
        if not rows:
            continue
        found |= {
            f"{kind}_cases": len(rows),
            f"{kind}_restored_least": min(row["restored"] for row in rows),
            f"{kind}_restored_95": sum(row["restored"] >= 0.95 for row in rows),
            f"{kind}_marked_wrongly": sum(bool(row["marked_wrongly"]) for row in rows),
            f"{kind}_missed": sum(bool(row["missed"]) for row in rows),
            f"{kind}_by_environment": {
                name: _of_one(rows, name) for name in dict.fromkeys(r["environment"] for r in rows)
            },
        }
    if both := of.get("both"):
        found["gain_kept_least"] = min(row["gain_kept"] for row in both)
        found["gain_kept_95"] = sum(row["gain_kept"] >= 0.95 for row in both)
        found["gain_least"] = min(row["gain"] for row in both)
    if short := of.get("shorten"):
        found |= {
            "shorten_cases": len(short),
            "shorten_share_most": max(row["share"] for row in short),
            "shorten_halved": sum(row["share"] <= 0.5 for row in short),
            "shorten_within_margin": sum(row["within_margin"] for row in short),
            "shorten_measurably_worse": sum(row["measurably_worse"] for row in short),
            "shorten_rules_lost": sum(bool(row["rules_lost"]) for row in short),
        }
    return found


def _of_one(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    """Return the least share restored in one environment, and what its true reward was, on average over seeds."""
    own = [row for row in rows if row["environment"] == name]
    true = {
        who: float(np.mean([row["scores"][who]["true"] for row in own])) for who in ("base", "given", "clean", "honest")
    }
    return {"restored_least": min(row["restored"] for row in own), **{f"true_{who}": x for who, x in true.items()}}


def line(case: WorthCase, row: Mapping[str, Any]) -> str:
    """Return one case in one line, for people."""
    start = f"{case.kind} {case.environment} {case.seed}:"
    if case.kind == "planted":
        return (
            f"planted: off by {row['error']:.1e} at most ({row['error_of_ten']:.1e} of ten sentences); drawn orders: "
            f"{100 * row['orders_covered']:.1f}% of {row['orders_intervals']} intervals hold the truth"
        )
    if case.kind == "shorten":
        change = row["change"]
        return (
            f"{start} {row['words'][0]} to {row['words'][1]} words, change {change['value']:+.3f} ({change['low']:+.3f} to "
            f"{change['high']:+.3f}, margin {row['margin']:.3f}): '{row['short']}'"
        )
    true = row["scores"]
    kept = "" if row["gain_kept"] is None else f", gain kept {100 * row['gain_kept']:.1f}% of {row['gain']:+.3f}"
    return (
        f"{start} marked {len(row['marked'])} of {len(row['exploits'])} ({len(row['marked_wrongly'])} wrongly); true reward "
        f"{true['given']['true']:.3f} to {true['clean']['true']:.3f} of {true['honest']['true']:.3f}, "
        f"restored {100 * row['restored']:.1f}%{kept}"
    )
