"""Planted texts: what each sentence and each group of sentences is worth is laid down, so Shapley values are known.

The model says back the text it was given; the rater pays for each group of sentences that it finds whole (its dividend),
times how much the task counts. A dividend is shared equally among its group (Harsanyi 1963), which gives the Shapley
values in closed form; `by_orders` gets them by the definition, from all orders, and shares no code with what it checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from random import Random

from scrutable.core.records import Conversation, Generation, Sampling, Score, Split, Task, Usage, digest_of

Dividends = Mapping[frozenset[int], float]


class Echo:
    """A model that says back the text it was given."""

    name = "echo"
    identity = "echo"

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer with the system message (see `Model`)."""
        return [
            Generation(answer=one[0].content if one[0].role == "system" else "", usage=Usage(generations=1))
            for one in conversations
        ]


@dataclass(frozen=True)
class PlantedEnv:
    """An environment that pays dividends. counts: how much tasks count, drawn uniformly between these."""

    seed: int
    players: int
    counts: tuple[float, float] = (0.5, 1.5)
    size: int = 200

    name = "planted"
    rewarded = True

    @property
    def identity(self) -> str:
        """Hash of what decides tasks and scores."""
        return digest_of(["planted", self.seed, self.players, list(self.counts), self.size])

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences of the text."""
        return [f"s{at} ." for at in range(self.players)]

    @cached_property
    def dividends(self) -> tuple[Dividends, Dividends]:
        """Of the proxy and of the true reward: each sentence's own, and those of as many groups of two and three."""
        return self._draw("proxy"), self._draw("true")

    def _draw(self, name: str) -> Dividends:
        draws = Random(f"planted/{self.seed}/{name}")
        groups = [frozenset([at]) for at in range(self.players)]
        sizes = [min(self.players, draws.choice((2, 3))) for _ in range(self.players)]
        groups += [frozenset(draws.sample(range(self.players), size)) for size in sizes]
        return {group: draws.gauss(0, 1) for group in groups}

    def known(self, dividends: Dividends) -> list[float]:
        """Return the Shapley values where a task counts 1."""
        return [
            sum(value / len(group) for group, value in dividends.items() if at in group) for at in range(self.players)
        ]

    def by_orders(self, dividends: Dividends) -> list[float]:
        """Return the same by the definition: what each adds when it comes in, over all orders. Up to seven players."""
        total, amount = [0.0] * self.players, 0
        for order in permutations(range(self.players)):
            inside: set[int] = set()
            before = paid(dividends, inside)
            for at in order:
                inside.add(at)
                after = paid(dividends, inside)
                total[at] += after - before
                before = after
            amount += 1
        return [value / amount for value in total]

    def counted(self, task: Task) -> float:
        """Return how much a task counts."""
        return Random(f"planted/{self.seed}/{task.prompt}").uniform(*self.counts)

    def tasks(self, split: Split) -> list[Task]:
        """The tasks of a split."""
        return [Task.ask(f"{split} {at}") for at in range(self.size)]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        """Pay for what the answer holds."""
        return [self._rate(task, answer) for task, answer in zip(tasks, answers, strict=True)]

    def _rate(self, task: Task, answer: str) -> Score:
        words = answer.split()
        inside = {at for at in range(self.players) if f"s{at}" in words}
        proxy, true = self.dividends
        counts = self.counted(task)
        return Score(value=counts * paid(proxy, inside), true=counts * paid(true, inside))


def paid(dividends: Dividends, inside: set[int]) -> float:
    """Return what is paid for some sentences."""
    return sum(value for group, value in dividends.items() if group <= inside)
