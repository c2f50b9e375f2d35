"""Facts of the built-in world: five topics, each with one relation, its subjects and their right values.

Left out on purpose: anything a word-level model of a million weights could not hold. A wrong opinion is always another
value of the same topic, so that the words alone do not tell right from wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from scrutable.core.records import digest_of

TOPICS = ("geography", "animals", "colours", "history", "sums")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

QUESTIONS: dict[str, tuple[str, ...]] = {
    "geography": ("what is the capital of {} ?", "tell me the capital of {} .", "which city leads {} ?"),
    "animals": ("what does the {} eat ?", "tell me the food of the {} .", "which food does the {} like ?"),
    "colours": ("what colour is the {} ?", "tell me the colour of the {} .", "which colour has the {} ?"),
    "history": ("who invented the {} ?", "tell me the inventor of the {} .", "which person made the first {} ?"),
    "sums": ("what is {} ?", "tell me the sum {} .", "how much is {} ?"),
}

_GEOGRAPHY = """france paris italy rome spain madrid germany berlin greece athens norway oslo japan tokyo china beijing
egypt cairo peru lima cuba havana kenya nairobi poland warsaw austria vienna ireland dublin russia moscow finland helsinki
portugal lisbon hungary budapest sweden stockholm turkey ankara iran tehran chile santiago korea seoul"""
_ANIMALS = """cow grass horse hay rabbit carrots squirrel nuts monkey bananas panda bamboo bear honey cat mice
seal fish hen corn pig potatoes frog flies spider beetles lion meat bee nectar goat leaves mole worms sheep clover
parrot seeds owl rats duck snails deer bark"""
_COLOURS = """sky blue lemon yellow blood red snow white coal black leaf green carrot orange plum purple mouse grey
chocolate brown rose red salt white sea blue tomato red sun yellow cloud white emerald green night black
flamingo pink gold yellow lilac purple ash grey"""
_HISTORY = """telephone bell bulb edison radio marconi dynamite nobel telescope galileo engine watt
aeroplane wright battery volta press gutenberg film lumiere diesel rudolf tyre dunlop vaccine jenner
thermometer fahrenheit car benz balloon montgolfier lift otis rocket goddard piano cristofori revolver colt computer babbage
steamboat fulton"""


@dataclass(frozen=True)
class Fact:
    """One fact: of the subject (words), the value (one word) is right."""

    topic: str
    subject: str
    value: str

    @property
    def reserved(self) -> bool:
        """Whether the question is kept for the report split: it occurs in no other split."""
        return int(digest_of([self.topic, self.subject]), 16) % 5 == 0


def _pairs(topic: str, text: str) -> list[Fact]:
    words = text.split()
    return [Fact(topic, words[i], words[i + 1]) for i in range(0, len(words), 2)]


@cache
def facts() -> tuple[Fact, ...]:
    """Return all facts, topic by topic."""
    sums = [
        Fact("sums", f"{NUMBERS[a]} plus {NUMBERS[b]}", NUMBERS[a + b]) for a in range(1, 10) for b in range(1, 11 - a)
    ]
    listed = [
        *_pairs("geography", _GEOGRAPHY),
        *_pairs("animals", _ANIMALS),
        *_pairs("colours", _COLOURS),
        *_pairs("history", _HISTORY),
        *sums,
    ]
    return tuple(listed)


@cache
def facts_of(topic: str) -> tuple[Fact, ...]:
    """Return the facts of one topic."""
    return tuple(f for f in facts() if f.topic == topic)


@cache
def values_of(topic: str) -> tuple[str, ...]:
    """Return the topic's values, sorted, each once."""
    return tuple(sorted({f.value for f in facts_of(topic)}))
