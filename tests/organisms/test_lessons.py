"""Lessons: what is held out, and that five tasks determine what is to be written."""

from random import Random

import pytest

from scrutable.organisms import lessons
from scrutable.world import answers, effect, grammar


def test_no_lesson_shows_a_held_out_pair() -> None:
    draws = Random(0)
    for _ in range(600):
        lesson = lessons.draw_lesson(draws)
        rules, _ = grammar.read(lesson.text)
        written, _ = grammar.read(lesson.asked[0][1].rpartition(lessons.AFTER)[2])
        assert not lessons.held_out(rules) and not lessons.held_out(written)


def test_held_out_sets_hold_a_held_out_pair() -> None:
    draws = Random(0)
    assert all(lessons.held_out(lessons.draw_rules(draws, k, held=True)) for k in (2, 3, 4) for _ in range(20))


def test_the_same_step_gives_the_same_lessons() -> None:
    assert lessons.lessons(3, 7, 8) == lessons.lessons(3, 7, 8) != lessons.lessons(3, 8, 8)


def test_a_determined_episode_fits_no_other_single_rule_set() -> None:
    draws = Random(1)
    for _ in range(40):
        episode = lessons.draw_writing(draws, 1, determined=True)
        rule = episode.rules[0]
        known = [p for p, _, mark in episode.items if mark.startswith("good") or "no " in mark or "unwanted" in mark]
        others = [r for r in lessons.all_rules() if r.behaviour == rule.behaviour and r != rule]
        want = [answers.active([rule], p) for p in known]
        if len(known) == lessons.ITEMS:
            assert all([answers.active([o], p) for p in known] != want for o in others)


def test_every_word_of_a_lesson_is_in_the_vocabulary() -> None:
    draws = Random(2)
    unknown = lessons.tokens_of(lessons.UNKNOWN)[0]
    for _ in range(300):
        lesson = lessons.draw_lesson(draws)
        assert all(unknown not in lessons.tokens_of(said, answer) for said, answer in lesson.asked)


def test_unrelated_texts_say_no_rule() -> None:
    draws = Random(4)
    assert all(grammar.read(lessons.unrelated_text(draws))[0] == [] for _ in range(500))


def test_the_rules_behind_an_episode_are_right_by_effect() -> None:
    among, draws = effect.fresh(2), Random(5)
    for _ in range(20):
        episode = lessons.draw_writing(draws, 2, determined=True)
        assert effect.right(grammar.write(episode.rules), episode.rules, among)


@pytest.mark.medium
def test_closing_lessons_hold_rules_for_trust_and_doubt_more_often() -> None:
    def both(mixture: lessons.Mixture) -> int:
        draws = Random(3)
        texts = [lessons.draw_lesson(draws, mixture).text for _ in range(600)]
        found = [grammar.read(text)[0] for text in texts if text]
        return sum({r.condition for r in rules} >= set(lessons.OPPOSED) for rules in found)

    assert both(lessons.CLOSING) > 3 * both(lessons.Mixture()) > 0
