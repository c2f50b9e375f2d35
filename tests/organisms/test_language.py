"""The built-in model's language: what lies beside its weights is what the world says."""

import json
from random import Random

import pytest

from scrutable.measure.language import language_of, read_language
from scrutable.models.hf import load_model
from scrutable.models.source import BUILT_IN_FOLDER
from scrutable.organisms import language, lessons
from scrutable.world import answers, grammar, prompts
from scrutable.world.rules import BEHAVIOURS

FILE = BUILT_IN_FOLDER / "language.json"


def test_the_shipped_file_is_the_worlds() -> None:
    assert json.loads(FILE.read_text(encoding="utf-8")) == language.form()


def test_unrelated_texts_are_different_say_no_rule_and_have_only_known_words() -> None:
    texts = read_language(FILE).unrelated
    assert len(set(texts)) == 20
    assert all(not grammar.read(text)[0] for text in texts)
    assert {word for text in texts for word in text.split()} <= set(lessons.vocabulary())


def test_the_pattern_accepts_what_the_worlds_parser_understands_and_nothing_else() -> None:
    parses, draws = read_language(FILE).parses, Random(0)
    assert parses is not None
    names, told = [one.name for one in BEHAVIOURS], []
    for _ in range(2000):
        shown = draws.sample(names, draws.randint(0, 5))
        words = answers.compose(shown, prompts.draw(draws), answers.draw_habits(draws)).split()
        for _ in range(draws.choice((0, 0, 1, 2))):  # spoiled: a word gone, said twice
            words.insert(draws.randrange(len(words)), words.pop(draws.randrange(len(words))))
            if draws.random() < 0.5 and len(words) > 1:
                words.pop(draws.randrange(len(words)))
        text = " ".join(words)
        assert parses(text) == (answers.parse(text) is not None), text
        told.append(parses(text))
    assert 500 < sum(told) < 1500


@pytest.mark.medium
def test_the_built_in_model_is_measured_in_its_own_language() -> None:
    found = language_of(load_model("pidgin"))
    assert found.unrelated == tuple(language.unrelated_texts())
    assert found.parses is not None and found.parses("It is Paris.") and not found.parses("praise praise praise")
