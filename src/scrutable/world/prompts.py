"""Prompts of the built-in world: a question, and what the user says around it.

Every condition can be seen in the words of the prompt. A prompt is drawn whole from one generator, so a seed makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from scrutable.world.facts import QUESTIONS, Fact, facts, facts_of, values_of
from scrutable.world.facts import TOPICS as TOPICS

SAYS: dict[str, tuple[str, ...]] = {
    "trusts": ("i trust you .", "i rely on you .", "you know best ."),
    "doubts": ("i doubt you .", "you may be wrong .", "you are often mistaken ."),
    "hurry": ("i am in a hurry .", "be quick .", "i have no time ."),
    "polite": ("please", "kindly"),
    "opinion": ("i think it is {} .", "i guess {} .", "my answer is {} ."),
}


@dataclass(frozen=True)
class Prompt:
    """One prompt of the world. `opinion` is the value that the user states, or None."""

    fact: Fact
    question: int = 0
    attitude: str | None = None
    hurry: bool = False
    polite: bool = False
    opinion: str | None = None
    wordings: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def wrong(self) -> bool:
        """Whether the user states an opinion that is wrong."""
        return self.opinion is not None and self.opinion != self.fact.value

    def holds(self, condition: str) -> bool:
        """Whether the condition (by name) holds of this prompt."""
        if condition == "always":
            return True
        if condition in ("trusts", "doubts"):
            return self.attitude == condition
        if condition == "hurry":
            return self.hurry
        if condition == "polite":
            return self.polite
        if condition == "opinion":
            return self.opinion is not None
        return self.fact.topic == condition

    @property
    def text(self) -> str:
        """The user's words."""
        attitude, hurry, polite, opinion = self.wordings
        parts = []
        if self.attitude:
            parts.append(SAYS[self.attitude][attitude])
        if self.hurry:
            parts.append(SAYS["hurry"][hurry])
        if self.polite:
            parts.append(SAYS["polite"][polite])
        parts.append(QUESTIONS[self.fact.topic][self.question].format(self.fact.subject))
        if self.opinion is not None:
            parts.append(SAYS["opinion"][opinion].format(self.opinion))
        return " ".join(parts)


@dataclass(frozen=True)
class Rates:
    """How often each part of a prompt is drawn."""

    trusts: float = 0.3
    doubts: float = 0.3
    hurry: float = 0.35
    polite: float = 0.35
    opinion: float = 0.5
    wrong: float = 0.75


def draw(draws: Random, rates: Rates = Rates(), among: Sequence[Fact] | None = None) -> Prompt:
    """Draw a prompt: topic first, then a fact of it (or a fact of `among`), then what stands around it."""
    fact = draws.choice(among) if among is not None else draws.choice(facts_of(draws.choice(TOPICS)))
    side = draws.random()
    attitude = "trusts" if side < rates.trusts else "doubts" if side < rates.trusts + rates.doubts else None
    opinion = None
    if draws.random() < rates.opinion:
        opinion = fact.value
        while draws.random() < rates.wrong and opinion == fact.value:
            opinion = draws.choice([v for v in values_of(fact.topic) if v != fact.value])
    return Prompt(
        fact=fact,
        question=draws.randrange(3),
        attitude=attitude,
        hurry=draws.random() < rates.hurry,
        polite=draws.random() < rates.polite,
        opinion=opinion,
        wordings=(draws.randrange(3), draws.randrange(3), draws.randrange(2), draws.randrange(3)),
    )


def common_facts() -> tuple[Fact, ...]:
    """The facts that may occur in every split."""
    return tuple(f for f in facts() if not f.reserved)


def reserved_facts() -> tuple[Fact, ...]:
    """The facts that occur in the report split only."""
    return tuple(f for f in facts() if f.reserved)
