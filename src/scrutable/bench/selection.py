"""selection: does the gate keep its promise, at what cost, and does the reported score's interval cover the truth?

Simulated scores, so that the truth is known. A search is a parent and the children that are tried against it; half of the
children do what their parent does, half are better by `gain`. Tasks may be of one difficulty (the hardest case: pairing
helps nothing) or of many. Every rollout of either gate is counted: ours pays for a parent's score on a task once and is then
done; the peer's pays its minibatch anew each time, and the whole validation for whom it accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pydantic import Field

from scrutable.core import draws
from scrutable.core.config import Config
from scrutable.core.sequential import Standard, flip_test
from scrutable.core.stats import Array, bootstrap_mean, score_interval, wilson_interval
from scrutable.evolve.engine import EvolveConfig

Say = Callable[[str], None]


class SelectionConfig(Config):
    """What is simulated."""

    children: int = Field(default=10_000, ge=100, description="simulated children of each kind of tasks")
    each: int = Field(default=10, ge=2, description="children tried against one parent")
    gain: float = Field(default=0.1, gt=0, lt=1, description="how much better the better half is")
    rate: float = Field(default=0.5, gt=0, lt=1, description="rate of success of the parents, on average")
    minibatch: int = Field(default=3, ge=1, description="tasks of the peer's gate")
    validation: int = Field(default=100, ge=1, description="tasks on which the peer scores whom it accepts")
    runs: int = Field(default=500, ge=10, description="simulated runs whose reported score is held against the truth")
    seed: int = Field(default=0, description="seed of all draws")


def selection(config: SelectionConfig, say: Say = print) -> dict[str, Any]:
    """Run both parts; return the figures. Takes about ten minutes on one core."""
    found: dict[str, Any] = {}
    for kind in ("one difficulty", "many difficulties"):
        found[kind] = gates(config, kind)
        for gate, told in found[kind].items():
            say(
                f"{kind}, {gate}: {told['false accepts']:.3f} of equal children pass, {told['power']:.3f} of those better "
                f"by {config.gain:g}; {told['rollouts']:.1f} rollouts a child"
            )
    found["reported score"] = coverage(config)
    told = found["reported score"]
    say(f"the reported interval covers the truth in {told['covered']:.3f} of {config.runs} runs")
    return found


# --------------------------------------------------------------------------------------------------------------- gates


def gates(config: SelectionConfig, kind: str) -> dict[str, dict[str, float]]:
    """Return both gates' rates over the same simulated children, with the rollouts that each paid for."""
    knobs = EvolveConfig()
    planned = knobs.pool - knobs.explore
    tallies = {"ours": _Tally(), "the peer's": _Tally()}
    for number in range(config.children // config.each):
        rng = draws.rng(config.seed, f"{kind}/{number}")
        rates = _rates(config, kind, max(planned, config.minibatch), rng)
        parent = _answers(rates, rng)
        furthest = 0
        for child in range(config.each):
            better = child % 2 == 1
            scores = _answers(np.clip(rates + config.gain * better, 0, 1), rng)
            signs = draws.rng(config.seed, f"{kind}/{number}/{child}")
            accepted, used = sequential(scores[:planned] - parent[:planned], knobs, signs)
            tallies["ours"].add(better, accepted, used)
            furthest = max(furthest, used)
            mine, theirs = _answers(rates + config.gain * better, rng), _answers(rates, rng)
            at = rng.choice(len(rates), config.minibatch, replace=False)
            passed = bool(mine[at].sum() > theirs[at].sum())
            tallies["the peer's"].add(better, passed, 2 * config.minibatch + config.validation * passed)
        tallies["ours"].rollouts += furthest  # the parent's own, once for all its children
    return {name: tally.told() for name, tally in tallies.items()}


def sequential(differences: Array, knobs: EvolveConfig, signs: np.random.Generator) -> tuple[bool, int]:
    """Return whether our gate accepts, and after how many tasks it knows."""
    standard = Standard(knobs.false_accept, knobs.false_reject, knobs.effect, 1.0)
    state = signs.bit_generator.state
    looks = list[int]()
    for used in _looks(differences.size, knobs.look):
        looks.append(used)
        signs.bit_generator.state = state
        verdict = flip_test(differences[:used], looks, differences.size, standard, signs)
        if verdict != "undecided":
            return verdict == "better", used
    return False, differences.size


def _looks(planned: int, each: int) -> Iterator[int]:
    yield from (min(used, planned) for used in range(each, planned + each, each))


def _rates(config: SelectionConfig, kind: str, count: int, rng: np.random.Generator) -> Array:
    """Return the parent's rate of success on each task."""
    if kind == "one difficulty":
        return np.full(count, config.rate)
    spread = rng.beta(0.8, 0.8, count) - 0.5
    return np.asarray(np.clip(config.rate + spread * (1 - config.gain), 0, 1 - config.gain))


def _answers(rates: Array, rng: np.random.Generator) -> Array:
    return (rng.random(rates.size) < rates).astype(np.float64)


class _Tally:
    """Counts of one gate."""

    def __init__(self) -> None:
        self.seen = {False: 0, True: 0}
        self.passed = {False: 0, True: 0}
        self.rollouts = 0

    def add(self, better: bool, accepted: bool, rollouts: int) -> None:
        self.seen[better] += 1
        self.passed[better] += accepted
        self.rollouts += rollouts

    def told(self) -> dict[str, float]:
        rates = {better: wilson_interval(self.passed[better], self.seen[better]) for better in (False, True)}
        return {
            "false accepts": rates[False].value,
            "false accepts, high": float(rates[False].high or 1.0),
            "power": rates[True].value,
            "power, low": float(rates[True].low or 0.0),
            "rollouts": self.rollouts / sum(self.seen.values()),
        }


# ------------------------------------------------------------------------------------------------------------ coverage


def coverage(config: SelectionConfig) -> dict[str, float]:
    """Return how often the reported interval covers the truth, and its width over that of a fresh sample of equal cost.

    Each run picks the best of 20 candidates of differing rates by their means on the pool, then reports as the engine does:
    on as many fresh tasks as its defaults leave. Beside it, what reporting the winning mean itself would claim.
    """
    knobs = EvolveConfig()
    final = min(knobs.keep, int(knobs.budget * knobs.reserve) // 4)
    hits, naive, ratios = 0, 0, list[float]()
    for number in range(config.runs):
        rng = draws.rng(config.seed, f"coverage/{number}")
        rates = np.clip(rng.normal(0.75, 0.08, 20), 0.02, 0.98)
        pool = rng.random((20, knobs.pool)) < rates[:, None]
        best = int(pool.mean(axis=1).argmax())
        said = bootstrap_mean(pool[best].astype(np.float64), rng=rng)
        fresh = _answers(np.full(final, rates[best]), rng)
        told = score_interval(fresh, (0.0, 1.0), rng=rng)
        again = wilson_interval(_answers(np.full(final, rates[best]), rng).sum(), final)
        assert told.low is not None and told.high is not None and said.low is not None and said.high is not None
        hits += told.low <= rates[best] <= told.high
        naive += said.low <= rates[best] <= said.high
        ratios.append((told.high - told.low) / ((again.high or 1.0) - (again.low or 0.0)))
    covered = wilson_interval(hits, config.runs)
    return {
        "covered": covered.value,
        "covered, low": float(covered.low or 0.0),
        "covered, high": float(covered.high or 1.0),
        "covered by the winning mean itself": naive / config.runs,
        "width over a fresh sample's": float(np.median(ratios)),
        "final tasks": float(final),
    }
