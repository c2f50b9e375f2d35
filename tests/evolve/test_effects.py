"""Effects: what single sentences did adds up over proposals, and comes back as ideas."""

import pytest

from scrutable.core.records import Candidate
from scrutable.evolve.effects import Effects, one_changed


def text(told: str) -> Candidate:
    return Candidate(texts={"text": told})


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("", "a .", ("a .", 1)),
        ("a . b .", "b .", ("a .", -1)),
        ("a .", "b .", None),
        ("a .", "a .", None),
        ("a .", "a . b . c .", None),
        ("a . b .", "b . a .", None),
    ],
)
def test_only_one_sentence_more_or_less_says_something_of_a_sentence(before: str, after: str, change: object) -> None:
    assert one_changed(before, after) == change


def test_differences_add_up_whoever_the_parent_was_and_a_removal_counts_the_other_way() -> None:
    effects = Effects()
    effects.note(text(""), text("a ."), "text", [1.0, 0.0])
    effects.note(text("b . a ."), text("b ."), "text", [-1.0, -1.0])
    assert effects.worth("text", "a .") == pytest.approx(3.0 / (4 + 4))
    assert effects.worth("text", "b .") == 0.0
    assert effects.carried(text("c ."), text("c . a ."), "text") == (1.5, 2.0)
    assert effects.carried(text("c . a ."), text("c ."), "text") == (-1.5, 2.0)


def test_ideas_are_what_helped_and_is_not_there_and_what_harmed_and_is() -> None:
    effects = Effects()
    effects.note(text(""), text("a ."), "text", [1.0] * 4)
    effects.note(text(""), text("b ."), "text", [0.5] * 4)
    effects.note(text(""), text("c ."), "text", [-0.5] * 4)
    effects.note(text(""), text("d ."), "text", [])
    ideas = effects.ideas(text("c . b ."), "text", 5)
    assert [(one.text, one.origin) for one in ideas] == [("c . b . a .", "sentence"), ("b .", "removal")]
    assert len(effects.ideas(text("c . b ."), "text", 1)) == 1
