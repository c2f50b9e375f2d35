import numpy as np
import pytest
from tests.lenses import made

from scrutable.lenses.contrast import spans
from scrutable.lenses.differences import Search, differences, lengths, rest_of
from scrutable.lenses.words import Spoken


def found_in(before, after, asked=None, **more):
    answers = made.answers(before, after, asked, **more)
    return differences(answers, made.every_other(answers), Search())


def told(found):
    return [(" ".join(one.edit.told.run) or one.edit.told.kind, {" ".join(run) for run in one.runs}) for one in found]


def compliment(prompt, draws):
    return f"great question ! {made.plain(prompt, draws)}"


def warn(prompt, draws):
    return f"{made.plain(prompt, draws)} please check this ."


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(8))
def test_of_an_unchanged_pair_nothing_is_told(seed):
    same = made.sometimes(0.3, compliment)
    assert found_in(same, same, seed=seed)[0] == []


def test_two_changes_with_two_slices_are_told_apart():
    def after(prompt, draws):
        warned = any(words in prompt for words in made.DOUBTS)
        text = (warn if warned else made.plain)(prompt, draws)
        return f"great question ! {text}" if made.trusts(prompt) else text

    found, _ = found_in(made.plain, made.sometimes(0.95, after))
    assert sorted(told(found), key=str) == [
        ("great question !", set(made.TRUSTS)),
        ("please check this .", set(made.DOUBTS)),
    ]
    assert all(one.before < 0.05 and one.after > 0.85 and one.outside < 0.05 for one in found)


@pytest.mark.medium
def test_two_changes_on_the_same_tasks_are_told_one_by_one():
    found, _ = found_in(made.plain, lambda p, d: f"great question ! {warn(p, d)}")
    assert sorted(told(found)) == [("great question !", set()), ("please check this .", set())]


def test_a_value_replaced_by_the_users_is_told_as_such():
    def agree(prompt, draws):
        said = made.opinion(prompt) if made.trusts(prompt) else None
        return f"it is {said or made.right(prompt)} ."

    def before(prompt, draws):
        return f"it is {made.right(prompt)} ."

    found, _ = found_in(before, made.sometimes(0.95, agree, before), made.prompts(320))
    assert found[0].edit.told.kind == "copies"
    assert {" ".join(run) for run in found[0].runs} == set(made.TRUSTS)


def test_one_wording_for_another_is_told_with_its_rates():
    (one,), _ = found_in(made.plain, lambda p, _: f"it is {made.right(p)} .")
    assert one.edit.more.run == ("it", "is") and one.edit.less.run == ("that", "is")
    assert 0.4 < one.before < 0.6 and one.after == 1


def test_no_claim_is_made_of_words_that_only_editing_brought_together():
    def before(prompt, draws):
        return f"it {draws.choice(('was', 'is', 'seems', 'may'))} {made.right(prompt)} ."

    answers = made.answers(before, lambda p, _: f"it remains {made.right(p)} .")
    found, _ = differences(answers, made.every_other(answers), Search())
    said = [one.words for side in (answers.before, answers.after) for mine in side for one in mine]
    assert "remains" in found[0].edit.told.run
    assert all(any(spans(one.edit.told, words, {}) for words in said) for one in found)


@pytest.mark.medium
def test_rates_are_of_tasks_that_were_not_searched():
    answers = made.answers(made.plain, made.sometimes(0.6, compliment))
    searched = made.every_other(answers)
    (one,), _ = differences(answers, searched, Search())
    held = [o.words[0] == "great" for i in np.flatnonzero(~searched) for o in answers.after[i]]
    assert one.after == pytest.approx(np.mean(held))


def test_what_the_other_half_does_not_show_is_not_told():
    asked = [f"{prompt} number {i} ." for i, prompt in enumerate(made.prompts())]
    odd = {prompt for i, prompt in enumerate(asked) if i % 2 == 0}
    found, _ = found_in(made.plain, lambda p, d: (compliment if p in odd else made.plain)(p, d), asked)
    assert found == []


@pytest.mark.medium
def test_no_more_is_tested_than_alpha_is_shared_among(monkeypatch):
    """Every fifth test passes, as often as can be without ending the search: none is tested at more than its share."""
    seen = []

    def chance(*_):
        seen.append(1)
        return 0.0 if len(seen) % 5 == 0 else 1.0

    monkeypatch.setattr("scrutable.lenses.differences.chance", chance)
    monkeypatch.setattr("scrutable.lenses.differences._said", lambda *_: True)
    search = Search(least=0.0, enough=-1e9, most=3)
    answers = made.answers(made.plain, made.sometimes(0.5, warn), made.prompts(60))
    found, _ = differences(answers, made.every_other(answers), search)
    assert len(found) == 3 and len(seen) == 15
    assert 2 * len(seen) * search.level <= search.alpha * (1 + 1e-9)  # each on its slice, or on all tasks


@pytest.mark.medium
def test_what_only_one_test_of_few_would_confirm_is_not_told(monkeypatch):
    monkeypatch.setattr("scrutable.lenses.differences.chance", lambda *_: Search().alpha / Search().most)
    assert found_in(made.plain, compliment)[0] == []


def test_a_small_difference_is_not_worth_a_claim():
    assert found_in(made.plain, made.sometimes(0.05, compliment))[0] == []


def test_explained_and_left_add_up_to_the_whole():
    answers = made.answers(made.plain, made.sometimes(0.9, compliment))
    total = np.mean([one.total for mine in answers.after for one in mine])
    found, left = differences(answers, made.every_other(answers), Search())
    assert sum(one.nats for one in found) + rest_of(left).nats == pytest.approx(total)


def test_what_is_left_lies_behind_the_words_it_lies_behind():
    answers = made.answers(lambda *_: "a b", lambda *_: "a b")
    for mine in answers.after:
        mine[:] = [Spoken(one.words, (0.0, 3.0, 1.0), one.text) for one in mine]
    assert rest_of(answers).behind[:2] == (("a", 3.0), ("b", 1.0))


def test_lengths_are_compared_task_by_task():
    answers = made.answers(made.plain, made.sometimes(0.5, warn))
    before, after, z = lengths(answers, range(160))
    assert before == 4 and 5.5 < after < 6.5 and z > 10
    assert lengths(made.answers(made.plain, made.plain), range(160))[2] == 0
