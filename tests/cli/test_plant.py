"""`scrutable plant`: what it lists, makes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Called

from scrutable.organisms.planted_plan import KINDS

Call = Callable[..., Called]
TINY = ("--recipe-steps", "2", "--recipe-answers", "2", "--recipe-rounds", "1", "--truth-tasks", "16", "--workers", "1")
NONE = tuple(word for kind in KINDS for word in (f"--{kind}", "0"))


def test_the_kinds_are_listed(call: Call) -> None:
    said = call("plant", "--list", "--json", "-")
    assert said.code == 0
    assert list(json.loads(said.out)["kinds"]) == list(KINDS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--part: Field required"),
        (("--part", "both"), "invalid value for '--part': 'both' is not one of 'building', 'reporting'"),
        (("--part", "building", "--kinds", "rules"), "no kind of planted change is called 'rules'"),
        (
            ("--part", "building", "--always", "12"),
            "the part building has 9 different changes of the kind always, not 12",
        ),
    ],
)
def test_what_cannot_be_planted_is_one_line_and_leaves_nothing(call: Call, words: tuple[str, ...], told: str) -> None:
    said = call("plant", *words)
    assert (said.code, said.out) == (2, "")
    assert told.lower() in said.err.lower() and said.err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.medium
def test_a_small_part_is_made_told_and_gone_on_with(call: Call) -> None:
    words = ("plant", "--part", "building", *TINY, *NONE, "--identical", "1", "--always", "1", "--json", "made.json")
    said = call(*words, "--kinds", "identical")
    assert said.code == 0 and "1 planned models are not made yet" in said.err
    said = call(*words)
    assert said.code == 0 and "1 of 2 models stand already" in said.err
    assert "1 changed and 1 unchanged models in runs/planted-building" in said.out
    made = json.loads(Path("made.json").read_text())
    assert (made["part"], made["changed"], made["missing"], set(made["kinds"])) == (
        "building",
        1,
        0,
        {"always", "identical"},
    )
    assert Path("runs/planted-building/artifacts/adapters/always-000/adapter_config.json").is_file()
    said = call("plant", "--part", "reporting", *TINY, *NONE, "--identical", "1", "--run", "planted-building")
    assert said.code == 2 and "was made with another config" in said.err
    assert call("report", "planted-building").code == 0
    assert call("runs").code == 0
