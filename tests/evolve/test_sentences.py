"""Sentences: taken apart and put together again, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.evolve.sentences import added, fitted, length, pieces, removals, sentences, without


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


@pytest.mark.parametrize(
    ("text", "new", "found"),
    [
        ("", "warn on sums .", "warn on sums ."),
        ("be kind .", "warn on sums .", "be kind . warn on sums ."),
        ("ask the user on sums . be kind .", "ask the user on birds .", "ask the user on birds . be kind ."),
        ("be kind .\nask the user on sums .", "ask the other one .", "be kind .\nask the other one ."),
        ("ask the user . ask the dog .", "ask the user .", "ask the user . ask the dog ."),
        ("ask the .", "ask me .", "ask the . ask me ."),
    ],
)
def test_a_sentence_takes_the_place_of_one_that_begins_alike(text: str, new: str, found: str) -> None:
    assert fitted(text, new) == found


@given(st.lists(st.sampled_from(["ask the user on sums .", "be kind .", "warn me at once ."]), unique=True))
def test_what_is_fitted_in_is_there_and_nothing_else_is_lost(have: list[str]) -> None:
    got = sentences(fitted(" ".join(have), "ask the user on birds ."))
    assert "ask the user on birds ." in got
    assert [one for one in have if not one.startswith("ask")] == [one for one in got if not one.startswith("ask")]
    assert sum(one.startswith("ask") for one in got) == 1
