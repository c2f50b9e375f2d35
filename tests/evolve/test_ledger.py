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
        assert ledger.spent == (6 if limits.tokens else 3)


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
