"""The grammar of texts, both ways: rules to sentences and sentences to rules.

Every wording is understood; `write` uses the first wording of each (the canonical one) unless a generator is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from random import Random

from scrutable.world.rules import BEHAVIOURS, CONDITION_NAMES, CONDITIONS, Rule
from scrutable.world.words import words_of


@cache
def _behaviour_wordings() -> dict[tuple[str, ...], str]:
    return {tuple(ask.split()): b.name for b in BEHAVIOURS for ask in b.asks}


@cache
def _condition_wordings() -> dict[tuple[str, ...], str]:
    return {tuple(wording.split()): name for name, wordings in CONDITIONS.items() for wording in wordings}


def canonical(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules without repeats, in the order in which the canonical text lists them."""
    behaviours = [b.name for b in BEHAVIOURS]
    return sorted(set(rules), key=lambda r: (behaviours.index(r.behaviour), CONDITION_NAMES.index(r.condition)))


def sentence(rule: Rule, draws: Random | None = None) -> str:
    """Return the rule as a sentence: canonical without `draws`, else in a drawn wording and order.

    The canonical sentence names the behaviour first: whoever writes it down need not settle both at once.
    """
    behaviour = next(b for b in BEHAVIOURS if b.name == rule.behaviour)
    if draws is None:
        return f"{behaviour.asks[0]} {CONDITIONS[rule.condition][0]} ."
    condition, ask = draws.choice(CONDITIONS[rule.condition]), draws.choice(behaviour.asks)
    return f"{condition} , {ask} ." if draws.random() < 0.5 else f"{ask} {condition} ."


def write(rules: Sequence[Rule], draws: Random | None = None) -> str:
    """Return the rules as a text. Without `draws` canonical; with it, in drawn wordings and order."""
    if draws is None:
        return " ".join(sentence(r) for r in canonical(rules))
    order = list(rules)
    draws.shuffle(order)
    return " ".join(sentence(r, draws) for r in order)


def read_sentence(words: Sequence[str]) -> Rule | None:
    """Return the rule that a sentence (words without the full stop) says, or None."""
    said = tuple(words)
    conditions, behaviours = _condition_wordings(), _behaviour_wordings()
    for cut in range(1, len(said)):
        if said[:cut] in conditions:
            rest = said[cut + 1 :] if said[cut] == "," else said[cut:]
            if rest in behaviours:
                return Rule(conditions[said[:cut]], behaviours[rest])
        if said[:cut] in behaviours and said[cut:] in conditions:
            return Rule(conditions[said[cut:]], behaviours[said[:cut]])
    return None


def read(text: str) -> tuple[list[Rule], list[str]]:
    """Return the rules that a text says, canonical, and its sentences that say none."""
    rules: list[Rule] = []
    rest: list[str] = []
    current: list[str] = []
    for word in [*words_of(text), "."]:
        if word != ".":
            current.append(word)
        elif current:
            rule = read_sentence(current)
            if rule is None:
                rest.append(" ".join(current))
            else:
                rules.append(rule)
            current = []
    return canonical(rules), rest
