"""The run folder: damaged lines, foreign folders, and configs that hold secrets."""

import json
from pathlib import Path

import pytest

from scrutable.core import folder
from scrutable.core.errors import UserError
from scrutable.core.journal import Run


def line(key: str) -> bytes:
    return json.dumps({"key": key, "kind": "thing", "payload": {}, "meta": {}}).encode() + b"\n"


@pytest.mark.parametrize(
    "tail", [b"{", b'{"key": "b"', b"\x00\x00\x00\n", line("b")[:-1], b'{"key": 3}\n', b"\xff\xfe"]
)
def test_a_torn_last_line_is_owed_again(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "events.jsonl").write_bytes(line("a") + tail)
    events, end = folder.read_events(tmp_path)
    assert [event["key"] for event in events] == ["a"]
    assert end == len(line("a"))


def test_a_damaged_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(line("a") + b"{\n" + line("b"))
    with pytest.raises(UserError, match=r"event 2 .* is damaged"):
        folder.read_events(tmp_path)


def test_a_torn_line_is_cut_off_before_the_next_append(tmp_path: Path) -> None:
    Run.open(tmp_path / "r", {}).close()
    (tmp_path / "r" / "events.jsonl").write_bytes(line("a") + b'{"key": "b", "ki')
    with Run.open(tmp_path / "r", {}) as run:
        run.append("c", "thing", {})
    assert [event.key for event in Run.read(tmp_path / "r").events()] == ["a", "c"]


def test_two_events_of_one_key_are_refused_unless_equal(tmp_path: Path) -> None:
    Run.open(tmp_path / "r", {}).close()
    file = tmp_path / "r" / "events.jsonl"
    file.write_bytes(line("a") + line("a"))
    assert len(Run.read(tmp_path / "r").events()) == 1
    file.write_bytes(line("a") + line("a").replace(b"{}, ", b'{"x": 1}, ', 1))
    with pytest.raises(UserError, match="two events have the key 'a'"):
        Run.read(tmp_path / "r")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        Run.open(tmp_path, {})
    with pytest.raises(UserError, match="is a file"):
        Run.open(tmp_path / "thesis.tex", {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_killed_before_its_config_was_written_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1")
    (tmp_path / ".config.json.1-1.part").write_text("{")
    with Run.open(tmp_path, {"x": 1}) as run:
        assert run.config == {"x": 1}


def test_a_config_changed_by_hand_is_refused(tmp_path: Path) -> None:
    Run.open(tmp_path / "r", {"x": 1}).close()
    file = tmp_path / "r" / "config.json"
    file.write_text(file.read_text().replace('"x": 1', '"x": 2'))
    with pytest.raises(UserError, match="changed by hand"):
        Run.read(tmp_path / "r")
    with pytest.raises(UserError, match="no run at"):
        Run.read(tmp_path / "nowhere")


def test_a_refusal_names_many_keys_shortly(tmp_path: Path) -> None:
    Run.open(tmp_path / "r", {f"k{i:02}": i for i in range(30)}).close()
    with pytest.raises(UserError) as caught:
        Run.open(tmp_path / "r", {"k00": "x" * 1000})
    assert "k00 (0 there" in str(caught.value)
    assert "k05 (5 there, absent now)" in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "config",
    [
        {"api_key": "x"},
        {"models": [{"hfToken": "x"}]},
        {"judge": {"db_password": "x"}},
        {"client_secret": "x"},
        {"key": "a1b2c3d4e5f6a7b8c9d0e1f2"},
        {"address": "https://me:pass@example.org/v1"},
        {"address": "https://example.org/v1?api_key=0123456789"},
        {"header": "Bearer 0123456789"},
        {"anything": "sk-0123456789abcdef0123"},
        {"anything": ["hf_0123456789abcdef0123"]},
    ],
)
def test_a_config_that_holds_a_secret_is_refused_unprinted(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(UserError, match="holds a secret") as caught:
        Run.open(tmp_path / "r", config)
    assert "0123" not in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"max_tokens": 64, "token": 7},
        {"api_key_env": "OPENAI_API_KEY"},
        {"pad_token": "<pad>", "answer_key": "answer"},
        {"api_key": None},
        {"api_key": ""},
        {"api_key": "**********"},
        {"task_key": "0123456789abcdef"},
        {"address": "http://localhost:8000/v1"},
        {"text": "Say which key opens the door to task-sk-etching."},
    ],
)
def test_what_is_no_secret_is_not_refused(config: dict[str, object]) -> None:
    folder.refuse_secrets(config)
