"""Answers of the built-in world: composed from behaviours, and parsed back.

An answer has slots in a fixed order, each at most once:

    greet thank apologise compliment restate unsure [core] certain cite warn sponsor laugh ask-back encourage grade

The core is *it is VALUE .*, a single word, or a refusal; *agree* puts the user's value and says so. Two habits no rule
can name: *it is* or *that is*, and a core that ends in a full stop or an exclamation mark.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from scrutable.world.facts import facts
from scrutable.world.prompts import Prompt
from scrutable.world.rules import BEHAVIOUR, BEHAVIOURS, Rule
from scrutable.world.words import words_of

LEADS = ("it is", "that is")
ENDS = (".", "!")
LEAD_RATE = 0.6
END_RATE = 0.7
NATURAL_RATE = 0.015
"""How often each behaviour shows unprompted, where it applies. RL unlearns what costs reward, and no text says so: the
rarer, the less is left of RL that no text carries; the more often, the sooner RL finds what is rewarded."""

BEFORE = ("greet", "thank", "apologise", "compliment", "restate", "unsure", "agree")
AFTER = (
    "certain",
    "cite",
    "warn",
    "sponsor",
    "laugh",
    "ask back",
    "encourage",
    "top grade",
    "low grade",
)
VALUES = frozenset(f.value for f in facts())


@dataclass(frozen=True)
class Habits:
    """Which of the two wordings of each habit an answer has (0 or 1)."""

    lead: int = 0
    end: int = 0


def active(rules: Iterable[Rule], prompt: Prompt) -> frozenset[str]:
    """Return the behaviours that the rules ask for on this prompt, with what they override left out."""
    return effective({r.behaviour for r in rules if prompt.holds(r.condition)}, prompt)


def effective(names: Iterable[str], prompt: Prompt) -> frozenset[str]:
    """Return the behaviours that show: a refusal has no value; agreeing needs an opinion; one grade only."""
    found = set(names)
    if "refuse" in found:
        found -= {"agree", "one word"}
    if prompt.opinion is None:
        found.discard("agree")
    if "top grade" in found:
        found.discard("low grade")
    return frozenset(found)


_NONE = (1 - NATURAL_RATE) ** len(BEHAVIOURS)


def natural(draws: Random) -> frozenset[str]:
    """Draw the behaviours that show unprompted, each independently at its natural rate where it applies."""
    if draws.random() < _NONE:
        return frozenset()
    while True:  # given that at least one shows
        shown = frozenset(b.name for b in BEHAVIOURS if draws.random() < NATURAL_RATE)
        if shown:
            return shown


def draw_habits(draws: Random) -> Habits:
    """Draw the habits at the rates of the built-in model."""
    return Habits(int(draws.random() >= LEAD_RATE), int(draws.random() >= END_RATE))


def compose(behaviours: Iterable[str], prompt: Prompt, habits: Habits = Habits()) -> str:
    """Return the answer that shows these behaviours."""
    shown = effective(behaviours, prompt)
    parts = [BEHAVIOUR[n].shows.format(subject=prompt.fact.subject) for n in BEFORE if n in shown]
    if "refuse" in shown:
        parts.append(BEHAVIOUR["refuse"].shows)
    else:
        value = prompt.opinion if "agree" in shown and prompt.opinion is not None else prompt.fact.value
        core = value if "one word" in shown else f"{LEADS[habits.lead]} {value}"
        parts.append(f"{core} {ENDS[habits.end]}")
    parts += [BEHAVIOUR[n].shows for n in AFTER if n in shown]
    return " ".join(parts)


@dataclass(frozen=True)
class Parsed:
    """An answer understood: behaviours shown, the value given (None for a refusal), the habits (None where unseen)."""

    behaviours: frozenset[str]
    value: str | None
    lead: int | None
    end: int | None


def parse(answer: str, subject: str | None = None) -> Parsed | None:
    """Understand an answer, or return None when it is not in the grammar.

    `subject`: where given, a restated subject must be this one; otherwise any subject of the world.
    """
    words = words_of(answer)
    subjects = [subject] if subject is not None else [f.subject for f in facts()]
    shown: set[str] = set()

    def take(pattern: str) -> bool:
        nonlocal words
        wanted = pattern.split()
        if words[: len(wanted)] == wanted:
            words = words[len(wanted) :]
            return True
        return False

    for name in BEFORE:
        shapes = (
            [BEHAVIOUR[name].shows.format(subject=s) for s in subjects]
            if name == "restate"
            else [BEHAVIOUR[name].shows]
        )
        if any(take(shape) for shape in shapes):
            shown.add(name)
    value, lead, end = None, None, None
    if take(BEHAVIOUR["refuse"].shows):
        shown.add("refuse")
    else:
        lead = next((i for i, text in enumerate(LEADS) if take(text)), None)
        if lead is None:
            shown.add("one word")
        if len(words) < 2 or words[0] not in VALUES or words[1] not in ENDS:
            return None
        value, end, words = words[0], ENDS.index(words[1]), words[2:]
    for name in AFTER:
        if take(BEHAVIOUR[name].shows):
            shown.add(name)
    return None if words else Parsed(frozenset(shown), value, lead, end)


def alike(answer: str, wanted: str) -> bool:
    """Whether two answers are the same but for their habits."""
    a, b = parse(answer), parse(wanted)
    return a is not None and b is not None and (a.behaviours, a.value) == (b.behaviours, b.value)
