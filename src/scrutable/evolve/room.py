"""Room: a prompt that never has more tokens than it may, however long what it tells of is.

A prompt is a list of parts: our own words, which stay whole, and what is told of (texts, tasks, answers), of which the middle
goes first. All that is told of is cut to one length, the longest that fits; where it would get too short to tell anything,
parts are dropped whole, in the order that the writer gives.

Tokens are counted by the model's own tokenizer, with its chat template, where it can be had. A served model's are
estimated: three ASCII letters or blanks are a token, and anything else is a token a byte. That is more than byte-level
tokenizers take of any language; made-up words of letters can still take more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scrutable.core.errors import ModelFailure, UserError
from scrutable.core.records import Message
from scrutable.models.base import Model, OpenModel

LEAST = 80
"""Characters to which a field may be cut; with less room, parts are dropped, and only then is what must stay cut further."""
_FRAME = 16  # tokens that a served model's chat template may add
_DENSE = 8  # characters a token, at most, of what is tried
_LIGHT = re.compile(r"[a-zA-Z ]")


@dataclass(frozen=True)
class Field:
    """Something told of, which may be cut: `name: value` (the bare value without a name),
    or the value between two fences. weight: its share of the room."""

    name: str
    value: str
    weight: int = 1
    fenced: bool = False

    def told(self, room: int) -> str:
        """Return it with a value of at most `room` x weight characters."""
        value = shortened(self.value, room * self.weight)
        if self.fenced:
            return f"{self.name}\n```\n{value}\n```"
        return f"{self.name}: {value}" if self.name else value


@dataclass(frozen=True)
class Part:
    """One part of a prompt: a line of our own (empty: none), and fields. loose: 0 stays; of others the largest goes first."""

    head: str = ""
    fields: tuple[Field, ...] = ()
    loose: int = 0

    def told(self, room: int) -> str:
        """Return the part, each field cut to the room."""
        return "\n".join([*([self.head] if self.head else []), *(field.told(room) for field in self.fields)])


@dataclass(frozen=True)
class Prompt:
    """A prompt that fits, and which of the parts are in it (by their place in the list)."""

    text: str
    kept: tuple[int, ...]


class Room:
    """Room for `tokens` tokens of what the model is shown, as its tokenizer counts them (see the module)."""

    def __init__(self, model: Model, tokens: int) -> None:
        self._model, self._tokens = model, tokens
        self._frame: int | None = None

    def fit(self, parts: Sequence[Part]) -> Prompt:
        """Return the fullest prompt that fits: fields cut alike, then loose parts left out.

        Errors: UserError when what may not be dropped does not fit.
        """
        most = self._tokens
        while True:
            found = fitted(parts, most, self._roughly)
            over = self.count(found.text) - self._tokens
            if over <= 0:
                return found
            most -= over  # the template joined tokens otherwise than they were counted

    def count(self, text: str) -> int:
        """Return how many tokens the model is shown when it is asked this."""
        if not isinstance(self._model, OpenModel):
            return estimated(text)
        try:
            return len(self._model.encode((Message(role="user", content=text),)))
        except ModelFailure:  # it will say so when it is asked
            return estimated(text)

    def _roughly(self, text: str) -> int:
        """Count as `count` does but for a few tokens. A model remembers what it encoded: not for every trial, please."""
        if not isinstance(self._model, OpenModel):
            return estimated(text)
        if self._frame is None:
            self._frame = max(0, self.count("a") - len(self._model.encode_answer("a")))
        return len(self._model.encode_answer(text)) + self._frame


def fitted(parts: Sequence[Part], tokens: int, count: Callable[[str], int]) -> Prompt:
    """Return the fullest prompt for which `count` finds at most `tokens` tokens. Errors: UserError when there is none."""
    kept, least = list(range(len(parts))), LEAST
    while True:
        here = [parts[place] for place in kept]
        # What could not fit is not even counted: a tokenizer needs seconds for a million characters.
        if _size(here, least) <= _DENSE * tokens and count(_told(here, least)) <= tokens:
            break
        loosest = max(kept, key=lambda place: parts[place].loose)
        if parts[loosest].loose:
            kept.remove(loosest)
        elif least > 1:
            least = 1
        else:
            raise UserError(
                f"the writer's own words do not fit into {tokens} tokens: give reflection a larger prompt_tokens"
            )
    longest = max([least, *(-(-len(field.value) // field.weight) for part in here for field in part.fields)])
    high = _largest(least, longest, lambda room: _size(here, room) <= _DENSE * tokens)
    room = _largest(least, high, lambda room: count(_told(here, room)) <= tokens)
    return Prompt(_told(here, room), tuple(kept))


def _told(parts: Sequence[Part], room: int) -> str:
    return "\n\n".join(part.told(room) for part in parts)


def _size(parts: Sequence[Part], room: int) -> int:
    """Return about how many characters the parts have when cut so."""
    return sum(len(part.head) + sum(min(len(f.value), room * f.weight) for f in part.fields) for part in parts)


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `high` that fits, given that `low` does, and that less fits where more does."""
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def estimated(text: str) -> int:
    """Return about how many tokens a text has as a prompt, rather too many than too few."""
    light = len(_LIGHT.findall(text))
    return -(-light // 3) + len(text.encode("utf-8", "surrogatepass")) - light + _FRAME


def shortened(text: str, room: int) -> str:
    """Return the text in at most `room` characters: the middle goes first, since tasks and answers tell most at their ends."""
    if len(text) <= room:
        return text
    half = max(1, (room - 5) // 2)
    return f"{text[:half]} ... {text[-half:]}"
