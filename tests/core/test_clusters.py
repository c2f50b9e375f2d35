"""Clusters from distances by task: the tree, the tests, and what must not be parted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.core.clusters import agreement, clusters, linkage, silhouette


def made(groups: list[int], tasks: int = 64, far: float = 0.2, near: float = 0.01, seed: int = 0, share: float = 1.0):
    """Distances [tasks, n, n]: `far` on a share of the tasks between groups, `near` with noise within."""
    draws = np.random.default_rng(seed)
    count = len(groups)
    hit = draws.random(tasks) < share
    found = np.zeros((tasks, count, count))
    for a, b in itertools.combinations(range(count), 2):
        noise = draws.exponential(near, tasks)
        column = np.where(hit, far / share, 0.0) + noise if groups[a] != groups[b] else noise
        found[:, a, b] = found[:, b, a] = column
    return found


def of(groups: list[int], limit: float = 0.05, **given_to_made):
    return clusters(made(groups, **given_to_made), limit, rng=np.random.default_rng(1)).clusters


def test_eight_things_alike_are_one_cluster() -> None:
    assert of([0] * 8) == (tuple(range(8)),)


def test_two_groups_are_found_wherever_they_stand() -> None:
    assert sorted(of([0, 1, 0, 1, 1, 0, 1, 0])) == [(0, 2, 5, 7), (1, 3, 4, 6)]


def test_groups_that_part_on_a_fifth_of_the_tasks_are_found() -> None:
    assert len(of([0, 0, 0, 0, 1, 1, 1, 1], share=0.2)) == 2


def test_three_groups_and_one_alone() -> None:
    assert of([0, 0, 0, 1, 1, 2]) == ((0, 1, 2), (3, 4), (5,))


def test_things_that_all_differ_are_each_their_own() -> None:
    assert len(of([0, 1, 2, 3, 4, 5])) == 6


def test_a_difference_below_the_limit_parts_nothing_however_sure_it_is() -> None:
    assert len(of([0, 0, 1, 1], far=0.03, near=1e-4, tasks=2000)) == 1


def test_a_difference_that_a_few_tasks_cannot_show_parts_nothing() -> None:
    assert len(of([0, 0, 1, 1], far=0.08, share=0.03, tasks=30, near=1e-3)) == 1


def test_the_same_things_twice_are_one_and_stable() -> None:
    found = clusters(np.zeros((10, 5, 5)), 0.0, rng=np.random.default_rng(0))
    assert found.clusters == ((0, 1, 2, 3, 4),)
    assert (found.stable, found.silhouette) == (1.0, None)


def test_a_task_without_a_number_is_left_out_of_its_pair() -> None:
    values = made([0, 0, 1, 1])
    values[:20, 0, 2] = values[:20, 2, 0] = np.nan
    found = clusters(values, 0.05, rng=np.random.default_rng(0))
    assert found.clusters == ((0, 1), (2, 3))
    assert found.stable == 1.0


def test_a_pair_without_any_task_is_refused() -> None:
    values = made([0, 1])
    values[:, 0, 1] = values[:, 1, 0] = np.nan
    with pytest.raises(ValueError, match="pair"):
        clusters(values, 0.05, rng=np.random.default_rng(0))


@pytest.mark.medium
def test_at_the_limit_itself_false_partings_are_as_rare_as_alpha_says() -> None:
    """All pairs have a mean distance of exactly the limit, carried by a tenth of the tasks, and the tree picks its cut."""
    parted = 0
    for seed in range(200):
        draws = np.random.default_rng(seed)
        common = np.where(draws.random(128) < 0.1, 0.5, 0.0)
        values = np.zeros((128, 6, 6))
        for a, b in itertools.combinations(range(6), 2):
            own = np.where(draws.random(128) < 0.1, 0.5, 0.0)
            values[:, a, b] = values[:, b, a] = (common + own) / 2
        parted += len(clusters(values, 0.05, rng=draws, draws=200).clusters) > 1
    assert parted / 200 <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5


def test_average_linkage_equals_a_brute_force() -> None:
    """Every height is the mean over pairs across, and no two groups that stood then were nearer."""
    draws = np.random.default_rng(4)
    values = draws.random((7, 7))
    values = (values + values.T) / 2
    tree = linkage(values)
    standing = [(at,) for at in range(7)]
    for joined in sorted(tree, key=lambda group: values[np.ix_(*tree[group])].mean()):
        left, right = tree[joined]
        height = values[np.ix_(left, right)].mean()
        assert left in standing and right in standing
        assert all(values[np.ix_(a, b)].mean() >= height for a, b in itertools.combinations(standing, 2))
        standing = [group for group in standing if group not in (left, right)] + [joined]
    assert standing == [tuple(range(7))]


def test_the_silhouette_of_a_case_done_by_hand() -> None:
    values = np.array([[0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 2], [4, 4, 2, 0]], dtype=float)
    assert silhouette(values, [(0, 1), (2, 3)]) == pytest.approx((0.75 + 0.75 + 0.5 + 0.5) / 4)


@pytest.mark.medium
@given(st.lists(st.integers(0, 3), min_size=2, max_size=9), st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_the_rand_index_equals_counting_pairs(first: list[int], rest: list[int]) -> None:
    second = rest[: len(first)]
    groups = [
        [tuple(at for at, one in enumerate(labels) if one == which) for which in sorted(set(labels))]
        for labels in (first, second)
    ]
    pairs = list(itertools.combinations(range(len(first)), 2))
    together = [[labels[a] == labels[b] for a, b in pairs] for labels in (first, second)]
    both = sum(a and b for a, b in zip(*together, strict=True))
    one, two = sum(together[0]), sum(together[1])
    expected, most = one * two / len(pairs), (one + two) / 2
    wanted = 1.0 if most == expected else (both - expected) / (most - expected)
    assert agreement(*groups) == pytest.approx(wanted)
