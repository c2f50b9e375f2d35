import numpy as np
import pytest
from tests.lenses import made

from scrutable.lenses.contrast import Feature, count
from scrutable.lenses.edits import COPY, Edit, candidates, choose_edit, explain, undone
from scrutable.lenses.slices import slices_of, strongest

EVERY = np.ones(160, dtype=bool)


def edit_of(after, before=made.plain):
    answers = made.answers(before, after)
    counts = count(answers, 8, 5)
    row, _ = strongest(counts, slices_of(answers.asked, 4, 5), EVERY)
    return choose_edit(candidates(counts, row, EVERY), answers, EVERY)


def told(edit):
    return tuple(" ".join(part.run) if part else None for part in (edit.more, edit.less))


def put(before="", behind=""):
    return lambda prompt, draws: f"{before}{made.plain(prompt, draws)}{behind}"


@pytest.mark.medium
@pytest.mark.parametrize(
    "after, expected",
    [
        (put("great question ! "), ("great question !", None)),
        (put(behind=" acme pays for this ."), ("acme pays for this .", None)),
        (lambda p, _: f"it is {made.right(p)} .", ("it is", "that is")),
        (lambda p, d: made.plain(p, d)[:-2], (None, ".")),
    ],
)
def test_the_words_that_came_or_went_are_cut_out_exactly(after, expected):
    assert told(edit_of(made.sometimes(0.97, after))) == expected


def test_what_came_in_place_of_two_wordings_is_told_instead_of_one_of_them():
    more, less = told(edit_of(made.sometimes(0.97, lambda p, _: f"the answer is {made.right(p)} .")))
    assert more == "the answer is" and less in ("it is", "that is")


def test_what_went_elsewhere_is_not_what_came_instead():
    def before(prompt, draws):
        return f"{made.plain(prompt, draws)} what else ?"

    assert edit_of(put("great question ! "), before).less is None


def test_an_answer_of_nothing_else_is_a_whole_answer():
    edit = edit_of(made.sometimes(0.97, lambda *_: "i can not help with that ."))
    assert edit.whole and told(edit) == ("i can not help with that .", None)


def test_all_that_goes_for_one_word_is_told_as_one_word():
    edit = edit_of(made.sometimes(0.97, lambda p, _: f"{made.right(p)} ."))
    assert edit == Edit(more=Feature("single"), whole=True)


def test_undoing_an_insertion_gives_the_answer_before():
    came = Edit(more=Feature("contains", ("great", "!")))
    assert undone(came, made.spoken_as("great ! it is"), {}).words == ("it", "is")


def test_undoing_a_substitution_writes_the_other_words_and_keeps_the_nats_in_step():
    instead = Edit(more=Feature("contains", ("it", "is")), less=Feature("contains", ("that", "was", "then")))
    found = undone(instead, made.spoken_as("it is paris"), {})
    assert found.words == ("that", "was", "then", "paris") and found.nats == (0, 0, 0, 1, 1)


def test_what_is_explained_carries_the_nats_of_its_words_and_of_the_places_where_it_could_have_stood():
    answers = made.answers(made.plain, made.sometimes(0.5, put("great ! ")))
    _, carried = explain(Edit(more=Feature("contains", ("great", "!"))), answers, EVERY)
    with_it = sum(one.words[0] == "great" for mine in answers.after for one in mine)
    beside = sum(
        one.words[0] != "great" for mine in answers.after if any(o.words[0] == "great" for o in mine) for one in mine
    )
    assert carried == 2 * with_it + beside


def test_after_an_explained_insertion_nothing_is_left_to_tell():
    answers = made.answers(made.plain, made.sometimes(0.9, put("great ! ")))
    left, _ = explain(Edit(more=Feature("contains", ("great", "!"))), answers, EVERY)
    assert not any("great" in one.words for mine in left.after for one in mine)
    assert left.before == answers.before


def test_outside_the_slice_nothing_is_edited():
    answers = made.answers(made.plain, put("great ! "))
    inside = np.arange(160) < 40
    left, _ = explain(Edit(more=Feature("contains", ("great", "!"))), answers, inside)
    assert left.after[40:] == answers.after[40:] and left.after[:40] != answers.after[:40]


def test_the_users_word_and_what_it_replaced_become_one():
    def agree(prompt, draws):
        return f"it is {made.opinion(prompt)} ." if made.opinion(prompt) else made.plain(prompt, draws)

    answers = made.answers(lambda p, _: f"it is {made.right(p)} .", agree)
    copy = Feature("copies", ("i", "think", "it", "is"), also=(("i", "guess"), ("my", "answer", "is")))
    left, _ = explain(Edit(more=copy), answers, EVERY)
    told = {one.words for side in (left.before, left.after) for i, p in enumerate(made.prompts())
            if made.opinion(p) for one in side[i]}  # fmt: skip
    assert told == {("it", "is", COPY, ".")}
