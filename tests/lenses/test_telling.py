import numpy as np
import pytest
from tests.lenses import made

from scrutable.core.records import Task
from scrutable.lenses.contrast import Feature
from scrutable.lenses.differences import Difference, Rest
from scrutable.lenses.edits import COPY, Edit
from scrutable.lenses.telling import Source, claim_of, listed, quoted, rest_claim

GREAT = Feature("contains", ("great", "!"))
END = Feature("contains", ("bye",))
IS = Feature("contains", ("is",))


def source(after):
    asked = made.prompts(20)
    tasks = [(task.key, task) for task in (Task.ask(p) for p in asked)]
    return Source(tasks, made.answers(made.plain, after, asked))


def put(before="", behind=""):
    return lambda prompt, draws: f"{before}{made.plain(prompt, draws)}{behind}"


def says(edit, after, before=0.02, rate=0.97, runs=()):
    found = Difference(edit, runs, np.ones(20, dtype=bool), before, rate, None, 1.0)
    return claim_of(found, source(after), 2).says


@pytest.mark.parametrize(
    "edit, after, told",
    [
        (Edit(more=GREAT), put("great ! "), "opens with 'great !' (2% → 97%)"),
        (Edit(more=END), put(behind=" bye"), "ends with 'bye' (2% → 97%)"),
        (Edit(more=Feature("contains", ("is",))), put(), "says 'is' (2% → 97%)"),
        (Edit(more=GREAT, less=IS), put("great ! "), "opens with 'great !' instead of 'is' (2% → 97%)"),
        (Edit(more=GREAT, whole=True), put(), "answers 'great !' and no more (2% → 97%)"),
        (Edit(more=Feature("single"), whole=True), put(), "answers in one word (2% → 97%)"),
        (
            Edit(more=Feature("copies", ("i", "guess"), also=(("think",),))),
            put(),
            "says the user's own word after 'i guess' or 'think' (2% → 97%)",
        ),
    ],
)
def test_what_came_is_said_with_its_place_and_rates(edit, after, told):
    assert says(edit, after) == told


@pytest.mark.parametrize(
    "rate, told", [(0.02, "no longer says 'is' (99% → 2%)"), (0.4, "says 'is' less often (99% → 40%)")]
)
def test_what_went_is_said_to_be_gone_only_where_it_is(rate, told):
    assert says(Edit(less=IS), put(), 0.99, rate) == told


def test_what_was_said_before_is_said_more_often():
    assert says(Edit(more=GREAT), put("great ! "), 0.4, 0.9) == "opens with 'great !' more often (40% → 90%)"


def test_the_slice_is_part_of_the_sentence():
    runs = (("i", "trust", "you"), ("you", "know", "best"))
    assert says(Edit(more=GREAT), put("great ! "), runs=runs).endswith(
        "(2% → 97%) when the user says 'i trust you' or 'you know best'"
    )


def test_evidence_shows_the_difference():
    found = Difference(Edit(more=GREAT), (), np.ones(20, dtype=bool), 0.0, 1.0, None, 1.0)
    shown = claim_of(found, source(put("great ! ")), 2).evidence
    assert len(shown) == 2 and all(one.after.startswith("great !") and "great" not in one.before for one in shown)


def test_what_no_wording_tells_names_where_it_lies():
    claim = rest_claim(Rest(2.0, (("is", 1.5), ("", 0.4), ("x", 0.1))), 4.0, source(put()))
    assert claim.says == (
        "parts from before in no one wording (2.00 of 4.00 nats an answer), most of it after 'is' and at the opening"
    )


def test_lists_and_names_are_readable():
    assert listed(["a", "b", "c"]) == "a, b or c" and listed(["a"]) == "a"
    assert quoted((COPY,)) == "the user's own word"
