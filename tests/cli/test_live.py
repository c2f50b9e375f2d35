"""The display: what it shows is what the events say, and an old run's steps are not counted as this process's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from scrutable.cli.live import Progress, _count, figures, following
from scrutable.cli.screen import Screen
from scrutable.core.journal import Event, Run


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def stage(name: str, total: int | None = None, expected: float | None = None) -> Event:
    return Event(
        f"{name}/stage",
        "stage",
        {"name": name, "says": f"{name} goes on", "seconds_expected": expected, "total": total},
    )


def step(number: int, **more: float) -> Event:
    return Event(f"step/{number}", "step", {"step": number, "reward": 0.5, **more})


def test_a_new_stage_ends_the_one_before() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.take(stage("train", 10))
    clock.now += 5
    progress.take(stage("read"))
    first, second = progress.stages
    assert first.elapsed(clock()) == 5
    assert (first.ended, second.ended) == (105.0, None)


def test_events_count_toward_the_total_by_what_they_are() -> None:
    progress = Progress(Clock())
    progress.take(stage("evolve", 100))
    progress.take(Event("a", "rollouts", {"rollouts": [{}] * 30}))
    progress.take(Event("b", "reflection", {}))
    progress.take(Event("c", "divergence", {}))
    assert progress.stages[0].done == 31
    assert progress.stages[0].share() == pytest.approx(0.31)


def test_a_total_that_is_passed_is_not_shown() -> None:
    progress = Progress(Clock())
    progress.take(stage("measure", 1))
    told = []
    for number in range(2):
        progress.take(step(number))
        told.append(_count(progress.stages[0]))
    assert told == ["1/1", "2"]


def test_the_time_left_is_told_from_what_this_process_did() -> None:
    clock = Clock()
    progress = Progress(clock, replaying=True)
    progress.take(stage("train", 100))
    for number in range(50):
        progress.take(step(number))
    progress.replaying = False
    assert progress.stages[0].left(clock()) is None
    clock.now += 10
    for number in range(50, 60):
        progress.take(step(number))
    assert progress.stages[0].left(clock()) == pytest.approx(40.0)


def test_an_expected_time_is_used_where_there_is_no_total() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.take(stage("read", expected=30.0))
    clock.now += 12
    assert progress.stages[0].left(clock()) == 18.0


def test_a_search_tells_what_is_tried_kept_and_best() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.take(stage("evolve", 100))
    told = progress.stages[0].search
    assert told.says(0) == ""
    progress.take(Event("a", "rollouts", {"rollouts": [{}] * 30}))
    for at in range(3):
        progress.take(Event(f"r{at}", "reflection", {}))
    progress.take(Event("p0", "proposal", {"accepted": ["x"], "worth": 0.25}))
    progress.take(Event("p1", "proposal", {"accepted": ["x", "y"], "worth": 0.5}))
    assert told.says(10.0) == "2 proposals, 1 being tried, 2 kept, best so far 0.5, 3 rollouts/s"


def test_a_proposal_of_an_older_run_has_no_score_to_tell() -> None:
    progress = Progress(Clock())
    progress.take(stage("evolve", 100))
    progress.take(Event("p0", "proposal", {"accepted": None, "worth": None}))
    assert progress.stages[0].search.says(10.0) == "1 proposal, 0 kept"


def test_rollouts_of_an_earlier_process_are_no_speed_of_this_one() -> None:
    progress = Progress(Clock(), replaying=True)
    progress.take(stage("evolve", 100))
    progress.take(Event("a", "rollouts", {"rollouts": [{}] * 30}))
    progress.take(Event("r0", "reflection", {}))
    assert progress.stages[0].search.says(10.0) == "0 proposals, 1 being tried, 0 kept"


def test_figures_are_for_people() -> None:
    assert figures(step(3, true_reward=0.25, kl=1.0)) == "step 3: reward 0.5, true reward 0.25, KL 1"
    text = {"candidate": {"texts": {"text": "be\x1b[31m kind"}}, "accepted": True}
    assert figures(Event("c", "candidate", text)) == "kept: be⟨U+001B⟩[31m kind"
    assert figures(Event("c", "candidate", {**text, "accepted": False})) == ""
    assert figures(Event("s", "step", {"step": 1, "reward": None})) == ""


def test_a_log_gets_a_line_when_a_stage_begins_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.open(tmp_path / "run", {}) as run, following(run, Screen()):
        run.append("train/stage", "stage", stage("train", 2).payload)
        run.append("train/step/1", "step", {"step": 1, "reward": 0.5})
        run.append("read/stage", "stage", stage("read").payload)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["train: train goes on (up to 2)", "train: done in 0.0 s; step 1: reward 0.5"]
    assert lines[2] == "read: read goes on"


def test_a_run_that_fails_before_anything_is_done_tells_no_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen()
    with pytest.raises(ZeroDivisionError), Run.open(tmp_path / "run", {}) as run, following(run, screen):
        screen.note("run: here")
        run.append("train/stage", "stage", stage("train", 2).payload)
        run.append("answers", "answers", {})
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_what_was_held_back_is_told_once_something_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with pytest.raises(ZeroDivisionError), Run.open(tmp_path / "run", {}) as run, following(run, screen):
        screen.note("run: here")
        run.append("train/stage", "stage", stage("train", 2).payload)
        run.append("train/step/1", "step", {"step": 1, "reward": 0.5})
        raise ZeroDivisionError
    assert capsys.readouterr().err.splitlines() == ["run: here", "train: train goes on (up to 2)"]


def test_what_was_held_back_is_told_after_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scrutable.cli.live.HELD_SECONDS", 0.0)
    screen, said = Screen(), ""
    with pytest.raises(ZeroDivisionError), Run.open(tmp_path / "run", {}) as run, following(run, screen):
        screen.note("run: here")
        for _ in range(1000):
            said += capsys.readouterr().err
            if said:
                break
            time.sleep(0.01)
        raise ZeroDivisionError
    assert said == "run: here\n"


def test_what_an_earlier_process_did_is_not_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.open(tmp_path / "run", {}) as run:
        run.append("train/stage", "stage", stage("train", 2).payload)
        run.append("train/step/1", "step", {"step": 1, "reward": 0.5})
    with Run.open(tmp_path / "run", {}) as run, following(run, Screen()) as progress:
        assert progress.stages[0].before == 1
    assert capsys.readouterr().err == ""


def test_an_error_is_not_reported_as_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Run.open(tmp_path / "run", {}) as run, following(run, Screen()):
        run.append("train/stage", "stage", stage("train", 2).payload)
        run.append("train/step/1", "step", {"step": 1, "reward": 0.5})
        raise ZeroDivisionError
    assert "done" not in capsys.readouterr().err


def test_a_terminal_gets_one_display(tmp_path: Path) -> None:
    import io

    from rich.console import Console

    screen, seen = Screen(), io.StringIO()
    screen.__dict__["err"] = Console(file=seen, force_terminal=True, width=100, color_system=None)
    with Run.open(tmp_path / "run", {}) as run, following(run, screen):
        run.append("train/stage", "stage", stage("train", 2).payload)
        run.append("train/step/1", "step", {"step": 1, "reward": 0.5})
        run.append("read/stage", "stage", stage("read").payload)
    last = seen.getvalue()[-400:]
    assert "train goes on" in last
    assert "✓" in last
