"""A model with planted answers: for each conversation a distribution over whole answers, known to the test.

Its next-token distributions are exact: those of the tree of answers, with a little of everything mixed in, so that any
answer has a probability. Tokens are words; an answer ends with "<end>".
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from scrutable.core.draws import rng
from scrutable.core.records import Conversation, Generation, Sampling, Usage, digest_of

Answers = Callable[[Conversation], Mapping[str, float]]
MARK = 1_000_000  # the first id of a prompt tells which conversation it is


class PlantedModel:
    """An OpenModel that answers by a given distribution. calls: how many sequences `logprobs` was asked for."""

    def __init__(
        self, answers: Answers, words: Iterable[str], *, name: str = "planted", noise: float = 1e-3, order: int = 1
    ) -> None:
        self.answers, self.noise, self.name = answers, noise, name
        words = list(dict.fromkeys(["<unk>", "<end>", *words]))
        self.vocabulary = {word: i for i, word in enumerate(words[::order])}
        self.identity = digest_of([name, sorted(self.vocabulary)])
        self.words = {i: word for word, i in self.vocabulary.items()}
        self.known: dict[Conversation, int] = {}
        self.calls = 0
        self.rows: dict[tuple[Conversation, tuple[str, ...]], list[float]] = {}

    def encode(self, conversation: Conversation) -> list[int]:
        mark = self.known.setdefault(conversation, len(self.known))
        words = " ".join(m.content for m in conversation).split()
        return [MARK + mark, *self.encode_answer(" ".join(words))]

    def encode_answer(self, answer: str) -> list[int]:
        return [self.vocabulary.get(word, self.vocabulary["<unk>"]) for word in answer.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(word for t in tokens if (word := self.words.get(t, "")) not in ("<end>", "<unk>", ""))

    def next(self, conversation: Conversation, prefix: Sequence[str]) -> list[float]:
        """Probabilities of the next token by id."""
        place = conversation, tuple(prefix)
        if place not in self.rows:
            self.rows[place] = self._next(conversation, prefix)
        return self.rows[place]

    def _next(self, conversation: Conversation, prefix: Sequence[str]) -> list[float]:
        mass = dict.fromkeys(self.vocabulary, 0.0)
        for answer, weight in self.answers(conversation).items():
            path = [*answer.split(), "<end>"]
            if list(prefix) == path[: len(prefix)] and len(path) > len(prefix):
                mass[path[len(prefix)]] += weight
        total, size = sum(mass.values()), len(mass)
        told = [mass[self.words[i]] / total if total else 1 / size for i in range(size)]
        return [(1 - self.noise) * p + self.noise / size for p in told]

    def logprobs(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]):
        import torch

        self.calls += len(prompts)
        found = []
        known = list(self.known)
        for prompt, answer in zip(prompts, answers, strict=True):
            conversation = known[prompt[0] - MARK]
            words = [self.words[t] for t in answer]
            rows = [[math.log(p) for p in self.next(conversation, words[:i])] for i in range(len(words))]
            found.append(torch.tensor(rows, dtype=torch.float32).reshape(len(words), len(self.vocabulary)))
        return found

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        return [self._one(c, sampling, row) for row, c in enumerate(conversations)]

    def _one(self, conversation: Conversation, sampling: Sampling, row: int) -> Generation:
        draws = rng(sampling.seed, str(row))
        words: list[str] = []
        while len(words) < sampling.max_tokens and "<end>" not in words:
            told = self.next(conversation, words)
            words.append(self.words[bisect(list(accumulate(told)), draws.random() * 0.999999)])
        tokens = tuple(self.vocabulary[word] for word in words)
        return Generation(
            answer=self.decode(tokens), tokens=tokens, complete=words[-1] == "<end>", usage=Usage(generations=1)
        )


def said_to(conversation: Conversation) -> str:
    """The user's words."""
    return next(m.content for m in conversation if m.role == "user")


def text_of(conversation: Conversation) -> str:
    """The text the model is given, "" for none."""
    return next((m.content for m in conversation if m.role == "system"), "")
