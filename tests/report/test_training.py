"""Curves: drawn as they were, and smoothed only where they say so."""

from __future__ import annotations

import pytest

from scrutable.report.gather import Training
from scrutable.report.training import TREND, _curve, _trend, filled


def test_few_steps_are_drawn_as_they_are() -> None:
    points = tuple((float(at), float(at % 2)) for at in range(TREND - 1))
    assert _trend(points) == points


def test_many_steps_are_drawn_as_a_mean_over_the_last_few() -> None:
    points = tuple((float(at), float(at)) for at in range(100))
    assert _trend(points)[50] == (50.0, pytest.approx((46 + 47 + 48 + 49 + 50) / 5))
    assert _trend(points)[0] == (0.0, 0.0)


def test_a_step_that_could_not_be_scored_is_no_zero() -> None:
    training = Training("train", steps=[{"step": 1, "reward": None}, {"step": 2, "reward": 0.5}])
    assert _curve(training, named=False).lines[0].points == ((2.0, 0.5),)


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    assert filled("x", ("step", "reward", "kl"), [("1", "0.5", "–")]).columns == ("step", "reward")
