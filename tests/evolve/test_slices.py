"""Slices: the words that tell tasks apart are found, chance is not, and the numbers are those of the final tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Task, Usage
from scrutable.evolve.ledger import Cell, Ledger, Limits
from scrutable.evolve.parts import Parts
from scrutable.evolve.slices import Slices, _strength, sliced

BASE, BEST = Candidate(texts={"text": ""}), Candidate(texts={"text": "better"})
WORDS = ("sun", "moon", "rain", "snow", "wind", "fog", "hail", "mist")
Value = Callable[[str, str, Random], float | None]


class Scripted:
    """Scores a text on a prompt by a function."""

    identity = "scripted"

    def __init__(self, value: Value) -> None:
        self.value, self.scored = value, 0

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        self.scored += len(cells)
        return [self._one(cell, Random(f"{cell.place}")) for cell in cells]

    def _one(self, cell: Cell, draws: Random) -> Rollout:
        value = self.value(cell.candidate.text, cell.task.prompt, draws)
        score = Score(value=value, true=value, feedback={None: "", 1.0: "good", 0.0: "bad"}[value])
        return Rollout(task=cell.key, candidate=cell.candidate_key, answer="", score=score, usage=Usage())


def tasks(part: str, count: int) -> tuple[tuple[str, Task], ...]:
    draws = Random(part)
    made = [Task.ask(f"{' '.join(draws.sample(WORDS, 3))}, {part}{at}?") for at in range(count)]
    return tuple((task.key, task) for task in made)


def found(value: Value, seed: int = 0, final: int = 80) -> tuple[Slices, Scripted, Parts]:
    parts = Parts((), tasks("pool", 60), tasks("choose", 20), tasks("final", final))
    scorer = Scripted(value)
    with Run.temporary({"seed": seed}) as run:
        ledger = Ledger(run, scorer, Limits(10_000))
        ledger.ask([BASE, BEST], parts.pool)
        ledger.ask([BASE, BEST], parts.final)
        paid = scorer.scored
        made = sliced(ledger, BASE, BEST, parts)
        assert scorer.scored == paid  # nothing is bought for it
    return made, scorer, parts


def rainy(text: str, prompt: str, draws: Random) -> float:
    """The first text fails where it rains; the better one fails in half of the fog."""
    if text:
        return float("fog" not in prompt or draws.random() < 0.5)
    return float("rain" not in prompt and draws.random() < 0.9)


def test_the_words_that_tell_tasks_apart_are_found() -> None:
    made, _, _ = found(rainy)
    assert {one.words for one in made.slices if one.by == "words"} == {"rain", "fog"}
    assert [one.by for one in made.slices][:4] == ["all", "words", "words", "rest"]


def test_the_numbers_are_means_over_the_final_tasks_with_the_words() -> None:
    made, _, parts = found(rainy)
    rain = next(one for one in made.slices if one.words == "rain")
    inside = [(key, task) for key, task in parts.final if "rain" in task.prompt]
    best = [rainy("better", t.prompt, Random(f"{(BEST.key, key, 0)}")) for key, t in inside]
    assert rain.tasks == len(inside)
    assert rain.base is not None and rain.best is not None and rain.gain is not None
    assert rain.base.value == 0.0
    assert rain.best.value == pytest.approx(np.mean(best))
    assert rain.gain.value == pytest.approx(rain.best.value - rain.base.value)
    assert rain.true_best == pytest.approx(rain.best.value)


@pytest.mark.medium
def test_at_most_one_in_twenty_searches_finds_words_where_none_matters() -> None:
    def by(seed: int) -> Value:
        return lambda text, prompt, draws: float(Random(f"{seed}{text}{prompt}").random() < 0.5)

    wrong = sum(any(one.by == "words" for one in found(by(at), seed=at)[0].slices) for at in range(30))
    assert wrong <= 5  # P(more than 5 of 30 at 5%) < 0.01


def test_a_slice_by_remark_has_the_chosen_text_alone() -> None:
    """There the first text's score is what the slice was cut by."""
    made, _, parts = found(rainy)
    slices = {one.words: one for one in made.slices if one.by == "remark"}
    bad = [key for key, t in parts.final if not rainy("", t.prompt, Random(f"{(BASE.key, key, 0)}"))]
    assert (set(slices), slices["bad"].tasks) == ({"good", "bad"}, len(bad))
    assert (slices["bad"].base, slices["bad"].gain, slices["bad"].true_base) == (None, None, None)
    assert slices["bad"].best is not None


def test_remarks_are_counted_for_both_texts_on_the_same_tasks() -> None:
    made, _, parts = found(rainy)
    counts = {one.says: (one.base, one.best) for one in made.remarks}
    assert all(sum(column) == len(parts.final) for column in zip(*counts.values(), strict=True))
    assert counts["good"][0] < counts["good"][1]


def test_what_was_not_scored_is_left_out() -> None:
    made, _, _ = found(lambda text, prompt, draws: None if "sun" in prompt else rainy(text, prompt, draws))
    assert made.slices[0].tasks < 80
    empty, _, _ = found(lambda text, prompt, draws: None if "final" in prompt else rainy(text, prompt, draws))
    assert [one.base for one in empty.slices] == [None] * len(empty.slices)


def test_the_strength_is_the_difference_of_means_in_standard_errors() -> None:
    values = np.array([1.0, 0.0, 2.0, 1.0, 5.0, 4.0, 6.0, np.nan, 3.5])
    inside = np.array([[1.0, 1, 1, 1, 0, 0, 0, 0, 0]])
    known = values[~np.isnan(values)]
    expected = abs(known[:4].mean() - known[4:].mean()) / (known.std(ddof=1) * np.sqrt(1 / 4 + 1 / 4))
    assert _strength(values[None], inside)[0, 0] == pytest.approx(expected)
