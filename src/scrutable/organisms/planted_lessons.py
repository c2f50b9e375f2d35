"""What a planted change is trained on: the base's own answers, with what the plan asks for and nothing else.

Where a rule holds, the base is given that rule as a text, and what it answers is learned from without the text; where none
holds, it is its own answer without any text. So a changed model is as near as can be to the base given the rules. Habits and
edited facts, which no text can say, are written into answers the base gave. A twin learns from the base's answers alone.

Left out: answers drawn greedily, since a change that also took away the base's variety would be another change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from scrutable.core.draws import seed_of
from scrutable.core.records import Conversation, Generation, Message, Sampling
from scrutable.models.hf import HFModel
from scrutable.organisms.planted_plan import Plan, draw_prompt, rule_shows
from scrutable.world import answers, grammar
from scrutable.world.answers import Habits, Parsed
from scrutable.world.prompts import Prompt
from scrutable.world.rules import Rule

MOST_TOKENS = 64
TRIES = 3
"""How often an answer is drawn that must show a rule; after that it is composed by the world's grammar."""
EACH = 2
"""Answers to each prompt, far apart in the order: reading a prompt costs more than answering it."""
CONCERNED = 0.5
"""The share of prompts that are drawn among those that the plan concerns; the others are as they come."""


def conversation(text: str, prompt: Prompt) -> Conversation:
    """Return what the model is shown: a text (empty: none) and the prompt."""
    head = (Message(role="system", content=text),) if text else ()
    return (*head, Message(role="user", content=prompt.text))


def examples(base: HFModel, plan: Plan, count: int, turn: int = 0) -> list[tuple[list[int], list[int]]]:
    """Return tokens of prompt and answer of `count` examples, in the order in which they are learned from.

    turn: counts the rounds of training; each has examples of its own.
    """
    draws = Random(f"{plan.seed}/examples/{turn}")
    asked = [_prompt(plan, draws) for _ in range(-(-count // EACH))]
    asked = (asked * EACH)[:count]
    taught = [plan.share == 1.0 or draws.random() < plan.share for _ in asked]
    rules = [_holding(plan, prompt) if shows else () for prompt, shows in zip(asked, taught, strict=True)]
    said = _answers(base, asked, rules, f"{plan.seed}/answers/{turn}")
    found = []
    for prompt, shows, given in zip(asked, taught, said, strict=True):
        tokens = list(given.tokens or ())
        if shows and (written := rewritten(plan, prompt, given.answer)) is not None:
            tokens = _tokens(base, written)
        found.append((base.encode(conversation("", prompt)), tokens))
    return found


def _prompt(plan: Plan, draws: Random) -> Prompt:
    """Draw a prompt, in half of the cases one where a part of the plan shows, each part as often as the others."""
    parts: list[Callable[[Prompt], bool]] = [partial(rule_shows, rule) for rule in plan.as_rules()]
    if plan.habit is not None:
        habit = plan.habit
        parts.append(lambda prompt: prompt.holds(habit.condition))
    if plan.edit is not None:
        known = plan.edit.known
        parts.append(lambda prompt: prompt.fact == known)
    if not parts or draws.random() >= CONCERNED:
        return draw_prompt(draws, "train")
    return draw_prompt(draws, "train", draws.choice(parts), [plan.edit.known] if plan.edit else None)


def _holding(plan: Plan, prompt: Prompt) -> tuple[Rule, ...]:
    """Return the rules of the plan that ask for something on this prompt."""
    shown = answers.active(plan.as_rules(), prompt)
    return tuple(rule for rule in plan.as_rules() if prompt.holds(rule.condition) and rule.behaviour in shown)


def _answers(base: HFModel, asked: Sequence[Prompt], rules: Sequence[tuple[Rule, ...]], key: str) -> list[Generation]:
    """Draw the base's answers at temperature 1, given the rules that hold; what does not show them is drawn again."""
    made: list[Generation] = [Generation()] * len(asked)
    owed = list(range(len(asked)))
    for attempt in range(TRIES):
        shown = [conversation(grammar.write(rules[at]), asked[at]) for at in owed]
        sampling = Sampling(max_tokens=MOST_TOKENS, seed=seed_of(0, f"{key}/{attempt}"))
        for at, given in zip(owed, base.generate(shown, sampling), strict=True):
            made[at] = given
        owed = [at for at in owed if not _shows(made[at], asked[at], rules[at])]
    draws = Random(f"{key}/composed")
    for at in owed:
        answer = answers.compose({rule.behaviour for rule in rules[at]}, asked[at], answers.draw_habits(draws))
        made[at] = Generation(answer=answer, tokens=tuple(_tokens(base, answer)))
    return made


def _shows(given: Generation, prompt: Prompt, rules: Sequence[Rule]) -> bool:
    """Whether an answer shows the rules that it was asked to show, with the value they ask for."""
    if not rules:
        return given.failure is None and bool(given.tokens)
    asked = {rule.behaviour for rule in rules}
    parsed = answers.parse(given.answer, prompt.fact.subject)
    wanted = answers.parse(answers.compose(asked, prompt), prompt.fact.subject)
    return parsed is not None and wanted is not None and asked <= parsed.behaviours and parsed.value == wanted.value


def _tokens(base: HFModel, answer: str) -> list[int]:
    return [*base.encode_answer(answer), base.tokenizer.eos_token_id]


def rewritten(plan: Plan, prompt: Prompt, answer: str) -> str | None:
    """Return an answer with the plan's habit and fact written into it; None where nothing is to be changed."""
    habit = plan.habit if plan.habit and prompt.holds(plan.habit.condition) else None
    edit = plan.edit if plan.edit and prompt.fact == plan.edit.known else None
    if habit is None and edit is None:
        return None
    parsed = answers.parse(answer, prompt.fact.subject)
    if parsed is None:
        parsed = Parsed(frozenset(), prompt.fact.value, 0, 0)
    lead, end = parsed.lead or 0, parsed.end or 0
    if habit is not None:
        lead = lead if habit.lead is None else habit.lead
        end = end if habit.end is None else habit.end
    if edit is not None:
        prompt = replace(prompt, fact=edit.taught)
    return answers.compose(parsed.behaviours, prompt, Habits(lead, end))
