"""A toy world: a hidden rule set, a model that obeys sentences (now and then it does not), and a writer that guesses.

A task is five words. A rule "when W say X ." makes the model add X where W is among them. The rater knows the hidden rules
and says which X is missing or unwanted, never when it is wanted: the writer has to guess W among the words it was shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from random import Random

from scrutable.core.records import Conversation, Generation, Sampling, Score, Split, Task, Usage, digest_of
from scrutable.evolve.reflection import Item, Proposal

WORDS = ["sun", "moon", "rain", "snow", "wind", "fog", "hail", "mist", "dusk", "dawn"]
SAID = ["yes", "no", "hey", "oh", "ah"]
RULE = re.compile(r"when (\w+) say (\w+) \.")


def rule(word: str, said: str) -> str:
    return f"when {word} say {said} ."


def obey(text: str, prompt: str) -> str:
    have = prompt.split()
    return " ".join(["ok", *sorted({x for w, x in RULE.findall(text) if w in have})])


class ToyEnv:
    """Reward: the share of the hidden rules kept on the task, minus what is unwanted; 1 where nothing is wanted or said."""

    name = "toy"
    rewarded = True

    def __init__(self, hidden: str, sizes: Mapping[Split, int] | None = None) -> None:
        self.hidden = hidden
        self.sizes = sizes or {"search": 200, "keep": 200, "report": 10}
        self.rated = 0

    @property
    def identity(self) -> str:
        return digest_of(["toy", self.hidden, dict(self.sizes)])

    @cached_property
    def _tasks(self) -> dict[str, list[Task]]:
        draws = Random("toy")
        return {
            split: [Task.ask(" ".join(draws.sample(WORDS, 5)) + f" {split}{i}") for i in range(count)]
            for split, count in self.sizes.items()
        }

    def tasks(self, split: Split) -> list[Task]:
        return self._tasks[split]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        self.rated += len(tasks)
        return [self._rate(task, answer) for task, answer in zip(tasks, answers, strict=True)]

    def _rate(self, task: Task, answer: str) -> Score:
        wanted, shown = set(obey(self.hidden, task.prompt).split()), set(answer.split())
        faults = [f"no {x}" for x in sorted(wanted - shown)] + [f"unwanted {x}" for x in sorted(shown - wanted)]
        return Score(value=float(not faults), feedback=f"bad : {' , '.join(faults)} ." if faults else "good .")


class ToyModel:
    """Obeys the sentences of its text, but for a slip in `noise` of its answers."""

    name = "toy"

    def __init__(self, noise: float = 0.05) -> None:
        self.noise = noise
        self.calls: list[int] = []

    @property
    def identity(self) -> str:
        return digest_of(["toy model", self.noise])

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        self.calls.append(len(conversations))
        draws = Random(f"toy/{sampling.seed}")
        return [self._one(one, draws.random() < self.noise * sampling.temperature) for one in conversations]

    def _one(self, conversation: Conversation, slips: bool) -> Generation:
        text = conversation[0].content if conversation[0].role == "system" else ""
        answer = "hm" if slips else obey(text, conversation[-1].content)
        return Generation(answer=answer, usage=Usage(generations=1, prompt_tokens=6, answer_tokens=2))


class Guesser:
    """Guesses rules: what was missing, under a word of a task where it was missing. Never sees the hidden rules."""

    items = 5

    def __init__(self, samples: int = 8) -> None:
        self.samples = samples
        self.calls = 0

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        self.calls += 1
        draws = Random(f"guess/{seed}")
        wanted = [(i.prompt.split()[:5], x) for i in items for x in re.findall(r"no (\w+)", i.feedback)]
        guessed = []
        for _ in range(self.samples if wanted else 0):
            words, said = draws.choice(wanted)
            guessed.append(rule(draws.choice(words), said))
        texts_found = tuple(dict.fromkeys(guessed))
        votes = tuple(guessed.count(text) for text in texts_found)
        usage = Usage(generations=len(guessed), answer_tokens=5 * len(guessed))
        return Proposal(texts=texts_found, votes=votes, answers=tuple(guessed), usage=usage)
