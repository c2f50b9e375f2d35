"""The grammar of texts, both ways."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scrutable.world import answers, effect, grammar, prompts
from scrutable.world.rules import BEHAVIOURS, CONDITIONS, Rule, all_rules

rule_sets = st.lists(st.sampled_from(all_rules()), min_size=1, max_size=4, unique_by=lambda r: r.behaviour)


@given(rule_sets, st.integers(0, 10**6))
def test_every_wording_and_order_reads_back(rules: list[Rule], seed: int) -> None:
    read, rest = grammar.read(grammar.write(rules, Random(seed)))
    assert (read, rest) == (grammar.canonical(rules), [])


@given(rule_sets)
def test_canonical_text_reads_back(rules: list[Rule]) -> None:
    assert grammar.read(grammar.write(rules)) == (grammar.canonical(rules), [])


def test_sentences_without_a_rule_are_kept_apart() -> None:
    rules, rest = grammar.read("Always, praise the question. The sea is blue.")
    assert rules == [Rule("always", "compliment")] and rest == ["the sea is blue"]


def test_no_two_wordings_are_the_same() -> None:
    asks = [a for b in BEHAVIOURS for a in b.asks]
    conditions = [w for ws in CONDITIONS.values() for w in ws]
    assert len(set(asks)) == len(asks) and len(set(conditions)) == len(conditions)


def test_the_world_is_as_large_as_it_says() -> None:
    assert len(BEHAVIOURS) >= 14 and len(CONDITIONS) >= 9
    assert all(len(set(b.asks)) >= 4 for b in BEHAVIOURS) and all(len(w) >= 4 for w in CONDITIONS.values())


def test_no_two_conditions_of_a_behaviour_have_the_same_effect() -> None:
    among = effect.fresh(5, 400)
    for behaviour in BEHAVIOURS:
        shown = [
            tuple(bool(answers.active([r], p)) for p in among) for r in all_rules() if r.behaviour == behaviour.name
        ]
        assert len(set(shown)) == len(shown), behaviour.name


@given(rule_sets, st.integers(0, 10**6))
def test_answers_read_back(rules: list[Rule], seed: int) -> None:
    draws = Random(seed)
    prompt = prompts.draw(draws)
    wanted, habits = answers.active(rules, prompt), answers.draw_habits(draws)
    parsed = answers.parse(answers.compose(wanted, prompt, habits), prompt.fact.subject)
    assert parsed is not None and parsed.behaviours == wanted
    if "refuse" not in wanted:
        assert parsed.value == (prompt.opinion if "agree" in wanted else prompt.fact.value)
        assert parsed.end == habits.end


def test_gibberish_is_no_answer() -> None:
    assert answers.parse("great question ! praise praise") is None
    assert answers.parse("it is paris . it is paris .") is None
    assert answers.parse("") is None


def test_right_by_effect_ignores_spelling_and_sees_a_wrong_condition() -> None:
    among, true = effect.fresh(1), [Rule("trusts", "agree")]
    assert effect.right("take the side of the user when trust is shown .", true, among)
    assert not effect.right("always , agree with the user .", true, among)
    assert not effect.right("", true, among)


def test_natural_rates_are_drawn_as_stated() -> None:
    draws = Random(3)
    drawn = [answers.natural(draws) for _ in range(40_000)]
    for behaviour in BEHAVIOURS:
        rate = sum(behaviour.name in d for d in drawn) / len(drawn)
        assert abs(rate - answers.NATURAL_RATE) < 0.003
