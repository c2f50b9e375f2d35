"""Children: what a round tries, and what a writer is shown."""

from collections.abc import Mapping, Sequence
from random import Random

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task
from scrutable.evolve.children import Nursery, Plan, pick, show_rollout
from scrutable.evolve.front import Front
from scrutable.evolve.ledger import Cell, Keyed, Ledger, Limits
from scrutable.evolve.reflection import Item, Proposal

TASKS: list[Keyed] = [(task.key, task) for task in (Task.ask(f"task {i}") for i in range(30))]


class ByNumber:
    """Scores a task by its number."""

    identity = "number"

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        return [
            Rollout(
                task=c.key,
                candidate=c.candidate_key,
                answer=c.task.prompt,
                score=Score(value=float(c.task.prompt.split()[1]), feedback="f"),
            )
            for c in cells
        ]


class Saying:
    """Proposes what it is told to, and remembers what it was shown."""

    items = 5

    def __init__(self, proposal: Proposal | Exception) -> None:
        self.proposal = proposal
        self.seen: list[Sequence[Item]] = []

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        self.seen.append(items)
        if isinstance(self.proposal, Exception):
            raise self.proposal
        return self.proposal


def brood(run: Run, writer: Saying, accepted: Sequence[Candidate], plan: Plan) -> tuple[Nursery, dict[str, Candidate]]:
    ledger, front = Ledger(run, ByNumber(), Limits(1000)), Front(len(accepted))
    for i, one in enumerate(accepted):
        front.add(one.key, [float(i == j) for j in range(len(accepted))], 1)
    return Nursery(ledger, front, writer, TASKS, plan, show_rollout), {one.key: one for one in accepted}


def text(told: str) -> Candidate:
    return Candidate(texts={"text": told})


WRITTEN = Proposal(texts=("a . b .", "c ."), votes=(3, 1))


def test_children_are_texts_anew_and_single_sentences_on_top_of_the_parent() -> None:
    with Run.temporary({"seed": 0}) as run:
        nursery, accepted = brood(run, Saying(WRITTEN), [text("p .")], Plan(10, 1, 99, True))
        found = {(one.candidate.text, one.candidate.origin) for one in nursery.children(0, accepted)}
        assert found == {
            ("a . b .", "reflection"),
            ("c .", "reflection"),
            ("p . a .", "sentence"),
            ("p . b .", "sentence"),
            ("p . c .", "sentence"),
        }


def test_without_composing_only_what_was_written_is_tried() -> None:
    with Run.temporary({"seed": 0}) as run:
        nursery, accepted = brood(run, Saying(WRITTEN), [text("p ."), text("q .")], Plan(10, 1, 99, False))
        assert [one.candidate.text for one in nursery.children(0, accepted)] == ["a . b .", "c ."]


def test_the_most_voted_for_are_tried_first() -> None:
    with Run.temporary({"seed": 0}) as run:
        nursery, accepted = brood(run, Saying(WRITTEN), [text("p .")], Plan(10, 1, 2, True))
        assert [one.candidate.text for one in nursery.children(0, accepted)] == ["a . b .", "p . a ."]


def test_a_merge_has_both_parents_and_must_beat_the_better_one() -> None:
    with Run.temporary({"seed": 0}) as run:
        parents = [text("p ."), text("q .")]
        nursery, accepted = brood(run, Saying(Proposal()), parents, Plan(10, 1, 99, True))
        (found,) = nursery.children(0, accepted)
        assert found.candidate.origin == "merge"
        assert set(found.candidate.parents) == {one.key for one in parents}
        assert found.parent == found.candidate.parents[0]


def test_a_text_is_tried_no_more_when_it_failed_or_lost_twice() -> None:
    with Run.temporary({"seed": 0}) as run:
        writer = Saying(Proposal(texts=("a .", "b ."), votes=(1, 1)))
        nursery, accepted = brood(run, writer, [text("")], Plan(10, 1, 99, False))
        nursery.close(text("a .").key)
        nursery.close(text("b .").key, for_good=False)
        assert [one.candidate.text for one in nursery.children(0, accepted)] == ["b ."]
        nursery.close(text("b .").key, for_good=False)
        assert not nursery.children(1, accepted)


def test_a_writer_that_raises_is_a_counted_failure() -> None:
    with Run.temporary({"seed": 0}) as run:
        nursery, accepted = brood(run, Saying(RuntimeError("no idea")), [text("")], Plan(10, 2, 99, True))
        assert not nursery.children(0, accepted)
        assert (nursery.reflections, nursery.failures) == (2, 2)
        event = run.events("reflection")[0]
        assert event.payload["failures"] == ["proposer: RuntimeError: no idea"]
        assert event.payload["texts"] == []


def test_a_reflection_that_is_on_the_disk_is_not_asked_for_again() -> None:
    with Run.temporary({"seed": 0}) as run:
        plan = Plan(10, 2, 99, True)
        first, again = Saying(WRITTEN), Saying(WRITTEN)
        nursery, accepted = brood(run, first, [text("")], plan)
        found = nursery.children(0, accepted)
        resumed, _ = brood(run, again, [text("")], plan)
        assert resumed.children(0, accepted) == found
        assert (len(first.seen), len(again.seen)) == (2, 0)


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
        writer = Saying(WRITTEN)
        nursery, accepted = brood(run, writer, [text("")], Plan(30, 1, 9, True))
        nursery.children(0, accepted)
        item = writer.seen[0][0]
        assert item.feedback == "f"
        assert item.prompt == item.answer == f"task {item.score:.0f}"
