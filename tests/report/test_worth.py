"""The worth of sentences on the page: every figure there, hostile sentences harmless, unfinished runs no obstacle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scrutable.core.journal import Run
from scrutable.report.draw import scale_of_worths
from scrutable.report.gather import gather
from scrutable.report.nodes import Worths
from scrutable.report.page import report
from scrutable.report.worth import worth_sections

EVIL = "<script>alert(1)</script> \u202e praise ."


def interval(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "count": 9}


def sentence(said: str, proxy: float, true: float) -> dict[str, Any]:
    games = {
        name: {"shapley": interval(value), "sure": interval(value), "error": 0.1, "left_out": interval(value)}
        for name, value in (("proxy", proxy), ("true", true))
    }
    return {"module": "text", "sentence": said, "games": games}


def standing(text: str) -> dict[str, Any]:
    return {"candidate": {"texts": {"text": text}}, "games": {"proxy": interval(0.5), "true": interval(0.9)}}


CHEAT = sentence(EVIL, 1.0, -0.5)
SANITISED = {
    "given": standing(f"{EVIL} b ."),
    "clean": standing("b ."),
    "base": standing(""),
    "gained": {"proxy": interval(-1.0), "true": interval(0.5)},
    "marked": [CHEAT],
    "rounds": [{"sentences": [CHEAT, sentence("b .", 0.1, 0.0)], "notes": ["all 4 subsets"]}],
    "tasks": 192,
    "notes": [],
}
SHORTENED = {
    "whole": standing("a . b ."),
    "short": standing("a ."),
    "base": standing(""),
    "gained": {"proxy": interval(-0.01)},
    "margin": 0.05,
    "front": [
        {"candidate": {"texts": {"text": "a ."}}, "words": 1, "score": 1.0, "loss": interval(0.0), "as_good": True}
    ],
    "worth": {"sentences": [sentence("a .", 1.0, 0.0)], "notes": []},
    "tasks": 10,
}


def written(path: Path, scope: str, payload: dict[str, Any]) -> Path:
    with Run.open(path, {"seed": 0}) as run:
        run.scope(scope).append("result", "result", payload)
        run.append("result", "result", {"text": "b ."})
    return path


@pytest.mark.medium
def test_a_sanitised_text_stands_there_with_its_marks_and_its_price(tmp_path: Path) -> None:
    (section,) = worth_sections(gather(Run.read(written(tmp_path / "r", "sanitise", SANITISED))))
    (table,) = [node for node in section.nodes if isinstance(node, Worths)]
    assert [(row.sentence, row.marked) for row in table.rows] == [(EVIL, True), ("b .", False)]
    assert table.columns == ("reward", "true reward")
    html = report(tmp_path / "r").html.read_text(encoding="utf-8")
    assert "without the marked sentences" in html
    assert "0.5 (0.4 to 0.6)" in html
    assert "192 tasks that decided nothing" in html


def test_a_hostile_sentence_is_shown_and_does_nothing(tmp_path: Path) -> None:
    html = report(written(tmp_path / "r", "sanitise", SANITISED)).html.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ⟨U+202E⟩ praise ." in html


def test_a_shortened_text_stands_there_with_its_front(tmp_path: Path) -> None:
    html = report(written(tmp_path / "r", "shorten", SHORTENED)).html.read_text(encoding="utf-8")
    assert "How short the text can be" in html
    assert "A loss of less than 0.05 counts as none" in html


def test_results_that_say_less_are_no_obstacle(tmp_path: Path) -> None:
    thin = {"rounds": [{"sentences": [{"sentence": "a ."}, None]}], "marked": None}
    report(written(tmp_path / "a", "sanitise", thin))
    report(written(tmp_path / "b", "shorten", {"worth": {"sentences": []}}))


def test_a_scale_holds_0_and_every_end(tmp_path: Path) -> None:
    (section,) = worth_sections(gather(Run.read(written(tmp_path / "r", "sanitise", SANITISED))))
    (table,) = [node for node in section.nodes if isinstance(node, Worths)]
    scale = scale_of_worths(table, 1)
    assert scale.low < -0.6 < 0 < 0.1 < scale.high
    assert 0 < scale.at(0) < 100
