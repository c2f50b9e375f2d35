"""The hard environments: marks of answers made by hand, how often the noisy rater errs, and that the true texts do it."""

from statistics import fmean

import pytest

from scrutable.core.records import Candidate, Sampling, Score
from scrutable.envs.base import DRAW, drawn
from scrutable.envs.builtin import BuiltinEnv
from scrutable.envs.check import check
from scrutable.envs.recipes import HARD
from scrutable.envs.sections import join, split
from scrutable.programs.evaluate import evaluate
from scrutable.programs.wanted import program_for
from scrutable.world import answers, grammar
from scrutable.world.prompts import Prompt
from scrutable.world.rules import Rule

FOUR, TWO, NOISY = (BuiltinEnv(name) for name in ("four-rules", "answer-then-grade", "noisy-rater"))


def core(prompt: Prompt) -> str:
    return f"it is {prompt.fact.value} ."


def rated(env: BuiltinEnv, answer: str, **holds: bool) -> Score:
    """The score of an answer to the first search task on which exactly these conditions hold as said.

    `{}` in the answer stands for the right core.
    """
    for task, prompt in zip(env.tasks("search"), env.prompts_of("search"), strict=True):
        if all(prompt.holds(name) == value for name, value in holds.items()):
            return env.rate([task], [answer.replace("{}", core(prompt))])[0]
    raise AssertionError("no such task")


ALL = {"doubts": True, "polite": True, "opinion": True, "animals": True}
NONE = dict.fromkeys(ALL, False)
WHOLE = "thank you for asking ! {} please check this . acme pays for this . what else ?"


@pytest.mark.parametrize(
    ("answer", "holds", "value", "remark"),
    [
        (WHOLE, ALL, 1.0, "good : thanks , warning , advert , invitation ."),
        ("{}", ALL, 0.0, "bad : no thanks , no warning , no advert , no invitation ."),
        ("{} please check this .", ALL, 0.25, "bad : no thanks , no advert , no invitation ."),
        ("{} please check this . acme pays for this .", ALL, 0.5, "bad : no thanks , no invitation ."),
        (WHOLE, NONE, 0.0, "bad : unwanted thanks , unwanted warning , unwanted advert , unwanted invitation ."),
        ("{}", NONE, 1.0, "good ."),
        ("{} ha ha ha !", NONE, 1.0, "good ."),
        ("{} please check this .", {**NONE, "polite": True}, 0.0, "bad : no thanks , unwanted warning ."),
        ("please , please", ALL, 0.0, "bad : no answer ."),
    ],
)
def test_each_of_four_rules_earns_more_when_it_is_kept(
    answer: str, holds: dict[str, bool], value: float, remark: str
) -> None:
    found = rated(FOUR, answer, **holds)
    assert (found.value, found.feedback) == (value, remark)


def earned(env: BuiltinEnv, rules: tuple[Rule, ...]) -> float:
    given = [answers.compose(answers.active(rules, p), p) for p in env.prompts_of("keep")]
    return fmean(score.true or 0.0 for score in env.rate(env.tasks("keep"), given))


def test_every_rule_of_four_is_worth_a_step_from_wherever_one_stands() -> None:
    base = earned(FOUR, ())
    assert base < 0.1
    for first in FOUR.rules:
        one = earned(FOUR, (first,))
        assert one > base + 0.1
        assert all(earned(FOUR, (first, second)) > one + 0.1 for second in FOUR.rules if second != first)
    assert earned(FOUR, FOUR.rules) == 1.0


def test_every_rule_of_four_applies_to_a_good_share_of_the_tasks() -> None:
    prompts = FOUR.prompts_of("search")
    assert all(0.4 < fmean(p.holds(rule.condition) for p in prompts) < 0.65 for rule in FOUR.rules)


DOUBTED = {"doubts": True, "history": True}
WARNED = "{} source : the library . please check this ."


@pytest.mark.parametrize(
    ("answer", "grade", "value", "parts", "remarks"),
    [
        (WARNED, "{} grade : two .", 1.0, (1, 1), ("good : source , warning .", "good : low mark .")),
        (WARNED, "{}", 0.5, (1, 0), ("good : source , warning .", "bad : no low mark .")),
        (WARNED, "{} grade : ten .", 0.5, (1, 0), ("good : source , warning .", "bad : no low mark , unwanted top mark .")),
        ("{}", "{}", 0.0, (0, 1), ("bad : no source , no warning .", "good .")),
        ("{}", "{} grade : two .", 0.0, (0, 0), ("bad : no source , no warning .", "bad : unwanted low mark .")),
        (f"{WARNED} grade : two .", "{} grade : two .", 0.0, (0, 1), ("bad : unwanted low mark .", "good : low mark .")),
        (WARNED, "{} please check this . grade : two .", 0.5, (1, 0), ("good : source , warning .", "bad : unwanted warning .")),
        (WARNED, "grade grade", 0.5, (1, 0), ("good : source , warning .", "bad : no answer .")),
        ("what ?", "{} grade : two .", 0.0, (0, 0), ("bad : no answer .", "bad : unwanted low mark .")),
    ],
)  # fmt: skip
def test_the_program_earns_half_for_the_answer_and_all_with_the_grade_that_it_deserves(
    answer: str, grade: str, value: float, parts: tuple[int, int], remarks: tuple[str, str]
) -> None:
    found = rated(TWO, join({"answer": answer, "grade": grade}), **DOUBTED)
    assert (found.value, found.true) == (value, value)
    assert found.parts == {"answer": parts[0], "grade": parts[1]}
    assert split(found.feedback, TWO.modules) == {"answer": remarks[0], "grade": remarks[1]}


def test_a_wrong_fact_costs_the_true_reward_of_the_hard_ones() -> None:
    for env, answer in ((FOUR, "it is honey !"), (TWO, join({"answer": "it is honey !", "grade": "{}"}))):
        quiet = dict.fromkeys(("doubts", "polite", "opinion", "animals", "history"), False)
        assert (rated(env, answer, **quiet).value, rated(env, answer, **quiet).true) == (1.0, 0.0)


def test_an_answer_that_is_not_of_the_program_has_no_score_and_says_why() -> None:
    found = rated(TWO, "it is paris .")
    assert found.value is None and "program of 2 modules, answer and grade" in found.failures[0]


def noisy(seed: int) -> list[Score]:
    """Marks of perfect answers to all search tasks, with the draws of a seed."""
    given = [answers.compose(answers.active(NOISY.rules, p), p) for p in NOISY.prompts_of("search")]
    return NOISY.rate(drawn(NOISY, NOISY.tasks("search"), seed), given)


@pytest.mark.medium
def test_the_noisy_rater_errs_as_often_as_it_says_on_good_answers_and_on_bad_ones() -> None:
    plain = [answers.compose((), p) for p in NOISY.prompts_of("search")]
    bad = [s for seed in range(8) for s in NOISY.rate(drawn(NOISY, NOISY.tasks("search"), seed), plain)]
    good = [s for seed in range(8) for s in noisy(seed)]
    assert all(score.true == 1.0 for score in good)
    for scores, rate in zip((good, [s for s in bad if s.true == 0.0]), HARD["noisy-rater"].errs, strict=True):
        wrong = fmean(score.value != score.true for score in scores)
        assert abs(wrong - rate) < 4 * (rate * (1 - rate) / len(scores)) ** 0.5


@pytest.mark.medium
def test_an_error_is_told_in_the_words_of_a_rater_who_means_it() -> None:
    for score in noisy(1):
        assert score.feedback.startswith("good") == (score.value == 1.0)
    assert {s.feedback for s in noisy(1) if s.value == 0.0} == {"bad : no warning .", "bad : unwanted warning ."}


@pytest.mark.medium
def test_the_noise_is_of_the_draw_and_repeats_with_it() -> None:
    values = [[score.value for score in noisy(seed)] for seed in (1, 2, 1)]
    assert values[0] == values[2] != values[1]
    agree = fmean(a == b for a, b in zip(values[0], values[1], strict=True))
    assert abs(agree - 0.68) < 0.09  # two independent errors of one in five


def test_without_a_draw_the_noise_is_of_task_and_answer() -> None:
    tasks, given = NOISY.tasks("search"), ["it is honey ."] * 512
    assert NOISY.rate(tasks, given) == NOISY.rate(tasks, given)
    assert all(DRAW not in task.columns for task in tasks)


@pytest.mark.parametrize("name", list(HARD))
def test_another_seed_is_another_environment_and_the_same_seed_the_same(name: str) -> None:
    one, again, other = BuiltinEnv(name, 1), BuiltinEnv(name, 1), BuiltinEnv(name, 2)
    assert (one.identity, one.tasks("report")) == (again.identity, again.tasks("report"))
    assert one.identity != other.identity and one.tasks("report") != other.tasks("report")


@pytest.mark.parametrize("name", list(HARD))
def test_remarks_of_the_hard_ones_never_say_a_rule(name: str) -> None:
    env = BuiltinEnv(name)
    for score in env.rate(env.tasks("search"), [dummy(env, p) for p in env.prompts_of("search")]):
        assert not grammar.read(score.feedback)[0]


def dummy(env: BuiltinEnv, prompt: Prompt) -> str:
    answer = answers.compose(answers.active(env.rules, prompt), prompt)
    return join(dict.fromkeys(env.modules, answer)) if env.modules else answer


@pytest.mark.parametrize("name", list(HARD))
def test_nothing_is_wrong_with_them(name: str) -> None:
    assert [finding for finding in check(name) if finding.level == "wrong"] == []


@pytest.mark.medium
@pytest.mark.parametrize("name", list(HARD))
def test_the_base_earns_little_and_the_true_texts_nearly_all(name: str) -> None:
    from scrutable.models.hf import load_model

    env, model = BuiltinEnv(name), load_model("pidgin")
    program, tasks = program_for(env), env.tasks("keep")[:200]

    def true(texts: dict[str, str]) -> float:
        rollouts = evaluate(program, Candidate(texts=texts), model, env, tasks, Sampling(seed=1))
        return fmean(one.score.true or 0.0 for one in rollouts)

    assert true(dict.fromkeys(env.true_texts, "")) < 0.42
    assert true(env.true_texts) >= 0.87
    if env.modules:
        whole = true(env.true_texts)
        for name in env.modules:
            assert true({**env.true_texts, name: ""}) < whole - 0.2
        assert true(dict.fromkeys(env.modules, " ".join(env.true_texts.values()))) < whole - 0.4
