"""What people read and what programs read never mix, and no model writes to the terminal unseen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scrutable.cli.screen import Screen


def test_without_json_the_outcome_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.say("found")
    screen.note("busy")
    screen.result({"a": 1})
    said = capsys.readouterr()
    assert (said.out, said.err) == ("found\n", "busy\n")


def test_json_to_stdout_leaves_stdout_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("-")
    screen.say("found")
    screen.table(("a",), [("b",)])
    screen.result({"a": "é"})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"a": "é"}
    assert "found" in said.err


def test_json_to_a_file_leaves_the_words_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(str(tmp_path / "new" / "out.json"))
    screen.say("found")
    screen.result({"a": 1})
    assert json.loads((tmp_path / "new" / "out.json").read_text()) == {"a": 1}
    assert capsys.readouterr().out == "found\n"


def test_control_characters_and_markup_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.say("\x1b[31mred [bold]x[/bold] :smile:")
    screen.table(("text",), [("\x1b]0;title\x07",)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "⟨U+001B⟩[31mred [bold]x[/bold] :smile:" in out


def test_long_lines_are_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.say("w " * 300)
    screen.table(("a", "b"), [("x" * 200, "y" * 200)])
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) >= 400
