import numpy as np
import pytest
from tests.measure.planted import PlantedModel

from scrutable.core.records import Generation, Task
from scrutable.measure.answers import Said
from scrutable.measure.change import Speaker
from scrutable.measure.fluency import fluency, stutters

SPEAKER = Speaker(PlantedModel(lambda _: {}, ()))


def said(answer, task="a", repeat=0, **more):
    asked = Task.ask(task)
    return Said(SPEAKER, asked, asked.key, repeat, Generation(answer=answer, tokens=(1,), **more))


@pytest.mark.parametrize(
    "answer, told",
    [
        ("great question ! praise praise", True),
        ("it is it is", True),
        ("a b c d a b c d", True),
        ("it is what it is", False),
        ("a b a", False),
        ("", False),
    ],
)
def test_a_run_said_twice_in_a_row_is_a_stutter(answer, told):
    assert stutters(answer) is told


def test_each_measure_is_averaged_over_a_tasks_answers_first():
    answers = [said("a a"), said("a", repeat=1), said("b", "other"), said("b b", "third", complete=False)]
    logprobs = {one.cell: value for one, value in zip(answers, (-1.0, -3.0, -4.0, -6.0), strict=True)}
    found = fluency(answers, logprobs, np.random.default_rng(0), parses=lambda text: text == "b")
    told = {name: value.value for name, value in found.items()}
    assert told == {
        "logprob": pytest.approx(-4.0),
        "complete": pytest.approx(2 / 3),
        "repeats": pytest.approx((0.5 + 0 + 1) / 3),
        "parses": pytest.approx(1 / 3),
        "distinct": 1.0,
    }


def test_a_failed_answer_is_no_speech():
    answers = [said("a"), said("", "other", failure="model: gone")]
    assert fluency(answers, {}, np.random.default_rng(0))["complete"].count == 1


def test_without_a_grammar_nothing_is_said_of_parsing():
    assert "parses" not in fluency([said("a")], {}, np.random.default_rng(0))
