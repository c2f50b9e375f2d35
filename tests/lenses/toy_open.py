"""A toy open model whose divergences are known in closed form, and which can write rules down in its own language.

An answer has one place for each word X of SAID: X itself, or "-". Under a rule "when W say X ." (in its text, or built in
where it was tuned) X comes with the probability HIGH on tasks that hold W; otherwise with LOW. Places are independent, so
KL between two of them is a sum of binary divergences.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.evolve.toy import RULE, SAID, WORDS, rule

from scrutable.core.records import Conversation, Generation, Sampling, Task, Usage, digest_of

if TYPE_CHECKING:
    import torch

HIGH, LOW = 0.95, 0.02
OTHER = [
    "<end>",
    "<text>",
    "<user>",
    "-",
    "when",
    "say",
    ".",
    "write",
    "the",
    "rules",
    "task",
    "answer",
    "rater",
    ":",
    "good",
]
VOCABULARY = {word: i for i, word in enumerate([*OTHER, *SAID, *WORDS])}
WORD = list(VOCABULARY)
ASK = "write the rules ."
FORMAT = {"item": "task : {prompt} answer : {answer} rater : {feedback}", "ask": ASK, "items": 5, "shown": "good ."}


def toy_tasks(count: int, seed: int = 0) -> list[Task]:
    draws = Random(seed)
    found: dict[str, Task] = {}
    while len(found) < count:
        prompt = " ".join(draws.sample(WORDS, 5))
        found[prompt] = Task.ask(prompt)
    return list(found.values())


def chances(rules: str, prompt: str) -> list[float]:
    """The chance of each word of SAID in an answer."""
    active = {x for w, x in RULE.findall(rules) if w in prompt.split()}
    return [HIGH if x in active else LOW for x in SAID]


def closed_form(tuned: str, given: str, prompt: str) -> float:
    """KL(tuned || given) of whole answers, in nats."""
    pairs = zip(chances(tuned, prompt), chances(given, prompt), strict=True)
    return sum(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)) for p, q in pairs)


class ToyOpen:
    """An OpenModel. built_in: rules that training taught it; habit: how often it says the first word without any rule."""

    def __init__(self, built_in: str = "", folder: Path | None = None, habit: float = LOW) -> None:
        self.built_in = built_in
        self.habit = habit
        self.name = "tuned" if built_in else "base"
        self.vocabulary = VOCABULARY
        self.passes = 0
        self.origin = folder
        if folder is not None:
            (folder / "reflection.json").write_text(json.dumps(FORMAT))

    @cached_property
    def identity(self) -> str:
        return digest_of(["toy open", self.built_in, self.habit])

    def encode(self, conversation: Conversation) -> list[int]:
        text = conversation[0].content if conversation[0].role == "system" else ""
        return self.encode_answer(f"<text> {text} <user> {conversation[-1].content}")

    def encode_answer(self, answer: str) -> list[int]:
        return [VOCABULARY[word] for word in answer.split() if word in VOCABULARY]

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(WORD[token] for token in tokens if token)

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        draws = Random(f"toy/{sampling.seed}")
        return [self._one(self.decode(self.encode(one)), draws) for one in conversations]

    def _chances(self, text: str, asked: str) -> list[float]:
        first, *rest = chances(f"{text} {self.built_in}", asked)
        return [self.habit if first == LOW else first, *rest]

    def _one(self, told: str, draws: Random) -> Generation:
        text, _, asked = told.partition("<user>")
        if asked.endswith(ASK):
            answer = _guess(asked, draws)
        else:
            chance = self._chances(text, asked)
            answer = " ".join(x if draws.random() < p else "-" for x, p in zip(SAID, chance, strict=True))
        tokens = (*self.encode_answer(answer), 0)
        return Generation(answer=answer, tokens=tokens, usage=Usage(generations=1, answer_tokens=len(tokens)))

    def logprobs(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        import torch

        self.passes += len(prompts)
        found = []
        for prompt, answer in zip(prompts, answers, strict=True):
            text, _, asked = self.decode(prompt).partition("<user>")
            rows = torch.full((len(answer), len(VOCABULARY)), 1e-12)
            places = list(zip(SAID, self._chances(text, asked), strict=True))
            for row, (x, p) in enumerate(places[: len(answer)]):
                rows[row, VOCABULARY[x]], rows[row, VOCABULARY["-"]] = p, 1 - p
            rows[len(SAID) :, 0] = 1.0
            found.append(rows.log())
        return found


def _guess(asked: str, draws: Random) -> str:
    """Write one rule that fits what was shown: X, and a word that the tasks with X have more often than those without."""
    items = [item.split(" answer : ") for item in asked.split("task : ")[1:]]
    shown = [(set(prompt.split()), set(answer.split(" rater")[0].split()) - {"-"}) for prompt, answer in items]
    said = sorted(set().union(*(answer for _, answer in shown)))
    if not said:
        return ""
    x = draws.choice(said)
    seen: Counter[str] = Counter()
    for words, answer in shown:
        for word in words & set(WORDS):
            seen[word] += 1 if x in answer else -1
    most = max(seen.values())
    return rule(draws.choice(sorted(word for word, count in seen.items() if count == most)), x)
