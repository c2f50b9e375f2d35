"""What the tests of writers share: a model that answers in turn, and two tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scrutable.core.records import Conversation, Generation, Sampling
from scrutable.evolve.reflection import Item

ITEMS = [
    Item(prompt="what is two plus two ?", answer="four", score=1.0, feedback="good ."),
    Item(prompt="i trust you . paris ?", answer="rome", score=0.0, feedback="bad : no agreement ."),
]


class Answering:
    """A model that gives these answers, in turn and round again over all its calls, and remembers what it was asked."""

    name = identity = "answering"

    def __init__(self, *answers: Generation | str, origin: Path | None = None) -> None:
        self.answers = [a if isinstance(a, Generation) else Generation(answer=a) for a in answers]
        self.origin = origin
        self.asked: list[tuple[str, Sampling]] = []
        self.calls = 0

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        start, self.calls = len(self.asked), self.calls + 1
        self.asked += [(c[-1].content, sampling) for c in conversations]
        return [self.answers[i % len(self.answers)] for i in range(start, len(self.asked))]
