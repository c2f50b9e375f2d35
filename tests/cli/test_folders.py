"""Run folders: named by what they do, found again, and refused when they cannot be gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from scrutable.cli.folders import check_run, default_name, existing, folder_of, job, open_run
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run

ABOUT = {"title": "x", "before": "a", "after": "b", "env": "e"}
INPUTS = {"environment": "1", "model": "2"}


class Some(Config):
    """Some knobs."""

    steps: int = Field(default=3, description="steps")
    workers: int = anywhere(2, "workers")


def a_job(steps: int = 3, workers: int = 2, seed: int = 0) -> Config:
    return job("train", seed, {"env": "my/rows.py", "model": "pidgin"}, {"train": Some(steps=steps, workers=workers)})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRUTABLE_RUNS", raising=False)
    return tmp_path


def test_the_same_job_has_the_same_name_and_another_has_another() -> None:
    assert default_name(a_job()) == default_name(a_job())
    assert default_name(a_job()).startswith("train-rows-")
    assert default_name(a_job()) != default_name(a_job(steps=4))
    assert default_name(a_job()) != default_name(a_job(seed=1))


def test_workers_are_no_part_of_a_job() -> None:
    assert default_name(a_job(workers=2)) == default_name(a_job(workers=8))


def test_a_name_lies_in_runs_and_a_path_where_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_of("first") == Path("runs/first")
    assert folder_of("./first") == Path("first")
    monkeypatch.setenv("SCRUTABLE_RUNS", "/elsewhere")
    assert folder_of("first") == Path("/elsewhere/first")


def test_a_run_remembers_how_it_was_made_and_the_seed_is_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scrutable", "train", "my rows.py", "--debug", "--run", "x", "--json=y"])
    with open_run(None, a_job(seed=5), ABOUT, INPUTS) as run:
        assert run.seed == 5
        about = run.get("about")
    assert about is not None
    assert about.payload["command"] == "scrutable train 'my rows.py'"
    assert about.payload["title"] == "x"
    assert "torch" in about.payload["versions"]


def test_a_run_is_gone_on_with_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["scrutable", "train", "a"], ["scrutable", "train", "a", "--train-workers", "4"]):
        monkeypatch.setattr("sys.argv", words)
        with open_run("first", a_job(), ABOUT, INPUTS) as run:
            pass
    assert [event.payload["command"] for event in run.events("about")] == ["scrutable train a"]


def test_a_run_of_another_config_is_refused_by_the_keys_that_differ() -> None:
    with open_run("first", a_job(), ABOUT, INPUTS):
        pass
    with pytest.raises(UserError, match=r"train\.steps"):
        check_run("first", a_job(steps=4))


def test_a_run_that_is_held_is_refused_before_anything_is_loaded() -> None:
    with open_run("first", a_job(), ABOUT, INPUTS), pytest.raises(UserError, match="held by process"):
        check_run("first", a_job())


def test_a_check_leaves_the_folder_free() -> None:
    with open_run("first", a_job(), ABOUT, INPUTS):
        pass
    check_run("first", a_job())
    check_run("second", a_job())
    with open_run("first", a_job(), ABOUT, INPUTS):
        pass
    assert not Path("runs/second").exists()


def test_a_run_is_found_by_name_and_by_path() -> None:
    with open_run("first", a_job(), ABOUT, INPUTS) as run:
        place = run.path
    assert existing("first") == place
    assert existing(str(place)) == place
    assert Run.read(existing("runs/first")).name == "first"


def test_a_run_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UserError, match="holds none"):
        existing("first")
    with open_run("first", a_job(), ABOUT, INPUTS):
        pass
    with pytest.raises(UserError, match="no run 'frist': there are first"):
        existing("frist")


def test_a_run_of_other_inputs_is_refused_by_their_names_once_something_came_of_it() -> None:
    with open_run("first", a_job(), ABOUT, INPUTS) as run:
        run.append("stage", "stage", {})
    for changed in ({**INPUTS, "model": "3"}, INPUTS):  # nothing has come of it yet: it is begun anew
        with open_run("first", a_job(), ABOUT, changed) as run:
            pass
    with open_run("first", a_job(), ABOUT, INPUTS) as run:
        run.append("rollouts", "rollouts", {})
    before = (run.path / "events.jsonl").read_bytes()
    for name in INPUTS:
        changed = open_run("first", a_job(), ABOUT, {**INPUTS, name: "4"})
        with pytest.raises(UserError, match=f"another {name} of the same name"), changed:
            pass
    assert (run.path / "events.jsonl").read_bytes() == before
    with open_run("first", a_job(), ABOUT, INPUTS):
        pass


def test_a_run_of_another_verb_is_refused_by_the_verb() -> None:
    with open_run("mine", a_job(), ABOUT, INPUTS):
        pass
    with pytest.raises(UserError, match="was made by `scrutable train`: choose another --run"):
        check_run("mine", job("read", 0, {}, {}))
