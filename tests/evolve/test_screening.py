"""Screening: a text is tried first where its evidence is, and what several samples wrote is not lost to chance."""

from collections.abc import Sequence

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task
from scrutable.evolve.ledger import Cell, Keyed, Ledger, Limits
from scrutable.evolve.screening import Screening

SHOWN: tuple[Keyed, ...] = tuple((task.key, task) for task in (Task.ask(f"task {i}") for i in range(12)))
KEYS = [key for key, _ in SHOWN]
PARENT = Candidate(texts={"text": "p ."})


def text(told: str) -> Candidate:
    return Candidate(texts={"text": told})


class Rule:
    """The parent fails on the first six tasks; "right ." mends tasks 4 and 5 and changes nothing else; "none ." has no score."""

    identity = "rule"

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        return [Rollout(task=c.key, candidate=c.candidate_key, answer="", score=self.one(c)) for c in cells]

    def one(self, cell: Cell) -> Score:
        told, number = cell.candidate.text, int(cell.task.prompt.split()[1])
        if "none" in told:
            return Score(value=None, failures=("broken",))
        mended = "right" in told and number in (4, 5)
        return Score(value=float((number >= 6 or mended) and "harm" not in told))


def screening(run: Run, known: dict[str, tuple[float, float]] | None = None) -> tuple[Screening, Ledger]:
    ledger = Ledger(run, Rule(), Limits(1000))
    ledger.ask([PARENT], SHOWN)
    return Screening(ledger, PARENT.key, SHOWN, 2, known or {}, 1.0), ledger


def stage(found: Screening, ledger: Ledger, *children: Candidate) -> list[str]:
    for one in children:
        ledger.ask([one], found.next(one.key))
    return [one.text for one in found.ranked(children)]


def test_a_text_is_tried_first_where_the_sample_that_wrote_it_saw_the_parent_fail() -> None:
    with Run.temporary({"seed": 0}) as run:
        found, _ = screening(run)
        found.ground(text("right .").key, [KEYS[9], KEYS[5], KEYS[4], KEYS[8]], 1, 8)
        assert {key for key, _ in found.next(text("right .").key)} == {KEYS[4], KEYS[5]}
        again = [key for key, _ in found.next(text("right .").key)]
        assert len(again) == 2
        assert not {KEYS[4], KEYS[5]} & set(again)


def test_a_rule_for_few_tasks_wins_where_its_evidence_is() -> None:
    with Run.temporary({"seed": 0}) as run:
        found, ledger = screening(run)
        found.ground(text("right .").key, [KEYS[4], KEYS[5]], 1, 8)
        found.ground(text("x .").key, [KEYS[0], KEYS[1]], 1, 8)
        assert stage(found, ledger, text("x ."), text("right .")) == ["right .", "x ."]
        assert found.ahead(text("right ."))
        assert not found.ahead(text("x ."))


def test_of_texts_that_change_nothing_the_one_that_several_wrote_is_first_and_tested() -> None:
    """Also where it is longer: without votes the shorter comes first."""
    with Run.temporary({"seed": 0}) as run:
        found, ledger = screening(run)
        found.ground(text("long and wordy .").key, [], 3, 8)
        found.ground(text("x .").key, [], 1, 8)
        assert stage(found, ledger, text("x ."), text("y and z ."), text("long and wordy .")) == [
            "long and wordy .",
            "x .",
            "y and z .",
        ]
        assert found.ahead(text("long and wordy ."))
        assert not found.ahead(text("x ."))


def test_votes_never_save_what_does_harm() -> None:
    with Run.temporary({"seed": 0}) as run:
        found, ledger = screening(run)
        found.ground(text("harm .").key, [], 7, 8)
        assert stage(found, ledger, text("harm ."), text("x .")) == ["x .", "harm ."]
        assert not found.ahead(text("harm ."))


def test_votes_of_a_text_and_of_its_sentences_add_up() -> None:
    with Run.temporary({"seed": 0}) as run:
        found, _ = screening(run)
        found.ground(text("x .").key, [], 1, 8)
        assert not found.agreed(text("x .").key)
        found.ground(text("x .").key, [], 1, 8)
        assert found.agreed(text("x .").key)


def test_what_has_no_score_comes_last_and_what_was_known_before_counts() -> None:
    with Run.temporary({"seed": 0}) as run:
        known = {text("x .").key: (3.0, 4.0)}
        found, ledger = screening(run, known)
        assert stage(found, ledger, text("none ."), text("y ."), text("x .")) == ["x .", "y .", "none ."]
        assert not found.ahead(text("none ."))


def test_stages_cover_all_shown_tasks_once_and_take_bad_and_good_in_turn() -> None:
    with Run.temporary({"seed": 0}) as run:
        found, _ = screening(run)
        stages = [[key for key, _ in found.next("x")] for _ in range(found.stages)]
        assert sorted(key for one in stages for key in one) == sorted(KEYS)
        assert all(sum(KEYS.index(key) < 6 for key in one) == 1 for one in stages)
