"""The front, grown score by score, against brute force over the table of all scores."""

import math
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.evolve.front import Front

TASKS = ["t0", "t1", "t2", "t3"]
SCORES = st.dictionaries(st.sampled_from(TASKS), st.sampled_from([0.0, 0.5, 1.0]))
STEPS = st.lists(
    st.tuples(st.integers(0, 9), st.booleans(), SCORES, st.integers(0, 5)), min_size=1, max_size=12
)  # (whose child, or who is scored again), which of the two, scores, length


@dataclass
class Table:
    """All that is known, looked at as a whole: what a front must come to, step by step."""

    parents: dict[str, str | None] = field(default_factory=dict)
    own: dict[str, dict[str, float]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    gains: dict[str, float] = field(default_factory=dict)

    def add(self, key: str, parent: str | None, scores: dict[str, float], length: int) -> None:
        self.parents[key], self.own[key], self.lengths[key] = parent, {}, length
        self.score(key, scores)

    def score(self, key: str, scores: dict[str, float]) -> None:
        self.own[key] |= scores
        parent = self.parents[key]
        if parent is not None:
            both = [score - self.own[parent][task] for task, score in self.own[key].items() if task in self.own[parent]]
            self.gains[key] = sum(both) / (len(both) + 4)

    def counted(self, key: str) -> dict[str, float]:
        parent = self.parents[key]
        return (self.counted(parent) if parent else {}) | self.own[key]

    def yields(self, key: str, task: str) -> bool:
        """Whether a child stands for it there: one that was not tried on the task."""
        return any(parent == key and task not in self.own[child] for child, parent in self.parents.items())

    def held(self) -> dict[str, set[str]]:
        best = {t: max((self.counted(k)[t] for k in self.own if t in self.counted(k)), default=None) for t in TASKS}
        return {
            k: {t for t, score in self.counted(k).items() if score == best[t] and not self.yields(k, t)}
            for k in self.own
        }

    def worth(self, key: str) -> float:
        parent = self.parents[key]
        if parent is None:
            return fmean(self.own[key].values()) if self.own[key] else -math.inf
        return self.worth(parent) + self.gains[key]

    def ranked(self) -> list[str]:
        order = list(self.own)
        return sorted(order, key=lambda k: (-round(self.worth(k), 9), self.lengths[k], order.index(k)))


def grown(steps: list[tuple]) -> tuple[Front, Table]:
    front, table = Front(TASKS), Table()
    for number, (which, again, scores, length) in enumerate(steps):
        keys = list(table.own)
        if again and keys:
            key = keys[which % len(keys)]
            front.score(key, scores)
            table.score(key, scores)
        else:
            parent = keys[which % len(keys)] if keys and which < 8 else None
            front.add(f"c{number}", parent, scores, length)
            table.add(f"c{number}", parent, scores, length)
    return front, table


def tasks_of(bits: int) -> set[str]:
    return {task for place, task in enumerate(TASKS) if bits >> place & 1}


@given(STEPS)
def test_who_holds_a_task_is_who_has_its_best_score_or_counts_with_it(steps: list[tuple]) -> None:
    front, table = grown(steps)
    assert {key: tasks_of(front.holds(key)) for key in table.own} == table.held()
    assert len(front) == len(table.own)
    assert all(key in front for key in table.own)


@given(STEPS)
def test_worth_and_rank_are_by_the_line_of_descent(steps: list[tuple]) -> None:
    front, table = grown(steps)
    for key in table.own:
        assert front.worth(key) == pytest.approx(table.worth(key), abs=1e-8)
        assert front.mean(key) == (fmean(table.own[key].values()) if table.own[key] else -math.inf)
    assert front.ranked() == table.ranked()
    assert front.best() == table.ranked()[0]


@given(STEPS)
def test_who_may_be_a_parent_and_with_how_many_tasks(steps: list[tuple]) -> None:
    """Who holds nothing that another does not hold too is left out; of two who hold the same the later one stays."""
    front, table = grown(steps)
    held, weights, order = table.held(), front.weights(), list(table.own)
    stays = []
    for place, key in enumerate(order):
        covered = any(held[key] < held[other] for other in order)
        covered |= any(held[key] == held[other] for other in order[place + 1 :])
        if held[key] and not covered:
            stays.append(key)
    for key in order:
        better = [one for one in table.ranked()[: table.ranked().index(key)] if one in stays]
        had = {
            task
            for task in held[key]
            if task in table.own[key] or not any(task in held[one] - table.own[one].keys() for one in better)
        }
        assert weights.get(key, 0) == (len(had) if key in stays else 0)
    for task in TASKS:  # nothing that anyone holds is lost with those who are left out
        assert {k for k in held if task in held[k]} == set() or any(task in held[k] for k in weights)


def test_a_task_on_which_nobody_was_tried_goes_to_the_best_of_those_who_count_with_it() -> None:
    front = Front(TASKS)
    front.add("p", None, {"t0": 0.0, "t1": 0.0, "t2": 1.0, "t3": 0.0}, 1)
    front.add("weak", "p", {"t0": 0.5}, 1)
    front.add("strong", "p", {"t1": 1.0}, 1)
    assert front.weights() == {"strong": 3, "weak": 1}  # t2 and t3 are the strong one's alone


def test_a_child_counts_as_its_parent_where_it_was_not_tried() -> None:
    front = Front(TASKS)
    front.add("p", None, {"t0": 1.0, "t1": 0.0, "t2": 1.0}, 1)
    front.add("c", "p", {"t1": 1.0}, 1)
    assert tasks_of(front.holds("c")) == {"t0", "t1", "t2"}
    assert front.weights() == {"c": 3}  # all that its parent holds, it holds too, and it is better
    assert tasks_of(front.holds("p")) == set()
    front.score("p", {"t3": 1.0})  # what its parent is found to hold later, too
    assert tasks_of(front.holds("c")) == {"t0", "t1", "t2", "t3"}
    front.score("c", {"t0": 0.0})
    assert tasks_of(front.holds("c")) == {"t1", "t2", "t3"}
    assert front.weights() == {"c": 3, "p": 1}


def test_few_tasks_say_little_of_a_gain() -> None:
    """A difference of 1 on one task counts as 1/5, on twelve as 12/16."""
    front = Front([f"t{i}" for i in range(12)])
    front.add("p", None, {f"t{i}": 0.0 for i in range(12)}, 1)
    front.add("one", "p", {"t0": 1.0}, 1)
    front.add("all", "p", {f"t{i}": 1.0 for i in range(12)}, 1)
    assert front.worth("one") == pytest.approx(0.2)
    assert front.worth("all") == pytest.approx(0.75)


def test_scores_beside_the_pool_are_no_part_of_it() -> None:
    front = Front(["t0"])
    front.add("p", None, {"elsewhere": 1.0, "t0": 0.0}, 1)
    assert front.mean("p") == 0.0


def test_parents_are_drawn_in_proportion_to_what_they_hold() -> None:
    front = Front(TASKS)
    front.add("one", None, {"t0": 1.0, "t1": 0.0, "t2": 0.0, "t3": 0.0}, 1)
    front.add("three", None, {"t0": 0.0, "t1": 1.0, "t2": 1.0, "t3": 1.0}, 1)
    draws = Random(0)
    drawn = Counter(front.draw(draws) for _ in range(4000))
    assert abs(drawn["three"] / 4000 - 0.75) < 0.03


def test_of_equals_the_shorter_is_best_and_of_those_the_first() -> None:
    front = Front(["t0", "t1"])
    front.add("long", None, {"t0": 1.0, "t1": 0.0}, 9)
    front.add("short", None, {"t0": 0.0, "t1": 1.0}, 2)
    front.add("late", None, {"t0": 0.0, "t1": 1.0}, 2)
    assert front.ranked() == ["short", "late", "long"]


def test_where_nobody_has_a_score_there_is_still_a_parent() -> None:
    front = Front(["t0"])
    front.add("only", None, {}, 0)
    assert front.draw(Random(0)) == "only"
    assert front.worth("only") == -math.inf


def test_the_order_of_the_scores_of_one_step_does_not_matter() -> None:
    one, other = Front(TASKS), Front(TASKS)
    for front, order in ((one, TASKS), (other, TASKS[::-1])):
        front.add("p", None, dict.fromkeys(order, 0.5), 1)
        front.add("c", "p", {task: float(task == "t1") for task in order}, 1)
    assert (one.weights(), one.ranked()) == (other.weights(), other.ranked())
