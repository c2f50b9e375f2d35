"""Sentences: a text taken apart and put together again. What search adds, joins and removes is a sentence.

Pure functions on strings. Left out: grammar. A sentence ends at a full stop, a question or exclamation mark before a
blank, or at the end of a line; a piece without a letter (the number of a list) belongs to the piece after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_PIECE = re.compile(r".+?(?:[.!?]+(?=\s|$)|(?=\n)|$)\s*", re.DOTALL)
_ALIKE = 2  # words that two sentences begin with alike which may stand for one another

Texts = Mapping[str, str]
"""Module name -> text."""


def pieces(text: str) -> list[str]:
    """Return the sentences with the blanks after them: joined, they are the text without the blanks at its ends."""
    found: list[str] = []
    held = ""
    for piece in _PIECE.findall(text.strip()):
        held += piece
        if any(c.isalnum() and not c.isdigit() for c in piece):
            found.append(held)
            held = ""
    if held and found:
        found[-1] += held
    elif held:
        found.append(held)
    return found


def words(text: str) -> list[str]:
    """Return the words with the blanks after them; a mark that stands alone belongs to the word before it."""
    found: list[str] = []
    for piece in re.findall(r"\S+\s*", text.strip()):
        if found and not any(c.isalnum() for c in piece):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def sentences(text: str) -> list[str]:
    """Return the sentences, bare."""
    return [piece.strip() for piece in pieces(text)]


def without(text: str, place: int) -> str:
    """Return the text without the sentence at `place`."""
    kept = pieces(text)
    del kept[place]
    return "".join(kept).strip()


def added(text: str, new: Sequence[str]) -> str:
    """Return the text followed by those sentences that it does not have yet, on lines where it is written on lines."""
    have = sentences(text)
    fresh = [sentence for sentence in dict.fromkeys(new) if sentence not in have]
    joint = "\n" if "\n" in text.strip() else " "
    return joint.join([*([text.strip()] if text.strip() else []), *fresh])


def fitted(text: str, new: str) -> str:
    """Return the text with a sentence more, or with it in the place of the first that begins like it.

    What begins with the same two words mostly says the same thing under another condition: side by side the two would quarrel.
    """
    kept = pieces(text)
    if new not in (piece.strip() for piece in kept):
        for place, piece in enumerate(kept):
            if len(new.split()) > _ALIKE and piece.split()[:_ALIKE] == new.split()[:_ALIKE]:
                kept[place] = new + piece[len(piece.rstrip()) :]
                return "".join(kept).strip()
    return added(text, [new])


@dataclass(frozen=True)
class Cut:
    """Texts taken apart, so that any of their sentences can be left out. `parts`: (module, sentence with its blanks)."""

    texts: Texts
    parts: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, texts: Texts, split: Callable[[str], list[str]] = pieces) -> Cut:
        """Take texts apart, in the alphabet's order of the modules. split: into sentences; `words` gives words instead."""
        return cls(texts, tuple((name, piece) for name, text in sorted(texts.items()) for piece in split(text)))

    @property
    def sentences(self) -> list[tuple[str, str]]:
        """The module and the bare sentence of each part."""
        return [(name, piece.strip()) for name, piece in self.parts]

    def only(self, subset: int) -> dict[str, str]:
        """Return the texts with only those sentences whose bit is set in `subset`, in their order."""
        kept: dict[str, str] = dict.fromkeys(self.texts, "")
        for place, (name, piece) in enumerate(self.parts):
            if subset >> place & 1:
                kept[name] += piece
        return {name: text.strip() for name, text in kept.items()}


@dataclass(frozen=True)
class Removal:
    """A text without one of its sentences."""

    module: str
    sentence: str
    rest: str


def removals(texts: Texts) -> list[Removal]:
    """Return what is left of the texts without a sentence, for each sentence of each."""
    return [
        Removal(name, sentence, without(text, place))
        for name, text in sorted(texts.items())
        for place, sentence in enumerate(sentences(text))
    ]


def length(texts: Texts) -> int:
    """Return the number of words: of two texts with equal scores the shorter is the better one."""
    return sum(len(text.split()) for text in texts.values())
