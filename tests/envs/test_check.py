"""Trying an environment out."""

from pathlib import Path

import pytest

from scrutable.core.records import Score, Task
from scrutable.envs.check import check

ROWS = 'rows = [{"prompt": f"question {i}", "gold": f"word{i}"} for i in range(20)]\n'
EXAMPLE = Path(__file__).parents[2] / "examples" / "short_answers.py"


@pytest.fixture
def findings(tmp_path):
    def findings(source, **rest):
        path = tmp_path / "env.py"
        path.write_text(source)
        return check(path, **rest)

    return findings


def said(found, level, about):
    return " | ".join(f.says for f in found if f.level == level and f.about == about)


def test_the_example_has_nothing_wrong():
    found = check(EXAMPLE)
    assert not [f for f in found if f.level == "wrong"]
    assert "180 tasks, prompts are strings, columns capital" in said(found, "fine", "rows")
    assert "sync, values" in said(found, "fine", "reward")


def test_a_malformed_file_is_one_finding(findings):
    (found,) = findings("def f(:\n")
    assert (found.level, found.about) == ("wrong", "file")
    assert "line 1" in found.says


def test_duplicates_and_small_splits_are_said(findings):
    found = findings("rows = [{'prompt': str(i % 10)} for i in range(20)]\ndef reward(**k):\n    return 1\n")
    assert "10 of 20 are the same as an earlier one" in said(found, "warning", "rows")
    assert "300 or more are advised" in said(found, "warning", "splits")


def test_an_empty_split_is_wrong(findings):
    found = findings("rows = [{'prompt': 'a', 'split': 'search'}]\n")
    assert "the split keep is empty" in said(found, "wrong", "splits")


def test_a_file_without_rewards_is_warned_of(findings):
    assert "no function is called `reward`" in said(findings(ROWS), "warning", "reward")


def test_wrong_type_and_number_are_wrong(findings):
    found = findings(ROWS + "def reward(**k):\n    return 1.0\ndef reward_b(**k):\n    return [1]\n")
    assert "returned 1.0" in said(found, "wrong", "reward")
    assert "returned 1 entries" in said(found, "wrong", "reward_b")


def test_a_reward_that_always_fails_is_wrong(findings):
    assert "KeyError" in said(findings(ROWS + "def reward(**k):\n    return k['nothing']\n"), "wrong", "reward")


def test_a_constant_reward_is_warned_of(findings):
    found = findings(ROWS + "def reward(completions, **k):\n    return [0] * len(completions)\n")
    assert "said 0.0 of all" in said(found, "warning", "reward")


def test_an_exact_match_is_not_constant_since_dummies_come_from_the_columns(findings):
    source = "def reward(completions, gold, **k):\n    return [float(a == b) for a, b in zip(completions, gold)]\n"
    assert said(findings(ROWS + source), "warning", "reward") == ""


def test_a_noisy_reward_is_warned_of(findings):
    source = "import time\nasync def reward(completions, **k):\n    return [time.monotonic() for _ in completions]\n"
    found = findings(ROWS + source)
    assert "something else when asked the same again" in said(found, "warning", "reward")
    assert "async" in said(found, "fine", "reward")


def test_none_and_failures_are_counted(findings):
    source = "def reward(completions, **k):\n    return [None if not c else 'x' if c == 'yes' else len(c) for c in completions]\n"
    found = findings(ROWS + source)
    assert "6 of 30 None" in said(found, "fine", "reward")
    assert "failed on 6 of 30 answers" in said(found, "warning", "reward")


def test_a_model_may_answer_in_place_of_the_dummies(findings):
    source = "def reward(completions, **k):\n    return [len(c) for c in completions]\n"
    found = findings(ROWS + source, answer=lambda tasks: ["x" * (i + 1) for i in range(len(tasks))])
    assert "values 1 to 6" in said(found, "fine", "reward")


def test_an_environment_of_another_make_is_tried_by_its_scores():
    class Other:
        name, identity, rewarded = "other", "0", True

        def tasks(self, split):
            return [Task.ask(f"{split} {i}") for i in range(300)]

        def rate(self, tasks, answers):
            return [Score(value=float(len(a)), feedback="seen") for a in answers]

    found = check(Other())
    assert [f.level for f in found] == ["fine", "fine"]


def test_no_built_in_environment_is_warned_of():
    assert [finding.level for finding in check("flattery")] == ["fine", "fine"]


def test_a_split_of_one_task_is_too_few_for_evolve(findings):
    rows = "rows = [{'prompt': str(i), 'split': ('search', 'keep', 'report')[max(0, i - 7)]} for i in range(10)]\n"
    found = findings(rows + "def reward(completions, **k):\n    return [len(c) for c in completions]\n")
    assert "1 keep task is too few for `evolve`" in said(found, "warning", "splits")
    assert "search" not in said(found, "warning", "splits")


def test_a_reward_that_always_fails_is_told_with_the_line_and_without_sending_back_to_check(findings):
    (wrong,) = said(findings(ROWS + "def reward(**k):\n    raise ValueError('boom')\n"), "wrong", "reward").split(" | ")
    assert wrong == "failed on all 30 answers (reward: reward: ValueError: boom (env.py, line 3))"


def test_a_reward_that_scores_nothing_is_not_said_to_give_texts(findings):
    fine = said(
        findings(ROWS + "async def reward(completions, **k):\n    return [None for _ in completions]\n"),
        "fine",
        "reward",
    )
    assert fine.startswith("async, 30 of 30 None, ")
