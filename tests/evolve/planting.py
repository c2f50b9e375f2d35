"""An environment that pays for sentences by name, and a model that says back its text: everything is known, at no cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from scrutable.core.records import Score, Split, Task, digest_of

Pay = Callable[[set[str], Task], tuple[float | None, float | None]]


class PayingEnv:
    """Pays what `pay` says of the sentences in the answer, plus noise: (proxy, true)."""

    name = "paying"
    rewarded = True

    def __init__(self, pay: Pay, noise: float = 0.0, sizes: Mapping[Split, int] | None = None) -> None:
        self.pay, self.noise = pay, noise
        self.sizes = sizes or {"search": 20, "keep": 300, "report": 200}
        self.rated: list[str] = []

    @property
    def identity(self) -> str:
        return digest_of(["paying", self.noise])

    def tasks(self, split: Split) -> list[Task]:
        return [Task.ask(f"{split} {at}") for at in range(self.sizes[split])]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        self.rated += [task.prompt for task in tasks]
        return [self._rate(task, answer) for task, answer in zip(tasks, answers, strict=True)]

    def _rate(self, task: Task, answer: str) -> Score:
        inside = {part.strip() for part in answer.split(".") if part.strip()}
        proxy, true = self.pay(inside, task)
        off = Random(f"{task.prompt}/{answer}").gauss(0, self.noise)
        return Score(
            value=None if proxy is None else proxy + off, true=None if true is None else true + off, feedback=""
        )


def additive(proxy: Mapping[str, float], true: Mapping[str, float]) -> Pay:
    def pay(inside: set[str], task: Task) -> tuple[float, float]:
        return sum(proxy.get(one, 0.0) for one in inside), 1 + sum(true.get(one, 0.0) for one in inside)

    return pay
