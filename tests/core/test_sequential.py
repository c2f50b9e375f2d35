"""Decisions at every look: the stated error rates hold, whatever the stopping."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scrutable.core.sequential import _BETS, _log_wealth, paired_test


def differences(seed: int, up: float, down: float, count: int = 300) -> np.ndarray:
    """Paired differences of two binary scores: +1 at rate `up`, -1 at rate `down`."""
    draw = np.random.default_rng(seed).random(count)
    return (draw < up).astype(float) - (draw > 1 - down)


def verdicts(up: float, down: float, runs: int = 300, **settings: float) -> dict[str, float]:
    found = [paired_test(differences(seed, up, down), **settings).verdict for seed in range(runs)]
    return {name: found.count(name) / runs for name in ("better", "not better", "undecided")}


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.5])
def test_equals_are_accepted_at_most_as_often_as_stated(spread: float) -> None:
    assert verdicts(spread, spread, false_accept=0.1, false_reject=0.1)["better"] <= 0.1


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.4])
def test_a_child_better_by_the_effect_is_rejected_at_most_as_often_as_stated(spread: float) -> None:
    assert verdicts(spread + 0.1, spread, false_accept=0.1, false_reject=0.1)["not better"] <= 0.1


def test_its_power_is_as_told() -> None:
    """Children 10 and 20 points better that change 30 and 40% of the answers, at 10% false accepts and 300 tasks."""
    assert verdicts(0.2, 0.1, false_accept=0.1, false_reject=0.1)["better"] > 0.7
    assert verdicts(0.3, 0.1, false_accept=0.1, false_reject=0.1)["better"] > 0.98


def test_the_wealth_is_the_mean_of_products() -> None:
    scaled, mean = np.array([0.5, -1.0, 1.0]), 0.1
    by_hand = np.mean([math.prod(1 + share / 1.1 * (x - mean) for x in scaled) for share in _BETS])
    assert _log_wealth(scaled, mean)[-1] == pytest.approx(math.log(by_hand))


@pytest.mark.parametrize("mean", [-0.5, 0.0, 0.3])
def test_the_wealth_is_a_fair_game_at_the_border(mean: float) -> None:
    """The expectation over all paths of two-point differences with exactly that mean is 1."""
    p = (mean + 1) / 2
    paths = [np.array([1.0 if bit == "1" else -1.0 for bit in f"{i:08b}"]) for i in range(256)]
    weights = [p ** (path > 0).sum() * (1 - p) ** (path < 0).sum() for path in paths]
    assert np.dot(weights, [math.exp(_log_wealth(path, mean)[-1]) for path in paths]) == pytest.approx(1.0)


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(-1, 1)))
def test_a_verdict_does_not_change_by_looking_on(values: np.ndarray) -> None:
    whole = paired_test(values)
    if whole.verdict != "undecided":
        assert paired_test(values[: whole.step]) == whole
    assert paired_test(values[: whole.step - 1]).verdict == "undecided"


@given(arrays(np.float64, st.integers(0, 60), elements=st.floats(-1, 1)), st.floats(0.1, 50))
def test_only_the_bound_sets_the_scale(values: np.ndarray, scale: float) -> None:
    one = paired_test(values)
    other = paired_test(values * scale, effect=0.1 * scale, bound=scale)
    assert (one.verdict, one.step) == (other.verdict, other.step)


def test_what_lies_outside_the_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        paired_test([0.5, 2.0])
    with pytest.raises(ValueError, match="inside the bound"):
        paired_test([0.5], effect=1.0)
