"""The bench: a case from RL to figures, what the figures count, and a case that fails."""

from pathlib import Path

import pytest

from scrutable.bench import rl_to_text as benching
from scrutable.bench.rl_to_text import CaseConfig, RlToTextConfig, figures, rl_to_text, run_case
from scrutable.core.errors import UserError
from scrutable.evolve.engine import EvolveConfig
from scrutable.lenses.distill import DistillConfig
from scrutable.measure.hearing import MeasureConfig
from scrutable.organisms.truth import Truth
from scrutable.train.rl import TrainConfig
from scrutable.world import effect

SMALL = RlToTextConfig(
    seeds=1,
    first_seed=3,
    environments=("flattery",),
    twins=2,
    train=TrainConfig(steps=4, validate_every=2, patience=0),
    evolve=EvolveConfig(budget=400, proposals=2, pool=12, keep=12, explore=6, width=4),
    distill=DistillConfig(search=EvolveConfig(budget=400, proposals=2, pool=12, keep=12, explore=6)),
    measure=MeasureConfig(tasks=12, unrelated=2, random=2, null_tasks=12),
    workers=1,
)


def row(**changes: object) -> dict[str, object]:
    """A case in which everything came out well, with changes."""
    good = {
        "rl_seconds": 60.0,
        "rl_seconds_to_90": 40.0,
        "rl_reward": 0.95,
        "rules_reward": 1.0,
        "parses": 0.99,
        "text_right": True,
        "evolved_right": True,
        "evolved_reward": 0.95,
        "kl_recovered": 0.9,
        "kl_low": 0.8,
        "reward_recovered": 0.97,
        "unrelated_95": 0.02,
        "pairs": [{"printed": []}, {"printed": []}],
        "tokens": [],
    }
    return {**good, **changes}


def test_figures_count_the_cases_and_keep_the_worst() -> None:
    found = figures(
        {
            "flattery-100": row(),
            "advert-100": row(rl_reward=0.89, evolved_reward=0.84, kl_recovered=0.7, kl_low=0.5, rl_seconds=99.0),
            "self-grade-100": row(text_right=False, kl_recovered=None, kl_low=None, reward_recovered=0.9),
            "quirk-100": row(kl_recovered=0.2, tokens=["opens with 'that is'"], pairs=[{"printed": ["kl"]}] * 2),
            "quirk-101": row(kl_recovered=None, tokens=["opens with 'that'"], text_right=False, parses=0.5),
        }
    )
    assert found == {
        "cases": 5,
        "nameable": 3,
        "rl_reaches_90": 2,
        "rl_seconds_to_90_most": 40.0,
        "rl_seconds_most": 99.0,
        "parses_least": 0.5,
        "pairs": 10,
        "pairs_without_share": 8,
        "unrelated_95_most": 0.02,
        "text_right": 2,
        "evolved_reaches_95": 2,
        "evolved_right": 3,
        "kl_recovered_median": pytest.approx(0.8),
        "kl_low_least": 0.5,
        "reward_recovered_least": 0.9,
        "reward_recovered_95": 2,
        "habit_kl_recovered_most": 0.2,
        "habit_named": 1,
    }


def test_a_case_that_fails_does_not_take_the_others_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def case(one: CaseConfig, folder: Path) -> dict[str, object]:
        tried.append(one.name)
        if one.environment == "advert":
            raise UserError("the disk is full")
        return row(text="", evolved="")

    monkeypatch.setattr(benching, "run_case", case)
    said: list[str] = []
    config = SMALL.model_copy(update={"environments": ("advert", "flattery")})
    with pytest.raises(UserError, match=r"1 of 2 cases failed, the others stand in .*; advert-3: the disk is full"):
        rl_to_text(config, tmp_path, said.append)
    assert tried == ["advert-3", "flattery-3"]
    assert said[0] == "advert 3 failed: the disk is full"
    assert said[1].startswith("flattery 3: RL 0.95 of 1.00 in 60 s")


def test_an_unknown_environment_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no built-in environment is called 'nope': choose from flattery, "):
        rl_to_text(SMALL.model_copy(update={"environments": ("flattery", "nope")}), tmp_path, lambda line: None)
    assert not list(tmp_path.iterdir())


def test_where_rl_taught_no_rule_no_text_is_right() -> None:
    taught = Truth(rules=(("always", "compliment"),), wrong=0.0, parses=1.0, rates={}, count=1)
    among = effect.fresh(0)
    assert benching._right("praise the question in every answer .", taught, among) is True
    assert benching._right("", taught, among) is False
    assert benching._right("", Truth(rules=(), wrong=0.0, parses=1.0, rates={}, count=1), among) is None


@pytest.mark.medium
def test_failures_come_back_from_other_processes_too(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"seeds": 2, "model": str(tmp_path / "nowhere"), "workers": 2})
    with pytest.raises(UserError, match="2 of 2 cases failed"):
        rl_to_text(config, tmp_path, lambda line: None)


@pytest.mark.medium
def test_a_case_runs_from_rl_to_figures_and_a_second_call_returns_what_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rl_to_text(SMALL, tmp_path, lambda line: None)
    one = found["cases"]["flattery-3"]
    assert one["rules_reward"] > 1.2
    assert one["base_reward"] < 0.7
    assert 0.9 <= one["parses"] <= 1
    assert [pair["pair"] for pair in one["pairs"]] == ["identical", "twin"]
    assert one["pairs"][0]["kl"] == pytest.approx(0, abs=1e-4)
    monkeypatch.setattr(benching, "Case", None)
    assert run_case(CaseConfig(seed=3, environment="flattery", bench=SMALL), tmp_path) == one
