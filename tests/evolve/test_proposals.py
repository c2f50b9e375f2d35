"""A proposal: what the writer sees never decides, children are screened and tested, and what it asks for is told."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task
from scrutable.core.sequential import Standard
from scrutable.evolve.ledger import Cell, Keyed, Ledger, Limits
from scrutable.evolve.proposals import Ask, Idea, Outcome, Plan, Propose, Start, Write
from scrutable.evolve.reflection import Proposal
from scrutable.evolve.showing import pick, show_rollout

TASKS: list[Keyed] = [(task.key, task) for task in (Task.ask(f"task {i}") for i in range(60))]
SHOWN, ORDER = tuple(TASKS[:10]), tuple(TASKS[10:58])
PLAN = Plan(items=5, width=8, screen=4, look=8, finalists=1, compose=False, repeats=1)
PARENT = Candidate(texts={"text": "p ."})


class Worth:
    """Scores a text by the best number in it, the same on each task; `hard` tasks have no score under who says hide."""

    identity = "worth"

    def __init__(self) -> None:
        self.asked: list[Cell] = []

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        self.asked += cells
        return [Rollout(task=c.key, candidate=c.candidate_key, answer="a", score=self.one(c)) for c in cells]

    def one(self, cell: Cell) -> Score:
        return Score(value=max([0.0, *(float(w) for w in cell.candidate.text.split() if w[0].isdigit())]), feedback="f")


def text(told: str) -> Candidate:
    return Candidate(texts={"text": told})


def start(**more: object) -> Start:
    return replace(Start(0, PARENT, "text", SHOWN, ORDER, Standard()), **more)  # type: ignore[arg-type]


def made(
    run: Run, written: Proposal | None, plan: Plan = PLAN, scorer: Worth | None = None, **more: object
) -> tuple[Outcome, list[Ask | Write]]:
    """Give a proposal all it asks for; return what it came to, and what it asked for."""
    ledger = Ledger(run, scorer or Worth(), Limits(10_000))
    propose, asked, given_ = Propose(start(**more), plan, ledger, show_rollout), [], None
    strand = propose.strand()
    while True:
        try:
            wanted = strand.send(given_)
        except StopIteration as end:
            return end.value, asked
        asked.append(wanted)
        given_ = written if isinstance(wanted, Write) else None
        if isinstance(wanted, Ask):
            fresh = [cell for cell in wanted.cells if not ledger.knows(cell.place)]
            if fresh:
                ledger.take(fresh, ledger.buy(fresh))


def written(*texts: str) -> Proposal:
    return Proposal(texts=texts, votes=(1,) * len(texts), answers=texts)


def tried(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.candidate.text, one.candidate.origin) for one in outcome.judged]


TEXTS = st.lists(st.sampled_from(["0 .", "0.2 .", "0.5 .", "1 .", "p .", "q 1 ."]), min_size=0, max_size=6, unique=True)


@settings(max_examples=25)
@given(TEXTS, st.integers(1, 3), st.integers(1, 6), st.integers(1, 9), st.booleans(), st.booleans())
def test_what_was_shown_may_screen_and_never_tests_what_was_written(
    texts: list[str], finalists: int, screen: int, look: int, compose: bool, whole: bool
) -> None:
    plan = replace(PLAN, finalists=finalists, screen=screen, look=look, compose=compose, whole=whole)
    with Run.temporary({"seed": 1}) as run:
        outcome, asked = made(run, written(*texts), plan)
        shown = {key for key, _ in SHOWN}
        uses = dict(zip(outcome.cells, outcome.uses, strict=True))
        for (name, task, _), use in uses.items():
            assert use == ("test" if task not in shown else "shown" if name == PARENT.key else "screening")
        children = {one.candidate.key for one in outcome.judged}
        assert all(cell.key in shown for cell in asked[0].cells)  # type: ignore[union-attr]
        assert set(outcome.cells) == {cell.place for one in asked if isinstance(one, Ask) for cell in one.cells}
        assert {name for name, _, _ in outcome.cells} <= {PARENT.key, *children}


def test_screening_halves_the_field_on_shown_tasks_and_the_test_has_its_own_in_the_given_order() -> None:
    with Run.temporary({"seed": 1}) as run:
        _, asked = made(run, written("0.1 .", "0.2 .", "0.3 .", "1 ."))
        tasks = [list(dict.fromkeys(cell.key for cell in one.cells)) for one in asked if isinstance(one, Ask)][1:]
        assert [len(part) for part in tasks] == [4, 4, 8]  # four are screened, then two, then one is tested
        assert {key for part in tasks[:2] for key in part} <= {key for key, _ in SHOWN}
        assert tasks[2] == [key for key, _ in ORDER][:8]


def test_children_are_screened_where_the_parent_fails_and_where_it_does_not() -> None:
    class Uneven(Worth):
        def one(self, cell: Cell) -> Score:
            return Score(value=float(int(cell.task.prompt.split()[1]) >= 7 or "1" in cell.candidate.text))

    with Run.temporary({"seed": 1}) as run:
        _, asked = made(run, written("0 .", "1 ."), replace(PLAN, screen=4), Uneven())
        first = next(one for one in asked[2:] if isinstance(one, Ask))
        numbers = [int(task.prompt.split()[1]) for task in {cell.key: cell.task for cell in first.cells}.values()]
        assert [number >= 7 for number in numbers] == [False, True, False, True]


def test_the_best_of_the_screened_is_tested_and_taken_in() -> None:
    with Run.temporary({"seed": 1}) as run:
        outcome, _ = made(run, written("0.1 .", "0.2 .", "1 ."))
        accepted = [one.candidate for one in outcome.judged if one.accepted]
        assert [one.text for one in accepted] == ["1 ."]
        assert accepted[0].parents == (PARENT.key,)
        lost = [one for one in outcome.judged if not one.accepted]
        assert {one.why for one in lost} == {"lost the screening, to other texts or to its parent"}
        assert not any(one.for_good for one in lost)
        assert outcome.judged[-1].why == "better than its parent: +1 on 8 tasks"


def test_who_is_not_ahead_of_its_parent_when_screened_is_not_tested() -> None:
    with Run.temporary({"seed": 1}) as run:
        outcome, asked = made(run, written("0 .", "0 0 .", "0 0 0 ."))
        assert len(asked) == 2 + 2 and not [one for one in outcome.judged if one.accepted]
        assert all(not one.for_good for one in outcome.judged)


def test_one_child_alone_is_tested_without_screening_and_closed_for_good() -> None:
    with Run.temporary({"seed": 1}) as run:
        (judged,) = made(run, written("0 ."))[0].judged
        assert not judged.accepted
        assert judged.for_good
        assert judged.why.startswith("not shown to be better than its parent: +0 on")


def test_of_equals_the_shorter_is_tested() -> None:
    with Run.temporary({"seed": 1}) as run:
        outcome, _ = made(run, written("1 and many words more .", "1 ."))
        assert [one.candidate.text for one in outcome.judged if one.accepted] == ["1 ."]


def test_a_child_that_makes_tasks_unscorable_gains_nothing_by_it_when_screened() -> None:
    class Hiding(Worth):
        def one(self, cell: Cell) -> Score:
            hard = int(cell.task.prompt.split()[1]) % 2
            if "hide" in cell.candidate.text and hard:
                return Score()
            return Score(value=0.1 * ("good" in cell.candidate.text) + (0.0 if hard else 0.9))

    with Run.temporary({"seed": 1}) as run:
        outcome, _ = made(run, written("hide .", "good ."), scorer=Hiding())
        assert outcome.judged[0].candidate.text == "hide ."
        assert outcome.judged[-1].candidate.text == "good ."


def test_a_writer_that_gave_nothing_costs_no_more_than_what_it_was_shown() -> None:
    for given_ in (None, Proposal(failures=("no idea",))):
        with Run.temporary({"seed": 1}) as run:
            outcome, asked = made(run, given_)
            assert not outcome.judged
            assert len(asked) == 2
            assert len(outcome.cells) == len(SHOWN)


def test_repeats_are_asked_for_together() -> None:
    with Run.temporary({"seed": 1}) as run:
        outcome, asked = made(run, written("1 ."), replace(PLAN, repeats=3))
        assert all({c.repeat for c in one.cells} == {0, 1, 2} for one in asked if isinstance(one, Ask))
        assert len(outcome.cells) == 3 * (len(SHOWN) + 2 * 8)


def test_an_accepted_child_is_scored_on_all_where_that_is_wanted() -> None:
    with Run.temporary({"seed": 1}) as run:
        outcome, _ = made(run, written("1 ."), replace(PLAN, whole=True))
        child = text("1 .").key
        assert {task for name, task, _ in outcome.cells if name == child} == {key for key, _ in ORDER}


def test_what_is_refused_is_no_part_of_what_it_came_to() -> None:
    """At each of its asks, the cells of those before stand, and no others."""
    with Run.temporary({"seed": 1}) as run:
        ledger = Ledger(run, Worth(), Limits(10_000))
        propose = Propose(start(), PLAN, ledger, show_rollout)
        strand, given_ = propose.strand(), None
        have: set = set()
        for _ in range(5):
            wanted = strand.send(given_)
            assert set(propose.outcome("spent").cells) == have
            assert propose.outcome("spent").spent == "spent"
            given_ = written("0.1 .", "0.2 .", "0.3 .", "1 .") if isinstance(wanted, Write) else None
            if isinstance(wanted, Ask):
                have |= {cell.place for cell in wanted.cells}
                fresh = [cell for cell in wanted.cells if not ledger.knows(cell.place)]
                ledger.take(fresh, ledger.buy(fresh))


# ------------------------------------------------------------------------------------------------------------ children


def test_children_are_texts_anew_and_single_sentences_on_top_of_the_parent() -> None:
    with Run.temporary({"seed": 0}) as run:
        told = Proposal(texts=("a . b .", "c ."), votes=(3, 1))
        outcome, _ = made(run, told, replace(PLAN, compose=True))
        assert set(tried(outcome)) == {
            ("a . b .", "reflection"),
            ("c .", "reflection"),
            ("p . a .", "sentence"),
            ("p . b .", "sentence"),
            ("p . c .", "sentence"),
        }


def test_without_composing_only_what_was_written_is_tried() -> None:
    with Run.temporary({"seed": 0}) as run:
        assert {one for one, _ in tried(made(run, written("a . b .", "c ."))[0])} == {"a . b .", "c ."}


def test_the_most_promising_are_tried_where_there_is_no_room_for_all() -> None:
    with Run.temporary({"seed": 0}) as run:
        told = Proposal(texts=("a . b .", "c .", "d ."), votes=(3, 1, 1))
        outcome, _ = made(run, told, replace(PLAN, compose=True, width=2))
        assert {one for one, _ in tried(outcome)} == {"a . b .", "p . a ."}


def test_the_parent_closed_texts_and_repetitions_are_not_tried() -> None:
    with Run.temporary({"seed": 0}) as run:
        outcome, _ = made(run, written("p .", "a .", "b ."), closed=lambda key, agreed: key == text("a .").key)
        assert tried(outcome) == [("b .", "reflection")]


def test_merges_come_first() -> None:
    merge = Candidate(texts={"text": "p . 1 ."}, parents=(PARENT.key, "other"), origin="merge")
    with Run.temporary({"seed": 0}) as run:
        outcome, _ = made(run, written("a ."), replace(PLAN, width=1), merges=(merge,))
        assert [one.candidate for one in outcome.judged if one.accepted] == [merge]


def test_of_a_program_only_the_module_is_rewritten() -> None:
    parent = Candidate(texts={"plan": "x .", "act": "y ."})
    with Run.temporary({"seed": 0}) as run:
        outcome, asked = made(run, written("1 ."), parent=parent, module="act")
        assert [one.candidate.texts for one in outcome.judged] == [{"plan": "x .", "act": "1 ."}]
        assert isinstance(asked[1], Write)
        assert asked[1].module == "act"


@pytest.mark.parametrize(("told", "accepted"), [("1 .", True), ("0 .", False)])
def test_the_comparisons_gate_asks_for_a_higher_sum_on_what_was_shown(told: str, accepted: bool) -> None:
    with Run.temporary({"seed": 0}) as run:
        outcome, asked = made(run, written(told, "0.5 ."), replace(PLAN, improves=True))
        assert [one.accepted for one in outcome.judged] == [accepted]
        assert {cell.key for one in asked if isinstance(one, Ask) for cell in one.cells} == {key for key, _ in SHOWN}


# ------------------------------------------------------------------------------------------------------ what is shown


def rollouts(values: Sequence[float | None]) -> list[tuple[Task, Rollout]]:
    return [
        (task, Rollout(task=key, candidate="c", answer="", score=Score(value=value)))
        for (key, task), value in zip(TASKS, values, strict=False)
    ]


def test_a_writer_sees_bad_and_good_answers_together() -> None:
    for seed in range(20):
        shown = [pair[1].score.value for pair in pick(rollouts([float(i) for i in range(30)]), 5, Random(seed))]
        assert sum(value < 10 for value in shown if value is not None) == 3
        assert sum(value >= 20 for value in shown if value is not None) == 2


def test_what_was_not_scored_is_not_shown() -> None:
    shown = pick(rollouts([None, 1.0, None, 0.0]), 5, Random(0))
    assert sorted(pair[1].score.value or 0 for pair in shown) == [0.0, 1.0]


def test_no_task_is_shown_twice() -> None:
    for count in (1, 2, 5, 30, 40):
        shown = pick(rollouts([1.0] * 30), count, Random(count))
        assert len(shown) == len({pair[1].task for pair in shown}) == min(count, 30)


def test_a_task_is_shown_with_the_raters_words() -> None:
    with Run.temporary({"seed": 0}) as run:
        _, asked = made(run, written("a ."))
        assert isinstance(asked[1], Write)
        assert len(asked[1].items) == 5
        assert {(item.answer, item.score, item.feedback) for item in asked[1].items} == {("a", 0.0, "f")}
        assert {item.prompt for item in asked[1].items} <= {task.prompt for _, task in SHOWN}


def test_what_was_found_stays_where_there_is_something_and_known_children_take_a_third_at_most() -> None:
    ideas = tuple(Idea(text(f"p . idea {i} ."), 1.0, 4.0) for i in range(5))
    plan = replace(PLAN, width=6, compose=True)
    with Run.temporary({"seed": 0}) as run:
        outcome, asked = made(run, written("q . r .", "s ."), plan, ideas=ideas)
        found = {one.candidate.text for one in outcome.judged}
        assert sum("idea" in one for one in found) == 2
        assert {"p . q .", "p . r ."} <= found
        first = next(one for one in asked[2:] if isinstance(one, Ask))
        order = list(dict.fromkeys(cell.candidate.text for cell in first.cells))
        assert order.index("p . q .") < order.index("q . r .")


def test_sentences_that_many_samples_wrote_before_are_tried_first() -> None:
    plan = replace(PLAN, width=3, compose=True)
    with Run.temporary({"seed": 0}) as run:
        outcome, _ = made(run, written("q .", "r ."), plan, tally={"s .": 5, "q .": 1})
        assert "p . s ." in {one.candidate.text for one in outcome.judged}
