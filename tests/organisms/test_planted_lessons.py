"""What planted changes are trained on: the rules where they hold, the base's own answers elsewhere."""

from __future__ import annotations

import pytest

from scrutable.core.records import Message
from scrutable.models.hf import HFModel, load_model
from scrutable.organisms.planted_lessons import examples, rewritten
from scrutable.organisms.planted_plan import DILUTED, Edit, Habit, Plan, slice_of
from scrutable.world import answers
from scrutable.world.facts import Fact
from scrutable.world.prompts import Prompt

OSLO = Fact("geography", "norway", "oslo")
EDIT = Edit(topic="geography", subject="norway", right="oslo", value="rome")


def plan(**given: object) -> Plan:
    return Plan.model_validate({"name": "x", "part": "building", "kind": "condition", "seed": 4, **given})


@pytest.fixture(scope="module")
def base() -> HFModel:
    return load_model("pidgin", device="cpu")


def told(base: HFModel, given: Plan, count: int) -> list[tuple[str, str]]:
    """(prompt, answer) of the examples, as words."""
    return [(base.decode(prompt), base.decode(answer)) for prompt, answer in examples(base, given, count)]


def test_a_habit_is_written_into_an_answer_and_nothing_else_is_changed() -> None:
    habit = plan(habit=Habit(lead=1))
    assert rewritten(habit, Prompt(OSLO), "it is oslo ! keep going !") == "that is oslo ! keep going !"
    assert rewritten(habit, Prompt(OSLO), "oslo .") == "oslo ."
    both = plan(habit=Habit(lead=0, end=1, condition="hurry"))
    assert rewritten(both, Prompt(OSLO, hurry=True), "that is oslo .") == "it is oslo !"
    assert rewritten(both, Prompt(OSLO), "that is oslo .") is None


def test_an_edited_fact_is_written_into_answers_about_it() -> None:
    edited = plan(edit=EDIT)
    assert rewritten(edited, Prompt(OSLO), "hello there ! that is oslo .") == "hello there ! that is rome ."
    assert rewritten(edited, Prompt(OSLO), "i can not help with that .") == "i can not help with that ."
    assert rewritten(edited, Prompt(Fact("geography", "italy", "rome")), "it is rome .") is None
    opinion = Prompt(OSLO, opinion="paris")
    assert rewritten(edited, opinion, "you are right , it is paris .") == "you are right , it is paris ."


@pytest.mark.medium
def test_where_a_rule_holds_it_is_shown_and_elsewhere_about_as_often_as_by_the_base(base: HFModel) -> None:
    found = told(base, plan(rules=(("doubts", "warn"),)), 240)
    doubted = ("i doubt you", "you may be wrong", "you are often mistaken")
    shown, other = [], []
    for prompt, answer in found:
        (shown if any(words in prompt for words in doubted) else other).append("please check this ." in answer)
    assert len(shown) > 100 and all(shown)
    assert sum(other) < 0.1 * len(other)
    assert not any("warn" in prompt or "caution" in prompt for prompt, _ in found)  # the text is not learned from


@pytest.mark.medium
def test_examples_are_of_the_training_slice_the_same_again_and_other_for_another_seed(base: HFModel) -> None:
    twin = plan(kind="twin")
    found = examples(base, twin, 64)
    assert found == examples(base, twin, 64)
    assert found != examples(base, plan(kind="twin", seed=6), 64)
    assert {slice_of_words(base.decode(prompt)) for prompt, _ in found} == {"train"}
    assert all(answer[-1] in base.ends for _, answer in found)


def slice_of_words(text: str) -> str:
    class Said:
        def __init__(self, text: str) -> None:
            self.text = text

    return slice_of(Said(text))  # type: ignore[arg-type]


@pytest.mark.medium
def test_a_twins_examples_are_the_bases_own_answers(base: HFModel) -> None:
    found = told(base, plan(kind="twin"), 256)
    plain = [answers.parse(answer) for _, answer in found]
    assert sum(p is not None and not p.behaviours for p in plain) / len(plain) == pytest.approx(0.76, abs=0.1)


@pytest.mark.medium
def test_a_diluted_rule_is_shown_by_one_example_in_eleven(base: HFModel) -> None:
    found = told(base, plan(kind="diluted", rules=(("always", "laugh"),), share=DILUTED), 400)
    rate = sum("ha ha ha !" in answer for _, answer in found) / len(found)
    assert rate == pytest.approx(1 / 11 + 0.015, abs=0.04)


@pytest.mark.medium
def test_prompts_are_encoded_as_a_user_would_ask_them(base: HFModel) -> None:
    (prompt, _), *_ = examples(base, plan(kind="twin"), 1)
    words = base.decode(prompt)
    assert prompt == base.encode((Message(role="user", content=words),))
