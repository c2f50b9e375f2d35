"""Instances: equal content is one task, whatever the type; what has no stable content is refused."""

import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from scrutable.core.errors import UserError
from scrutable.evolve.instances import Strange, asked_in, exact, instances_of, plain, task_of, text_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@dataclass
class Row:
    question: str
    answer: int


@dataclass
class Other:
    question: str
    answer: int


class Record(BaseModel):
    question: str


class Opaque:
    pass


class Told:
    def __init__(self, said: str) -> None:
        self.said = said

    def __repr__(self) -> str:
        return f"Told({self.said!r})"


@given(JSON, JSON)
def test_json_values_are_one_task_exactly_when_they_are_equal(first: Any, second: Any) -> None:
    import json

    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (task_of(first).key == task_of(second).key) == same


def test_dictionaries_of_another_order_are_one_task() -> None:
    assert task_of({"input": "a", "answer": "b"}).key == task_of({"answer": "b", "input": "a"}).key


def test_a_text_is_its_own_prompt() -> None:
    assert task_of("what is it ?").prompt == "what is it ?"


@pytest.mark.parametrize("one", [{"input": "why ?", "answer": "so"}, Row("why ?", 3), Record(question="why ?")])
def test_people_are_shown_what_is_asked_and_not_the_answer(one: object) -> None:
    assert task_of(one).prompt == "why ?"


def test_what_asks_nothing_is_shown_whole() -> None:
    assert task_of({"x": 1, "y": [2]}).prompt == "x: 1\ny: [2]"


def test_records_of_another_type_are_another_task() -> None:
    assert task_of(Row("a", 1)).key == task_of(Row("a", 1)).key
    assert task_of(Row("a", 1)).key != task_of(Other("a", 1)).key
    assert task_of(Row("a", 1)).key != task_of({"question": "a", "answer": 1}).key


def test_other_types_are_told_by_their_repr() -> None:
    assert task_of(Told("a")).key == task_of(Told("a")).key != task_of(Told("b")).key
    assert task_of(Told("a")).columns == {"repr": "Told('a')"}
    assert task_of({1: "a"}).key != task_of({"1": "a"}).key  # a key that is no string is not quietly made one


def test_what_is_known_by_its_place_in_memory_is_refused() -> None:
    with pytest.raises(UserError, match="Opaque is known by its place in memory alone"):
        task_of(Opaque())
    with pytest.raises(UserError, match="place in memory"):
        task_of({"input": "a", "what": [Opaque()]})


def test_names_stand_in_for_content() -> None:
    first, second = Opaque(), Opaque()
    names = {id(first): "first", id(second): "second"}
    assert task_of(first, lambda one: names[id(one)]).key != task_of(second, lambda one: names[id(one)]).key
    assert task_of(first, lambda one: "x").key == task_of(second, lambda one: "x").key


def test_keys_are_the_same_in_another_process() -> None:
    code = "from scrutable.evolve.instances import task_of; print(task_of({'input': 'é', 'b': (1, 2.5, None)}).key)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, check=True).stdout
    assert told.strip() == task_of({"b": [1, 2.5, None], "input": "é"}).key


@pytest.mark.parametrize("one", [float("nan"), float("inf"), {1: 2}, {1, 2}, b"x", Opaque()])
def test_what_json_cannot_say_is_strange(one: object) -> None:
    with pytest.raises(Strange):
        exact(one)


def test_showing_never_fails() -> None:
    assert plain({"a": {1: {2}}, "b": float("nan"), "c": Told("x")}) == {
        "a": {"1": "{2}"},
        "b": "nan",
        "c": "Told('x')",
    }
    assert text_of({"a": "x", "b": [1]}) == "a: x\nb: [1]"
    assert text_of(None) == ""


def test_a_loader_is_asked_for_all_it_has() -> None:
    loader = SimpleNamespace(all_ids=lambda: [2, 0], fetch=lambda ids: [f"row {i}" for i in ids])
    assert instances_of(loader) == ["row 2", "row 0"]
    assert instances_of(iter(["a", "b"])) == ["a", "b"]


def test_asked_in_finds_nothing_where_nothing_is() -> None:
    assert asked_in({"input": 3}) == asked_in(7) == ""
