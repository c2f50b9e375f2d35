"""Anytime: what would be returned after so many rollouts, scored once on report tasks."""

import pytest
from tests.evolve.toy import ToyEnv, ToyModel, rule

from scrutable.bench.anytime import Step, Trace, area, report_rewards, rollouts_to, words
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling
from scrutable.programs.text import TEXT, SingleText

A, B, C = ({TEXT: text} for text in ("", "one two", "one two three"))
TRACE = Trace(
    arm="x",
    steps=(Step(rollouts=0, texts=A), Step(rollouts=40, texts=B), Step(rollouts=130, texts=C)),
    rollouts=140,
    reflections=3,
    accepted=2,
)
REWARDS = {Candidate(texts=texts).key: value for texts, value in ((A, 0.1), (B, 0.5), (C, 0.9))}


@pytest.mark.parametrize(("rollouts", "texts"), [(0, A), (39, A), (40, B), (129, B), (130, C), (999, C)])
def test_a_step_holds_until_the_next(rollouts: int, texts: dict[str, str]) -> None:
    assert TRACE.at(rollouts).texts == texts


def test_a_target_that_is_not_reached_counts_as_the_whole_budget() -> None:
    assert rollouts_to(TRACE, REWARDS, 0.1, 200) == 0
    assert rollouts_to(TRACE, REWARDS, 0.5, 200) == 40
    assert rollouts_to(TRACE, REWARDS, 0.9, 200) == 130
    assert rollouts_to(TRACE, REWARDS, 0.95, 200) == 200


def test_what_was_found_beyond_the_budget_does_not_count() -> None:
    assert rollouts_to(TRACE, REWARDS, 0.9, 120) == 120
    assert words(TRACE, 120) == 2
    assert words(TRACE, 130) == 3


def test_the_area_is_the_mean_over_rollouts() -> None:
    by_hand = sum(REWARDS[TRACE.at(after).key] for after in range(200)) / 200
    assert area(TRACE, REWARDS, 200) == pytest.approx(by_hand)
    assert area(TRACE, REWARDS, 100) == pytest.approx((40 * 0.1 + 60 * 0.5) / 100)


def test_a_text_is_scored_once_on_report_tasks_alone() -> None:
    env, model = ToyEnv(rule("sun", "yes"), {"search": 5, "keep": 5, "report": 60}), ToyModel(noise=0.0)
    speaker = (model, SingleText(), Sampling())
    with Run.temporary() as run:
        found = report_rewards(run, env, speaker, [A, {TEXT: env.hidden}, A])
        assert env.rated == 120
        report_rewards(run, env, speaker, [A])
        assert env.rated == 120
    assert found[Candidate(texts={TEXT: env.hidden}).key] == 1.0
    assert 0.2 < found[Candidate(texts=A).key] < 0.8
