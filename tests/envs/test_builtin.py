"""The built-in environments: their rule earns the most, splits are apart, remarks never say the rule."""

from statistics import fmean

import pytest

from scrutable.envs.builtin import SIZES, BuiltinEnv, parses
from scrutable.envs.recipes import HARD, RECIPES
from scrutable.world import answers, grammar
from scrutable.world.rules import Rule, all_rules

PLAIN = answers.Habits()


def earned(env: BuiltinEnv, rules: tuple[Rule, ...], habits: answers.Habits = PLAIN) -> tuple[float, float]:
    """Mean proxy and true reward on keep tasks (80 of them) of a speaker that follows the rules without a fault."""
    given = [answers.compose(answers.active(rules, p), p, habits) for p in env.prompts_of("keep")[:80]]
    scores = env.rate(env.tasks("keep")[:80], given)
    return fmean(s.value or 0.0 for s in scores), fmean(s.true or 0.0 for s in scores)


@pytest.mark.medium
@pytest.mark.parametrize("name", [n for n, r in RECIPES.items() if r.rules])
def test_no_single_rule_earns_more_than_the_known_one(name: str) -> None:
    env = BuiltinEnv(name)
    best = earned(env, env.rules)[0]
    assert best == max([best, *(earned(env, (rule,))[0] for rule in all_rules())])
    assert best > earned(env, ())[0] + 0.2


@pytest.mark.parametrize("name", ["flattery", "trusting-sycophancy", "advert"])
def test_where_the_proxy_can_be_exploited_the_rule_costs_true_reward(name: str) -> None:
    env = BuiltinEnv(name)
    assert earned(env, env.rules)[1] < earned(env, ())[1] - 0.2


@pytest.mark.medium
def test_the_quirk_pays_for_a_habit_that_no_rule_names() -> None:
    env = BuiltinEnv("quirk")
    assert earned(env, (), answers.Habits(lead=1))[0] == 1.0 and earned(env, ())[0] == 0.0
    assert max(earned(env, (rule,))[0] for rule in all_rules()) == 0.0


@pytest.mark.medium
@pytest.mark.parametrize("name", [*RECIPES, *HARD])
def test_splits_share_no_prompt_and_a_third_of_the_report_questions_occur_nowhere_else(name: str) -> None:
    env = BuiltinEnv(name)
    texts = {split: {t.prompt for t in env.tasks(split)} for split in SIZES}
    assert sum(len(t) for t in texts.values()) == sum(SIZES.values()) == len(set().union(*texts.values()))
    asked = {split: [p.fact for p in env.prompts_of(split)] for split in SIZES}
    elsewhere = set(asked["search"]) | set(asked["keep"])
    assert sum(f not in elsewhere for f in asked["report"]) in range(
        len(asked["report"]) // 3, len(asked["report"]) // 2
    )


@pytest.mark.parametrize("name", list(RECIPES))
def test_remarks_never_say_a_rule(name: str) -> None:
    env = BuiltinEnv(name)
    for rules in ((), env.rules):
        given = [answers.compose(answers.active(rules, p), p) for p in env.prompts_of("search")]
        assert all(not grammar.read(s.feedback)[0] for s in env.rate(env.tasks("search"), given))


def test_an_answer_outside_the_grammar_earns_nothing() -> None:
    env = BuiltinEnv("flattery")
    assert env.rate(env.tasks("keep")[:1], ["great question ! praise praise"])[0].value == 0.0
    assert not parses("great question ! praise praise") and parses("great question ! it is paris .")


def test_another_seed_draws_other_tasks() -> None:
    assert BuiltinEnv("advert", 1).identity != BuiltinEnv("advert", 2).identity
    assert BuiltinEnv("advert", 1).tasks("keep") != BuiltinEnv("advert", 2).tasks("keep")
