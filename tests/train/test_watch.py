"""Advantages, against numpy and by hand (against TRL's own: test_grpo.py)."""

import numpy as np
import pytest

from scrutable.train.watch import advantages


def test_an_advantage_is_the_distance_from_the_mean_of_the_group() -> None:
    rewards = [0.0, 1.0, 1.0, 0.25, 3.0, 3.5, 2.0, 1.0]
    groups = np.array(rewards).reshape(2, 4)
    exact = groups - groups.mean(1, keepdims=True)
    assert advantages(rewards, 4) == pytest.approx(exact.flatten().tolist())


def test_an_unscored_answer_counts_in_no_mean_and_is_pushed_nowhere() -> None:
    with_gap = advantages([1.0, None, 0.0, 1.0], 4)
    assert with_gap[1] == 0.0
    assert [with_gap[i] for i in (0, 2, 3)] == pytest.approx(advantages([1.0, 0.0, 1.0], 3))


def test_a_group_with_fewer_than_two_scores_teaches_nothing() -> None:
    assert advantages([None, 1.0, None, None], 4) == [0.0] * 4
    assert advantages([None, None], 2) == [0.0] * 2


def test_equal_rewards_teach_nothing() -> None:
    assert advantages([0.5, 0.5, 0.5], 3) == [0.0] * 3
