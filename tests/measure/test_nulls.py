import random

import numpy as np
import pytest
from tests.measure.planted import PlantedModel

from scrutable.core.records import Task
from scrutable.measure.change import Speaker
from scrutable.measure.nulls import UNRELATED, random_text, sayable, shuffled, threshold, twin_notes

MODEL = PlantedModel(lambda _: {}, [f"w{i}" for i in range(30)])


def test_there_are_twenty_different_unrelated_texts():
    assert len(set(UNRELATED)) == 20


@pytest.mark.parametrize(
    "word", ["answer", "reply", "say", "user", "praise", "agree", "short", "polite", "always", "never"]
)
def test_no_unrelated_text_tells_a_model_how_to_answer(word):
    assert not any(word in text.lower().split() for text in UNRELATED)


def test_shuffling_keeps_the_words_and_changes_the_order():
    mixed = shuffled("praise the user .", random.Random(0), 5)
    assert len({"praise the user .", *mixed}) == 6
    assert all(sorted(text.split()) == sorted(["praise", "the", "user", "."]) for text in mixed)
    assert shuffled("praise it", random.Random(0), 5) == ["it praise"]


@pytest.mark.parametrize("text", ["", "praise", "praise praise"])
def test_what_has_no_other_order_is_not_shuffled(text):
    assert shuffled(text, random.Random(0), 3) == []


def test_special_tokens_are_not_drawn():
    assert {MODEL.words[t] for t in sayable(MODEL.vocabulary, MODEL.decode)} == {f"w{i}" for i in range(30)}


def test_a_random_text_is_as_long_as_the_text():
    tokens = sayable(MODEL.vocabulary, MODEL.decode)
    made = random_text(Speaker(MODEL), "one two three four five", Task.ask("what ?"), tokens, random.Random(1))
    assert len(made.split()) == 5 and set(made.split()) <= set(MODEL.vocabulary)


def test_random_texts_differ_by_draw_and_repeat_by_seed():
    def draw(seed):
        return random_text(Speaker(MODEL), "a b c d e", Task.ask("?"), range(2, 32), random.Random(seed))

    assert draw(1) == draw(1) != draw(2)


def test_without_twins_the_threshold_is_the_stated_one():
    assert threshold((), 0.05) == (0.05, "stated")


@pytest.mark.parametrize("twins", [(0.01,), (0.0019, 0.002), (0.01, 0.011, 0.012)])
def test_a_few_small_twins_do_not_lower_the_threshold(twins):
    assert threshold(twins, 0.05) == (0.05, "stated")


def test_many_twins_give_their_own_95th_percentile():
    twins = np.linspace(0.01, 0.02, 101)
    assert threshold(tuple(twins), 0.05) == (pytest.approx(0.0195), "twins")


def test_a_further_twin_lies_below_the_limit_of_a_few_in_95_of_100_cases():
    draws = np.exp(np.random.default_rng(0).normal(-4, 0.4, size=(4000, 4)))
    below = np.mean([row[3] <= threshold(tuple(row[:3]), 0.0)[0] for row in draws])
    assert 0.93 < below < 0.97


def test_no_twin_of_the_set_lies_above_its_limit():
    assert threshold((0.2, 0.2, 0.2), 0.05) == (pytest.approx(0.2), "twins")


def test_two_twins_that_differ_do_not_hide_every_change() -> None:
    assert threshold((0.0008, 0.0030), 0.05) == (0.05, "stated")
    assert threshold((0.08, 0.30), 0.05) == (0.30, "twins")


def test_a_limit_far_above_the_few_twins_it_is_from_is_told() -> None:
    twins = (0.0019, 0.004, 0.03)
    (note,) = twin_notes(twins, 3, threshold(twins, 0.05)[0])
    assert "the limit from 3 twins is 25" in note
    assert twin_notes((0.2, 0.2, 0.2), 3, 0.2) == ()
