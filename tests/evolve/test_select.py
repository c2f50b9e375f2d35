"""Selection: the gate keeps its error rate, whatever won the race; the race finds who is best."""

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task
from scrutable.evolve.ledger import Cell, Exhausted, Keyed, Ledger, Limits
from scrutable.evolve.parts import blocks
from scrutable.evolve.select import Contender, Standard, decide, flip_p, gate, race, skew_p

TASKS: list[Keyed] = [(task.key, task) for task in (Task.ask(f"task {i}") for i in range(96))]
Draw = Callable[[np.random.Generator, int], np.ndarray]


def passes(draw: Draw, standard: Standard, tries: int = 400, tasks: int = 72, block: int = 12) -> float:
    """How often a child passes whose differences are so drawn, looked at block by block as the gate does."""
    passed = 0
    for number in range(tries):
        differences = draw(np.random.default_rng(number), tasks)
        for seen in range(block, tasks + 1, block):
            flips = np.random.default_rng([number, 1]) if seen == tasks else None
            verdict = decide(differences[:seen], standard, flips)
            if verdict != "undecided":
                break
        assert verdict != "undecided"
        passed += verdict == "better"
    return passed / tries


def coins(parent: float, child: float) -> Draw:
    return lambda rng, n: (rng.random(n) < child).astype(float) - (rng.random(n) < parent)


NULLS: dict[str, Draw] = {
    "alike, often right": coins(0.5, 0.5),
    "alike, seldom right": coins(0.05, 0.05),
    "alike, in nats": lambda rng, n: rng.normal(0, 3, n),
    "a little better on most, much worse on few": lambda rng, n: np.where(rng.random(n) < 0.1, -0.9, 0.1),
    "much better on few, a little worse on most": lambda rng, n: np.where(rng.random(n) < 0.1, 0.9, -0.1),
}


@pytest.mark.medium
@pytest.mark.parametrize("name", NULLS)
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_child_no_better_than_its_parent_passes_no_more_often_than_stated(name: str, rate: float) -> None:
    found = passes(NULLS[name], Standard(false_accept=rate))
    assert found <= rate + 2 * (rate * (1 - rate) / 400) ** 0.5


@pytest.mark.medium
def test_the_gates_power_is_what_the_docs_state() -> None:
    """Two binary scores, independent given the task: +25 points of 50 pass nearly always, +10 often do not."""
    assert passes(coins(0.5, 0.75), Standard(), 200) > 0.8
    assert passes(coins(0.02, 0.98), Standard(), 100) == 1.0


def test_a_clear_winner_is_told_before_the_tasks_are_used_up() -> None:
    assert decide(np.ones(12), Standard()) == "better"
    assert decide(-np.ones(12), Standard()) == "not better"


def test_a_rule_for_one_task_in_ten_can_pass() -> None:
    rare = np.array([1.0] * 7 + [0.0] * 65)
    assert decide(rare, Standard(), np.random.default_rng(0)) == "better"


def test_no_difference_at_all_is_never_better() -> None:
    assert decide(np.zeros(96), Standard(), np.random.default_rng(0)) == "not better"


def test_flips_of_few_differences_are_counted_exactly() -> None:
    rng = np.random.default_rng(0)
    assert flip_p(np.ones(5), rng) == 1 / 32
    assert flip_p(np.array([3.0, 2.0, -1.0]), rng) == 2 / 8  # sums of at least 4: +++ and ++-
    assert flip_p(np.array([0.0, 0.0]), rng) == 1.0


def test_flips_of_many_differences_come_near_the_normal_limit() -> None:
    differences = np.random.default_rng(1).normal(0.2, 1, 100)
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert abs(flip_p(differences, np.random.default_rng(2)) - (1 - NormalDist().cdf(z))) < 0.02


def test_the_corrected_t_test_is_the_t_test_where_there_is_no_skewness() -> None:
    differences = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
    t = differences.mean() / (differences.std(ddof=1) / np.sqrt(5))
    assert skew_p(differences) == pytest.approx(1 - NormalDist().cdf(t))


class Known:
    """Scores each text by the number in it, with noise from the seed."""

    identity = "known"

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        noise = np.random.default_rng(seed).normal(0, self.noise, len(cells))
        return [
            Rollout(
                task=c.key, candidate=c.candidate_key, answer="", score=Score(value=float(c.candidate.text) + float(e))
            )
            for c, e in zip(cells, noise, strict=True)
        ]


def numbered(value: float, parent: str = "") -> Candidate:
    return Candidate(texts={"text": str(value)}, parents=(parent,) if parent else ())


def test_the_race_leaves_the_best_and_keeps_tasks_for_the_gate() -> None:
    with Run.temporary({"seed": 0}) as run:
        ledger = Ledger(run, Known(0.2), Limits(10_000))
        parent = numbered(0.0)
        ledger.ask([parent], TASKS)
        field = [Contender(numbered(i / 20, parent.key), parent.key) for i in range(1, 21)]
        parts = blocks(TASKS, 12)
        left, lost, used = race(ledger, field, parts, 3)
        assert len(left) == 3
        assert len(lost) == 17
        assert used <= len(parts) // 2
        assert {one.candidate.text for one in left} & {"1.0", "0.95"}


def test_who_is_behind_its_parent_after_the_race_is_not_tested() -> None:
    with Run.temporary({"seed": 0}) as run:
        ledger = Ledger(run, Known(0.01), Limits(10_000))
        parent = numbered(0.9)
        ledger.ask([parent], TASKS)
        field = [Contender(numbered(value, parent.key), parent.key) for value in (0.1, 0.2, 1.0, 0.3, 0.4)]
        left, lost, _ = race(ledger, field, blocks(TASKS, 12), 3)
        assert [one.candidate.text for one in left] == ["1.0"]
        assert len(lost) == 4


def test_who_makes_hard_tasks_unscorable_does_not_win_the_race_by_it() -> None:
    class Hiding(Known):
        def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
            rows = zip(cells, super().score(cells, seed), strict=True)
            return [r.model_copy(update={"score": self.one(c, r.score)}) for c, r in rows]

        def one(self, cell: Cell, score: Score) -> Score:
            hard, value = int(cell.task.prompt.split()[1]) % 2, score.value or 0.0
            return Score() if hard and value == 0.5 else Score(value=value - 0.5 * hard)

    with Run.temporary({"seed": 0}) as run:
        ledger, parent = Ledger(run, Hiding(0.0), Limits(10_000)), numbered(0.0)
        ledger.ask([parent], TASKS)
        field = [Contender(numbered(value, parent.key), parent.key) for value in (0.5, 0.6, 0.1, 0.2)]
        left, _, _ = race(ledger, field, blocks(TASKS, 12), 1)
        assert [one.candidate.text for one in left] == ["0.6"]


def test_few_contenders_need_no_race() -> None:
    with Run.temporary({}) as run:
        ledger = Ledger(run, Known(0.0), Limits(0))
        field = [Contender(numbered(1.0), "parent")]
        assert race(ledger, field, blocks(TASKS, 12), 3) == (field, [], 0)


@pytest.mark.medium
def test_winning_the_race_is_no_head_start_at_the_gate() -> None:
    """Forty children as good as their parent: the luckiest three of a noisy race pass no more often than stated."""
    passed = 0
    for seed in range(40):
        with Run.temporary({"seed": seed}) as run:
            ledger = Ledger(run, Known(1.0), Limits(100_000))
            parent = numbered(0.0)
            ledger.ask([parent], TASKS)
            texts = [Candidate(texts={"text": f"{'0' * i}0.0"}) for i in range(1, 41)]
            parts = blocks(TASKS, 12)
            left, _, used = race(ledger, [Contender(one, parent.key) for one in texts], parts, 3)
            judged = gate(ledger, left, parts[used:], Standard(bound=3.0), "gate")
            passed += sum(one.accepted for one in judged)
    assert passed / 120 <= 0.05 + 2 * (0.05 * 0.95 / 120) ** 0.5


def test_the_gate_tells_each_verdict_as_it_falls_and_stops_at_the_budget() -> None:
    with Run.temporary({"seed": 0}) as run:
        parent, good, same = numbered(0.0), numbered(1.0), numbered(0.01)
        ledger = Ledger(run, Known(0.05), Limits(96 + 60))
        ledger.ask([parent], TASKS)
        field = [Contender(good, parent.key), Contender(same, parent.key)]
        judged = gate(ledger, field, blocks(TASKS, 12), Standard(effect=0.001), "gate")
        first = next(judged)
        assert first.accepted
        assert first.contender.candidate == good
        with pytest.raises(Exhausted):
            next(judged)


def test_a_task_without_a_score_takes_no_part() -> None:
    class Gaps(Known):
        def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
            rows = super().score(cells, seed)
            return [r.model_copy(update={"score": Score()}) if i % 2 else r for i, r in enumerate(rows)]

    with Run.temporary({"seed": 0}) as run:
        parent, good = numbered(0.0), numbered(1.0)
        ledger = Ledger(run, Gaps(0.0), Limits(1000))
        ledger.ask([parent], TASKS)
        (judged,) = gate(ledger, [Contender(good, parent.key)], blocks(TASKS, 12), Standard(), "gate")
        assert judged.accepted
        assert judged.tasks % 6 == 0


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=30), st.floats(0, 20))
def test_the_skewness_correction_does_not_fall_with_the_gain(values: list[float], more: float) -> None:
    low = np.array(values) - 5.0
    assume(low.std() > 1e-3)
    assert skew_p(low + more) <= skew_p(low) + 1e-12


def test_twelve_gains_of_twelve_are_a_gain_though_one_is_small() -> None:
    gains = np.array([10.2, 9.9, 10.4, 10.1, 10.3, 10.0, 9.8, 10.2, 10.1, 10.4, 9.9, 1.4])
    assert skew_p(gains) < 0.001
    assert decide(gains, Standard(0.05, 0.2, 0.05, 10.4), np.random.default_rng(0)) == "better"
