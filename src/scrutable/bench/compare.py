"""compare: runs with planted rules are compared; are the behaviours counted right, and who shows which?

A case plants texts in one environment whose reward is earned by either of several sets of rules, so that the reward cannot
tell them apart. Wordings and order are drawn, and half of the texts have an idle sentence. Whether a text works is checked by
the world's grammar on tasks of its own, as a search would have checked it by the reward: one that does not is drawn again,
and counted. The comparison sees speakers and tasks alone. Left out: runs of real searches, whose truth nobody planted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any

from pydantic import Field

from scrutable.core.clusters import agreement
from scrutable.core.comparisons import Comparison
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling, Score, Split, Task, digest_of
from scrutable.measure.agreement import CompareConfig, Compared, compare
from scrutable.measure.change import Speaker
from scrutable.models.hf import HFModel, load_model
from scrutable.programs.evaluate import evaluate
from scrutable.programs.text import TEXT, SingleText
from scrutable.world import answers, facts, grammar, prompts
from scrutable.world.prompts import Prompt, Rates
from scrutable.world.rules import BEHAVIOURS, Rule

Rules = tuple[Rule, ...]
SIZES: dict[Split, int] = {"search": 64, "keep": 64, "report": 128}
OBEYS = 0.95
"""Share of greedy answers that must show what a planted text's rules ask for."""
_REDRAWS = 60
_OTHERWISE = ("agree", "one word", "refuse", "top grade", "low grade")  # these bear on each other, or on the core


@dataclass(frozen=True)
class Arm:
    """One kind of case: how many runs have each set of rules, how the sets part, and how often their condition holds."""

    says: str
    sizes: tuple[int, ...]
    condition: str = "always"  # or "topic": a fifth of the tasks, or "hurry": `rate` of them
    common: bool = False  # all sets also have one rule in common
    rate: float = 0.35


ARMS: Mapping[str, Arm] = {
    "one": Arm("one rule in every answer", (8,)),
    "one-conditional": Arm("one rule in every answer and one on a fifth of the tasks", (8,), "topic", common=True),
    "two": Arm("either of two rules in every answer", (4, 4)),
    "two-fifth": Arm("either of two rules on a fifth of the tasks", (4, 4), "topic"),
    "two-beside": Arm("one rule in common, and either of two on a fifth of the tasks", (4, 4), "topic", common=True),
    "two-tenth": Arm("either of two rules on a tenth of the tasks", (4, 4), "hurry", rate=0.1),
    "two-twentieth": Arm("either of two rules on a twentieth of the tasks", (4, 4), "hurry", rate=0.05),
    "one-out": Arm("seven runs with one rule, one run with another", (7, 1)),
    "three": Arm("either of three rules in every answer", (3, 3, 2)),
    "three-fifth": Arm("either of three rules on a fifth of the tasks", (3, 3, 2), "topic"),
}


class CompareBenchConfig(Config):
    """What the bench runs: more seeds and arms may be asked for later. Seeds up to 102 are for building."""

    seeds: int = anywhere(10, "cases of each arm", ge=1)
    first_seed: int = anywhere(103, "the first seed; the others follow it")
    arms: tuple[str, ...] = anywhere(tuple(ARMS), "kinds of cases")
    model: str = Field(default="pidgin", description="the model that is given the texts")
    compare: CompareConfig = Field(
        default_factory=lambda: CompareConfig(claims=0, max_tokens=48), description="the comparison"
    )


class CompareCase(Config):
    """One case: its run's config."""

    seed: int
    arm: str
    bench: CompareBenchConfig

    @property
    def name(self) -> str:
        """What the case and its run folder are called."""
        return f"{self.arm}-{self.seed}"


@dataclass(frozen=True)
class EitherEnv:
    """Pays 1 for an answer that shows exactly what one of several sets of rules asks for; true reward: a right value."""

    sets: tuple[Rules, ...]
    rates: Rates
    seed: int
    name: str = "either"
    rewarded: bool = True
    says: str = "pays for an answer that obeys one of several sets of rules"
    _drawn: dict[Split, tuple[Prompt, ...]] = field(default_factory=dict, compare=False)

    @property
    def identity(self) -> str:
        """Hash of what decides tasks and scores."""
        rules = [[[rule.condition, rule.behaviour] for rule in one] for one in self.sets]
        return digest_of(["either", 1, rules, self.rates.hurry, self.seed])

    def prompts_of(self, split: Split) -> tuple[Prompt, ...]:
        """The world's prompts behind the tasks of a split. No two splits share one."""
        if not self._drawn:
            draws, seen = Random(f"either/{self.seed}"), set[str]()
            for each, size in SIZES.items():
                found: list[Prompt] = []
                while len(found) < size:
                    prompt = prompts.draw(draws, self.rates)
                    if prompt.text not in seen:
                        seen.add(prompt.text)
                        found.append(prompt)
                self._drawn[each] = tuple(found)
        return self._drawn[split]

    def tasks(self, split: Split) -> list[Task]:
        """The tasks of a split."""
        return [Task.ask(p.text, split=split, index=at) for at, p in enumerate(self.prompts_of(split))]

    def rate(self, tasks: Sequence[Task], answered: Sequence[str]) -> list[Score]:
        """Score each answer: 1 where it obeys any set."""
        return [self._rate(self._prompt(task), answer) for task, answer in zip(tasks, answered, strict=True)]

    def obeys(self, which: int, tasks: Sequence[Task], answered: Sequence[str]) -> float:
        """Return the share of answers that show exactly what one set of rules asks for."""
        met = [
            self._shown(self._prompt(task), answer) == answers.active(self.sets[which], self._prompt(task))
            for task, answer in zip(tasks, answered, strict=True)
        ]
        return fmean(met)

    def _rate(self, prompt: Prompt, answer: str) -> Score:
        shown, parsed = self._shown(prompt, answer), answers.parse(answer, prompt.fact.subject)
        met = any(shown == answers.active(rules, prompt) for rules in self.sets)
        return Score(value=float(met), true=float(parsed is not None and parsed.value == prompt.fact.value))

    def _shown(self, prompt: Prompt, answer: str) -> frozenset[str] | None:
        parsed = answers.parse(answer, prompt.fact.subject)
        relevant = {rule.behaviour for rules in self.sets for rule in rules}
        return None if parsed is None else parsed.behaviours & relevant

    def _prompt(self, task: Task) -> Prompt:
        split, index = task.columns["split"], task.columns["index"]
        assert isinstance(split, str) and isinstance(index, int)
        return self.prompts_of(split)[index]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Planted:
    """The texts of one case, the set of rules that each was written from, and how often one had to be drawn again."""

    env: EitherEnv
    texts: tuple[str, ...]
    sets: tuple[int, ...]
    redrawn: int


def plant(arm: Arm, seed: int, model: HFModel) -> Planted:
    """Draw rules, then a text for each run; texts that do not work are drawn again, and rules that no text works for."""
    draws, redrawn = Random(f"compare/{arm.says}/{seed}"), 0
    while True:
        env = _environment(arm, seed, draws)
        texts: list[str] = []
        sets = tuple(at for at, size in enumerate(arm.sizes) for _ in range(size))
        for which in sets:
            found, failed = _text(env, which, len(texts) % 2 == 1, draws, model)
            redrawn += failed
            if found is None:
                break
            texts.append(found)
        else:
            return Planted(env, tuple(texts), sets, redrawn)
        if redrawn > _REDRAWS:
            raise UserError(f"{model.name} obeys no text of {arm.says!r}: nothing can be planted")


def _environment(arm: Arm, seed: int, draws: Random) -> EitherEnv:
    names = draws.sample([b.name for b in BEHAVIOURS if b.name not in _OTHERWISE], len(arm.sizes) + 1)
    condition = draws.choice(facts.TOPICS) if arm.condition == "topic" else arm.condition
    shared = (Rule("always", names[-1]),) if arm.common else ()
    sets = tuple((*shared, Rule(condition, name)) for name in names[:-1])
    return EitherEnv(sets, Rates(hurry=arm.rate), seed)


def _text(env: EitherEnv, which: int, idle: bool, draws: Random, model: HFModel) -> tuple[str | None, int]:
    """Return a text that works for a set of rules, None after six that do not; and how many did not."""
    tasks = env.tasks("search")
    for failed in range(6):
        sentences = [grammar.write(env.sets[which], draws)]
        if idle:
            fact = draws.choice(facts.facts())
            sentences.append(draws.choice((f"{fact.subject} : it is {fact.value} .", prompts.draw(draws).text)))
        text = " ".join(sentences)
        candidate, greedy = Candidate(texts={TEXT: text}), Sampling(temperature=0.0, max_tokens=48)
        rollouts = evaluate(SingleText(), candidate, model, env, tasks, greedy)
        if env.obeys(which, tasks, [one.answer for one in rollouts]) >= OBEYS:
            return text, failed
    return None, 6


def bench_compare(config: CompareBenchConfig, folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run every case, each in a run folder of its own, and return the figures, one key a figure, and the cases.

    Errors: UserError of an unknown arm. Takes about half a minute a case on one core.
    """
    unknown = [name for name in config.arms if name not in ARMS]
    if unknown:
        raise UserError(f"no arm is called {unknown[0]!r}: choose from {', '.join(ARMS)}")
    model = load_model(config.model)
    cases: dict[str, dict[str, Any]] = {}
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        for arm in config.arms:
            case = CompareCase(seed=seed, arm=arm, bench=config)
            cases[case.name] = row = run_case(case, folder, model)
            say(f"{case.name}: {line(row)}")
    return {**figures(cases), "cases": cases}


def run_case(case: CompareCase, folder: Path, model: HFModel) -> dict[str, Any]:
    """Run one case in its own run folder and return its row."""
    with Run.open(folder / case.name, case) as run:
        if (done := run.get("row")) is None:
            planted = plant(ARMS[case.arm], case.seed, model)
            members = [
                Compared(f"{'ABC'[which]}{at}", "text", Speaker(model, text))
                for at, (text, which) in enumerate(zip(planted.texts, planted.sets, strict=True))
            ]
            found = compare(members, Speaker(model), planted.env, run, case.bench.compare)
            done = run.append("row", "result", row_of(planted, found))
        return dict(done.payload)


def row_of(planted: Planted, found: Comparison) -> dict[str, Any]:
    """Return what a case came to."""
    sets = planted.sets
    wanted = [tuple(at for at, one in enumerate(sets) if one == which) for which in sorted(set(sets))]
    within = [pair.js.value for pair in found.pairs if sets[pair.a] == sets[pair.b]]
    across = [pair.js.value for pair in found.pairs if sets[pair.a] != sets[pair.b]]
    proxy = [fmean(found.members[at].rewards["proxy"].value for at in group) for group in wanted]
    return {
        "texts": list(planted.texts),
        "redrawn": planted.redrawn,
        "wanted": [list(group) for group in wanted],
        "clusters": [list(group) for group in found.clusters],
        "exact": sorted(found.clusters) == sorted(wanted),
        "agreement": agreement(found.clusters, wanted),
        "limit": found.limit,
        "within_most": max(within),
        "across_least": min(across, default=None),
        "highest_low": found.partings[0].distance.low,
        "stable": found.stable,
        "idle_above_stated": sum(one > 0.05 for one in found.idle),
        "rewards": proxy,
    }


def figures(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the bench's figures, one key a figure: of each arm how many cases were right, and how far apart things were."""
    found: dict[str, Any] = {}
    for arm in ARMS:
        rows = [row for name, row in cases.items() if name.rpartition("-")[0] == arm]
        if not rows:
            continue
        across = [row["across_least"] for row in rows if row["across_least"] is not None]
        found |= {
            f"{arm}: cases": len(rows),
            f"{arm}: exact": sum(row["exact"] for row in rows),
            f"{arm}: right number": sum(len(row["clusters"]) == len(row["wanted"]) for row in rows),
            f"{arm}: agreement": fmean(row["agreement"] for row in rows),
            f"{arm}: limit median": median(row["limit"] for row in rows),
            f"{arm}: within, most": max(row["within_most"] for row in rows),
            f"{arm}: across, least": min(across, default=None),
            f"{arm}: reward gap, most": max(max(row["rewards"]) - min(row["rewards"]) for row in rows),
        }
    found["redrawn"] = sum(row["redrawn"] for row in cases.values())
    return found


def line(row: Mapping[str, Any]) -> str:
    """Return one case in one line, for people."""
    told = "right" if row["exact"] else f"not as planted ({row['wanted']})"
    across = "" if row["across_least"] is None else f", across at least {row['across_least']:.3f}"
    return f"{row['clusters']} {told}; within at most {row['within_most']:.3f}{across}; limit {row['limit']:.3f}"
