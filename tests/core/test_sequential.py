"""The sign-flip test with looks: exact where all signs can be tried, and its error rates are what is stated."""

from collections.abc import Callable
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scrutable.core.sequential import Standard, flip_test, skew_p

Draw = Callable[[np.random.Generator, int], np.ndarray]
PLANNED, EACH = 96, 8


def verdict(differences: np.ndarray, standard: Standard, seed: int, each: int = EACH) -> tuple[str, int]:
    """Look after every few differences, as a search does; return what came out, and after how many."""
    planned = len(differences)
    looks: list[int] = []
    for used in range(each, planned + each, each):
        looks.append(min(used, planned))
        found = flip_test(differences[:used], looks, planned, standard, np.random.default_rng(seed))
        if found != "undecided":
            return found, looks[-1]
    raise AssertionError("undecided at the end")


def rate(draw: Draw, tries: int, standard: Standard = Standard(), planned: int = PLANNED) -> float:  # noqa: B008
    passed = 0
    for number in range(tries):
        differences = draw(np.random.default_rng([7, number]), planned)
        passed += verdict(differences, standard, number)[0] == "better"
    return passed / tries


def most(share: float, tries: int) -> float:
    """Return the rate that so many tries exceed once in a thousand, if the true one is `share` (binomial, by its sum)."""
    rising, term = 0.0, (1 - share) ** tries
    for count in range(tries + 1):
        rising += term
        if rising >= 0.999:
            return count / tries
        term *= (tries - count) / (count + 1) * share / (1 - share)
    return 1.0


def coins(parent: float, child: float) -> Draw:
    return lambda rng, n: (rng.random(n) < child).astype(float) - (rng.random(n) < parent)


EQUALS: dict[str, Draw] = {
    "seldom right": coins(0.1, 0.1),
    "often right": coins(0.5, 0.5),
    "mostly right": coins(0.9, 0.9),
    "in nats": lambda rng, n: rng.normal(0, 3, n) - rng.normal(0, 3, n),
    "skewed, and equal": lambda rng, n: rng.exponential(1, n) - rng.exponential(1, n),
    "heavy tails": lambda rng, n: rng.standard_t(2, n),
    "differs on few tasks": lambda rng, n: np.where(rng.random(n) < 0.1, rng.choice([-1.0, 1.0], n), 0.0),
}


@pytest.mark.medium
@pytest.mark.parametrize("name", EQUALS)
def test_a_child_equal_to_its_parent_passes_no_more_often_than_stated(name: str) -> None:
    assert rate(EQUALS[name], 500) <= most(0.1, 500)


@pytest.mark.medium
@pytest.mark.parametrize("allowed", [0.02, 0.05, 0.25])
def test_so_it_is_at_other_rates(allowed: float) -> None:
    assert rate(coins(0.5, 0.5), 300, Standard(false_accept=allowed)) <= most(allowed, 300)


@pytest.mark.medium
@pytest.mark.parametrize(("share", "harm", "help_"), [(0.1, 0.9, 0.1), (1 / 6, 0.5, 0.1), (0.05, 0.95, 0.05)])
def test_a_child_that_is_worse_than_it_looks_passes_no_more_often(share: float, harm: float, help_: float) -> None:
    """A little better on most tasks and much worse on a few, which early looks may not have seen: equal on average."""
    assert rate(lambda rng, n: np.where(rng.random(n) < share, -harm, help_), 250) <= most(0.1, 250)


@pytest.mark.medium
def test_its_power_is_as_told() -> None:
    """+10 points of two binary scores that are independent given the task, then paired ones, then +25 points."""
    assert rate(coins(0.5, 0.6), 400) > 0.40
    assert rate(lambda rng, n: rng.choice([1.0, 0.0, -1.0], n, p=[0.2, 0.7, 0.1]), 200) > 0.45
    assert rate(coins(0.5, 0.75), 100) > 0.85


def test_what_is_clear_is_told_early() -> None:
    assert verdict(np.ones(96), Standard(), 0) == ("better", 8)
    assert verdict(-np.ones(96), Standard(), 0)[0] == "not better"
    assert verdict(-np.ones(96), Standard(), 0)[1] <= 16


def test_no_difference_at_all_is_never_better() -> None:
    assert verdict(np.zeros(96), Standard(), 0)[0] == "not better"


def test_a_rule_for_one_task_in_ten_can_pass() -> None:
    rare = np.zeros(96)
    rare[::10] = 1.0
    assert verdict(rare, Standard(), 0)[0] == "better"


SMALL = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]), min_size=3, max_size=9)


@given(SMALL, st.integers(0, 9))
def test_at_one_look_it_is_what_trying_all_signs_says(values: list[float], seed: int) -> None:
    """P(sum under drawn signs >= the seen sum), counted over all sign vectors. Near the border the draws may err."""
    seen = np.array(values)
    sums = np.array([np.dot(signs, seen) for signs in product([-1.0, 1.0], repeat=len(values))])
    p = float(np.mean(sums >= seen.sum() - 1e-9))
    assume(abs(p - 0.1) > 0.03)
    found = flip_test(seen, [len(values)], len(values), Standard(), np.random.default_rng(seed))
    guarded = skew_p(seen) <= 0.1 and seen.sum() > np.log(10)
    assert found == ("better" if p < 0.1 and guarded else "not better")


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=9))
def test_for_right_and_wrong_the_guard_against_harm_not_yet_seen_asks_nothing_more(values: list[float]) -> None:
    seen = np.array(values)
    sums = np.array([np.dot(signs, seen) for signs in product([-1.0, 1.0], repeat=len(values))])
    assert np.mean(sums >= seen.sum()) > 0.1 or seen.sum() > np.log(10)


@pytest.mark.medium
@given(
    st.lists(st.sampled_from([-1.0, -0.3, 0.0, 0.4, 1.0]), min_size=24, max_size=24),
    st.integers(1, 8),
    st.integers(0, 3),
    st.floats(-0.3, 0.6),
)
def test_a_verdict_that_fell_stays_whatever_comes_after(values: list[float], each: int, seed: int, more: float) -> None:
    differences = np.clip(np.array(values) + more, -1, 1)
    fell, at = verdict(differences, Standard(), seed, each)
    looks = sorted({min(used, 24) for used in range(each, 24 + each, each)})
    again = flip_test(differences, looks, 24, Standard(), np.random.default_rng(seed))
    assert again == fell
    same = flip_test(differences[:at], [x for x in looks if x <= at], 24, Standard(), np.random.default_rng(seed))
    assert same == fell


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=32), st.floats(0.01, 100))
def test_only_the_bound_sets_the_scale(values: list[float], scale: float) -> None:
    differences = np.round(values, 3)
    one = verdict(differences, Standard(bound=1.0), 0)
    assert verdict(differences * scale, Standard(bound=scale), 0) == one


@pytest.mark.parametrize(
    ("differences", "looks", "planned"),
    [
        ([], [0], 8),
        ([1.0], [], 8),
        ([1.0, 1.0], [1], 8),
        ([1.0, 1.0], [2, 2], 8),
        ([1.0, 1.0], [2, 1], 8),
        ([1.0, 1.0], [1, 3], 8),
        ([1.0, 1.0], [2], 1),
        ([1.0, float("nan")], [2], 8),
        ([1.0, float("inf")], [2], 8),
    ],
)
def test_what_does_not_fit_is_refused(differences: list[float], looks: list[int], planned: int) -> None:
    with pytest.raises(ValueError):
        flip_test(differences, looks, planned, Standard(), np.random.default_rng(0))


def test_the_corrected_t_test_is_the_t_test_where_there_is_no_skewness() -> None:
    differences = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
    t = differences.mean() / (differences.std(ddof=1) / np.sqrt(5))
    assert skew_p(differences) == pytest.approx(1 - NormalDist().cdf(t))


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=30), st.floats(0, 20))
def test_the_skewness_correction_does_not_fall_with_the_gain(values: list[float], more: float) -> None:
    low = np.array(values) - 5.0
    assume(low.std() > 1e-3)
    assert skew_p(low + more) <= skew_p(low) + 1e-12


def test_twelve_gains_of_twelve_are_a_gain_though_one_is_small() -> None:
    gains = np.array([10.2, 9.9, 10.4, 10.1, 10.3, 10.0, 9.8, 10.2, 10.1, 10.4, 9.9, 1.4])
    assert skew_p(gains) < 0.001
    assert verdict(gains, Standard(0.05, 0.2, 0.05, 10.4), 0, 12)[0] == "better"
