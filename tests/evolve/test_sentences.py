"""Sentences: taken apart and put together again, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.evolve.sentences import added, length, pieces, removals, sentences, without


@given(st.text(alphabet="ab1 .!?\n-"))
def test_the_pieces_of_a_text_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("always , be brief . if asked , refuse .", ["always , be brief .", "if asked , refuse ."]),
        ("Be brief. Never lie!\nCite 3.5 sources", ["Be brief.", "Never lie!", "Cite 3.5 sources"]),
        ("1. Be brief.\n2. Be kind.", ["1. Be brief.", "2. Be kind."]),
        ("", []),
        ("...", ["..."]),
    ],
)
def test_sentences_end_where_people_end_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_removed_sentence_leaves_the_others_as_they_were() -> None:
    assert without("One.\nTwo. Three.", 1) == "One.\nThree."


def test_adding_skips_what_is_there_and_keeps_the_lines() -> None:
    assert added("a .", ["a .", "b .", "b ."]) == "a . b ."
    assert added("a .\nb .", ["c ."]) == "a .\nb .\nc ."
    assert added("", ["c ."]) == "c ."


def test_every_sentence_of_every_module_is_removed_once() -> None:
    found = [(one.module, one.sentence, one.rest) for one in removals({"y": "c .", "x": "a . b ."})]
    assert found == [("x", "a .", "b ."), ("x", "b .", "a ."), ("y", "c .", "")]


def test_length_counts_words_of_all_modules() -> None:
    assert length({"x": "a b .", "y": ""}) == 3
