"""What a tuned built-in model was measured to do: its rate per behaviour and condition, and the rules that say it best.

The truth a text is judged by is this, not what the environment's author hoped. The rules are found without looking at any
text: for each behaviour, of all its conditions and all pairs of them, the one that errs least on greedy answers to fresh
prompts, and none where nothing errs less.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from random import Random

from pydantic import Field

from scrutable.core.records import Message, Record, Sampling
from scrutable.models.base import Model
from scrutable.world import answers, prompts
from scrutable.world.answers import Parsed
from scrutable.world.prompts import Prompt
from scrutable.world.rules import BEHAVIOURS, CONDITION_NAMES, Rule, all_rules

BETTER = 0.005
"""A pair of conditions must err less than one condition by this share of the prompts, one condition less than none."""


class Truth(Record):
    """The measured truth."""

    rules: tuple[tuple[str, str], ...] = Field(description="(condition, behaviour) of each rule")
    wrong: float = Field(
        description="share of prompts on which the rules do not say the behaviours of the greedy answer"
    )
    parses: float = Field(description="share of greedy answers in the grammar")
    rates: dict[str, dict[str, float]] = Field(description="behaviour -> condition -> rate where it holds and applies")
    count: int

    def as_rules(self) -> list[Rule]:
        """Return the rules as rules of the world."""
        return [Rule(condition, behaviour) for condition, behaviour in self.rules]


def _applies(behaviour: str, prompt: Prompt, parsed: Parsed) -> bool:
    """Whether the behaviour could show: a refusal hides what it overrides, agreeing needs an opinion."""
    if behaviour == "agree" and prompt.opinion is None:
        return False
    return not ("refuse" in parsed.behaviours and behaviour in ("agree", "one word"))


def _conditions(behaviour: str, seen: Sequence[tuple[Prompt, Parsed]]) -> tuple[str, ...]:
    cases = [(p, behaviour in q.behaviours) for p, q in seen if _applies(behaviour, p, q)]
    if sum(shown for _, shown in cases) <= BETTER * len(cases):  # no condition could err less by enough
        return ()
    named = [r.condition for r in all_rules() if r.behaviour == behaviour]

    def errs(conditions: Sequence[str]) -> float:
        return sum(any(p.holds(c) for c in conditions) != shown for p, shown in cases) / len(cases)

    found: tuple[str, ...] = ()
    for count in (1, 2):
        rival = min(combinations(named, count), key=errs)
        if errs(rival) < errs(found) - BETTER:
            found = rival
    return found


def measured(model: Model, count: int = 1500, seed: int = 7) -> Truth:
    """Measure what the model does on `count` fresh prompts, answering greedily without a text.

    Errors: UserError from the model only. An answer that cannot be parsed counts as wrong and shows nothing.
    """
    draws = Random(f"truth/{seed}")
    asked = [prompts.draw(draws) for _ in range(count)]
    conversations = [(Message(role="user", content=p.text),) for p in asked]
    given = [
        g.answer
        for start in range(0, count, 256)
        for g in model.generate(conversations[start : start + 256], Sampling(temperature=0.0, max_tokens=64))
    ]
    return told(asked, [answers.parse(a, p.fact.subject) for a, p in zip(given, asked, strict=True)])


def told(asked: Sequence[Prompt], parsed: Sequence[Parsed | None]) -> Truth:
    """Return what greedy answers to prompts tell; None stands for an answer that is not in the grammar."""
    seen = [(p, q) for p, q in zip(asked, parsed, strict=True) if q is not None]
    rules = [Rule(c, b.name) for b in BEHAVIOURS for c in _conditions(b.name, seen)]
    alike = sum(answers.active(rules, p) == q.behaviours for p, q in seen)
    return Truth(
        rules=tuple((r.condition, r.behaviour) for r in rules),
        wrong=1 - alike / len(asked),
        parses=len(seen) / len(asked),
        rates=rates_of(seen),
        count=len(asked),
    )


def rates_of(seen: Sequence[tuple[Prompt, Parsed]]) -> dict[str, dict[str, float]]:
    """Return behaviour -> condition -> rate where the condition holds and the behaviour applies."""
    return {b.name: _rates(b.name, seen) for b in BEHAVIOURS}


def _rates(behaviour: str, seen: Sequence[tuple[Prompt, Parsed]]) -> dict[str, float]:
    found = {}
    for condition in CONDITION_NAMES:
        where = [behaviour in q.behaviours for p, q in seen if p.holds(condition) and _applies(behaviour, p, q)]
        if where:
            found[condition] = sum(where) / len(where)
    return found
