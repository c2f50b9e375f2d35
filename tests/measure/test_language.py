import json

import pytest
from tests.measure.planted import PlantedModel

from scrutable.core.errors import UserError
from scrutable.measure.language import FORMAT, Language, language_of, unknown_words
from scrutable.measure.nulls import UNRELATED


def model(folder=None):
    made = PlantedModel(lambda _: {}, ["il", "pleut", "."])
    made.origin = folder
    return made


def write(folder, **form):
    (folder / FORMAT).write_text(json.dumps(form))
    return model(folder)


def test_a_model_without_a_file_has_plain_english_and_no_grammar(tmp_path):
    assert language_of(model()) == language_of(model(tmp_path)) == Language(UNRELATED, None)


def test_the_file_beside_the_weights_says_texts_and_grammar(tmp_path):
    found = language_of(write(tmp_path, unrelated=["il pleut ."], answer="il pleut [.!]"))
    assert found.unrelated == ("il pleut .",)
    assert found.parses("Il pleut!") and not found.parses("il pleut")


@pytest.mark.parametrize(
    "form",
    [{}, {"unrelated": [], "answer": "x"}, {"unrelated": ["x"], "answer": "("}, {"unrelated": [3], "answer": "x"}],
)
def test_a_malformed_file_is_told_and_not_passed_over(tmp_path, form):
    with pytest.raises(UserError, match=r"language.json is no language .*: mend it or remove it"):
        language_of(write(tmp_path, **form))


def test_words_that_do_not_come_back_from_the_tokenizer_are_unknown():
    assert unknown_words(model(), ["il pleut .", "it pleut ."]) == 0.25
    assert unknown_words(model(), []) == 0
