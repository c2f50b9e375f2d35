import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lenses import made

from scrutable.lenses.contrast import Feature, chance, copied_words, count, count_one, features_in, gain, spans
from scrutable.lenses.words import runs_of

WORDS = ("great", "question", "!", "it", "is", "great")


@pytest.mark.parametrize(
    "feature, found",
    [
        (Feature("opens", ("great", "question")), [(0, 2)]),
        (Feature("opens", ("it",)), []),
        (Feature("ends", ("is", "great")), [(4, 6)]),
        (Feature("contains", ("great",)), [(0, 1), (5, 6)]),
        (Feature("copies", ("think",)), [(1, 2)]),
        (Feature("copies", ("guess",), also=(("think",),)), [(1, 2)]),
        (Feature("single"), []),
    ],
)
def test_where_an_answer_has_a_feature(feature, found):
    assert spans(feature, WORDS, {("think",): "question"}) == found


@pytest.mark.parametrize(
    "words, single", [(("paris",), True), (("paris", "."), True), (("it", "is"), False), ((".",), False)]
)
def test_one_word_may_have_punctuation(words, single):
    assert bool(spans(Feature("single"), words, {})) is single


@given(st.lists(st.sampled_from(["a", "b", "c", "."]), max_size=8).map(tuple))
def test_an_answer_has_exactly_the_features_listed_of_it(words):
    copied = {("x",): "a", ("y",): "q"}
    listed = features_in(words, copied, 3)
    assert all(spans(Feature(*key), words, copied) for key in listed)
    assert (("copies", ("x",)) in listed) == ("a" in words)
    assert sum(kind == "contains" for kind, _ in listed) == len(runs_of(words, 3))


def test_counting_one_feature_agrees_with_counting_all():
    answers = made.answers(made.plain, made.sometimes(0.5, lambda p, _: f"great ! {made.opinion(p) or 'yes'} ."))
    counts = count(answers, 4, 3)
    for row in range(0, len(counts.features), 7):
        one = count_one(counts.features[row], answers)
        for name in ("before", "after", "of_before", "of_after"):
            assert np.array_equal(getattr(one, name)[0], getattr(counts, name)[row])


@pytest.mark.parametrize("least", [3, 40])
def test_only_features_of_enough_answers_are_counted_and_none_of_them_is_missed(least):
    answers = made.answers(made.plain, made.sometimes(0.5, lambda p, d: f"great question ! {made.plain(p, d)}"))
    number = Counter(
        key
        for told in (answers.before, answers.after)
        for mine, copied in zip(told, answers.copied, strict=True)
        for one in mine
        for key in features_in(one.words, copied, 4)
    )
    expected = {Feature(*key) for key, times in number.items() if times >= least}
    assert set(count(answers, 4, least).features) == expected


def test_a_word_is_copied_where_its_run_has_many_different_next_words():
    asked = [[("i", "think", value), ("what", "is", "it")] for value in ("a", "b", "c", "a")]
    copied = copied_words(asked, least=3)
    assert [found[("i", "think")] for found in copied] == ["a", "b", "c", "a"]
    assert not any(("what",) in found for found in copied)


def test_of_runs_that_copy_the_same_only_the_longest_counts():
    asked = [[("i", "think", value)] for value in "abcd"]
    assert all(set(found) == {("i", "think")} for found in copied_words(asked, least=3))


def test_information_agrees_with_entropies():
    def h(p):
        return -sum(x * math.log(x) for x in (p, 1 - p) if x)

    expected = 100 * h((10 + 90) / 200) * 2 - 100 * h(0.1) - 100 * h(0.9)
    assert float(gain(*map(np.array, (10.0, 100.0, 90.0, 100.0)))) == pytest.approx(expected)


def test_equal_rates_carry_nothing():
    assert float(gain(*map(np.array, (10.0, 100.0, 5.0, 50.0)))) == pytest.approx(0, abs=1e-9)


def permuted(hits_b, of_b, hits_a, of_a, rng, draws=20000):
    """The same p-value by drawing labels within tasks."""
    n, k, m = (of_b + of_a).astype(int), (hits_b + hits_a).astype(int), of_a.astype(int)
    drawn = rng.hypergeometric(k, n - k, m, size=(draws, len(n))).sum(axis=1)
    middle = (m * k / n).sum()
    return np.mean(np.abs(drawn - middle) >= abs(hits_a.sum() - middle) - 1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.12])
def test_chance_agrees_with_permuted_labels(shift):
    rng = np.random.default_rng(5)
    rates = rng.uniform(0.1, 0.6, 60)
    of = np.full(60, 4.0)
    hits_b, hits_a = rng.binomial(4, rates).astype(float), rng.binomial(4, np.minimum(rates + shift, 1)).astype(float)
    exact = permuted(hits_b, of, hits_a, of, rng)
    assert chance(hits_b, of, hits_a, of) == pytest.approx(exact, rel=0.25, abs=0.01)


def test_under_no_difference_chance_is_rarely_small():
    rng = np.random.default_rng(1)
    of = np.full(40, 4.0)
    small = sum(
        chance(*(x for side in (0, 1) for x in (rng.binomial(4, 0.3, 40).astype(float), of))) < 0.05
        for _ in range(1000)
    )
    assert small < 60


def test_tasks_answered_on_one_side_only_say_nothing():
    assert chance(np.array([0.0]), np.array([4.0]), np.array([0.0]), np.array([0.0])) == 1.0
