"""engine: seconds a proposal with sleeping calls, ours and the peer's, and each engine's own time an iteration.

Everything is in one process, one arm after the other, so that ratios mean something on a noisy machine. Every measurement is an
event of a run: a bench that was stopped goes on with what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import Field

from scrutable.bench.latency import FIXED, HEAVY, Arm, LatencyConfig, Measured, measure_arm
from scrutable.bench.latency_ours import our_arm, our_racing_arm
from scrutable.bench.latency_peers import gepa_arms, peer_overhead
from scrutable.bench.overhead import Overhead, OverheadConfig, overhead
from scrutable.core.config import Config
from scrutable.core.journal import Run
from scrutable.core.records import Record

Say = Callable[[str], None]
KINDS = {"fixed": FIXED, "heavy tails": HEAVY}


class EngineConfig(Config):
    """What is measured."""

    proposals: int = Field(default=400, ge=10, description="proposals of an arm (the peer's default makes 100)")
    ahead: int = Field(default=32, ge=1, description="our proposals under way at once")
    overhead: OverheadConfig = Field(default_factory=OverheadConfig, description="the search without latency")
    times: int = Field(default=5, ge=1, description="how often our own time is measured; medians are told")


def engine_bench(config: EngineConfig, folder: Path, say: Say = print) -> dict[str, Any]:
    """Measure every arm under both kinds of latency, and both overheads; return the figures. Takes eight minutes."""
    found: dict[str, Any] = {}
    with Run.open(folder, config) as run:
        for kind, latency in KINDS.items():
            asked = latency.model_copy(update={"proposals": config.proposals})
            arms = [our_arm(config.ahead), *gepa_arms(), our_racing_arm(config.ahead)]
            measured = {arm.name: _measured(run, kind, arm, asked, say) for arm in arms}
            found[kind] = {name: _told(one) for name, one in measured.items()}
            ours = next(iter(measured.values())).per_proposal
            found[kind]["the peer's seconds over ours"] = {
                name: one.per_proposal / ours for name, one in measured.items() if name.startswith("gepa")
            }
        found["our overhead"] = _overheads(run, config)
        say(
            "our own time: {per_iteration:.2g} s an iteration beside its rollouts, the last hundred {last_to_first:.2f} times "
            "the first".format(**found["our overhead"])
        )
        peers = run.once("overhead/peer", "measured", partial(_peers, config.overhead))
        found["the peer's overhead"] = peers.payload
    return found


def _measured(run: Run, kind: str, arm: Arm, latency: LatencyConfig, say: Say) -> Measured:
    def measure() -> tuple[Record, None]:
        return measure_arm(arm, latency), None

    one = Measured.model_validate(run.once(f"{kind}/{arm.name}", "measured", measure).payload)
    say(
        f"{kind}, {one.arm}: {one.per_proposal:.3f} s a proposal over {one.proposals}, {one.rollout_slots:.0%} of rollout "
        f"slots in use"
    )
    return one


def _told(one: Measured) -> dict[str, Any]:
    return {"seconds a proposal": one.per_proposal, **one.model_dump(mode="json")}


def _overheads(run: Run, config: EngineConfig) -> dict[str, Any]:
    """Measure our own time as often as asked; return the medians, and all of the last hundred over the first."""
    ask = partial(_overhead, config.overhead)
    each = [run.once(f"overhead/{at}", "measured", ask).payload for at in range(config.times)]
    middle = {name: median(one[name] for one in each) for name in each[0]}
    return {**middle, "each last_to_first": [one["last_to_first"] for one in each]}


def _overhead(config: OverheadConfig) -> tuple[Overhead, None]:
    return overhead(config), None


def _peers(config: OverheadConfig) -> tuple[Any, None]:
    return peer_overhead((50, 100, 200), tasks=config.tasks), None
