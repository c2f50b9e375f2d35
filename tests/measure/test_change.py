import pytest
from tests.measure.planted import PlantedModel

from scrutable.core.errors import UserError
from scrutable.core.records import Task
from scrutable.measure.change import Change, Speaker
from scrutable.models.replay import ScriptedModel

TASK = Task.ask("what ?")


def planted(name="planted", words=("yes", "no"), **more):
    return PlantedModel(lambda _: {"yes": 1.0}, words, name=name, **more)


def test_a_text_stands_where_programs_place_it():
    roles = [(m.role, m.content) for m in Speaker(planted(), "be short .").conversation(TASK)]
    assert roles == [("system", "be short ."), ("user", "what ?")]


def test_a_given_text_comes_after_the_speakers_own():
    assert Speaker(planted(), "one").given("two").text == "one\n\ntwo"


@pytest.mark.parametrize("own, more, both", [("", "two ", "two "), ("one", "", "one")])
def test_an_empty_text_adds_nothing(own, more, both):
    assert Speaker(planted(), own).given(more).text == both


def test_the_text_is_part_of_the_identity():
    model = planted()
    assert Speaker(model).identity == Speaker(model, "").identity != Speaker(model, "a").identity


def test_the_remainder_starts_from_the_before_given_the_text():
    change = Change(Speaker(planted()), Speaker(planted("after")))
    assert change.remainder("a") == Change(change.before.with_text("a"), change.after)


def test_a_model_without_log_probabilities_is_refused_in_one_line():
    served = Speaker(ScriptedModel({}))
    with pytest.raises(UserError, match="no log-probabilities") as told:
        Change(Speaker(planted()), served).check()
    assert "\n" not in str(told.value)


def test_different_tokenizers_are_refused_in_one_line():
    with pytest.raises(UserError, match="different tokenizers") as told:
        Change(Speaker(planted()), Speaker(planted(words=("quite", "other", "words")))).check()
    assert "\n" not in str(told.value)


def test_an_added_token_is_no_other_tokenizer():
    many = [f"w{i}" for i in range(50)]
    Change(Speaker(planted(words=many)), Speaker(planted(words=[*many, "added"]))).check()


def test_a_remainder_knows_the_texts_that_leave_it_and_has_a_place_of_its_own():
    change = Change(Speaker(planted()), Speaker(planted("after")))
    once, twice = change.remainder("a"), change.remainder("a").remainder("b")
    assert [one.remainder_of for one in (change, change.remainder(""), once, twice)] == ["", "", "a", "a\n\nb"]
    assert change.place == "" and once.place.startswith("remainder/") and once.place != twice.place
