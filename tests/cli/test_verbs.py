"""Verbs that need no model: report, runs, env check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Called
from tests.report.synthetic import CONFIG, write_run

from scrutable.cli.folders import job, open_run
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.envs.loading import builtin_environments

Call = Callable[..., Called]


def test_report_writes_the_page_and_says_where(call: Call) -> None:
    write_run(Path("runs/demo"))
    said = call("report", "demo")
    assert said == Called(0, "runs/demo/report.html\nruns/demo/report.json\n", "")
    assert Path("runs/demo/report.html").exists()


def test_report_of_no_run_is_the_users_to_mend(call: Call) -> None:
    said = call("report", "nope")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: there is no run 'nope'")


def test_runs_lists_the_newest_first_with_their_state(call: Call) -> None:
    write_run(Path("runs/old"))
    with Run.open("runs/new", CONFIG) as run:
        run.append("result", "result", {})
    with Run.open("runs/now", CONFIG) as run:
        run.append("x", "x", {})
        rows = json.loads(call("runs", "--json", "-").out)["runs"]
    assert {row["run"]: row["state"] for row in rows} == {"old": "stopped", "new": "done", "now": "running"}
    assert rows[-1]["run"] == "old"
    assert rows[-1]["env"] == "trusting-sycophancy"


def test_a_run_that_ended_in_an_error_is_failed_until_it_goes_on(call: Call) -> None:
    made = job("train", 0, {"env": "x"}, {})

    def state() -> str:
        (row,) = json.loads(call("runs", "--json", "-").out)["runs"]
        return str(row["state"])

    with pytest.raises(UserError), open_run("mine", made, {}, {}):
        raise UserError("no reward")
    assert state() == "failed"
    with open_run("mine", made, {}, {}) as run:
        run.append("step/1", "step", {})
    assert state() == "stopped"
    with pytest.raises(KeyboardInterrupt), open_run("mine", made, {}, {}):
        raise KeyboardInterrupt
    assert state() == "stopped"


def test_a_damaged_run_does_not_hide_the_others(call: Call) -> None:
    write_run(Path("runs/good"))
    Path("runs/bad").mkdir()
    Path("runs/bad/config.json").write_text("{")
    said = call("runs")
    assert said.code == 0
    assert "good" in said.out
    assert "damaged" in said.out


def test_no_runs_is_said(call: Call) -> None:
    assert call("runs").out == "no runs in runs/ yet\n"


def test_env_list_tells_what_each_built_in_environment_rewards(call: Call) -> None:
    told = json.loads(call("env", "list", "--json", "-").out)["environments"]
    assert set(told) == set(builtin_environments())
    assert all(says.startswith("pays ") for says in told.values())


def test_env_check_says_in_a_line_each_what_is_wrong(call: Call) -> None:
    Path("mine.py").write_text("rows = [{'prompt': 'a'}, {'question': 'b'}]\n")
    said = call("env", "check", "mine.py", "--json", "found.json")
    assert said.code == 2
    assert said.err.startswith("error: mine.py: ")
    assert json.loads(Path("found.json").read_text())["wrong"] >= 1


def test_env_check_of_a_sound_file_ends_well(call: Call) -> None:
    rows = "[{'prompt': f'what is {i} ?', 'right': str(i)} for i in range(60)]"
    reward = "def reward(completions, right, **kwargs): return [float(a == b) for a, b in zip(completions, right)]"
    Path("mine.py").write_text(f"rows = {rows}\n{reward}\n")
    said = call("env", "check", "mine.py")
    assert said.code == 0
    assert "60 tasks" in said.out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("train", "nowhere.py"), "nowhere.py"),
        (("train", "flatery"), "did you mean flattery?"),
        (("measure", "x", "a", "b"), "say where the tasks are from"),
        (("measure", "x", "--env", "flattery"), "name two models"),
        (("measure", "@nowhere.txt", "a", "--env", "flattery"), "nowhere.txt: there is no such file"),
        (("read", "a", "b", "--env", "flattery", "--prompts", "p.txt"), "tasks are from: only one of --env"),
        (("read", "a", "b", "--env", "flattery", "--lens", "token"), "did you mean tokens?"),
        (("read", "./nowhere", "--env", "flattery"), "there is no directory ./nowhere"),
        (("read", "./nowhere", "--env", "flattery", "--twins", "2"), "there is no directory ./nowhere"),
        (("evolve", "flattery", "--budget", "7"), "--budget"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_run(call: Call, words: tuple[str, ...], why: str) -> None:
    said = call(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert why in said.err
    assert not Path("runs").exists()
