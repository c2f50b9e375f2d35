"""Statistics: against closed forms, brute force, and simulation."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scrutable.core.stats import (
    bootstrap_mean,
    bootstrap_ratio,
    comparable,
    complete,
    quantile,
    wilson_interval,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


numbers = st.floats(-100, 100)
columns = arrays(np.float64, st.integers(2, 30), elements=numbers)


# -------------------------------------------------------------------------------------------------------- bootstrap


def test_the_interval_of_a_normal_mean_is_the_textbooks() -> None:
    values = rng().normal(3, 2, 400)
    half = 1.96 * values.std(ddof=1) / 20
    for method in ("bca", "percentile"):
        interval = bootstrap_mean(values, rng=rng(1), draws=20_000, method=method)
        assert interval.value == pytest.approx(values.mean())
        assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
        assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
        assert interval.count == 400


def test_percentiles_are_those_of_all_resamples() -> None:
    """With four values all 256 resamples can be listed."""
    values = [0.0, 1.0, 3.0, 7.0]
    every = [np.mean(pick) for pick in itertools.product(values, repeat=4)]
    interval = bootstrap_mean(values, rng=rng(), level=0.8, draws=40_000, method="percentile")
    assert interval.low == pytest.approx(np.quantile(every, 0.1), abs=0.26)  # one step of the discrete distribution
    assert interval.high == pytest.approx(np.quantile(every, 0.9), abs=0.26)


def test_bca_misses_a_skewed_mean_on_both_sides_more_evenly_than_percentiles() -> None:
    missed = {"bca": [0, 0], "percentile": [0, 0]}
    for seed in range(400):
        values = rng(seed).exponential(1.0, 30)
        for method, count in missed.items():
            interval = bootstrap_mean(values, rng=rng(10_000 + seed), draws=600, method=method)
            count[0] += interval.low > 1.0
            count[1] += interval.high < 1.0
    uneven = {method: abs(count[1] - count[0]) for method, count in missed.items()}
    assert uneven["bca"] < uneven["percentile"]
    assert sum(missed["bca"]) / 400 <= 0.10


def test_bca_gives_the_interval_that_scipy_gives() -> None:
    """scipy.stats.bootstrap of these values, BCa, 100,000 resamples: of the mean, and of the paired ratio of sums."""
    first, second = rng(3).exponential(1, 30), rng(4).exponential(1, 30)
    mean = bootstrap_mean(first, rng=rng(1), draws=50_000)
    assert [mean.low, mean.high] == pytest.approx([0.6006, 1.1720], abs=0.008)
    ratio = bootstrap_ratio(second, second + 0.5, rng=rng(1), draws=50_000)
    assert ratio is not None
    assert [ratio.low, ratio.high] == pytest.approx([0.6403, 0.7815], abs=0.008)


@pytest.mark.medium
def test_the_interval_of_a_share_covers_it_as_often_as_stated() -> None:
    covered = 0
    for seed in range(300):
        draw = rng(seed)
        whole = draw.gamma(1.0, 3.0, 300)
        left = whole * draw.beta(1, 9, 300)
        interval = bootstrap_ratio(whole - left, whole, rng=draw, draws=400)
        assert interval is not None
        covered += bool(interval.low <= 0.9 <= interval.high)
    assert 0.91 <= covered / 300 <= 0.98


@given(columns, st.floats(0.1, 10))
def test_a_constant_ratio_has_no_width(bottom: np.ndarray, share: float) -> None:
    bottom = np.abs(bottom) + 1
    interval = bootstrap_ratio(share * bottom, bottom, rng=rng(), draws=50)
    assert interval is not None
    assert [interval.low, interval.value, interval.high] == pytest.approx([share] * 3)


@given(columns, st.floats(-5, 5), st.floats(0.1, 5))
def test_an_interval_moves_and_scales_with_the_values(values: np.ndarray, shift: float, scale: float) -> None:
    before = bootstrap_mean(values, rng=rng(), draws=100, method="percentile")
    after = bootstrap_mean(values * scale + shift, rng=rng(), draws=100, method="percentile")
    expected = [x * scale + shift for x in (before.low, before.value, before.high)]
    assert [after.low, after.value, after.high] == pytest.approx(expected, abs=1e-6)


@given(columns)
def test_an_interval_stays_inside_the_values(values: np.ndarray) -> None:
    interval = bootstrap_mean(values, rng=rng(), draws=100)
    assert values.min() - 1e-9 <= interval.low <= interval.high <= values.max() + 1e-9


def test_resampling_keeps_pairs_together() -> None:
    """Each task's left is a tenth of its whole: torn pairs would spread the share."""
    whole = rng().exponential(1.0, 50)
    interval = bootstrap_ratio(0.1 * whole, whole, rng=rng())
    assert interval is not None
    assert interval.high - interval.low < 1e-12


def test_no_share_where_the_whole_cannot_be_told_from_nothing() -> None:
    assert bootstrap_ratio(np.ones(100), rng().normal(0, 1, 100), rng=rng(1)) is None
    assert bootstrap_ratio(np.ones(100), np.zeros(100), rng=rng(1)) is None
    assert bootstrap_ratio([1.0], [0.0], rng=rng(1)) is None


def test_one_task_has_a_value_and_no_interval() -> None:
    interval = bootstrap_mean([2.0], rng=rng())
    assert (interval.value, interval.low, interval.high, interval.count) == (2.0, None, None, 1)
    ratio = bootstrap_ratio([1.0], [2.0], rng=rng())
    assert ratio is not None
    assert (ratio.value, ratio.low) == (0.5, None)


def test_the_same_seed_gives_the_same_interval_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng().normal(size=50)
    one = bootstrap_mean(values, rng=rng(7))
    monkeypatch.setattr("scrutable.core.stats._CHUNK", 1000)
    assert bootstrap_mean(values, rng=rng(7)) == one


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf, 1.0], [[1.0, 2.0]]])
def test_what_is_no_column_of_numbers_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no values|finite"):
        bootstrap_mean(values, rng=rng())


def test_a_task_without_a_score_leaves_its_pair() -> None:
    first, second = complete([1.0, None, 3.0, 4.0], [5.0, 6.0, None, 8.0])
    assert first.tolist() == [1.0, 4.0]
    assert second.tolist() == [5.0, 8.0]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        complete([1.0], [])


# ------------------------------------------------------------------------------------------------- rates and nulls


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_ends_are_the_rates_at_which_the_score_test_is_just_not_refused(case: tuple[int, int]) -> None:
    successes, count = case
    interval = wilson_interval(successes, count)
    z = NormalDist().inv_cdf(0.975)
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            assert abs(interval.value - end) == pytest.approx(z * math.sqrt(end * (1 - end) / count), abs=1e-9)
    assert 0 <= interval.low <= interval.value + 1e-12
    assert interval.value - 1e-12 <= interval.high <= 1


def test_no_rate_of_nothing() -> None:
    with pytest.raises(ValueError, match="no rate"):
        wilson_interval(0, 0)
    with pytest.raises(ValueError, match="no rate"):
        wilson_interval(3, 2)


def test_the_95th_percentile_of_20_lies_between_the_two_largest() -> None:
    assert quantile(range(20), 0.95) == pytest.approx(18.05)


# ---------------------------------------------------------------------------------------------- choosing with gaps

ROWS = st.integers(1, 5).flatmap(
    lambda tasks: st.lists(
        st.lists(st.none() | st.floats(-9, 9), min_size=tasks, max_size=tasks), min_size=1, max_size=5
    )
)


@given(ROWS)
def test_losing_a_score_never_helps_against_who_keeps_it(rows: list[list[float | None]]) -> None:
    before = comparable(rows)
    for task, score in enumerate(rows[0]):
        if score is None:
            continue
        after = comparable([[*rows[0][:task], None, *rows[0][task + 1 :]], *rows[1:]])
        for other, row in enumerate(rows[1:], start=1):
            if before[0] <= before[other] and row[task] is not None and row[task] <= score:
                assert after[0] < after[other] or after[0][0] <= after[other][0] + 1e-9


def test_who_has_all_scores_is_ranked_by_its_plain_mean() -> None:
    assert comparable([[1.0, 0.0, 0.5], [0.0, 0.0, 0.3]]) == [(0.5, 3), (pytest.approx(0.1), 3)]


def test_a_missing_score_counts_as_the_lowest_that_another_has_there() -> None:
    easy_only, whole, worse = [1.0, None], [1.0, 0.4], [0.8, 0.2]
    assert comparable([easy_only, whole, worse]) == [(0.6, 1), (0.7, 2), (0.5, 2)]


def test_a_task_that_nobody_has_a_score_on_takes_no_part() -> None:
    assert comparable([[None, 0.5], [None, 1.0], [None, None]]) == [(0.5, 1), (1.0, 1), (-math.inf, 0)]
    assert comparable([[None], [None]]) == [(-math.inf, 0)] * 2
