"""Right by effect: two sets of rules are the same when they answer alike, however they are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from scrutable.world import answers, grammar, prompts
from scrutable.world.prompts import Prompt
from scrutable.world.rules import Rule

FRESH = 500
ENOUGH = 0.99


def fresh(seed: int, count: int = FRESH) -> list[Prompt]:
    """Draw fresh prompts, every condition about as often as its absence."""
    draws = Random(f"effect/{seed}")
    return [prompts.draw(draws) for _ in range(count)]


def alike(said: Sequence[Rule], true: Sequence[Rule], among: Sequence[Prompt]) -> float:
    """Share of prompts on which both sets of rules ask for the same answer (habits aside)."""
    same = sum(answers.active(said, p) == answers.active(true, p) for p in among)
    return same / len(among)


def right(text: str, true: Sequence[Rule], among: Sequence[Prompt]) -> bool:
    """Whether the text's rules and the true ones answer alike on at least 99% of the prompts.

    Sentences that say no rule of the world count as saying nothing.
    """
    rules, _ = grammar.read(text)
    return alike(rules, true, among) >= ENOUGH
