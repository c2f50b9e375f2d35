"""The bench of comparisons: what is planted, what the figures count, and a case from planting to its row."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from scrutable.bench import compare as benching
from scrutable.bench.compare import ARMS, CompareBenchConfig, EitherEnv, bench_compare, figures, plant
from scrutable.core.errors import UserError
from scrutable.measure.agreement import CompareConfig
from scrutable.models.hf import load_model
from scrutable.world import answers
from scrutable.world.prompts import Rates
from scrutable.world.rules import Rule

CITE, LAUGH = Rule("animals", "cite"), Rule("animals", "laugh")
ENV = EitherEnv(((CITE,), (LAUGH,)), Rates(), 1)


def answered(*rules: Rule) -> list[str]:
    return [answers.compose(answers.active(rules, p), p) for p in ENV.prompts_of("report")]


def reward(*rules: Rule) -> float:
    scores = ENV.rate(ENV.tasks("report"), answered(*rules))
    return sum(score.value or 0.0 for score in scores) / len(scores)


def test_either_rule_earns_the_same_and_both_or_none_earn_less() -> None:
    assert reward(CITE) == reward(LAUGH) == 1.0
    assert reward(CITE, LAUGH) < 1.0
    assert reward() < 1.0


def test_obeying_one_set_is_not_obeying_the_other() -> None:
    tasks = ENV.tasks("report")
    assert ENV.obeys(0, tasks, answered(CITE)) == 1.0
    assert ENV.obeys(1, tasks, answered(CITE)) < 0.95


def test_the_splits_share_no_prompt() -> None:
    prompts = [task.prompt for split in ("search", "keep", "report") for task in ENV.tasks(split)]  # type: ignore[arg-type]
    assert len(set(prompts)) == len(prompts)


def test_a_condition_holds_as_often_as_its_arm_says() -> None:
    env = benching._environment(ARMS["two-tenth"], 7, Random(1))
    prompts = [p for split in benching.SIZES for p in env.prompts_of(split)]
    assert 0.03 < sum(p.holds("hurry") for p in prompts) / len(prompts) < 0.18


def row(**changes: object) -> dict[str, object]:
    good = {
        "redrawn": 1,
        "wanted": [[0, 1], [2, 3]],
        "clusters": [[0, 1], [2, 3]],
        "exact": True,
        "agreement": 1.0,
        "limit": 0.05,
        "within_most": 0.01,
        "across_least": 0.3,
        "rewards": [0.98, 0.97],
    }
    return {**good, **changes}


def test_figures_count_what_is_exact_and_what_has_the_right_number() -> None:
    wrong = row(exact=False, agreement=0.0, clusters=[[0, 2], [1, 3]])
    found = figures({"two-103": row(), "two-104": wrong, "one-103": row(wanted=[[0, 1, 2, 3]])})
    assert (found["two: cases"], found["two: exact"], found["two: right number"]) == (2, 1, 2)
    assert found["two: agreement"] == 0.5
    assert found["redrawn"] == 3
    assert found["one: cases"] == 1 and "three: cases" not in found


def test_an_unknown_arm_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no arm is called 'four'"):
        bench_compare(CompareBenchConfig(arms=("four",)), tmp_path)


@pytest.mark.medium
def test_what_is_planted_works_and_half_has_an_idle_sentence() -> None:
    model = load_model("pidgin")
    planted = plant(ARMS["two"], 2, model)
    assert planted.sets == (0, 0, 0, 0, 1, 1, 1, 1)
    assert len(planted.texts) == 8
    longer = [len(text) for text in planted.texts]
    assert sum(longer[1::2]) > sum(longer[::2])
    assert plant(ARMS["two"], 2, model) == planted, "the same seed plants the same"


@pytest.mark.medium
def test_a_case_finds_the_planted_behaviours_and_is_not_run_twice(tmp_path: Path) -> None:
    small = CompareConfig(tasks=24, idle=2, idle_tasks=6, claims=0, max_tokens=32)
    config = CompareBenchConfig(seeds=1, first_seed=4, arms=("two",), compare=small)
    found = bench_compare(config, tmp_path, lambda line: None)
    assert found["two: exact"] == 1
    again = bench_compare(config.model_copy(update={"model": "pidgin"}), tmp_path, lambda line: None)
    assert again == found
