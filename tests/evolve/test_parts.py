"""Parts: four uses of tasks that never mix."""

from itertools import combinations

import pytest

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task
from scrutable.evolve.parts import FEW, Sizes, divide


def tasks(name: str, count: int) -> list[Task]:
    return [Task.ask(f"{name} {i}") for i in range(count)]


SIZES = Sizes(96, 96, (4800, 1200))


def test_no_task_has_two_uses() -> None:
    with Run.temporary({"seed": 1}) as run:
        parts = divide(tasks("s", 300), tasks("k", 300), SIZES, run)
        keys = [{key for key, _ in part} for part in (parts.shown, parts.pool, parts.choose, parts.final)]
        assert [len(one) for one in keys] == [204, 96, 96, 96]
        assert all(not a & b for a, b in combinations(keys, 2))
        assert not parts.notes


def test_the_order_of_rows_does_not_matter_but_the_runs_seed_does() -> None:
    with Run.temporary({"seed": 1}) as run, Run.temporary({"seed": 2}) as other:
        rows = tasks("s", 300)
        one = divide(rows, tasks("k", 20), SIZES, run)
        assert one == divide(rows[::-1], tasks("k", 20), SIZES, run)
        assert one.pool != divide(rows, tasks("k", 20), SIZES, other).pool


def test_few_tasks_are_both_shown_and_used_to_decide_and_that_is_said() -> None:
    with Run.temporary({}) as run:
        parts = divide(tasks("s", FEW - 1), tasks("k", 20), SIZES, run)
        assert len(parts.shown) == len(parts.pool) == FEW - 1
        assert "overfit" in parts.notes[0]


def test_a_final_score_on_few_tasks_is_warned_of() -> None:
    with Run.temporary({}) as run:
        parts = divide(tasks("s", 300), tasks("k", 10), SIZES, run)
    assert len(parts.final) == 5
    assert "the final score rests on 5 keep tasks" in parts.notes[0]


def test_a_small_budget_has_few_tasks() -> None:
    with Run.temporary({}) as run:
        parts = divide(tasks("s", 300), tasks("k", 300), Sizes(96, 96, (80, 24), repeats=2), run)
        assert (len(parts.pool), len(parts.choose), len(parts.final)) == (10, 3, 3)


@pytest.mark.parametrize(("search", "keep", "name"), [(1, 9, "search"), (9, 1, "keep"), (0, 9, "search")])
def test_a_split_that_is_too_small_is_named(search: int, keep: int, name: str) -> None:
    with Run.temporary({}) as run, pytest.raises(UserError, match=f"the {name} split"):
        divide(tasks("s", search), tasks("k", keep), SIZES, run)


def test_equal_rows_are_one_task() -> None:
    with Run.temporary({}) as run, pytest.raises(UserError, match="1 different task"):
        divide([Task.ask("same")] * 5, tasks("k", 9), SIZES, run)
