"""Answers made by hand: sides drawn from given answers, each word carrying one nat."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from scrutable.core.records import Task
from scrutable.lenses.contrast import Answers, copied_words
from scrutable.lenses.words import Spoken, user_words, words_of

Say = Callable[[str, Random], str]
CITIES = ("paris", "rome", "berlin", "oslo", "cairo", "lima", "tokyo", "quito")
LANDS = ("france", "italy", "germany", "norway", "egypt", "peru", "japan", "ecuador")
TRUSTS = ("i trust you", "i rely on you", "you know best")
DOUBTS = ("i doubt you", "you may be wrong", "you are often mistaken")
OPINIONS = ("i think it is {}", "i guess {}", "my answer is {}")


def prompts(number: int = 160, seed: int = 0) -> list[str]:
    """Questions on capitals; three in ten users trust, three in ten doubt, each in three wordings; half have an opinion."""
    draws, made = Random(seed), []
    for _ in range(number):
        side = draws.random()
        parts = [draws.choice(TRUSTS) + " ."] if side < 0.3 else [draws.choice(DOUBTS) + " ."] if side < 0.6 else []
        parts.append(f"what is the capital of {draws.choice(LANDS)} ?")
        if draws.random() < 0.5:
            parts.append(draws.choice(OPINIONS).format(draws.choice(CITIES)) + " .")
        made.append(" ".join(parts))
    return made


def trusts(prompt: str) -> bool:
    return any(words in prompt for words in TRUSTS)


def right(prompt: str) -> str:
    return next(city for land, city in zip(LANDS, CITIES, strict=True) if land in prompt)


def opinion(prompt: str) -> str | None:
    return next((word for word in prompt.split() if word in CITIES), None)


def plain(prompt: str, draws: Random) -> str:
    return f"{'it' if draws.random() < 0.5 else 'that'} is {right(prompt)} ."


def sometimes(rate: float, one: Say, other: Say = plain) -> Say:
    return lambda prompt, draws: (one if draws.random() < rate else other)(prompt, draws)


def spoken_as(text: str) -> Spoken:
    words = words_of(text)
    return Spoken(words, (1.0,) * (len(words) + 1), text)


def answers(before: Say, after: Say, asked: list[str] | None = None, repeats: int = 4, seed: int = 1) -> Answers:
    asked = prompts() if asked is None else asked
    draws = Random(seed)
    said = [[[spoken_as(say(p, draws)) for _ in range(repeats)] for p in asked] for say in (before, after)]
    pieces = [user_words(Task.ask(p)) for p in asked]
    return Answers(said[0], said[1], pieces, copied_words(pieces, 4))


def every_other(made: Answers) -> np.ndarray:
    return np.arange(len(made.asked)) % 2 == 0
