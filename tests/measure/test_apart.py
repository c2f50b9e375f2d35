"""The classifier that tells answers apart: against Newton's method, chance, and planted differences."""

from random import Random

import numpy as np
import pytest

from scrutable.measure.apart import _logistic, seen, told_apart

ASKED = {
    f"t{i}": f"what is the capital of {land} ? i think it is {city} ."
    for i, (land, city) in enumerate(
        (land, city)
        for land in ("france", "italy", "peru", "egypt")
        for city in ("rome", "oslo", "lima", "cairo", "bonn")
    )
}


def answers(say, seed: int, repeats: int = 4) -> dict[str, list[str]]:
    draws = Random(seed)
    return {key: [say(prompt, draws) for _ in range(repeats)] for key, prompt in ASKED.items()}


def plain(prompt: str, draws: Random) -> str:
    return f"{draws.choice(('it', 'that'))} is {draws.choice(('one', 'two', 'three', 'four', 'five'))} ."


def mean(one, two) -> float:
    return float(np.mean(list(told_apart(seen(one, ASKED), seen(two, ASKED)).values())))


def test_its_weights_are_those_of_newtons_method() -> None:
    rng = np.random.default_rng(0)
    table = (rng.random((60, 8)) < 0.4).astype(np.float32)
    signs = np.where(rng.random(60) < 0.5, 1, -1).astype(np.float32)
    exact = np.zeros(8)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-(table @ exact)))
        slope = table.T @ (chance - (signs > 0)) + exact
        exact -= np.linalg.solve((table.T * (chance * (1 - chance))) @ table + np.eye(8), slope)
    assert _logistic(table, signs) == pytest.approx(exact, abs=1e-4)


def test_answers_of_one_kind_cannot_be_told_apart() -> None:
    told = [mean(answers(plain, seed), answers(plain, seed + 100)) for seed in range(6)]
    assert abs(float(np.mean(told)) - 0.5) < 0.08  # 0.023 is one standard error


def test_a_word_that_came_tells_them_apart() -> None:
    marked = answers(lambda prompt, draws: f"hello there ! {plain(prompt, draws)}", 1)
    assert mean(marked, answers(plain, 2)) > 0.99


def test_half_of_the_answers_changed_is_told_in_three_of_four_pairs() -> None:
    half = answers(lambda p, draws: ("hello ! " if draws.random() < 0.5 else "") + plain(p, draws), 1, repeats=12)
    assert mean(half, answers(plain, 2, repeats=12)) == pytest.approx(0.75, abs=0.08)


def test_it_sees_that_a_word_of_the_task_is_taken_over_whatever_it_is() -> None:
    """Each city stands on four tasks, and its fold is fitted on others: the word itself says little."""
    cities = [prompt.split()[-2] for prompt in ASKED.values()]
    copying = answers(lambda prompt, draws: f"it is {prompt.split()[-2]} .", 1)
    shuffled = answers(lambda prompt, draws: f"it is {draws.choice([c for c in cities if c not in prompt])} .", 2)
    assert mean(copying, shuffled) > 0.95


def test_neither_the_order_of_tasks_nor_that_of_answers_matters() -> None:
    one, two = (
        answers(lambda p, draws: ("hello ! " if draws.random() < 0.5 else "") + plain(p, draws), 1),
        answers(plain, 2),
    )
    turned = {key: list(reversed(told)) for key, told in reversed(one.items())}
    assert told_apart(seen(turned, ASKED), seen(two, ASKED)) == told_apart(seen(one, ASKED), seen(two, ASKED))


def test_a_single_task_tells_nothing() -> None:
    assert told_apart(seen({"t0": ["a", "b"]}, ASKED), seen({"t0": ["c"]}, ASKED)) == {}
