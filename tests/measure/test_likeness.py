"""Likeness of answers, and the gap of two speakers: against closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.measure.likeness import gap_of, heard, likeness, likenesses, words_of

ANSWERS = st.lists(st.sampled_from(["it", "is", "rome", "paris", "."]), max_size=6).map(" ".join)


def gap(ours: list[str], theirs: list[str]) -> float:
    told = likenesses([heard(one) for one in (*ours, *theirs)])
    n = len(ours)
    return gap_of(told[:n, :n], told[n:, n:], told[:n, n:])


@pytest.mark.parametrize(
    ("one", "two", "value"),
    [
        ("it is rome .", "it is rome .", 1.0),
        ("It is Rome.", "it is rome .", 1.0),
        ("yes", "no", 0.0),
        ("", "", 1.0),
        ("", "yes", 0.0),
        ("it is rome", "it is paris", 2 * 2 / 8),  # "it", "it is" of four pairs each
        ("a a a", "a a", 2 * 3 / 7),
    ],
)
def test_it_is_the_overlap_of_word_pairs(one: str, two: str, value: float) -> None:
    assert likeness(one, two) == likeness(two, one) == pytest.approx(value)


@given(st.lists(ANSWERS, min_size=2, max_size=7))
def test_as_a_kernel_it_is_positive_semidefinite(answers: list[str]) -> None:
    table = likenesses([heard(one) for one in answers])
    assert np.linalg.eigvalsh(table).min() > -1e-9


def test_the_gap_is_unbiased() -> None:
    """Over all draws of two answers each it averages to the squared distance of the distributions, worked out by hand."""
    chances, others = {"yes": 0.5, "it is rome": 0.3, "it is": 0.2}, {"yes": 0.1, "it is rome": 0.9}

    def drawn(of: dict[str, float]) -> list[tuple[list[str], float]]:
        return [([a, b], of[a] * of[b]) for a, b in itertools.product(of, of)]

    mean = sum(p * q * gap(ours, theirs) for ours, p in drawn(chances) for theirs, q in drawn(others))
    apart = {one: chances.get(one, 0.0) - others.get(one, 0.0) for one in chances}
    exact = sum(apart[a] * apart[b] * likeness(a, b) for a in apart for b in apart)
    assert mean == pytest.approx(exact)


def test_who_always_says_the_commonest_answer_is_liker_than_the_speaker_itself_and_farther() -> None:
    """Why the gap is not the loss of likeness: two thirds of the tuned model's answers are "yes", the rest are "no"."""
    tuned, always = ["yes"] * 20 + ["no"] * 10, ["yes"] * 30
    alike = [float(np.mean([likeness(a, b) for a in one for b in tuned])) for one in (tuned, always)]
    assert alike == pytest.approx([5 / 9, 2 / 3])
    assert gap(always, tuned) > 0.1 > abs(gap(tuned, tuned[::-1])) * 2


def test_words_are_letters_marks_and_breaks() -> None:
    assert words_of("it's\n\nso, no?") == ("it's", "⏎", "so", ",", "no", "?")
