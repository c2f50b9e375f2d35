"""The state: what a proposal begins with depends on the commits before it, and never on how well a task was done."""

from collections.abc import Sequence

import pytest

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task, Usage
from scrutable.core.sequential import Standard
from scrutable.evolve.joins import merged
from scrutable.evolve.ledger import Cell, Keyed, Ledger, Limits
from scrutable.evolve.parts import Parts
from scrutable.evolve.proposals import Judged, Outcome, Start
from scrutable.evolve.reflection import Proposal
from scrutable.evolve.state import State

TASKS: list[Keyed] = [(task.key, task) for task in (Task.ask(f"task {i}") for i in range(60))]
POOL, SHOWN = tuple(TASKS[:40]), tuple(TASKS[40:])


class Told:
    """Scores as it is told to: by (text, task's number)."""

    identity = "told"

    def __init__(self, worth: object = None) -> None:
        self.worth = worth or (lambda text, number: 0.0)

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        return [
            Rollout(
                task=c.key,
                candidate=c.candidate_key,
                answer="",
                usage=Usage(answer_tokens=3),
                score=Score(value=self.worth(c.candidate.text, int(c.task.prompt.split()[1]))),  # type: ignore[operator]
            )
            for c in cells
        ]


def text(told: str, *parents: Candidate) -> Candidate:
    return Candidate(texts={"text": told}, parents=tuple(one.key for one in parents))


ROOT = text("r .")


def state(run: Run, worth: object = None, explore: int = 6, first: int = 6) -> State:
    ledger = Ledger(run, Told(worth), Limits(10_000), batch=1)
    found = State(ledger, Parts(SHOWN, POOL, (), ()), explore)
    found.take_in(ROOT, None, cells(found, ROOT, POOL[:first]))
    return found


def cells(where: State, one: Candidate, tasks: Sequence[Keyed]) -> list[tuple[str, str, int]]:
    where.ledger.ask([one], tasks)
    return [(one.key, key, 0) for key, _ in tasks]


def begun(where: State, number: int, compose: bool = False) -> Start:
    return where.begin(number, Standard(), compose)


def commit(where: State, start: Start, child: Candidate | None = None, accepted: bool = True, **more: bool) -> int:
    """Commit a proposal that tried a child on the shown and the first eight tasks of its order."""
    paid = cells(where, start.parent, [*start.shown, *start.order[:8]])
    judged = ()
    if child is not None:
        paid += cells(where, child, start.order[:8])
        judged = (Judged(child, accepted, "because", 8, 0.1, **more),)
    return where.commit(Outcome(start, judged, tuple(paid), Proposal()))


def test_what_is_shown_decides_nothing_as_long_as_there_are_tasks_enough() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run)
        for number in range(12):
            start = begun(where, number)
            assert len(start.shown) == 6
            assert not {key for key, _ in start.shown} & {key for key, _ in start.order}
            assert {key for key, _ in start.order} <= {key for key, _ in POOL}
            commit(where, start)


def test_where_there_are_few_tasks_the_shown_ones_decide_too_after_the_others() -> None:
    with Run.temporary({"seed": 1}) as run:
        ledger = Ledger(run, Told(), Limits(1000))
        where = State(ledger, Parts(POOL[:10], POOL[:10], (), ()), 6)
        where.take_in(ROOT, None)
        start = begun(where, 0)
        assert {key for key, _ in start.order} == {key for key, _ in POOL[:10]}
        assert {key for key, _ in start.order[4:]} == {key for key, _ in start.shown}


def test_the_order_of_tasks_depends_on_no_score() -> None:
    """Two searches with one seed, in which everything scores otherwise: they try the same tasks in the same order."""
    worths = (lambda text, number: 0.0), (lambda text, number: float(number % 7 == len(text) % 7))
    starts = []
    for worth in worths:
        with Run.temporary({"seed": 1}) as run:
            where, found = state(run, worth), []
            for number in range(6):
                start = begun(where, number)
                found.append(([key for key, _ in start.order], [key for key, _ in start.shown]))
                commit(where, start)
            starts.append(found)
    assert starts[0] == starts[1]


def test_all_children_of_one_parent_are_tried_in_one_order() -> None:
    """So its own rollouts are paid once. What is shown is left out."""
    with Run.temporary({"seed": 1}) as run:
        where, orders = state(run), []
        for number in range(5):
            start = begun(where, number)
            orders.append([key for key, _ in start.order])
            commit(where, start)
        whole = [key for key, _ in where._order(ROOT.key)]
        assert all([key for key in whole if key in order] == order for order in orders)
        assert whole != [key for key, _ in POOL]


def test_another_parent_has_another_order() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run)
        assert where._order(ROOT.key) != where._order(text("other .").key)


def test_the_writer_sees_first_what_is_paid_for_and_was_seen_least() -> None:
    with Run.temporary({"seed": 1}) as run:
        where, seen = state(run, first=12), list[str]()
        for number in range(2):
            start = begun(where, number)
            names = [key for key, _ in start.shown]
            assert set(names) <= {key for key, _ in POOL[:12]}  # paid for already
            assert not set(names) & set(seen)
            seen += names
            told = tuple(cells(where, ROOT, start.shown))
            where.commit(Outcome(start, (), told, Proposal(), seen=tuple((ROOT.key, name) for name in names)))
        assert set(seen) == {key for key, _ in POOL[:12]}


def test_what_begins_depends_on_the_commits_before_it_and_not_on_what_is_known_besides() -> None:
    """Rollouts of proposals that are still under way are in the ledger, and change nothing."""
    starts = []
    for busy in (False, True):
        with Run.temporary({"seed": 1}) as run:
            where = state(run, lambda text, number: float(number % 3 == 0))
            commit(where, begun(where, 0), text("c .", ROOT))
            if busy:
                where.ledger.ask([ROOT, text("c .", ROOT), text("d .", ROOT)], POOL)
            start = begun(where, 1)
            starts.append((start.parent, start.shown, start.order, where.charged, where.spread(), where.best))
    assert starts[0] == starts[1]


def test_each_rollout_is_charged_once_to_who_is_committed_first() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, first=6)
        first, second = begun(where, 0), begun(where, 1)
        used = {key for start in (first,) for key, _ in [*start.shown, *start.order[:8]]}
        known = {key for key, _ in POOL[:6]}
        assert commit(where, first) == len(used - known)
        both = {key for key, _ in [*second.shown, *second.order[:8]]}
        assert commit(where, second) == len(both - used - known)
        assert where.charged == (len(known | used | both), 3 * len(known | used | both))


def test_what_was_charged_before_a_proposal_began_is_not_its_own() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run)
        commit(where, begun(where, 0))
        commit(where, begun(where, 1), text("c .", ROOT))
        child = [(text("c .").key, key, 0) for key, _ in POOL]
        assert len(where.fresh(child, 2)) == 32
        assert where.fresh(child, 1) == where.fresh(child, 0) == child  # committed later


def test_a_text_is_tried_no_more_when_it_was_tested_or_lost_the_screening_twice() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run)
        tested, lost = text("tested .", ROOT), text("lost .", ROOT)
        commit(where, begun(where, 0), tested, accepted=False)
        commit(where, begun(where, 1), lost, accepted=False, for_good=False)
        under_way = begun(where, 2)
        closed = under_way.closed
        assert [closed(one.key, False) for one in (tested, lost, ROOT)] == [True, False, True]
        commit(where, begun(where, 3), lost, accepted=False, for_good=False)
        assert begun(where, 4).closed(lost.key, False)
        assert not closed(
            lost.key, False
        )  # who began before does not hear of it: that would depend on the order of things


def test_lost_screenings_do_not_close_what_several_samples_wrote_but_a_test_does() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run)
        tested, lost = text("tested .", ROOT), text("lost .", ROOT)
        commit(where, begun(where, 0), tested, accepted=False)
        for number in (1, 2, 3):
            commit(where, begun(where, number), lost, accepted=False, for_good=False)
        closed = begun(where, 4).closed
        assert closed(lost.key, False)
        assert not closed(lost.key, True)
        assert closed(tested.key, True)


def test_an_accepted_child_is_in_the_front_under_its_parent() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, lambda text, number: float("good" in text))
        good = text("good .", ROOT)
        commit(where, begun(where, 0), good)
        assert where.accepted.keys() == {ROOT.key, good.key}
        assert where.best == good.key
        assert where.front.worth(good.key) == pytest.approx(8 / 12)
        assert where.spread() == 1.0
        rejected = text("bad .", ROOT)
        commit(where, begun(where, 1), rejected, accepted=False)
        assert rejected.key not in where.accepted


def test_merges_are_tried_only_where_two_have_parted() -> None:
    """Each must hold a tenth of the tasks alone; the child has both one's sentences."""
    for parted in (2, 20):
        with Run.temporary({"seed": 1}) as run:

            def worth(text: str, number: int, parted: int = parted) -> float:
                return float(("a ." in text and number < 20) or ("b ." in text and number >= 40 - parted))

            where = state(run, worth)
            one, other = text("r . a .", ROOT), text("r . b .", ROOT)
            for child in (one, other):
                where.take_in(child, ROOT.key, cells(where, child, POOL))
            tried = [merge for number in range(8) for merge in begun(where, number, compose=True).merges]
            found = {merge.text for merge in tried if merge.origin == "merge"}
            assert found == (set() if parted == 2 else {"r . a . b .", "r . b . a ."})
            assert not begun(where, 9, compose=False).merges


def test_a_parent_is_tried_with_the_sentences_that_most_others_on_the_front_hold() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, lambda text, number: float(f"good {number % 4}" in text))
        held = ("good 0 . rare .", "good 1 . shared .", "good 2 . shared .", "good 3 . shared .")
        children = [text(f"r . {one}", ROOT) for one in held]
        for child in children:
            where.take_in(child, ROOT.key, cells(where, child, POOL))
        tried = [one for number in range(12) for one in begun(where, number, compose=True).merges]
        alone = [one for one in tried if one.origin == "sentence"]
        assert "r . good 0 . rare . shared ." in {one.text for one in alone}  # three hold it
        for one in alone:
            (above,) = one.parents
            parent = where.accepted[above].text
            assert one.text.startswith(parent)
            assert one.text != parent
        assert not any("shared . shared" in one.text for one in alone)


def test_of_a_program_a_merge_takes_the_modules_that_the_other_changed() -> None:
    with Run.temporary({"seed": 1}) as run:
        root = Candidate(texts={"plan": "p .", "act": "a ."})
        where = State(Ledger(run, Told(), Limits(1000)), Parts(SHOWN, POOL, (), ()), 6)
        where.take_in(root, None)
        one = Candidate(texts={"plan": "new .", "act": "a ."}, parents=(root.key,))
        other = Candidate(texts={"plan": "p .", "act": "new ."}, parents=(root.key,))
        for child in (one, other):
            where.take_in(child, root.key)
        assert merged(one, other, where.accepted) == {"plan": "new .", "act": "new ."}


def test_a_programs_texts_take_turns_in_a_line() -> None:
    with Run.temporary({"seed": 1}) as run:
        root = Candidate(texts={"plan": "", "act": ""})
        where = State(Ledger(run, Told(), Limits(1000)), Parts(SHOWN, POOL, (), ()), 6)
        where.take_in(root, None)
        starts = [begun(where, number) for number in range(4)]
        assert [one.module for one in starts] == ["act", "plan", "act", "plan"]  # before anything is known
        child = Candidate(texts={**root.texts, starts[0].module: "new ."}, parents=(root.key,))
        where.commit(Outcome(starts[0], (Judged(child, True, "because", 8, 0.1),), (), Proposal()))
        assert {where._module(child, number) for number in range(4)} == {"plan"}
        assert {where._module(root, number) for number in range(4)} == {"plan"}
        where.commit(Outcome(starts[1], (), (), Proposal()))
        assert [where._module(root, number) for number in range(2)] == ["act", "plan"]
        assert where._module(child, 0) == "plan"  # its own line goes on as it was


def test_the_target_is_reached_by_a_plain_mean_on_tasks_enough() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, lambda text, number: 1.0, first=15)
        assert not where.reached(1.0)
        assert not where.reached(None)
        where.take_in(ROOT, None, cells(where, ROOT, POOL[:16]))
        where.front.score(ROOT.key, where.scores(ROOT.key))
        assert where.reached(1.0)
        assert not where.reached(1.01)


def test_what_cannot_be_scored_is_no_score() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, lambda text, number: None if number % 2 else 1.0)
        assert len(where.scores(ROOT.key)) == 3
        assert where.charged[0] == 6


def told_of(where: State, start: Start, child: Candidate, tasks: Sequence[Keyed]) -> None:
    """Commit that the child was tried on these tasks, and that the writer saw what its parent said."""
    paid = (*cells(where, ROOT, start.shown), *cells(where, child, tasks))
    where.commit(Outcome(start, (), paid, Proposal(), seen=tuple((ROOT.key, key) for key, _ in start.shown)))


def offered(start: Start) -> list[tuple[str, str]]:
    return [(name, key) for name, (key, _) in start.others]


def test_others_answers_are_offered_until_a_writer_saw_them_those_to_the_shown_tasks_first() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, first=12)
        where._contrasts = 3
        child, start = text("c .", ROOT), begun(where, 0)
        told_of(where, start, child, POOL[:20])
        again = begun(where, 1)
        assert {name for name, _ in offered(again)} == {child.key}
        shown = {key for key, _ in again.shown}
        known = [key for key, _ in POOL[:20] if key in shown]
        first = [key for _, key in offered(again)][: len(known)]
        assert len(first) == min(3, len(known)) > 0
        assert set(first) <= set(known)
        where.commit(Outcome(again, (), (), Proposal(), seen=tuple(offered(again))))
        assert not set(offered(begun(where, 2))) & set(offered(again))


def test_who_compares_is_offered_answers_to_the_shown_tasks_alone() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, first=12)
        where._contrasts, where._beside = 30, True
        told_of(where, begun(where, 0), text("c .", ROOT), POOL)
        again = begun(where, 1)
        assert {key for _, key in offered(again)} == {key for key, _ in again.shown}


def test_proposals_under_way_are_handed_different_answers() -> None:
    with Run.temporary({"seed": 1}) as run:
        where = state(run, first=12)
        where._contrasts = 8
        told_of(where, begun(where, 0), text("c .", ROOT), POOL)
        two = begun(where, 1), begun(where, 2)
        assert offered(two[0])
        assert offered(two[1])
        assert not set(offered(two[0])) & set(offered(two[1]))
        where.commit(Outcome(two[0], (), (), Proposal()))  # its writer showed nothing of it: offered again
        assert set(offered(two[0])) & set(offered(begun(where, 3)))
