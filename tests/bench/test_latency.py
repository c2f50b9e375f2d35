"""The latency harness: scripted, counted, held to its slots; and gepa's arms, as far as arithmetic tells their times."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

import pytest

from scrutable.bench.latency import FIXED, HEAVY, START, Arm, Harness, LatencyConfig, measure_arm, measure_arms
from scrutable.bench.latency_peers import gepa_arm, peer_overhead

QUICK = LatencyConfig(rollout=0.005, reflection=0.02, validation=10, rollout_slots=4, reflection_slots=2, proposals=6)


def test_the_script_accepts_its_share_and_the_same_everywhere() -> None:
    harness = Harness(FIXED)
    accepted = [harness.accepted(number) for number in range(1, 401)]
    assert [sum(accepted[at : at + 100]) for at in range(0, 400, 100)] == [23] * 4
    assert accepted[:100] != accepted[100:200]
    assert accepted == [Harness(HEAVY).accepted(number) for number in range(1, 401)]


def test_a_child_beats_its_parent_on_a_minibatch_exactly_where_it_is_accepted() -> None:
    harness = Harness(FIXED)
    text = START
    for number in range(1, 200):
        child = harness.child(text, number)
        better = harness.score(child, "train 3") > harness.score(text, "train 3")
        assert better == harness.accepted(number)
        text = child
    assert harness.score(text, "train 3") < 1  # a perfect score would be skipped


def test_latencies_keep_their_mean_and_belong_to_what_is_called() -> None:
    harness = Harness(HEAVY)
    drawn = [harness.rollout_seconds(f"{i} 0", "train 1") for i in range(20000)]
    assert fmean(drawn) == pytest.approx(0.05, rel=0.05)
    assert sorted(drawn)[10000] == pytest.approx(0.05 * 0.6065, rel=0.05)  # exp(-1/2)
    assert fmean(harness.reflection_seconds(i) for i in range(20000)) == pytest.approx(0.5, rel=0.03)
    assert harness.rollout_seconds("7 0", "train 1") == drawn[7] == Harness(HEAVY).rollout_seconds("7 0", "train 1")
    assert {Harness(FIXED).rollout_seconds(f"{i} 0", "x") for i in range(9)} == {0.05}


def test_more_calls_than_slots_are_refused() -> None:
    harness = Harness(QUICK.model_copy(update={"rollout": 0.2}))
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(harness.rollout, START, f"train {i}") for i in range(5)]
        assert sum(isinstance(one.exception(), RuntimeError) for one in asked) == 1


def test_use_of_slots_is_what_was_slept() -> None:
    def run(harness: Harness) -> int:
        async def all_at_once() -> None:
            await asyncio.gather(*(harness.rollout_async(START, f"train {i}") for i in range(4)))
            await asyncio.gather(*(harness.reflect_async(START, number) for number in (1, 2)))

        asyncio.run(all_at_once())
        return 2

    config = QUICK.model_copy(update={"rollout": 0.1, "reflection": 0.1, "proposals": 2})
    found = measure_arm(Arm("x", run), config)
    assert found.rollouts == 4
    assert found.seconds == pytest.approx(0.2, abs=0.08)
    assert found.rollout_slots == pytest.approx(0.1 / found.seconds, rel=0.2)
    assert found.reflection_slots == pytest.approx(0.1 / found.seconds, rel=0.2)
    assert found.per_proposal == found.seconds / 2


def test_an_arm_that_does_less_than_it_was_asked_is_refused() -> None:
    with pytest.raises(RuntimeError, match="x made 6 proposals of 6, by 0 reflections"):
        measure_arm(Arm("x", lambda harness: 6), QUICK)
    with pytest.raises(RuntimeError, match="made 0 proposals of 6"):
        measure_arm(Arm("x", lambda harness: 0), QUICK)


def test_gepa_makes_the_scripts_rollouts_no_more_and_no_fewer() -> None:
    """The start's validation, two minibatches a proposal, and one validation an accepted child."""
    config = QUICK.model_copy(update={"proposals": 8})
    for arm in (gepa_arm(), gepa_arm(2, 4)):
        found = measure_arm(arm, config)
        assert found.proposals == 8
        # Parents of a grid that are asked about the same minibatch are asked once; here minibatches differ.
        assert found.rollouts == 10 + 8 * 2 * 3 + found.accepted * 10


@pytest.mark.medium
def test_gepas_times_are_what_its_barriers_come_to() -> None:
    """At fixed latency: two waves of rollouts and one of reflections an iteration, and a wave for each 32 of validation."""
    said: list[str] = []
    (default, grid) = measure_arms([gepa_arm(proposals=6), gepa_arm(2, 4, proposals=16)], [FIXED], said.append)
    waves = 4 * (1 + default.accepted)  # of 100 tasks on 32 slots, the start's among them
    assert default.seconds == pytest.approx(6 * (0.05 + 0.5 + 0.05) + waves * 0.05, rel=0.1)
    assert 0.08 < grid.per_proposal < 0.16
    assert said[0].startswith("gepa default (fixed): 0.")


def test_overhead_is_gepas_own_time_and_grows() -> None:
    began = time.perf_counter()
    found = peer_overhead((5, 40), tasks=30)
    assert found.iteration.keys() == found.cpu.keys() == {5, 40}
    assert 0 < found.cpu[5] < found.cpu[40]
    assert sum(found.iteration.values()) / 1000 < time.perf_counter() - began
