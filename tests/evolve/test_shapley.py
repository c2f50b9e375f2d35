"""Shapley values against brute force over all orders, the axioms that define them, and games with known values."""

from itertools import permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scrutable.evolve.shapley import along, everyone, exact, filled, left_out, order_pair, prefixes


def brute(values: np.ndarray) -> np.ndarray:
    """The definition: the mean over all orders of what each player adds when it comes in."""
    players = len(values).bit_length() - 1
    total = np.zeros((players, values.shape[1]))
    orders = list(permutations(range(players)))
    for order in orders:
        inside: frozenset[int] = frozenset()
        for player in order:
            after = inside | {player}
            total[player] += values[sum(1 << p for p in after)] - values[sum(1 << p for p in inside)]
            inside = after
    return total / len(orders)


tables = st.integers(1, 6).flatmap(
    lambda players: arrays(np.float64, (1 << players, 2), elements=st.floats(-5, 5, width=32))
)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_they_equal_the_mean_over_all_orders(values: np.ndarray) -> None:
    assert np.allclose(exact(values), brute(values), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_they_add_up_to_what_the_whole_gains(values: np.ndarray) -> None:
    assert np.allclose(exact(values).sum(axis=0), values[-1] - values[0], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(tables)
def test_all_orders_walked_give_them_too(values: np.ndarray) -> None:
    players = len(values).bit_length() - 1
    orders = list(permutations(range(players)))[:720]
    table = {subset: float(values[subset, 0]) for subset in range(len(values))}
    assert np.allclose(along(orders, table), exact(values)[:, 0], atol=1e-9)


def test_ten_players_with_pairs_that_act_together_have_the_values_known_in_closed_form() -> None:
    """A game that is a sum of shares of coalitions: each share is divided equally among its own (Harsanyi 1963)."""
    draws = np.random.default_rng(0)
    shares = {int(s): float(draws.normal()) for s in draws.integers(1, 1 << 10, size=40)}
    values = np.array([[sum(v for s, v in shares.items() if s & subset == s)] for subset in range(1 << 10)])
    known = [sum(v / s.bit_count() for s, v in shares.items() if s >> player & 1) for player in range(10)]
    assert np.allclose(exact(values)[:, 0], known)


def test_a_majority_of_equals_shares_equally() -> None:
    values = np.array([[float(s.bit_count() >= 4)] for s in range(1 << 7)])
    assert np.allclose(exact(values), 1 / 7)
    assert comb(7, 3) == 35  # each is pivotal in as many of the subsets, none of them the whole
    assert not left_out(values).any()


def test_of_two_that_say_the_same_each_has_half_and_neither_is_missed() -> None:
    values = np.array([[0.0], [1.0], [1.0], [1.0]])
    assert exact(values)[:, 0].tolist() == [0.5, 0.5]
    assert left_out(values)[:, 0].tolist() == [0.0, 0.0]


def test_left_out_is_the_fall_from_the_whole() -> None:
    values = np.arange(8.0)[:, None]
    assert left_out(values)[:, 0].tolist() == [1.0, 2.0, 4.0]


def test_drawn_orders_are_unbiased_and_their_spread_is_the_error() -> None:
    draws = np.random.default_rng(1)
    values = draws.normal(size=(1 << 12, 1))
    table = {subset: float(values[subset, 0]) for subset in range(len(values))}
    found = np.array([along(order_pair(12, np.random.default_rng(seed)), table) for seed in range(600)])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    off = np.abs(found.mean(axis=0) - exact(values)[:, 0]) / error
    assert off.max() < 4
    assert np.allclose(found.sum(axis=1), values[-1, 0] - values[0, 0])


def test_an_order_and_its_reverse_are_exact_where_players_act_in_pairs() -> None:
    draws = np.random.default_rng(2)
    alone, pairs = draws.normal(size=12), np.triu(draws.normal(size=(12, 12)), 1)

    def value(subset: int) -> float:
        inside = np.array([subset >> p & 1 for p in range(12)])
        return float(inside @ alone + inside @ pairs @ inside)

    both = order_pair(12, draws)
    table = {subset: value(subset) for order in both for subset in prefixes(order)}
    assert np.allclose(along(both, table), alone + (pairs.sum(axis=0) + pairs.sum(axis=1)) / 2)


def test_what_a_missing_subset_would_have_told_is_not_used() -> None:
    table = {0b00: 0.0, 0b10: 3.0, 0b11: 4.0}
    assert along([[0, 1], [1, 0]], table).tolist() == [1.0, 3.0]
    assert np.isnan(along([[0, 1]], {0b00: 0.0})).all()


def test_prefixes_go_from_nobody_to_everybody() -> None:
    assert prefixes([2, 0, 1]) == [0, 0b100, 0b101, everyone(3)]


def test_an_additive_table_is_filled_in_exactly() -> None:
    whole = np.arange(4.0)[:, None] + np.array([0.0, 10.0, 5.0, 1.0])[None, :]
    holed = whole.copy()
    holed[0, 1] = holed[3, 2] = np.nan
    found, amount = filled(holed)
    assert amount == 2
    assert np.allclose(found, whole, atol=1e-6)


def test_a_task_without_most_of_its_values_is_left_out() -> None:
    values = np.ones((4, 3))
    values[1:, 2] = np.nan
    found, amount = filled(values)
    assert (found.shape, amount) == ((4, 2), 0)


def test_a_subset_without_any_value_leaves_nothing() -> None:
    values = np.ones((2, 3))
    values[1] = np.nan
    assert filled(values)[0].shape == (2, 0)


@pytest.mark.parametrize("rows", [0, 1, 3, 6])
def test_rows_that_are_not_all_subsets_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="subsets"):
        exact(np.zeros((rows, 1)))


def test_a_missing_value_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a value"):
        exact(np.array([[0.0], [np.nan]]))
