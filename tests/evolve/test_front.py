"""The front, against brute force over all scores."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scrutable.evolve.front import Front

SCORES = st.lists(
    st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0])), min_size=4, max_size=4), min_size=1, max_size=7
)


def held(rows: list[list[float | None]]) -> dict[str, set[int]]:
    """Who has the best score of each task, looked at from the table of all."""
    found: dict[str, set[int]] = {str(i): set() for i in range(len(rows))}
    for task in range(4):
        best = max((row[task] for row in rows if row[task] is not None), default=None)
        for i, row in enumerate(rows):
            if best is not None and row[task] == best:
                found[str(i)].add(task)
    return found


@given(SCORES)
def test_the_front_grown_step_by_step_is_that_of_the_whole_table(rows: list[list[float | None]]) -> None:
    front = Front(4)
    for i, row in enumerate(rows):
        front.add(str(i), row, length=i)
    truth, weights = held(rows), front.weights()
    for key, weight in weights.items():
        assert weight == len(truth[key]) > 0
    for task in range(4):
        holders = {key for key, tasks in truth.items() if task in tasks}
        assert not holders or holders & weights.keys()


@given(SCORES)
def test_who_is_left_out_holds_nothing_that_a_better_one_does_not(rows: list[list[float | None]]) -> None:
    front = Front(4)
    for i, row in enumerate(rows):
        front.add(str(i), row, length=i)
    truth, weights, ranked = held(rows), front.weights(), front.ranked()
    for key in truth.keys() - weights.keys():
        better = ranked[: ranked.index(key)]
        assert not truth[key] or any(truth[key] <= truth[one] for one in better)


def test_parents_are_drawn_in_proportion_to_what_they_hold() -> None:
    front = Front(4)
    front.add("one", [1, 0, 0, 0], 1)
    front.add("three", [0, 1, 1, 1], 1)
    draws = Random(0)
    drawn = Counter(front.draw(draws) for _ in range(4000))
    assert abs(drawn["three"] / 4000 - 0.75) < 0.03


def test_of_equals_the_shorter_is_best() -> None:
    front = Front(2)
    front.add("long", [1, 0], 9)
    front.add("short", [0, 1], 2)
    assert front.best() == "short"


def test_where_nobody_has_a_score_there_is_still_a_parent() -> None:
    front = Front(2)
    front.add("only", [None, None], 0)
    assert front.draw(Random(0)) == "only"


def test_who_makes_hard_tasks_unscorable_is_not_ranked_above_who_answers_them() -> None:
    front = Front(3)
    front.add("hides", [1.0, None, None], 1)
    assert front.mean("hides") == 1.0
    front.add("answers", [1.0, 0.4, 0.1], 9)
    assert front.ranked() == ["answers", "hides"]
    front.add("better", [1.0, 0.5, 0.2], 9)
    assert front.best() == "better"
