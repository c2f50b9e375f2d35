"""Reward functions: how they are called, what they may return, what becomes of failures."""

import asyncio
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.core.errors import UserError
from scrutable.core.records import Message, Task
from scrutable.envs.rewards import HOPELESS, LOST, Function, Rater, listed, number

TASKS = [Task.ask("a", gold="x"), Task.ask("b", gold="y"), Task.ask("c")]
ANSWERS = ["x", "no", "c"]


def rater(*rewards, **rest):
    functions = [Function(f"f{i}", f) if callable(f) else f for i, f in enumerate(rewards)]
    return Rater(functions, columns=("gold",), **rest)


def values(*rewards, tasks=TASKS, answers=ANSWERS, **rest):
    return [s.value for s in rater(*rewards, **rest).rate(tasks, answers)]


def test_strings_go_in_as_strings_and_columns_as_lists():
    seen = {}

    def reward(prompts, completions, completion_ids, gold, **kwargs):
        seen.update(kwargs, prompts=prompts, completions=completions, gold=gold, ids=len(completion_ids))
        return [0.0] * 3

    values(reward)
    assert (seen["prompts"], seen["completions"], seen["gold"]) == (["a", "b", "c"], ANSWERS, ["x", "y", None])
    assert seen["ids"] == 3
    assert seen["trainer_state"] is None
    seen["log_extra"]("column", [1])
    seen["log_metric"]("metric", 1.0)


def test_conversations_go_in_as_lists_of_messages():
    task = Task(messages=(Message(role="system", content="s"), Message(role="user", content="u")))
    seen = {}

    def reward(prompts, completions, **kwargs):
        seen.update(prompts=prompts, completions=completions)
        return [1.0]

    values(reward, tasks=[task], answers=["hi"], conversational=True)
    assert seen["prompts"] == [[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]]
    assert seen["completions"] == [[{"role": "assistant", "content": "hi"}]]


@pytest.mark.medium
def test_the_arguments_are_those_that_trl_passes():
    pytest.importorskip("trl")
    import inspect

    from trl import GRPOTrainer

    source = inspect.getsource(GRPOTrainer._calculate_rewards)
    given = Rater([], columns=())._arguments([], [])
    for name in given:
        assert f'"{name}"' in source or f"{name}=" in source


def test_a_function_without_kwargs_is_given_what_it_names():
    assert values(lambda completions: [float(len(c)) for c in completions]) == [1.0, 2.0, 1.0]


def test_an_argument_that_no_row_has_is_refused_at_once():
    with pytest.raises(UserError, match="`f0` asks for `answer`"):
        rater(lambda completions, answer, **kwargs: [])


def test_token_ids_say_that_they_are_not_known():
    (score,) = rater(lambda completion_ids, **kwargs: [len(i) for i in completion_ids]).rate(TASKS[:1], ["x"])
    assert score.value is None
    assert "not known when an answer is rated" in score.failures[0]


def test_a_function_that_changes_its_lists_changes_no_task():
    task = Task.ask("a", gold=["x"])

    def reward(completions, gold, **kwargs):
        gold[0].clear()
        completions.clear()
        return [1.0]

    assert values(reward, tasks=[task], answers=["x"]) == [1.0]
    assert task.columns["gold"] == ["x"]


def test_the_value_is_the_weighted_sum_of_what_applies():
    first, second = (
        Function("first", lambda **_: [1.0, None, None], 2.0),
        Function("second", lambda **_: [3, 3, None], 0.5),
    )
    scores = rater(first, second).rate(TASKS, ANSWERS)
    assert [s.value for s in scores] == [3.5, 1.5, None]
    assert scores[1].parts == {"first": None, "second": 3.0}
    assert scores[1].failures == ()
    assert "no function applies" in scores[2].failures[0]


def test_where_a_weighted_function_failed_there_is_no_value_but_the_parts_stay():
    (score,) = rater(lambda **_: [math.nan], lambda **_: [1.0]).rate(TASKS[:1], ["x"])
    assert score.value is None
    assert score.parts == {"f0": None, "f1": 1.0}
    assert score.failures == ("reward: f0: it returned nan, which is no finite number",)


def test_a_function_of_weight_zero_may_fail():
    (score,) = rater(Function("shown", lambda **_: ["?"], 0.0), lambda **_: [1.0]).rate(TASKS[:1], ["x"])
    assert score.value == 1.0
    assert len(score.failures) == 1


def test_async_rewards_are_awaited():
    async def judge(completions, **kwargs):
        await asyncio.sleep(0)
        return [1.0 if c == "x" else None for c in completions]

    assert values(judge, lambda **_: [1, 1, 1]) == [2.0, 1.0, 1.0]


def test_when_a_batch_raises_only_the_guilty_answer_is_lost():
    def reward(completions, **kwargs):
        return [1 / (c != "no") for c in completions]

    scores = rater(reward).rate(TASKS, ANSWERS)
    assert [s.value for s in scores] == [1.0, None, 1.0]
    (failure,) = scores[1].failures
    assert failure.startswith("reward: f0: ZeroDivisionError: division by zero (test_rewards.py, line ")
    assert scores[0].failures == ()


@pytest.mark.parametrize("is_async", [False, True])
def test_when_a_batch_hangs_only_the_guilty_answer_is_lost(is_async):
    def reward(completions, **kwargs):
        if "no" in completions:
            time.sleep(1.5)
        return [1.0] * len(completions)

    async def later(completions, **kwargs):
        if "no" in completions:
            await asyncio.sleep(60)
        return [1.0] * len(completions)

    scores = rater(later if is_async else reward, seconds=0.4).rate(TASKS, ANSWERS)
    assert [s.value for s in scores] == [1.0, None, 1.0]
    assert "no answer within" in scores[1].failures[0]


def test_a_function_that_always_hangs_takes_three_time_limits_at_most():
    began = time.monotonic()
    with pytest.raises(UserError, match="fails"):
        values(lambda **_: time.sleep(60), tasks=[Task.ask("a")] * 60, answers=["x"] * 60, seconds=0.4)
    assert time.monotonic() - began < 3 * 0.4 + 0.5


def test_what_there_was_no_time_for_is_none_and_said():
    def reward(completions, **kwargs):
        if len(completions) > 1:
            raise ValueError
        time.sleep(0.08)
        return [1.0]

    scores = rater(reward, seconds=0.8).rate([Task.ask("a")] * 25, ["x"] * 25)
    assert any(score.value == 1.0 for score in scores)
    assert scores[-1].value is None
    assert "not asked again" in scores[-1].failures[0]


def test_a_reward_that_never_works_ends_in_one_line():
    bad = rater(lambda **_: 1 / 0)
    with pytest.raises(UserError, match=r"every call of `f0` fails: .*ZeroDivisionError"):
        bad.rate([Task.ask("a")] * HOPELESS, ["x"] * HOPELESS)


def test_a_task_that_always_fails_does_not_pass_for_all():
    def reward(prompts, **_):
        if "b" in prompts:
            raise ValueError("not this one")
        return [1.0] * len(prompts)

    tasks = [Task.ask("b")] * HOPELESS + [Task.ask("a")]
    scores = rater(reward).rate(tasks, ["x"] * len(tasks))
    assert [s.value for s in scores] == [None] * HOPELESS + [1.0]


def test_what_there_was_no_time_for_is_no_failure_of_the_function():
    def reward(completions, **_):
        if "slow" in completions:
            time.sleep(60)
        return [1.0] * len(completions)

    judge = rater(reward, seconds=0.2)
    judge.rate([Task.ask("a")], ["good"])
    answers = ["slow"] * 20 + ["good"] * LOST
    scores = judge.rate([Task.ask("a")] * len(answers), answers)
    assert all("not asked again" in s.failures[0] for s in scores[20:])
    assert judge.tallies["f0"].failed == judge.tallies["f0"].asked - 1 < 20


def test_a_few_failures_end_nothing():
    bad = rater(lambda **_: 1 / 0)
    bad.rate([Task.ask("a")] * (HOPELESS - 1), ["x"] * (HOPELESS - 1))
    assert (bad.tallies["f0"].asked, bad.tallies["f0"].failed) == (HOPELESS - 1, HOPELESS - 1)
    with pytest.raises(UserError):
        bad.rate([Task.ask("a")], ["x"])


def test_a_reward_that_stops_working_ends_in_one_line():
    def reward(completions, **kwargs):
        return [1.0 if c == "good" else math.inf for c in completions]

    worked = rater(reward)
    worked.rate([Task.ask("a")], ["good"])
    worked.rate([Task.ask("a")] * (LOST - 1), ["bad"] * (LOST - 1))
    with pytest.raises(UserError, match=f"the last {LOST} answers"):
        worked.rate([Task.ask("a")], ["bad"])


def test_none_is_no_failure_to_the_tally():
    silent = rater(lambda completions, **_: [None] * len(completions))
    scores = silent.rate([Task.ask("a")] * 100, ["x"] * 100)
    assert silent.tallies["f0"].failed == 0
    assert all(s.value is None for s in scores)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (1.0, "returned 1.0"),
        (None, "returned None"),
        ({"a": 1}, "returned {'a': 1}"),
        ("abc", "returned 'abc'"),
        ([1.0], "returned 1 entries for 3 answers"),
        ([1.0] * 4, "returned 4 entries for 3 answers"),
    ],
)
def test_rewards_of_the_wrong_type_or_number_end_in_one_line(output, said):
    with pytest.raises(UserError) as caught:
        values(lambda **_: output)
    assert said in str(caught.value)


def test_a_coroutine_from_a_plain_function_is_told_how_to_be_one():
    async def judge(**kwargs):
        return [1.0]

    with pytest.raises(UserError, match="declare it with `async def`"):
        values(lambda **kwargs: judge(**kwargs))


def test_tuples_generators_and_arrays_are_lists_too():
    numpy = pytest.importorskip("numpy")
    for output in ((1, 0, 1), iter([1, 0, 1]), numpy.array([1, 0, 1]), [numpy.float32(1), numpy.int64(0), True]):
        assert values(lambda output=output, **_: output) == [1.0, 0.0, 1.0]


def test_feedback_and_true_reward_stand_beside_the_value():
    made = rater(
        lambda **_: [1, 1, 1],
        true_reward=Function("true_reward", lambda **_: [0, 1, None]),
        feedback=Function("feedback", lambda **_: ["good", None, "bad"]),
    )
    scores = made.rate(TASKS, ANSWERS)
    assert [(s.value, s.true, s.feedback) for s in scores] == [(1.0, 0.0, "good"), (1.0, 1.0, ""), (1.0, None, "bad")]


@pytest.mark.parametrize("output", [None, ["good"], [1, 2], "good"])
def test_feedback_that_fails_costs_no_value_and_ends_nothing(output):
    made = rater(lambda completions, **_: [1.0] * len(completions), feedback=Function("feedback", lambda **_: output))
    for _ in range(HOPELESS):
        scores = made.rate(TASKS[:2], ANSWERS[:2])
    assert [s.value for s in scores] == [1.0, 1.0]
    assert all(s.failures[0].startswith("feedback: ") for s in scores)


def test_no_answers_are_no_call():
    assert rater(lambda **_: 1 / 0).rate([], []) == []


@given(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()) | st.complex_numbers()
)
def test_a_number_is_a_finite_float_or_none_or_refused(value):
    try:
        found = number(value)
    except (TypeError, ValueError):
        assert not (isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e300)
        return
    assert found is None if value is None else isinstance(found, float) and math.isfinite(found) and found == value


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)), st.integers(0, 5))
def test_a_list_passes_unchanged_exactly_when_its_length_fits(output, count):
    if len(output) == count:
        assert listed("f", output, count) == output
    else:
        with pytest.raises(UserError):
            listed("f", output, count)


@given(st.lists(st.none() | st.floats(-1e6, 1e6) | st.just(math.nan) | st.just("?"), min_size=1, max_size=7))
def test_values_stand_where_their_answers_stood(output):
    scores = rater(lambda **_: output).rate([Task.ask("a")] * len(output), ["x"] * len(output))
    wanted = [v if isinstance(v, float) and math.isfinite(v) else None for v in output]
    assert [s.value for s in scores] == wanted
    assert [bool(s.failures) for s in scores] == [v is None for v in wanted]
