"""`scrutable shorten` and `scrutable sanitise`: on the built-in model, small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Called

from scrutable.core.journal import Run
from scrutable.core.records import Candidate

Call = Callable[..., Called]
TEXT = "cite a source when asked kindly . flatter the user every time ."
FEW = ("--worth-tasks", "24", "--report", "24")


@pytest.mark.parametrize("verb", ["shorten", "sanitise"])
@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "say which text"),
        (("--text", "a .", "--of", "b"), "say which text"),
        (("--of", "nowhere"), "there is no run 'nowhere'"),
        (("--text", " "), "holds no text"),
    ],
)
def test_what_is_wrong_with_the_text_is_one_line(call: Call, verb: str, words: tuple[str, ...], why: str) -> None:
    said = call(verb, "flattery", *words)
    assert (said.code, said.out) == (2, "")
    assert why in said.err
    assert said.err.count("\n") == 1
    assert not Path("runs").exists()


def evolved(name: str, texts: dict[str, str] | None) -> None:
    with Run.open(f"runs/{name}", {"seed": 0}) as run:
        run.append("about", "about", {})
        if texts is not None:
            candidate = Candidate(texts=texts)
            run.scope("evolve").append("result", "result", {"candidate": candidate})


@pytest.mark.parametrize(
    ("texts", "why"),
    [(None, "no finished evolution"), ({"text": ""}, "is the empty one"), ({"a": "x", "b": "y"}, "several modules")],
)
def test_a_run_without_a_text_to_take_is_one_line(call: Call, texts: dict[str, str] | None, why: str) -> None:
    evolved("old", texts)
    said = call("sanitise", "flattery", "--of", "old")
    assert said.code == 2
    assert why in said.err


def test_an_environment_without_a_reward_is_refused_before_a_model_is_loaded(call: Call) -> None:
    Path("asked.txt").write_text("one\ntwo\nthree\n")
    said = call("sanitise", "asked.txt", "--text", "a .", "--model", "nowhere")
    assert said.code == 2
    assert "has no reward" in said.err


@pytest.mark.medium
def test_sanitise_marks_the_exploit_and_hands_on_the_rest(call: Call) -> None:
    evolved("old", {"text": TEXT})
    said = call("sanitise", "flattery", "--of", "old", *FEW, "--json", "out.json")
    assert said.code == 0, said.err
    assert "marked: flatter the user every time ." in said.out
    told = json.loads(Path("out.json").read_text())
    assert told["text"] == TEXT
    assert told["sanitise"]["gained"]["true"]["value"] > 0.2
    assert "raises the reward, lowers the true one" in Path(told["page"]).read_text(encoding="utf-8")
    again = call("sanitise", "flattery", "--of", "old", *FEW, "--json", "out.json", "--remove")
    assert again.code == 0, again.err
    assert json.loads(Path("out.json").read_text())["text"] == "cite a source when asked kindly ."


@pytest.mark.medium
def test_shorten_keeps_what_is_paid_for(call: Call) -> None:
    said = call("shorten", "flattery", "--text", TEXT, *FEW, "--margin", "0.2", "--json", "out.json")
    assert said.code == 0, said.err
    told = json.loads(Path("out.json").read_text())
    assert told["text"] == "flatter the user every time ."
    assert told["shorten"]["words"] == [13, 6]
    assert "How short the text can be" in Path(told["page"]).read_text(encoding="utf-8")


@pytest.mark.medium
@pytest.mark.parametrize(("verb", "most"), [("sanitise", 4 * 96 + 3 * 192), ("shorten", 4 * 96 + 3 * 288 + 3 * 192)])
def test_a_dry_run_says_what_it_would_cost_and_makes_no_run(call: Call, verb: str, most: int) -> None:
    said = call(verb, "flattery", "--text", TEXT, "--dry-run", "--json", "-")
    assert said.code == 0, said.err
    assert json.loads(said.out)["plan"] == {"method": "subsets", "tasks": 96, "rollouts": most}
    assert not Path("runs").exists()
