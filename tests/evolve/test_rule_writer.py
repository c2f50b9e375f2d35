"""The rule writer: how a model is asked in its own format, and which tasks each of its samples sees."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evolve.writing import ITEMS, Answering

from scrutable.core.records import Generation, Usage
from scrutable.evolve.reflection import Item, Proposal, ReflectConfig, RuleFormat, RuleWriter
from scrutable.evolve.rule_writer import hands_of

FORM = RuleFormat(
    item="task : {prompt} answer : {answer} rater : {feedback}", ask="write the rules .", items=5, shown="good ."
)
MANY = [Item(prompt=f"p{i}", answer=f"a{i}", score=float(i >= 8), feedback=".") for i in range(24)]


def propose(model: Answering, items: list[Item] = ITEMS, seed: int = 0, **config: int) -> Proposal:
    return RuleWriter(model, FORM, ReflectConfig(**{"samples": 8, **config})).propose({"text": ""}, "text", items, seed)


def shown(model: Answering) -> list[list[str]]:
    """The prompts of the tasks in each question."""
    return [[part.split(" answer : ")[0] for part in asked.split("task : ")[1:]] for asked, _ in model.asked]


def test_it_asks_in_the_models_own_format() -> None:
    model = Answering("always , be brief .")
    propose(model, seed=7)
    asked, sampling = model.asked[0]
    assert asked == (
        "task : what is two plus two ? answer : four rater : good . "
        "task : i trust you . paris ? answer : rome rater : bad : no agreement . write the rules ."
    )
    assert (sampling.temperature, sampling.seed) == (1.0, 7)


def test_braces_in_tasks_are_left_alone() -> None:
    model = Answering("a .")
    propose(model, [Item(prompt="{answer} {0}", answer="{feedback}", feedback="good .")])
    assert model.asked[0][0].startswith("task : {answer} {0} answer : {feedback} rater : good .")


def test_answers_are_texts_each_once_most_votes_first() -> None:
    cut = Generation(answer="when dawn ,", complete=False)
    broken = Generation(failure="model: out of memory")
    found = propose(Answering(" b . ", "a .", "b .", "", cut, broken, "b .", "a ."))
    assert found.texts == ("b .", "a .")
    assert found.votes == (3, 2)
    assert found.failures == (
        "proposer: an empty text",
        "proposer: the answer was cut off",
        "proposer: model: out of memory",
    )


def test_samples_are_drawn_in_one_call() -> None:
    model = Answering("a .")
    propose(model, MANY, samples=3)
    assert (len(model.asked), model.calls) == (3, 1)


def test_what_writing_cost_is_told() -> None:
    found = propose(Answering(Generation(answer="a .", usage=Usage(generations=1, answer_tokens=2))))
    assert found.usage == Usage(generations=8, answer_tokens=16)


@pytest.mark.parametrize(("samples", "wanted"), [(None, 40), (1, 5), (3, 15), (100, 40)])
def test_it_wants_as_many_tasks_as_its_samples_can_show(samples: int | None, wanted: int) -> None:
    assert RuleWriter(Answering("a ."), FORM, ReflectConfig(samples=samples)).items == wanted


def test_a_format_that_is_used_to_many_tasks_is_given_them() -> None:
    assert RuleWriter(Answering("a ."), FORM.model_copy(update={"items": 40}), ReflectConfig(samples=1)).items == 40


def test_who_says_how_many_is_heard() -> None:
    assert RuleWriter(Answering("a ."), FORM, ReflectConfig(items=7)).items == 7


def test_every_sample_sees_tasks_of_its_own() -> None:
    model = Answering("a .")
    propose(model, MANY)
    seen = shown(model)
    assert [len(set(tasks)) for tasks in seen] == [5] * 8
    assert len({tuple(sorted(tasks)) for tasks in seen}) >= 7
    assert len({task for tasks in seen for task in tasks}) >= 14  # of the sixteen worst and best of 24


def test_the_same_seed_shows_the_same() -> None:
    one, two, other = Answering("a ."), Answering("a ."), Answering("a .")
    for model, seed in ((one, 3), (two, 3), (other, 4)):
        propose(model, MANY, seed=seed)
    assert shown(one) == shown(two) != shown(other)


def test_what_was_asked_has_a_digest_of_its_own() -> None:
    digests = {propose(Answering("a ."), MANY, seed=seed).prompt_digest for seed in (3, 3, 4)}
    assert len(digests) == 2


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), max_size=30), st.integers(2, 7), st.integers(0, 99))
def test_a_draw_holds_bad_and_good_where_there_are_any(scores: list[float | None], count: int, seed: int) -> None:
    items = [Item(prompt=str(i), answer="", score=score) for i, score in enumerate(scores)]
    drawn = hands_of(items, count, 1, Random(seed))[0]
    assert len(drawn) == min(count, len(items))
    assert len({item.prompt for item in drawn}) == len(drawn)
    values, got = ([-1.0 if one.score is None else one.score for one in part] for part in (items, drawn))
    if len(set(values)) > 1:
        assert min(got) < max(values)
        assert max(got) > min(values)


@pytest.mark.parametrize("rare", [0.0, 1.0])
def test_the_only_bad_or_good_one_is_in_every_draw(rare: float) -> None:
    items = [Item(prompt=str(i), answer="", score=rare if i == 9 else 1 - rare) for i in range(24)]
    assert all("9" in [item.prompt for item in hands_of(items, 5, 1, Random(seed))[0]] for seed in range(50))


def test_two_of_five_are_of_the_worse_half_and_the_rest_of_the_better() -> None:
    items = [Item(prompt=str(i), answer="", score=float(i)) for i in range(24)]
    for seed in range(50):
        places = sorted(int(item.prompt) for item in hands_of(items, 5, 1, Random(seed))[0])
        assert places[1] < 12 <= places[2]


def test_none_of_the_best_is_given_as_bad_where_worse_ones_are_enough() -> None:
    items = [Item(prompt=str(i), answer="", score=float(i >= 3)) for i in range(40)]
    for hand in hands_of(items, 5, 8, Random(1)):
        assert sorted(item.score for item in hand) == [0, 0, 1, 1, 1]  # type: ignore[type-var]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=40), st.integers(0, 99))
def test_a_hand_holds_nothing_twice_and_bad_ones_come_up_about_as_often(scores: list[float], seed: int) -> None:
    items = [Item(prompt=str(i), answer="", score=score) for i, score in enumerate(scores)]
    hands = hands_of(items, 5, 8, Random(seed))
    assert all(len({item.prompt for item in hand}) == 5 for hand in hands)
    counts = Counter(item.prompt for hand in hands for item in hand if item.score == 0.0)
    zeros = [item.prompt for item in items if item.score == 0.0]
    if 2 <= len(zeros) <= len(items) // 2 and len(zeros) == sum(score < 1.0 for score in scores):
        assert max(counts[one] for one in zeros) - min(counts[one] for one in zeros) <= 2


def test_forty_items_are_nearly_all_seen_by_eight_samples() -> None:
    items = [Item(prompt=str(i), answer="", score=(i % 5) / 5) for i in range(40)]
    for seed in range(20):
        assert len({item.prompt for hand in hands_of(items, 5, 8, Random(seed)) for item in hand}) >= 34


def test_all_tasks_are_drawn_about_as_often_among_equals() -> None:
    items = [Item(prompt=str(i), answer="", score=0.0) for i in range(12)]
    counts = Counter(item.prompt for seed in range(600) for item in hands_of(items, 5, 1, Random(seed))[0])
    assert all(180 <= counts[str(i)] <= 320 for i in range(12))  # 250 each


def test_a_text_that_copies_a_task_is_a_counted_failure() -> None:
    found = propose(Answering("say what is two plus two ?", "be kind ."))
    assert found.texts == ("be kind .",)
    assert (found.votes, found.copied) == ((4,), 4)
    assert found.failures == ("proposer: the text copies a task: 'what is two plus two'",) * 4


def test_a_text_of_more_than_twice_the_words_is_refused() -> None:
    found = propose(Answering("word " * 21, "word " * 20), words=10)
    assert found.votes == (4,)
    assert "21 words" in found.failures[0]


def test_a_text_without_its_mark_is_a_failure() -> None:
    form = FORM.model_copy(update={"after": "rules :"})
    found = RuleWriter(Answering("notes . rules : be kind .", "notes"), form).propose({"text": ""}, "text", ITEMS, 0)
    assert found.texts == ("be kind .",)
    assert "'rules :' is missing" in found.failures[0]


def test_a_folder_is_not_needed(tmp_path: Path) -> None:
    assert RuleWriter(Answering("a .", origin=tmp_path), FORM).shown == "good ."


def test_it_tells_which_of_the_answers_were_shown() -> None:
    model = Answering("a .")
    found = propose(model, MANY)
    assert found.shown is not None
    assert {MANY[place].prompt for place in found.shown} == {task for tasks in shown(model) for task in tasks}
