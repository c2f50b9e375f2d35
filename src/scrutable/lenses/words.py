"""Words: answers of any tokenizer seen as words, with the divergence that each word carries.

What a word is stands in `measure/likeness.py`. Tokens are laid over the words by their decoded text, so that claims can be
made in words whatever the tokenizer cuts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scrutable.core.records import Task
from scrutable.measure.likeness import BREAK, WORD, Words, words_of

__all__ = ["BREAK", "Spoken", "Words", "joined", "places_of", "runs_of", "spoken", "user_words", "words_of"]

_STOPS = frozenset(".?!;:,\n" + BREAK)


@dataclass(frozen=True)
class Spoken:
    """One answer as words. nats: the divergence each carries, and one more for how the answer ends."""

    words: Words
    nats: tuple[float, ...]
    text: str = ""

    @property
    def total(self) -> float:
        """Nats of the whole answer."""
        return sum(self.nats)


def spoken(text: str, tokens: Sequence[int], nats: Sequence[float], decode: Callable[[Sequence[int]], str]) -> Spoken:
    """Lay the tokens' nats over the words of an answer. Tokens that show no text (the end) count for the end."""
    matches = list(WORD.finditer(text))
    ends = [match.end() for match in matches]
    sums = [0.0] * (len(matches) + 1)
    cursor = 0
    for token, value in zip(tokens, nats, strict=True):
        raw = decode([token])
        piece = raw.strip().strip("\ufffd")
        place = len(matches) if not raw else bisect_right(ends, cursor)
        if piece:
            found = text.find(piece, cursor)
            if 0 <= found <= cursor + 8:  # a piece that lies further on is half a character decoded by itself
                place, cursor = bisect_right(ends, found), found + len(piece)
        sums[min(place, len(matches))] += value
    return Spoken(words_of(text), tuple(sums), text)


def user_words(task: Task) -> list[Words]:
    """Return what the user says, lower case, cut into pieces at punctuation: a run of words does not cross it."""
    pieces: list[Words] = []
    for message in task.messages:
        if message.role != "user":
            continue
        current: list[str] = []
        for word in words_of(message.content.casefold()):
            if word in _STOPS:
                pieces.append(tuple(current))
                current = []
            else:
                current.append(word)
        pieces.append(tuple(current))
    return [piece for piece in pieces if piece]


def runs_of(words: Sequence[str], longest: int) -> set[Words]:
    """Return every run of 1 to `longest` words."""
    return {tuple(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)}


def places_of(run: Words, words: Sequence[str]) -> list[int]:
    """Return where the run begins, without overlaps."""
    found, i, size = [], 0, len(run)
    while i + size <= len(words):
        if tuple(words[i : i + size]) == run:
            found.append(i)
            i += size
        else:
            i += 1
    return found


def joined(words: Sequence[str]) -> str:
    """Write words as one readable string."""
    return " ".join(words)
