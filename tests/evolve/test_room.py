"""Room: no prompt is ever longer than it may be, and what is cut is cut in the middle."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lenses.toy_open import ToyOpen

from scrutable.core.errors import ModelFailure, UserError
from scrutable.core.records import Conversation
from scrutable.evolve.room import LEAST, Field, Part, Room, estimated, fitted, shortened
from scrutable.models.replay import ScriptedModel

HEAD, END = Part("Look at this."), Part("What of it?")


def part(*values: str, loose: int = 1) -> Part:
    return Part("---", tuple(Field(f"f{i}", value) for i, value in enumerate(values)), loose)


def words(text: str) -> int:
    return len(text.split())


class Wordy(ToyOpen):
    """Counts words as tokens, and its chat template adds seven; `joins` is what it makes more of than its parts have."""

    def __init__(self, joins: int = 0) -> None:
        super().__init__()
        self.joins, self.remembered = joins, 0

    def encode(self, conversation: Conversation) -> list[int]:
        self.remembered += 1
        count = words(conversation[-1].content)
        return [0] * (count + 7 + (self.joins if count > 5 else 0))

    def encode_answer(self, answer: str) -> list[int]:
        return [0] * words(answer)


def test_what_fits_is_left_alone() -> None:
    found = fitted([HEAD, part("a b", "c"), END], 100, words)
    assert found.text == "Look at this.\n\n---\nf0: a b\nf1: c\n\nWhat of it?"
    assert found.kept == (0, 1, 2)


def test_the_middle_goes_first_and_all_fields_alike() -> None:
    found = fitted([HEAD, part("s " * 500 + "e", "begin " + "m " * 900 + "end"), END], 400, words)
    assert words(found.text) <= 400
    assert "f1: begin" in found.text
    assert "end\n\nWhat" in found.text
    first, second = (len(line) for line in found.text.splitlines() if line.startswith("f"))
    assert abs(first - second) <= 1


def test_the_room_is_used() -> None:
    assert words(fitted([HEAD, part("w " * 5000, "v " * 5000), END], 1000, words).text) >= 980


def test_a_short_field_leaves_its_room_to_others() -> None:
    found = fitted([HEAD, part("a b c", "w " * 5000), END], 1000, words)
    assert "f0: a b c\n" in found.text
    assert words(found.text) >= 980


def test_parts_are_dropped_only_where_cutting_is_not_enough_the_loosest_first() -> None:
    parts = [HEAD, part("a " * 400, loose=1), part("b " * 400, loose=3), part("c " * 400, loose=2), END]
    sizes = {tokens: fitted(parts, tokens, words).kept for tokens in (300, 110, 60)}
    assert sizes == {300: (0, 1, 2, 3, 4), 110: (0, 1, 3, 4), 60: (0, 1, 4)}


def test_what_must_stay_and_does_not_fit_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="prompt_tokens"):
        fitted([HEAD, part("a " * 400, loose=0), END], 8, words)


def test_what_must_stay_is_cut_to_its_ends_before_the_user_is_troubled() -> None:
    found = fitted([HEAD, part("begin " + "a " * 400 + "end", loose=0), part("b", loose=1), END], 20, words)
    assert found.kept == (0, 1, 3)
    assert "f0: begin a" in found.text
    assert words(found.text) <= 20


def test_a_weighty_field_gets_more() -> None:
    parts = [Part(fields=(Field("now", "n" * 9000, weight=8, fenced=True), Field("t", "t" * 9000)))]
    text = fitted(parts, 2000, len).text
    assert text.startswith("now\n```\nnnn")
    assert 6 < text.count("n") / text.count("t") < 9


FIELDS = st.lists(
    st.tuples(st.sampled_from(["", "a", "ab ", "é", "火", "\n", "7{"]), st.sampled_from([0, 1, 3, 400, 10**6]))
)


@settings(max_examples=60)
@given(st.lists(FIELDS, max_size=4), st.integers(30, 4000), st.sampled_from([words, len, estimated]))
def test_no_prompt_is_ever_longer_than_it_may_be(told: list[list[tuple[str, int]]], tokens: int, count) -> None:
    parts = [
        HEAD,
        *(part(*("".join(piece * (times // len(piece or "a")) for piece, times in one),) * 2) for one in told),
    ]
    try:
        found = fitted([*parts, END], tokens, count)
    except UserError:
        assert count("Look at this.\n\nWhat of it?") > tokens
        return
    assert count(found.text) <= tokens
    assert found.text.startswith("Look at this.")
    assert found.text.endswith("What of it?")


@given(st.integers(0, 40), st.integers(40, 300))
def test_a_template_that_joins_otherwise_than_counted_exceeds_nothing(joins: int, tokens: int) -> None:
    model = Wordy(joins)
    room = Room(model, tokens + 60)
    text = room.fit([HEAD, part("w " * 2000, "v " * 900), END]).text
    assert room.count(text) == words(text) + 7 + joins <= tokens + 60


def test_an_open_models_tokens_are_its_own() -> None:
    assert Room(Wordy(), 50).count("a b c") == 10


def test_an_open_model_is_not_made_to_remember_every_trial() -> None:
    model = Wordy()
    Room(model, 300).fit([HEAD, part("w " * 9000), END])
    assert model.remembered <= 3


def test_a_model_that_refuses_to_encode_is_estimated() -> None:
    class Refusing(Wordy):
        def encode(self, conversation: Conversation) -> list[int]:
            raise ModelFailure("the template refuses")

    assert Room(Refusing(), 500).count("abc") == estimated("abc")
    assert estimated(Room(Refusing(), 500).fit([HEAD, part("w " * 900), END]).text) <= 500


def test_a_served_models_tokens_are_estimated() -> None:
    assert Room(ScriptedModel({}), 50).count("abc abc") == estimated("abc abc") == 3 + 16


def test_the_estimate_counts_bytes_of_all_but_letters() -> None:
    assert estimated("") == 16
    assert estimated("1234") - 16 == 4
    assert estimated("火车") - 16 == 6
    assert estimated("\udcff") - 16 == 3  # half a character, as files sometimes hold


@pytest.mark.medium
def test_the_built_in_models_tokenizer_and_template_are_counted() -> None:
    from scrutable.models.hf import load_model

    model, draws = load_model("pidgin"), Random(0)
    some = [word for word in model.vocabulary if word.isalpha()]
    long: Sequence[str] = [" ".join(draws.choice(some) for _ in range(5000)) for _ in range(4)]
    for tokens in (90, 150, 700):
        room = Room(model, tokens)
        asked = room.fit([Part("write the rules ."), part(*long), END]).text
        assert tokens - 30 <= room.count(asked) <= tokens


def test_shortening_keeps_both_ends() -> None:
    assert shortened("a" * 50 + "b" * 50, 25) == "a" * 10 + " ... " + "b" * 10
    assert shortened("short", 25) == "short"


@given(st.text(max_size=200), st.integers(7, 100))
def test_a_shortened_text_fits(text: str, room: int) -> None:
    assert len(shortened(text, room)) <= room


def test_the_least_tells_something() -> None:
    assert len(shortened("x" * 1000, LEAST)) >= 70
