"""Words: hidden characters are shown, differences are true to the texts, numbers read as people read them."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.core.accounts import Interval
from scrutable.report.words import between, compared, number, percent, plain, plural, seconds, shortened, visible, woven


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_that_hides_or_directs_is_left(text: str) -> None:
    shown = visible(text)
    left = {
        c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\t\n\u200c\u200d"
    }
    # digits signs, musical and shorthand controls are visible or harmless; none of them directs what stands around it
    assert not {
        c
        for c in left
        if unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE", "PDF", "LRI", "RLI", "FSI", "PDI")
    }
    assert not {c for c in left if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}


@pytest.mark.parametrize(
    "char", ["\x00", "\x1b", "\x7f", "\x85", "\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041", "\ud800"]
)
def test_a_hidden_character_is_named(char: str) -> None:
    assert visible(f"a{char}b") == f"a⟨U+{ord(char):04X}⟩b"


@pytest.mark.parametrize(
    "text", ["plain", "tab\there", "two\nlines", "naïve Ωmega 日本 العربية", "👩\u200d👩\u200d👧", "می\u200cخواهم"]
)
def test_honest_text_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_a_joiner_that_hides_between_ascii_letters_is_shown() -> None:
    assert visible("pass\u200dword") == "pass⟨U+200D⟩word"


def test_a_lone_carriage_return_is_shown_and_a_windows_line_end_is_a_line_end() -> None:
    assert visible("a\rb\r\nc") == "a⟨U+000D⟩b\nc"


@given(st.text(alphabet="ab .,\n", max_size=60), st.text(alphabet="ab .,\n", max_size=60))
def test_both_sides_of_a_comparison_give_the_texts_back(old: str, new: str) -> None:
    left, right = compared(old, new)
    assert "".join(piece.text for piece in left) == old
    assert plain(right) == new
    assert plain(woven(old, new)) == new


def test_a_changed_word_is_marked_on_both_sides() -> None:
    left, right = compared("the sky is blue .", "the sky is green .")
    assert [(p.text, p.mark) for p in left if p.mark != "same"] == [("blue", "gone")]
    assert [(p.text, p.mark) for p in right if p.mark != "same"] == [("green", "new")]


@pytest.mark.parametrize(
    ("old", "new"), [("a " * 3000, "a b " * 1500), ("a " * 3000, "b " + "a " * 2900), ("a b " * 1500, "b a a " * 1000)]
)
def test_a_text_that_stutters_is_compared_in_no_time(old: str, new: str) -> None:
    began = time.process_time()
    left, right = compared(old, new)
    assert time.process_time() - began < 1
    assert ("".join(piece.text for piece in left), plain(right)) == (shortened(old), shortened(new))


def test_equal_texts_have_no_marks() -> None:
    assert {piece.mark for side in compared("a b", "a b") for piece in side} == {"same"}


def test_what_is_cut_is_said() -> None:
    assert shortened("x" * 10, 4) == "xxxx … (6 more characters)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.989, "98.9%"),
        (0.5, "50%"),
        (-4.27, "−427%"),
        (-50.0, "−5,000%"),
        (0.0, "0%"),
        (-0.0001, "0%"),
        (1.004, "100%"),
    ],
)
def test_percent(value: float, shown: str) -> None:
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3.781, "3.78"), (0.0384, "0.038"), (12400.0, "12,400"), (0.0, "0"), (-2.0, "−2"), (4e-5, "4.0e−05")],
)
def test_number(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.41, "0.4 s"), (38.2, "38 s"), (250.0, "4 min 10 s"), (7500.0, "2 h 5 min"), (3599.9, "1 h 0 min")],
)
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown


def test_an_interval_without_ends_says_nothing() -> None:
    assert between(Interval(value=1.0)) == ""
    assert between(Interval(value=0.5, low=0.4, high=0.62)) == "40 to 62%"


def test_plural() -> None:
    assert (plural(1, "text"), plural(2, "text"), plural(1200, "reply", "replies")) == (
        "1 text",
        "2 texts",
        "1,200 replies",
    )
