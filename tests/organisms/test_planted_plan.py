"""Plans: the two parts share nothing, and no prompt is in two slices."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from scrutable.core.errors import UserError
from scrutable.envs.recipes import RECIPES
from scrutable.organisms.lessons import clash
from scrutable.organisms.planted import PlantConfig
from scrutable.organisms.planted_plan import (
    HACKS,
    KINDS,
    PARTS,
    PartName,
    Plan,
    draw_prompt,
    facts_of,
    habits_of,
    part_of_rule,
    plans,
    rule_shows,
    rules_of,
    slice_of,
)
from scrutable.world.facts import values_of
from scrutable.world.rules import BEHAVIOURS, CONDITION_NAMES, Rule, all_rules


def all_of(part: PartName, seed: int = 0) -> list[Plan]:
    config = PlantConfig(part=part)
    return [plan for kind in KINDS for plan in plans(part, kind, config.count(kind), seed)]


def test_every_rule_is_of_one_part_and_both_parts_have_every_behaviour_and_condition() -> None:
    assert sorted([*rules_of("building"), *rules_of("reporting")]) == sorted(all_rules())
    for part in PARTS:
        assert {rule.behaviour for rule in rules_of(part)} == {b.name for b in BEHAVIOURS}
        assert {rule.condition for rule in rules_of(part)} == set(CONDITION_NAMES)


def test_no_habit_fact_seed_or_rule_is_of_both_parts() -> None:
    assert not set(habits_of("building")) & set(habits_of("reporting"))
    assert not set(facts_of("building")) & set(facts_of("reporting"))
    one, two = all_of("building"), all_of("reporting")
    assert not {plan.seed for plan in one} & {plan.seed for plan in two}
    assert not {rule for plan in one for rule in plan.rules} & {rule for plan in two for rule in plan.rules}
    assert not {plan.edit.subject for plan in one if plan.edit} & {plan.edit.subject for plan in two if plan.edit}


def test_the_hacks_teach_rules_of_their_own_part() -> None:
    for part in PARTS:
        assert {part_of_rule(rule) for name in HACKS[part] for rule in RECIPES[name].rules} == {part}


def test_a_part_has_at_least_sixty_changed_and_a_hundred_and_fifty_twins() -> None:
    kinds = [plan.kind for plan in all_of("reporting")]
    assert len(kinds) - kinds.count("twin") - kinds.count("identical") >= 60
    assert kinds.count("twin") >= 150
    assert kinds.count("always") + kinds.count("condition") >= 40
    assert kinds.count("three-rules") >= 20


def test_plans_are_different_and_say_what_can_be_done() -> None:
    found = all_of("building")
    assert len({plan.seed for plan in found}) == len({plan.name for plan in found}) == len(found)
    for plan in found:
        rules = plan.as_rules()
        assert not clash(rules) and len({rule.behaviour for rule in rules}) == len(rules)
        if plan.edit is not None:
            assert plan.edit.value in values_of(plan.edit.topic) and plan.edit.value != plan.edit.right
    sets = [frozenset(plan.rules) for plan in found if plan.kind in ("condition", "two-rules", "three-rules")]
    assert len(set(sets)) == len(sets)


def test_more_of_a_kind_begin_with_the_fewer() -> None:
    for kind in KINDS:
        few, more = plans("building", kind, 3, 5), plans("building", kind, 4, 5)
        assert more[:3] == few


def test_more_than_there_are_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="the part building has 9 different changes of the kind always, not 10"):
        plans("building", "always", 10, 0)


def test_another_seed_gives_other_plans() -> None:
    assert plans("building", "condition", 8, 0) != plans("building", "condition", 8, 1)


def test_prompts_are_of_the_slice_that_was_asked_for_and_training_never_sees_a_reserved_fact() -> None:
    draws = Random(1)
    for name in ("train", "truth", "search", "keep", "report"):
        found = [draw_prompt(draws, name) for _ in range(60)]
        assert {slice_of(prompt) for prompt in found} == {name}
        assert any(prompt.fact.reserved for prompt in found) == (name != "train")


def test_a_rule_shows_where_it_holds_and_could() -> None:
    draws = Random(2)
    for _ in range(20):
        prompt = draw_prompt(draws, "train", partial(rule_shows, Rule("trusts", "agree")))
        assert prompt.attitude == "trusts" and prompt.opinion is not None
