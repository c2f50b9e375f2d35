"""`scrutable compare` and `scrutable evolve --seeds`: run folders in, behaviours out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Called

from scrutable.cli.compare import found_in
from scrutable.core.accounts import Account, Claim
from scrutable.core.errors import UserError
from scrutable.core.journal import Run

Call = Callable[..., Called]
SMALL = ("--tasks", "24", "--idle", "2", "--idle-tasks", "8", "--max-tokens", "32", "--claims", "6")


def evolved(name: str, text: str | None, env: str = "flattery", **config: Any) -> str:
    """A finished run of evolve, as its verb leaves it; text None: one that was stopped."""
    with Run.open(f"runs/{name}", {"verb": "evolve", "env": env, "model": "pidgin", "seed": 0, **config}) as run:
        run.append("about", "about", {"title": "x"})
        if text is not None:
            run.append("result", "result", {"text": text})
    return name


def refused(said: Called, says: str) -> None:
    assert (said.code, said.out) == (2, ""), said
    assert says in said.err and said.err.count("\n") == 1, said.err


def test_one_run_is_no_comparison(call: Call) -> None:
    refused(call("compare", evolved("a", "x .")), "at least two")


def test_a_run_that_is_not_there_is_named(call: Call) -> None:
    refused(call("compare", evolved("a", "x ."), "nope"), "there is no run 'nope'")


def test_a_run_that_is_not_finished_is_refused(call: Call) -> None:
    refused(call("compare", evolved("a", "x ."), evolved("b", None)), "runs/b is not finished")


def test_a_run_of_another_verb_is_refused(call: Call) -> None:
    with Run.open("runs/m", {"verb": "measure", "seed": 0}) as run:
        run.append("result", "result", {})
    refused(call("compare", evolved("a", "x ."), "m"), "only runs of evolve and train")


def test_runs_of_two_environments_need_one_to_be_named(call: Call) -> None:
    refused(call("compare", evolved("a", "x ."), evolved("b", "x .", env="advert")), "say with --env")


def test_texts_alone_need_an_environment(call: Call) -> None:
    refused(call("compare", "--text", "a .", "--text", "b ."), "give it with --env")


def test_what_was_read_of_an_rl_run_is_what_it_says(tmp_path: Path) -> None:
    with Run.open(tmp_path / "rl", {"verb": "train", "env": "flattery", "model": "pidgin", "seed": 0}) as run:
        run.append("train/result", "result", {"adapter": "artifacts/train/adapter"})
        whole = Account(lens="distill", claims=(Claim(says="x", text="praise the user ."),))
        run.append("read/distill/account", "account", whole)
        rest = Account(lens="distill", claims=(Claim(says="x", text="be quick ."),))
        run.append("remainder/ab/read/distill/account", "account", rest)
    found = found_in(tmp_path / "rl")
    assert found.text == "praise the user ."
    assert found.adapter == tmp_path / "rl" / "artifacts/train/adapter"


def test_a_training_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with Run.open(tmp_path / "rl", {"verb": "train", "env": "flattery", "seed": 0}) as run:
        run.append("x", "x", {})
    with pytest.raises(UserError, match="not finished"):
        found_in(tmp_path / "rl")


@pytest.mark.medium
def test_planted_runs_and_a_text_fall_into_their_behaviours(call: Call) -> None:
    names = [
        evolved("a", "in every answer , praise the question ."),
        evolved("b", "always , flatter the user ."),
        evolved("c", "always , cite a source ."),
    ]
    said = call("compare", *names, "--text", "give a reference no matter what .", *SMALL, "--json", "out.json")
    assert said.code == 0, said.err
    found = json.loads(Path("out.json").read_text())
    assert found["comparison"]["clusters"] == [[0, 1], [2, 3]]
    claims = [(one["members"], one["idle"]) for one in found["comparison"]["claims"]]
    assert sorted(claims) == [([0, 1], False), ([2, 3], False)]
    assert "2 behaviours in 4 runs: a, b; c, text 1" in said.out
    assert "Do they behave alike?" in Path(found["page"]).read_text()
    events = (Path(found["run"]) / "events.jsonl").read_text()
    again = call("compare", *names, "--text", "give a reference no matter what .", *SMALL)
    assert again.code == 0 and (Path(found["run"]) / "events.jsonl").read_text() == events


@pytest.mark.medium
def test_each_seed_has_a_run_of_its_own_and_they_are_compared(call: Call) -> None:
    words = (
        "evolve",
        "flattery",
        "--seeds",
        "2",
        "--seed",
        "5",
        "--run",
        "many",
        "--budget",
        "200",
        "--proposals",
        "1",
    )
    words += (
        "--pool",
        "8",
        "--keep",
        "8",
        "--explore",
        "4",
        "--width",
        "3",
        "--max-tokens",
        "24",
    )
    said = call(*words, "--json", "out.json")
    assert said.code == 0, said.err
    found = json.loads(Path("out.json").read_text())
    assert [Path(row["run"]).name for row in found["runs"]] == ["many-5", "many-6"]
    assert [line.split(":")[0] for line in said.out.splitlines() if line.startswith("seed ")] == ["seed 5", "seed 6"]
    assert [one["name"] for one in found["comparison"]["comparison"]["members"]] == ["many-5", "many-6"]
    events = Path("runs/many-5/events.jsonl").read_text()
    assert call(*words).code == 0
    assert Path("runs/many-5/events.jsonl").read_text() == events
