"""The trace of a search: its calls by the clock, and failures by reason."""

from __future__ import annotations

from scrutable.core.journal import Event
from scrutable.core.records import Usage
from scrutable.report.trace import NO_REASON, trace_of


def call(clock: float, seconds: float, *scores: dict[str, object], **more: object) -> Event:
    cost = Usage(seconds=seconds, **more).model_dump(exclude_defaults=True)  # type: ignore[arg-type]
    rollouts = [{"candidate": "c", "task": str(at), "score": score} for at, score in enumerate(scores)]
    return Event(f"rollouts/{clock}", "rollouts", {"rollouts": rollouts}, {"clock": clock, "cost": cost})


def test_a_call_lasts_from_its_clock_less_its_seconds() -> None:
    trace = trace_of([call(110.0, 4.0), call(112.0, 10.0)], pause=600)
    assert [(one.began, one.ended) for one in trace.calls] == [(0.0, 10.0), (4.0, 8.0)]


def test_a_long_pause_is_cut_out_and_a_long_call_is_none() -> None:
    trace = trace_of([call(1000.0, 10.0), call(5010.0, 10.0), call(9000.0, 3985.0)], pause=600)
    assert [(one.began, one.ended) for one in trace.calls] == [(0.0, 10.0), (10.0, 20.0), (25.0, 4010.0)]


def test_an_answer_without_a_score_is_told_by_its_reason() -> None:
    scores: list[dict[str, object]] = [
        {"value": None, "failures": ["reward: no"]},
        {},
        {"value": 1.0, "failures": ["x"]},
    ]
    trace = trace_of([call(1.0, 0.1, *scores)], pause=600)
    assert trace.unscored == {"reward: no": 1, NO_REASON: 1}
    assert trace.partly == {"x": 1}
    assert trace.calls[0].failed


def test_stages_are_told_apart() -> None:
    end = Event("stage/end", "stage", {"name": "end"})
    trace = trace_of([call(1.0, 0.1, {"value": 1.0}), end, call(2.0, 0.1, {"value": 1.0}, {"value": 0.0})], pause=600)
    assert {place: part.rollouts for place, part in trace.parts.items()} == {
        ("search", "rollouts"): 1,
        ("end", "rollouts"): 2,
    }


def test_a_true_reward_counts_where_all_rollouts_have_one() -> None:
    whole = trace_of([call(1.0, 0.1, {"value": 1.0, "true": 0.5}, {"value": 0.0, "true": 0.0})], pause=600)
    part = trace_of([call(1.0, 0.1, {"value": 1.0, "true": 0.5}, {"value": 0.0})], pause=600)
    assert (whole.means["c"].mean(), whole.means["c"].mean_true()) == (0.5, 0.25)
    assert part.means["c"].mean_true() is None
