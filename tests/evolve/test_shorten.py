"""Shortening: the front, the margin, the order of the tests, and what is reported."""

from __future__ import annotations

import pytest
from tests.evolve.planting import PayingEnv, additive

from scrutable.bench.planted import Echo
from scrutable.core.journal import Run
from scrutable.evolve.games import Subject
from scrutable.evolve.shorten import ShortenConfig, ShortenResult, falling, shorten
from scrutable.evolve.worth import WorthConfig


def shortened(env: PayingEnv, text: str, config: ShortenConfig | None = None) -> ShortenResult:
    with Run.temporary({"seed": 0}) as run:
        return shorten(Subject(env, Echo()), {"text": text}, run, config)


PAID = additive({"a rule": 1.0, "b rule": 0.5}, {"a rule": 1.0})
PADDED = "one idle thing . a rule . another idle thing . b rule . more of it ."


@pytest.mark.medium
def test_padding_goes_and_rules_stay() -> None:
    found = shortened(PayingEnv(PAID, noise=0.2), PADDED)
    assert found.short.candidate.text == "a rule . b rule ."
    assert found.words == (18, 6)
    low = found.gained["proxy"].low
    assert low is not None
    assert low > -found.margin


@pytest.mark.medium
def test_a_rule_worth_more_than_the_margin_stays_and_one_worth_less_goes() -> None:
    config = ShortenConfig(margin=0.4)
    assert shortened(PayingEnv(PAID), PADDED, config).short.candidate.text == "a rule ."


@pytest.mark.medium
def test_the_front_gets_better_with_words_and_holds_the_best_of_each_length() -> None:
    front = shortened(PayingEnv(PAID), PADDED).front
    assert [(one.words, one.candidate.text, one.score) for one in front] == [
        (6, "a rule . b rule .", 1.5),
        (3, "a rule .", 1.0),
        (0, "", 0.0),
    ]
    assert [one.as_good for one in front] == [True, False, None]


def test_where_every_sentence_counts_nothing_goes() -> None:
    found = shortened(PayingEnv(PAID, noise=0.1), "a rule . b rule .")
    assert found.short.candidate.text == "a rule . b rule ."
    assert found.gained["proxy"].value == 0.0


def test_a_text_that_does_nothing_is_shortened_to_nothing() -> None:
    found = shortened(PayingEnv(additive({"x": 1.0}, {}), noise=0.01), "idle . other .", ShortenConfig(margin=0.9))
    assert (found.short.candidate.text, found.words[1]) == ("", 0)


@pytest.mark.medium
def test_the_margin_is_written_before_anything_is_checked() -> None:
    with Run.temporary({"seed": 0}) as run:
        found = shorten(Subject(PayingEnv(PAID), Echo()), {"text": PADDED}, run)
        kinds = [event.kind for event in run.events()]
        (told,) = run.events("margin")
    assert told.payload["margin"] == found.margin == pytest.approx(0.05 * 1.5)
    assert kinds.index("worth") < kinds.index("margin") < len(kinds) - 1 - kinds[::-1].index("rollouts")


def test_what_decides_is_not_what_is_reported() -> None:
    def pay(inside: set[str], task: object) -> tuple[float, None]:
        return float("a rule" in inside and "keep" in str(task)), None

    found = shortened(PayingEnv(pay), PADDED)
    assert found.short.candidate.text == "a rule ."
    assert found.short.games["proxy"].value == 0.0


@pytest.mark.medium
def test_long_texts_lose_sentences_one_after_another() -> None:
    text = " ".join([*(f"idle{at} thing ." for at in range(11)), "a rule ."])
    found = shortened(PayingEnv(PAID, noise=0.05), text, ShortenConfig(worth=WorthConfig(tasks=24)))
    assert found.worth.method == "orders"
    assert found.short.candidate.text == "a rule ."


def test_words_go_too_where_that_is_asked_for() -> None:
    def pay(inside: set[str], task: object) -> tuple[float, None]:
        return float(any("key" in one.split() for one in inside)), None

    config = ShortenConfig(words=True)
    assert shortened(PayingEnv(pay), "say the key word now . idle .").short.candidate.text == "say the key word now ."
    assert shortened(PayingEnv(pay), "say the key word now . idle .", config).short.candidate.text == "key"


def test_a_budget_too_small_for_the_words_is_said() -> None:
    config = ShortenConfig(worth=WorthConfig(budget=1500, tasks=24), words=True)
    found = shortened(PayingEnv(PAID), "a rule with a very long tail of words that is told . b rule .", config)
    assert found.rollouts <= 1500


def test_falling_drops_the_least_worth_first() -> None:
    assert falling([0.5, -1.0, 0.2]) == [0b111, 0b101, 0b001, 0b000]
