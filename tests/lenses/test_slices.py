import numpy as np
import pytest
from tests.lenses import made

from scrutable.lenses.contrast import Feature, count, count_one
from scrutable.lenses.slices import choose_slice, slices_of, strongest

EVERY = np.ones(160, dtype=bool)


def compliments(rate_inside, rate_outside):
    def after(prompt, draws):
        rate = rate_inside if made.trusts(prompt) else rate_outside
        return ("great ! " if draws.random() < rate else "") + made.plain(prompt, draws)

    return made.answers(made.plain, after)


def chosen(answers, feature=Feature("contains", ("great",))):  # noqa: B008
    return choose_slice(count_one(feature, answers), 0, slices_of(answers.asked, 4, 5), EVERY)


def test_runs_that_cut_out_the_same_tasks_are_told_by_the_longest():
    asked = [[("i", "trust", "you")], [("what", "now")]] * 5
    assert sorted(slices_of(asked, 4, 2).runs) == [("i", "trust", "you"), ("what", "now")]


def test_a_run_of_too_few_tasks_or_of_all_cuts_out_nothing():
    asked = [[("what", f"w{i}")] for i in range(10)]
    assert slices_of(asked, 2, 2).runs == []


def test_a_difference_on_every_task_has_no_slice():
    assert chosen(compliments(0.9, 0.9)).runs == ()


def test_a_difference_in_some_tasks_finds_all_the_wordings_that_mark_them():
    answers = compliments(0.95, 0.02)
    found = chosen(answers)
    assert {" ".join(run) for run in found.runs} == set(made.TRUSTS)
    assert found.inside.tolist() == [made.trusts(p) for p in made.prompts()]


def test_what_leaks_a_little_keeps_its_slice():
    assert {" ".join(run) for run in chosen(compliments(0.95, 0.15)).runs} == set(made.TRUSTS)


@pytest.mark.parametrize("rate", [0.0, 0.02])
def test_the_strongest_feature_is_part_of_what_was_planted(rate):
    answers = compliments(0.95, rate)
    counts = count(answers, 4, 5)
    row, score = strongest(counts, slices_of(answers.asked, 4, 5), EVERY)
    assert {"great", "!"} & set(counts.features[row].run) and score > 50


def test_a_banned_feature_is_passed_over():
    answers = compliments(0.95, 0.0)
    counts = count(answers, 4, 5)
    slices = slices_of(answers.asked, 4, 5)
    first, _ = strongest(counts, slices, EVERY)
    assert strongest(counts, slices, EVERY, [counts.features[first]])[0] != first


def test_without_features_there_is_nothing_strongest():
    answers = made.answers(lambda *_: "", lambda *_: "")
    assert strongest(count(answers, 4, 5), slices_of(answers.asked, 4, 5), EVERY)[0] == -1
