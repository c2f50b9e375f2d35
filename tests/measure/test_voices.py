"""Two voices, and whether they can be told apart: against all exchanges, and how often alike ones are held to differ."""

from itertools import combinations
from random import Random

import numpy as np
import pytest
from tests.measure.test_likeness import gap

from scrutable.core.records import Generation, Task
from scrutable.measure.answers import Said
from scrutable.measure.change import Speaker
from scrutable.measure.voices import LEVEL, Voice, exchanged, gaps, voice
from scrutable.models.replay import ScriptedModel

MUTE = Speaker(ScriptedModel(lambda conversation: ""))


def heard(told: dict[str, list[str | None]]) -> Voice:
    return voice(
        [
            Said(
                MUTE, Task.ask(key), key, i, Generation(answer=a or "", failure=None if a is not None else "model: no")
            )
            for key, answers in told.items()
            for i, a in enumerate(answers)
        ]
    )


def drawn(rate: float, seed: int, tasks: int = 30, repeats: int = 3) -> Voice:
    draws = Random(seed)
    return heard({f"t{i}": ["yes" if draws.random() < rate else "no" for _ in range(repeats)] for i in range(tasks)})


def test_a_gap_is_of_tasks_that_both_answered_twice() -> None:
    one = heard({"a": ["yes", "no"], "b": ["yes", None], "c": ["yes", "yes", None]})
    other = heard({"a": ["yes", "no", "no"], "b": ["yes", "yes"], "c": ["no", "no"], "d": ["no", "no"]})
    assert gaps(one, other) == pytest.approx({"a": gap(["yes", "no"], ["yes", "no", "no"]), "c": 2.0})


def test_the_chance_is_that_of_all_exchanges() -> None:
    told = {"a": (["yes", "yes", "hm"], ["no", "no", "hm"]), "b": (["it is rome", "it is"], ["rome", "it is"])}
    one, other = (heard({key: list(pair[side]) for key, pair in told.items()}) for side in (0, 1))
    totals = [0.0]
    for ours, theirs in told.values():
        everyone, n = [*ours, *theirs], len(ours)
        mine = list(combinations(range(len(everyone)), n))
        values = [
            gap([everyone[i] for i in these], [everyone[i] for i in range(len(everyone)) if i not in these])
            for these in mine
        ]
        totals = [total + value for total in totals for value in values]
    seen = sum(gap(*pair) for pair in told.values())
    exact = float(np.mean([total >= seen - 1e-9 for total in totals]))
    assert exchanged(one, other, np.random.default_rng(0)).chance == pytest.approx(exact, abs=0.03)


@pytest.mark.medium
def test_alike_voices_are_seldom_held_to_differ() -> None:
    chances = [
        exchanged(drawn(0.3, s, 10), drawn(0.3, s + 500, 10), np.random.default_rng(s)).chance for s in range(60)
    ]
    assert sum(one <= 0.05 for one in chances) <= 9  # 3 expected; more than 9 in one of a thousand
    assert sum(one <= LEVEL for one in chances) <= 4


def test_a_small_change_of_rates_is_seen() -> None:
    found = exchanged(drawn(0.2, 1, 60), drawn(0.6, 2, 60), np.random.default_rng(0))
    assert found.changed and found.gap > found.limit


def test_without_two_answers_there_is_no_change() -> None:
    one = heard({"a": ["yes"]})
    assert not exchanged(one, one, np.random.default_rng(0)).changed
