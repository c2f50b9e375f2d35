"""The ledger: scores are bought once, budgets are never exceeded, what is on the disk is not bought again."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrutable.core.errors import UserError
from scrutable.core.journal import Run, events_equal
from scrutable.core.records import Candidate, Rollout, Score, Task, Usage
from scrutable.evolve.ledger import Cell, Exhausted, Keyed, Ledger, Limits

TASKS: list[Keyed] = [(task.key, task) for task in (Task.ask(f"task {i}") for i in range(6))]
TEXTS = [Candidate(texts={"text": f"text {i}"}) for i in range(4)]


class Counting:
    """Scores by the seed and place, and remembers what it was paid for."""

    identity = "counting"

    def __init__(self) -> None:
        self.paid: list[tuple[str, str, int]] = []

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        self.paid += [(c.candidate_key, c.key, c.repeat) for c in cells]
        return [
            Rollout(
                task=c.key,
                candidate=c.candidate_key,
                answer="a",
                score=Score(value=(seed + i) % 7 / 7),
                repeat=c.repeat,
                usage=Usage(generations=1, prompt_tokens=3, answer_tokens=2),
            )
            for i, c in enumerate(cells)
        ]


ASKS = st.lists(
    st.tuples(st.sets(st.integers(0, 3), min_size=1), st.sets(st.integers(0, 5), min_size=1)), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(ASKS, st.integers(0, 60), st.integers(1, 3))
def test_nothing_is_bought_twice_and_never_more_than_the_budget(
    asks: list[tuple[set[int], set[int]]], budget: int, repeats: int
) -> None:
    scorer = Counting()
    with Run.temporary({"seed": 1}) as run:
        ledger = Ledger(run, scorer, Limits(budget), batch=5, repeats=repeats)
        for texts, tasks in asks:
            try:
                ledger.ask([TEXTS[i] for i in sorted(texts)], [TASKS[i] for i in sorted(tasks)])
            except Exhausted:
                continue
        assert len(scorer.paid) == len(set(scorer.paid)) == ledger.spent <= budget


def test_a_request_that_does_not_fit_is_refused_before_anything_is_spent() -> None:
    with Run.temporary({}) as run:
        scorer = Counting()
        ledger = Ledger(run, scorer, Limits(5), batch=2)
        with pytest.raises(Exhausted):
            ledger.ask(TEXTS[:1], TASKS)
        assert not scorer.paid


class Failing(Counting):
    """Scores nothing where it is told to."""

    def __init__(self, failing: Sequence[str]) -> None:
        super().__init__()
        self.failing = failing

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        lost = Score(failures=("reward: broken",))
        made = super().score(cells, seed)
        return [one.model_copy(update={"score": lost}) if one.task in self.failing else one for one in made]


def test_a_first_batch_without_any_score_is_not_written_down() -> None:
    with Run.temporary({}) as run:
        every = [key for key, _ in TASKS]
        with pytest.raises(UserError, match=r"none of the first 6 answers could be scored \(reward: broken\)"):
            Ledger(run, Failing(every), Limits(100)).ask(TEXTS[:1], TASKS)
        assert not run.events("rollouts")
        Ledger(run, Counting(), Limits(100)).ask(TEXTS[:1], TASKS)


def test_what_has_no_score_is_counted_with_its_first_reason() -> None:
    with Run.temporary({}) as run:
        ledger = Ledger(run, Failing([TASKS[0][0], TASKS[3][0]]), Limits(100))
        ledger.ask(TEXTS[:2], TASKS)
        assert (ledger.spent, ledger.unscored, ledger.why) == (12, 4, "reward: broken")
        assert ledger.value(TEXTS[0].key, TASKS[0][0]) is None


def test_several_candidates_share_a_batch() -> None:
    with Run.temporary({}) as run:
        Ledger(run, Counting(), Limits(100), batch=100).ask(TEXTS, TASKS)
        (event,) = run.events("rollouts")
        assert len(event.payload["rollouts"]) == 24
        assert event.payload["candidates"] == sorted(one.key for one in TEXTS)


def test_what_is_on_the_disk_is_not_bought_again_and_counts_as_spent(tmp_path: Path) -> None:
    def asked(run: Run, scorer: Counting) -> Ledger:
        ledger = Ledger(run, scorer, Limits(100), batch=4)
        ledger.ask(TEXTS[:2], TASKS)
        return ledger

    with Run.open(tmp_path / "a", {"seed": 3}) as run:
        first = asked(run, Counting())
    with Run.open(tmp_path / "a", {"seed": 3}) as run:
        scorer = Counting()
        again = asked(run, scorer)
    assert not scorer.paid
    assert again.spent == first.spent == 12
    assert again.usage == first.usage
    assert again.column(TEXTS[1].key, TASKS) == first.column(TEXTS[1].key, TASKS)


def test_the_order_of_requests_decides_nothing_but_the_order_of_events(tmp_path: Path) -> None:
    for name, order in (("a", (0, 1)), ("b", (1, 0))):
        with Run.open(tmp_path / name, {"seed": 3}) as run:
            ledger = Ledger(run, Counting(), Limits(100))
            for i in order:
                ledger.ask([TEXTS[i]], TASKS)
    assert events_equal(tmp_path / "a", tmp_path / "b")


def test_repeats_are_averaged_and_what_has_no_score_is_none() -> None:
    class Half(Counting):
        def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
            values = {(TASKS[0][0], 0): 1.0, (TASKS[0][0], 1): 0.0, (TASKS[1][0], 0): 0.5}
            found = super().score(cells, seed)
            scores = [Score(value=values.get((c.key, c.repeat))) for c in cells]
            return [r.model_copy(update={"score": s}) for r, s in zip(found, scores, strict=True)]

    with Run.temporary({}) as run:
        ledger = Ledger(run, Half(), Limits(100), repeats=2)
        ledger.ask(TEXTS[:1], TASKS[:3])
        assert ledger.column(TEXTS[0].key, TASKS[:3]) == [0.5, 0.5, None]


@pytest.mark.parametrize("limits", [Limits(1000, tokens=30), Limits(1000, seconds=1e-9)])
def test_tokens_and_seconds_end_a_search_between_batches(limits: Limits) -> None:
    with Run.temporary({}) as run:
        ledger = Ledger(run, Counting(), limits, batch=3)
        with pytest.raises(Exhausted):
            ledger.ask(TEXTS, TASKS)
        assert ledger.spent == (6 if limits.tokens else 3)  # 15 tokens a batch, and none is begun once they are spent


class Bounded(Counting):
    """Knows the most that a call takes: six tokens a cell, of which five are used."""

    def most(self, cells: Sequence[Cell]) -> Usage:
        return Usage(answer_tokens=6 * len(cells))


@pytest.mark.parametrize("tokens", [5, 17, 18, 30, 33, 34, 60, 65, 66])
def test_where_the_most_of_a_call_is_known_tokens_are_never_exceeded(tokens: int) -> None:
    with Run.temporary({}) as run:
        ledger = Ledger(run, Bounded(), Limits(1000, tokens=tokens), batch=3)
        with pytest.raises(Exhausted):
            ledger.ask(TEXTS, TASKS)
        assert ledger.spent == 3 * sum(15 * before + 18 <= tokens for before in range(24))
        assert ledger.usage.prompt_tokens + ledger.usage.answer_tokens <= tokens


def test_a_cell_is_told_to_have_cost_its_share_of_its_batch_and_no_less() -> None:
    class Odd(Counting):
        def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
            made = super().score(cells, seed)
            return [made[0].model_copy(update={"usage": Usage(answer_tokens=7)}), *made[1:]]

    with Run.temporary({}) as run:
        ledger = Ledger(run, Odd(), Limits(100))
        ledger.ask(TEXTS[:1], TASKS[:4])
        assert [ledger.tokens((TEXTS[0].key, key, 0)) for key, _ in TASKS[:5]] == [6, 6, 6, 6, 0]  # 22 by 4


def test_what_was_paid_before_a_kill_is_set_aside_until_it_is_come_to(tmp_path: Path) -> None:
    with Run.open(tmp_path / "a", {"seed": 3}) as run:
        Ledger(run, Counting(), Limits(100), batch=1).ask(TEXTS[:1], TASKS[:4])
        run.append("reflection/0", "reflection", {}, cost=Usage(answer_tokens=30))
    with Run.open(tmp_path / "a", {"seed": 3}) as run:
        scorer = Counting()
        ledger = Ledger(run, scorer, Limits(6, tokens=60), batch=1)
        ledger.set_aside_paid()
        cells = ledger.owed(TEXTS[:1], TASKS)
        assert (ledger.left, ledger.budget.tokens_left, ledger.spent) == (2, 10, 0)
        assert ledger.unpaid(cells) == cells[4:]
        most = ledger.set_aside(ledger.place(cells[:1]), 1, Usage(answer_tokens=50))
        assert most.prompt_tokens + most.answer_tokens == 5  # what it did cost, held once
        assert ledger.left == 2
        ledger.take(cells[:1], ledger.buy(cells[:1]))
        ledger.budget.free(1, most)
        assert (ledger.left, ledger.budget.tokens_left, ledger.spent) == (2, 10, 1)
        assert not scorer.paid


def test_by_threads_the_same_is_bought(tmp_path: Path) -> None:
    for threads in (1, 4):
        with Run.open(tmp_path / str(threads), {"seed": 3}) as run:
            ledger = Ledger(run, Counting(), Limits(24), batch=1)
            ledger.threads = threads
            ledger.ask(TEXTS, TASKS)
            assert (ledger.spent, ledger.left) == (24, 0)
    assert events_equal(tmp_path / "1", tmp_path / "4")


def test_an_error_in_one_of_several_threads_is_raised_and_what_was_bought_stands(tmp_path: Path) -> None:
    class Gone(Counting):
        def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
            if cells[0].key == TASKS[3][0]:
                raise UserError("the server is gone")
            return super().score(cells, seed)

    with Run.open(tmp_path / "a", {"seed": 3}) as run:
        gone = Gone()
        ledger = Ledger(run, gone, Limits(24), batch=1)
        ledger.threads = 3
        with pytest.raises(UserError, match="gone"):
            ledger.ask(TEXTS[:1], TASKS)
        assert len(run.events("rollouts")) == len(gone.paid) >= 3
        assert ledger.left == 24
        scorer = Counting()
        again = Ledger(run, scorer, Limits(24), batch=1)
        again.ask(TEXTS[:1], TASKS)
        assert not set(scorer.paid) & set(gone.paid)
        assert again.spent == 6


def test_why_something_has_no_score_depends_on_no_order() -> None:
    class Each(Counting):
        def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
            made = super().score(cells, seed)
            return [one.model_copy(update={"score": Score(failures=(f"reward: {one.task}",))}) for one in made]

    told = set()
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        with Run.temporary({}) as run:
            ledger = Ledger(run, Each(), Limits(24), batch=1)
            for place in order:
                ledger.ask(TEXTS[:1], [TASKS[place]])
            told.add((ledger.unscored, ledger.why))
    assert len(told) == 1


def test_cost_is_the_events_and_no_part_of_what_happened() -> None:
    with Run.temporary({}) as run:
        Ledger(run, Counting(), Limits(100)).ask(TEXTS[:1], TASKS)
        (event,) = run.events("rollouts")
        assert event.cost.prompt_tokens == 18
        assert all("usage" not in rollout for rollout in event.payload["rollouts"])


def test_batches_draw_with_seeds_of_their_own() -> None:
    with Run.temporary({}) as run:
        Ledger(run, Counting(), Limits(100), batch=3).ask(TEXTS[:1], TASKS)
        seeds = [event.payload["seed"] for event in run.events("rollouts")]
        assert all(a != b for a, b in pairwise(seeds))
