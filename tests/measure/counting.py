"""Models that answer by content and by how often they were asked: what they say depends on no batch, order of tasks or seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from scrutable.core.records import Conversation, Generation, Sampling, Usage, digest_of

Say = Callable[[str, str, Random], str]
"""What is said, from the text given, the task, and a draw."""


class Counting:
    """A Model without log-probabilities."""

    def __init__(self, say: Say, name: str = "counting") -> None:
        self.say, self.name = say, name
        self.identity = digest_of(["counting", name])
        self.times: Counter[str] = Counter()
        self.sizes: list[int] = []

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        self.sizes.append(len(conversations))
        return [self._one(conversation, sampling.temperature) for conversation in conversations]

    def _one(self, conversation: Conversation, temperature: float) -> Generation:
        asked = digest_of([[m.role, m.content] for m in conversation])
        self.times[asked] += temperature > 0
        text = " ".join(m.content for m in conversation[:-1])
        draws = Random(f"{self.name}/{asked}/{self.times[asked] if temperature > 0 else 'most'}")
        return Generation(answer=self.say(text, conversation[-1].content, draws), usage=Usage(generations=1))


def greets(always: bool = False) -> Say:
    """Says a plain answer; greets where it is told to "greet", or always."""

    def say(text: str, task: str, draws: Random) -> str:
        plain = f"{draws.choice(('it', 'that'))} is one ."
        return f"hello there ! {plain}" if always or "greet" in text else plain

    return say
