"""Shapley values: what each player of a game is worth, on average over the orders in which all could have come in.

Pure mathematics on tables of values. A player is a bit, a subset of players an integer (bit i set: player i is in), and a
game's values are columns, one a task: the value is linear in the game, so each task has Shapley values of its own, and what
is resampled is the task. Up to about ten players all subsets can be had (`exact`); beyond, each task is given drawn orders
of its own (`order_pair`, `along`), so that the spread between tasks holds both what tasks and what orders differ by, and one
interval covers both.

Sources: Shapley 1953; Castro, Gómez & Tejada 2009 (orders drawn); Mitchell et al. 2022, section 3 (an order with its
reverse). Left out: kernel regression, which is biased for few subsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial

import numpy as np

from scrutable.core.stats import Array

MOST = 20
"""Players of whom all subsets are ever listed: a million subsets."""
_MISSING = 0.5  # a task of which more than this share of the subsets has no value is left out


def everyone(players: int) -> int:
    """Return the subset that all players are in."""
    return (1 << players) - 1


def exact(values: Array) -> Array:
    """Return the Shapley values [players, tasks] of games given by their values [2**players, tasks], row s for subset s.

    Errors: ValueError when the number of rows is no power of two, or a value is missing.
    """
    players = _players(values)
    if not np.isfinite(values).all():
        raise ValueError("every subset needs a value")
    subsets = np.arange(len(values))
    sizes = np.array([int(one).bit_count() for one in subsets])
    weights = np.array([factorial(k) * factorial(players - k - 1) / factorial(players) for k in range(players)])
    found = np.empty((players, values.shape[1]))
    for player in range(players):
        before = subsets[(subsets >> player) & 1 == 0]
        found[player] = weights[sizes[before]] @ (values[before | (1 << player)] - values[before])
    return found


def left_out(values: Array) -> Array:
    """Return by how much the whole's value falls without each player [players, tasks]; values: [2**players, tasks]."""
    players = _players(values)
    whole = everyone(players)
    return np.stack([values[whole] - values[whole ^ (1 << player)] for player in range(players)])


def order_pair(players: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return a drawn order of the players and its reverse: who came early in one came late in the other."""
    drawn = [int(player) for player in rng.permutation(players)]
    return drawn, drawn[::-1]


def prefixes(order: Sequence[int]) -> list[int]:
    """Return the subsets that an order goes through, from nobody to everybody: one more than there are players."""
    found = [0]
    for player in order:
        found.append(found[-1] | (1 << player))
    return found


def along(orders: Sequence[Sequence[int]], value: Mapping[int, float]) -> Array:
    """Return the mean of what each player adds along some orders [players]: an unbiased estimate of the Shapley values.

    value: of each subset the orders go through; a subset without one is left out, and what it would have told is not used.
    NaN for a player of whom nothing is known.
    """
    added: list[list[float]] = [[] for _ in orders[0]]
    for order in orders:
        steps = prefixes(order)
        for player, before, after in zip(order, steps, steps[1:], strict=False):
            if before in value and after in value:
                added[player].append(value[after] - value[before])
    return np.array([float(np.mean(own)) if own else np.nan for own in added])


def filled(values: Array) -> tuple[Array, int]:
    """Return values [subsets, tasks] of those tasks that can be used, missing ones (NaN) filled in, and how many were.

    A missing value is taken to be the mean of its subset, moved by how much the task differs from the others: never 0, and
    no advantage to a text under which hard tasks fail. Tasks of which most subsets have no value are left out; without a
    subset that has a value anywhere, all are. Least squares of an additive table, by alternating means (Yates 1933).
    """
    missing = np.isnan(values)
    usable = missing.mean(axis=0) <= _MISSING
    values, missing = values[:, usable], missing[:, usable]
    if not values.size or missing.all(axis=1).any():
        return values[:, :0], 0
    amount = int(missing.sum())
    if amount:
        made = np.where(missing, np.nanmean(values, axis=1, keepdims=True), values)
        for _ in range(200):
            rows, columns = made.mean(axis=1, keepdims=True), made.mean(axis=0, keepdims=True)
            better = np.where(missing, rows + columns - made.mean(), values)
            moved = float(np.abs(better - made).max())
            made = better
            if moved < 1e-9:
                break
        values = made
    return values, amount


def _players(values: Array) -> int:
    players = len(values).bit_length() - 1
    if players < 1 or players > MOST or len(values) != 1 << players or values.ndim != 2:
        raise ValueError(f"values of {len(values)} subsets: not all subsets of 1 to {MOST} players, by task")
    return players
