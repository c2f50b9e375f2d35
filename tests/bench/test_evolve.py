"""bench evolve: what is to be reached, when it is, and what is told of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from scrutable.bench.evolve import OURS, CaseConfig, Earned, EvolveBenchConfig, figures, rl_of, run_case, target_of
from scrutable.core.errors import UserError
from scrutable.models.hf import load_model

PEER = "gepa 1x1"


def arm(*steps: tuple[int, float], words: float = 10.0) -> dict[str, Any]:
    return {"steps": [list(step) for step in steps], "final": steps[-1][1], "words": words}


def row(true: float, ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    return {"true texts": true, "arms": {OURS: ours, PEER: peer}}


def test_what_rl_earns_comes_from_other_benches_beside_what_the_true_texts_earned_there(tmp_path: Path) -> None:
    one, other = tmp_path / "rl-to-text.json", tmp_path / "hard.json"
    one.write_text(
        json.dumps(
            {
                "cases": {
                    "advert-1": {"rl_reward": 0.9, "rules_reward": 0.8},
                    "advert-2": {"rl_reward": 0.7, "rules_reward": 0.8},
                }
            }
        )
    )
    arms = {"base": {"value": 0.1, "high": 0.2}, "true_text": {"value": 0.9, "high": 1.0}}
    learned, idle = {"value": 0.6, "high": 0.7}, {"value": 0.2, "high": 0.3}
    made = {
        name: {"arms": {key: {"proxy": value} for key, value in {**arms, "rl": rl}.items()}}
        for name, rl in (("learned", learned), ("idle", idle))
    }
    other.write_text(json.dumps({"environments": made}))
    found = rl_of([one, other])
    assert found["advert"].rl == pytest.approx(0.8)
    assert found["learned"] == Earned(rl=0.6, true_texts=0.9)
    assert found["idle"] == Earned(rl=0.9, true_texts=0.9)  # RL learned nothing there: the true texts are to be reached


@pytest.mark.parametrize("text", ["", "[]", '{"cases": {"a-1": {}}}', '{"environments": {"a": {"arms": {}}}}'])
def test_figures_of_something_else_are_refused_in_a_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "figures.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"holds no figures of RL"):
        rl_of([file])


def test_the_target_follows_how_hard_a_cases_own_tasks_are() -> None:
    config = EvolveBenchConfig(target=0.95)
    assert target_of({"true texts": 0.8}, config, Earned(rl=0.9, true_texts=0.9)) == pytest.approx(0.95 * 0.8)
    assert target_of({"true texts": 0.8}, config, Earned(rl=0.45, true_texts=0.9)) == pytest.approx(0.95 * 0.4)


def test_an_arm_that_does_not_reach_the_target_counts_with_its_budget() -> None:
    config = EvolveBenchConfig(seeds=2, environments=("advert",), budget=600, target=0.9)
    rows = {
        "advert-1": row(1.0, arm((0, 0.1), (60, 0.95), words=5), arm((0, 0.1), (300, 0.8))),
        "advert-2": row(1.0, arm((0, 0.1), (100, 0.5), (150, 0.92)), arm((0, 0.1), (300, 0.93))),
    }
    found = figures(rows, config, {"advert": Earned(rl=1.0, true_texts=1.0)})
    assert found[PEER]["median ratio of rollouts"] == pytest.approx((60 / 600 + 150 / 300) / 2)
    assert found["reached by ours"] == 1.0
    assert found[PEER]["reached"] == 0.5
    assert found[PEER]["final, ours minus the peer's"]["advert"] == pytest.approx((0.95 + 0.92 - 0.8 - 0.93) / 2)
    assert found[PEER]["words, ours and the peer's"] == [7.5, 10.0]


@pytest.mark.medium
def test_a_case_has_a_trace_for_each_arm_and_stands_when_asked_for_again(tmp_path: Path) -> None:
    config = EvolveBenchConfig(budget=120, peers=EvolveBenchConfig().peers[1:])
    shared = {k: v for k, v in config.identity().items() if k not in ("seeds", "first_seed", "environments")}
    case = CaseConfig(seed=3, environment="flattery", bench=shared)
    found = run_case(case, config, load_model("pidgin"), tmp_path)
    assert found["true texts"] > 1.0  # the rater likes what the rule asks for
    assert len(found["arms"]) == 2
    for one in found["arms"].values():
        assert one["steps"][0][0] == 0
        assert [at for at, _ in one["steps"]] == sorted(at for at, _ in one["steps"])
        assert one["final"] == pytest.approx(one["steps"][-1][1], abs=1e-4)
    assert found["arms"][OURS]["rollouts"] <= 120
    assert run_case(case, config, load_model("pidgin"), tmp_path) == found
