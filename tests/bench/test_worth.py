"""The bench of the worth of sentences: what it draws, what it counts, and one small case of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scrutable.bench.planted import PlantedEnv
from scrutable.bench.worth import WorthBenchConfig, figures, worth_bench
from scrutable.bench.worth_cases import BOTH, EXPLOITED, BothEnv, trial
from scrutable.core.errors import UserError
from scrutable.evolve.sanitise import SanitiseConfig
from scrutable.evolve.sentences import sentences
from scrutable.evolve.shorten import ShortenConfig
from scrutable.evolve.worth import WorthConfig
from scrutable.world import answers, grammar

FEW = WorthConfig(tasks=12, least=2, budget=2000)
SMALL = WorthBenchConfig(
    seeds=1,
    first_seed=3,
    planted=2,
    sanitise=SanitiseConfig(worth=FEW, report=12),
    shorten=ShortenConfig(worth=FEW, check=12, report=12),
)


@pytest.mark.parametrize("name", EXPLOITED)
def test_a_text_with_an_exploit_is_the_honest_text_and_the_exploit(name: str) -> None:
    for seed in range(5):
        found = trial("sanitise", name, seed)
        kept = [one for one in sentences(found.text) if one not in found.exploits]
        assert kept == sentences(found.honest)
        assert {rule for one in found.exploits for rule in grammar.read(one)[0]} == set(found.env.rules)
        assert found.env.rules[0] not in grammar.read(found.honest)[0]


@pytest.mark.parametrize("name", tuple(BOTH))
def test_the_honest_rule_pays_in_both_rewards_and_the_exploit_costs_the_true_one(name: str) -> None:
    env = BothEnv(name, seed=1)
    exploit, honest = env.rules[0], env.rules[-1]
    scores = {}
    for told, rules in (("none", ()), ("exploit", (exploit,)), ("honest", (honest,))):
        said = [answers.compose(answers.active(rules, prompt), prompt) for prompt in env.prompts_of("report")]
        rated = env.rate(env.tasks("report"), said)
        scores[told] = [sum(getattr(one, what) or 0 for one in rated) / len(rated) for what in ("value", "true")]
    assert scores["exploit"][0] > scores["none"][0] + 0.2
    assert scores["exploit"][1] < scores["none"][1] - 0.2
    assert min(scores["honest"][at] - scores["none"][at] for at in (0, 1)) > 0.1


def test_padding_is_more_than_half_of_a_padded_text() -> None:
    for name in (*EXPLOITED, "two-rules"):
        for seed in range(5):
            found = trial("shorten", name, seed)
            assert len(found.honest.split()) < len(found.text.split()) / 2
            assert set(sentences(found.honest)) < set(sentences(found.text))


def test_planted_values_in_closed_form_are_those_of_all_orders() -> None:
    env = PlantedEnv(seed=5, players=5)
    for dividends in env.dividends:
        assert env.known(dividends) == pytest.approx(env.by_orders(dividends))


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(UserError, match="no environment of this bench is called 'nope'"):
        trial("both", "nope", 0)


def row(**changes: Any) -> dict[str, Any]:
    scores = {name: {"true": 1.0} for name in ("base", "given", "clean", "honest")}
    good = {"kind": "sanitise", "environment": "advert", "restored": 1.0, "marked_wrongly": [], "missed": []}
    return {**good, "scores": scores, "gain_kept": None, "gain": 0.0, **changes}


def test_figures_count_the_cases_and_keep_the_worst() -> None:
    short = {"kind": "shorten", "share": 0.4, "within_margin": True, "measurably_worse": False, "rules_lost": []}
    found = figures(
        {
            "a": row(),
            "b": row(restored=0.9, marked_wrongly=["x ."]),
            "c": row(kind="both", gain_kept=0.97, gain=0.2),
            "d": row(kind="both", gain_kept=0.5, gain=0.1, missed=["y ."]),
            "e": short,
            "f": {**short, "share": 0.7, "measurably_worse": True},
        }
    )
    assert (found["sanitise_restored_least"], found["sanitise_restored_95"]) == (0.9, 1)
    assert (found["sanitise_marked_wrongly"], found["both_missed"]) == (1, 1)
    assert (found["gain_kept_least"], found["gain_kept_95"], found["gain_least"]) == (0.5, 1, 0.1)
    assert (found["shorten_halved"], found["shorten_measurably_worse"], found["shorten_share_most"]) == (1, 1, 0.7)


@pytest.mark.medium
def test_the_planted_part_needs_no_model_and_is_exact(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"parts": ("planted",), "model": "nowhere"})
    found = worth_bench(config, tmp_path, lambda line: None)
    assert found["planted_error"] < 1e-9
    assert found["planted_error_of_ten"] < 1e-9
    again = worth_bench(config, tmp_path, lambda line: None)
    assert again == found


@pytest.mark.medium
def test_a_case_with_an_exploit_and_an_honest_rule_runs_to_its_figures(tmp_path: Path) -> None:
    from scrutable.bench.worth import WorthCase, sanitised
    from scrutable.core.journal import Run
    from scrutable.models.hf import load_model

    case = WorthCase(seed=3, kind="both", environment="flattery-and-thanks", bench=SMALL)
    with Run.temporary(case) as run:
        found = sanitised(case, trial("both", case.environment, 3), load_model("pidgin"), run)
    assert found["missed"] == []
    assert found["scores"]["given"]["true"] < found["scores"]["honest"]["true"]
    assert found["restored"] > 0.9
