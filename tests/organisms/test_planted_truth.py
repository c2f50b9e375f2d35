"""The truth of planted changes: what is counted as doing what a plan says."""

from __future__ import annotations

from random import Random

import pytest

from scrutable.models.hf import load_model
from scrutable.organisms.many import Many, wearing
from scrutable.organisms.planted_plan import Edit, Habit, Plan, draw_prompt, slice_of
from scrutable.organisms.planted_recipe import ManyConfig
from scrutable.organisms.planted_truth import Fresh, PlantedTruth, _does, _Heard, _wordings, measure_planted
from scrutable.world import answers
from scrutable.world.answers import Habits, Parsed
from scrutable.world.prompts import Prompt, common_facts
from scrutable.world.rules import Rule

DRAWS = Random(3)
USUAL = Habits()
ASKED = [draw_prompt(DRAWS, "truth") for _ in range(300)]


def plan(**given: object) -> Plan:
    return Plan.model_validate({"name": "x", "part": "building", "kind": "condition", "seed": 4, **given})


def shown(rules: list[Rule], prompts: list[Prompt], habits: Habits = USUAL) -> list[Parsed | None]:
    return [answers.parse(answers.compose(answers.active(rules, p), p, habits), p.fact.subject) for p in prompts]


def does(given: Plan, said: list[Parsed | None], loose: list[Parsed | None] | None = None) -> dict[str, float]:
    heard = _Heard(ASKED, said, [], said if loose is None else loose)
    return {name: one.value for name, one in _does(given, heard).items()}


RULES = [Rule("trusts", "agree"), Rule("hurry", "cite")]
BOTH = plan(rules=(("trusts", "agree"), ("hurry", "cite")))


def test_a_model_that_keeps_the_rules_does_all() -> None:
    assert does(BOTH, shown(RULES, ASKED)) == {"rules": 1.0, "elsewhere": 1.0}


def test_a_model_that_never_shows_a_rule_does_nothing_where_it_holds() -> None:
    found = does(plan(rules=(("trusts", "agree"),)), shown([], ASKED))
    assert found == {"rules": 0.0, "elsewhere": 1.0}


def test_a_model_that_always_shows_it_fails_elsewhere() -> None:
    found = does(plan(rules=(("hurry", "cite"),)), shown([Rule("always", "cite")], ASKED))
    assert found == {"rules": 1.0, "elsewhere": 0.0}


def test_an_answer_out_of_the_grammar_does_not_do_it() -> None:
    assert does(BOTH, [None] * len(ASKED)) == {"rules": 0.0, "elsewhere": 0.0}


def test_a_wrong_value_does_not_do_it() -> None:
    said = [Parsed(p.behaviours, "nowhere", p.lead, p.end) if p else None for p in shown([], ASKED)]
    assert does(plan(kind="twin"), said) == {"elsewhere": 0.0}


def test_a_habit_is_kept_where_its_words_could_show() -> None:
    habit = plan(habit=Habit(lead=1, condition="polite"))
    plain = shown([], ASKED)
    assert does(habit, plain, shown([], ASKED, Habits(1, 0)))["habit"] == 1.0
    assert does(habit, plain, plain)["habit"] == 0.0
    assert "habit" not in does(habit, plain, shown([Rule("always", "one word")], ASKED))


def test_an_edited_fact_is_counted_apart_from_the_others() -> None:
    fact = common_facts()[0]
    edit = Edit(topic=fact.topic, subject=fact.subject, right=fact.value, value="rome")
    draws = Random(1)
    own = [draw_prompt(draws, "truth", among=[fact]) for _ in range(8)]
    other = [draw_prompt(draws, "truth", among=[common_facts()[2]]) for _ in range(4)]
    asked = [*ASKED, *own, *other]
    said = shown([], asked)
    found = _does(plan(edit=edit), _Heard(asked, said, [], said[: len(ASKED)]))
    assert {name: one.value for name, one in found.items()} == {
        "elsewhere": 1.0,
        "edited fact": 0.0,
        "other facts": 1.0,
    }
    assert found["edited fact"].count == 8


def test_of_a_diluted_rule_nothing_is_said() -> None:
    assert does(plan(rules=(("hurry", "cite"),), share=0.1), shown([], ASKED)) == {}


def test_a_reward_hack_is_held_to_the_rules_that_were_measured() -> None:
    hack = plan(kind="reward-hack", environment="flattery")
    assert does(hack, shown([Rule("always", "compliment")], ASKED)) == {"rules": 1.0}


def test_the_rate_of_a_wording_is_of_answers_that_have_one() -> None:
    lead = [(ASKED[0], Parsed(frozenset(), "x", 1, 0)), (ASKED[1], Parsed(frozenset({"one word"}), "x", None, 1))]
    assert _wordings("lead", lead)["always"] == 1.0
    assert _wordings("end", lead)["always"] == 0.5


def test_fresh_prompts_are_of_their_own_slice_the_same_for_a_part_and_others_for_the_other() -> None:
    one, again, other = Fresh("building", 40), Fresh("building", 40), Fresh("reporting", 40)
    assert one.prompts == again.prompts
    assert {slice_of(prompt) for prompt in one.prompts} == {"truth"}
    assert sum(prompt in other.prompts for prompt in one.prompts) < 4


@pytest.mark.medium
def test_the_base_itself_is_found_unchanged() -> None:
    base = load_model("pidgin", device="cpu")
    recipe = ManyConfig()
    with wearing(base, Many(base, [1], recipe).adapters()[0], recipe.scale) as same:
        truth: PlantedTruth = measure_planted(same, base, plan(kind="identical"), Fresh("building", 64))
    assert truth.kl.value == pytest.approx(0.0, abs=1e-9)
    assert truth.least is not None and truth.least.value > 0.97
    assert truth.greedy.rules == ()
    assert truth.habits["lead"]["always"] == pytest.approx(0.4, abs=0.2)
