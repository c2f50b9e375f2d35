"""The card of the built-in model: every number it must reach, measured on fresh draws.

Greedy unless said. Answers are compared whole, but for the two habits that no rule can name. Intervals are Wilson's, 95%.
Left out: anything that needs the training data; a card can be measured of any directory with this tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Message, Record, Sampling
from scrutable.core.stats import wilson_interval
from scrutable.models.base import Model
from scrutable.organisms import lessons
from scrutable.world import answers, effect, facts, grammar, prompts
from scrutable.world.prompts import Prompt
from scrutable.world.rules import BEHAVIOURS, Rule

Progress = Callable[[str], None]


class CardConfig(Config):
    """How a card is measured."""

    seed: int = Field(default=20_000_001, description="seed of the fresh draws; training draws from other streams")
    answers: int = Field(default=1000, ge=10, description="tasks per number of rules, seen and held-out each")
    natural: int = Field(
        default=12_000, ge=10, description="unprompted answers at temperature 1, for natural rates and habits"
    )
    episodes: int = Field(default=300, ge=4, description="writing episodes per number of rules")
    batch: int = Field(default=256, ge=1, description="conversations answered in one call")


class Card(Record):
    """What was measured. Rates with their intervals."""

    config: CardConfig
    seen: dict[str, Interval] = Field(description="whole answers right by number of rules, combinations as in training")
    held_out: dict[str, Interval] = Field(description="the same where a pair of rules was never seen together")
    seen_all: Interval
    held_out_all: Interval
    facts: Interval = Field(description="every question in every wording, unprompted")
    unrelated: Interval = Field(description="answers right and plain under a text that says no rule")
    natural: dict[str, Interval] = Field(
        description="rate of each behaviour where it applies, unprompted, temperature 1"
    )
    habits: dict[str, Interval] = Field(
        description="rate of the second wording of each habit, unprompted, temperature 1"
    )
    parses: Interval = Field(description="share of unprompted answers at temperature 1 in the grammar")
    written: dict[str, Interval] = Field(
        description="rules written right by effect, by number of rules, determined episodes"
    )
    written_of_8: dict[str, Interval] = Field(
        description="the same for any of eight samples at temperature 1, one and two rules"
    )
    written_12: Interval = Field(description="one and two rules together")
    written_12_of_8: Interval

    def misses(self) -> list[str]:
        """Return one line for each number that falls short of what the built-in model must reach."""
        wanted = [
            ("whole answers right, seen", self.seen_all.value, 0.98),
            ("whole answers right, held-out", self.held_out_all.value, 0.95),
            ("facts unprompted", self.facts.value, 0.995),
            ("rules written right, one or two", self.written_12.value, 0.75),
            ("rules written right within eight, one or two", self.written_12_of_8.value, 0.95),
        ]
        short = [f"{name}: {got:.4f} < {least}" for name, got, least in wanted if got < least]
        short += [
            f"natural rate of {name}: {rate.value:.4f} outside 0.01 to 0.03"
            for name, rate in self.natural.items()
            if not 0.01 <= rate.value <= 0.03
        ]
        return short


def rate(hits: Sequence[bool]) -> Interval:
    """Return the share of hits with its Wilson interval. Errors: UserError when there is nothing to take a share of."""
    if not hits:
        raise UserError("too few answers of the model can be read for a card: train it longer, and measure again")
    return wilson_interval(sum(hits), len(hits))


def converse(text: str, said: str) -> Conversation:
    """Return the conversation of a text (empty: none) and what the user says."""
    head = (Message(role="system", content=text),) if text else ()
    return (*head, Message(role="user", content=said))


class _Asker:
    """Asks a model in batches, with seeds that follow from the config."""

    def __init__(self, model: Model, config: CardConfig, progress: Progress) -> None:
        self.model, self.config, self.progress, self.asked = model, config, progress, 0

    def __call__(self, conversations: Sequence[Conversation], temperature: float = 0.0, most: int = 64) -> list[str]:
        found: list[str] = []
        for start in range(0, len(conversations), self.config.batch):
            sampling = Sampling(temperature=temperature, max_tokens=most, seed=self.config.seed + self.asked)
            batch = conversations[start : start + self.config.batch]
            found += [g.answer for g in self.model.generate(batch, sampling)]
            self.asked += 1
        return found


def _obeys(ask: _Asker, draws: Random, count: int, held: bool) -> list[bool]:
    cases: list[tuple[tuple[Rule, ...], Prompt]] = [
        (lessons.draw_rules(draws, count, held) if count else (), prompts.draw(draws))
        for _ in range(ask.config.answers)
    ]
    said = ask([converse(grammar.write(rules, draws), p.text) for rules, p in cases])
    ask.progress(f"answers under {count} rules{' held out' if held else ''}")
    return [
        answers.alike(a, answers.compose(answers.active(rules, p), p))
        for a, (rules, p) in zip(said, cases, strict=True)
    ]


def _facts(ask: _Asker) -> list[bool]:
    asked = [Prompt(f, question=q) for f in facts.facts() for q in range(3)]
    said = ask([converse("", p.text) for p in asked])
    return [answers.alike(a, answers.compose((), p)) for a, p in zip(said, asked, strict=True)]


def _unrelated(ask: _Asker, draws: Random) -> list[bool]:
    asked = [prompts.draw(draws) for _ in range(ask.config.answers)]
    said = ask([converse(lessons.unrelated_text(draws), p.text) for p in asked])
    return [answers.alike(a, answers.compose((), p)) for a, p in zip(said, asked, strict=True)]


def _unprompted(ask: _Asker, draws: Random) -> tuple[dict[str, Interval], dict[str, Interval], Interval]:
    asked = [prompts.draw(draws) for _ in range(ask.config.natural)]
    ask.progress("natural rates")
    said = ask([converse("", p.text) for p in asked], temperature=1.0)
    parsed = [(p, answers.parse(a, p.fact.subject)) for a, p in zip(said, asked, strict=True)]
    read = [(p, q) for p, q in parsed if q is not None]
    natural = {}
    for behaviour in BEHAVIOURS:
        where = [q for p, q in read if behaviour.name != "agree" or p.opinion is not None]
        natural[behaviour.name] = rate([behaviour.name in q.behaviours for q in where])
    habits = {
        "lead": rate([q.lead == 1 for _, q in read if q.lead is not None]),
        "end": rate([q.end == 1 for _, q in read if q.end is not None]),
    }
    return natural, habits, rate([q is not None for _, q in parsed])


def _writes(ask: _Asker, draws: Random, count: int) -> tuple[list[bool], list[bool]]:
    among = effect.fresh(ask.config.seed)
    episodes = [lessons.draw_writing(draws, count, determined=True) for _ in range(ask.config.episodes)]
    ask.progress(f"writing {count} rules")
    asked = [converse("", e.prompt) for e in episodes]
    once = [effect.right(t, e.rules, among) for t, e in zip(_rules_of(ask(asked, most=512)), episodes, strict=True)]
    if count > 2:
        return once, []
    tries = [_rules_of(ask(asked, temperature=1.0, most=512)) for _ in range(8)]
    any_of = [any(effect.right(t[i], e.rules, among) for t in tries) for i, e in enumerate(episodes)]
    return once, any_of


def _rules_of(written: Sequence[str]) -> list[str]:
    """Return the rules in what the writer wrote: what follows its notes (nothing where it wrote no rules)."""
    return [text.rpartition(lessons.AFTER)[2] if lessons.AFTER in text else "" for text in written]


def measure_card(model: Model, config: CardConfig, progress: Progress = lambda _: None) -> Card:
    """Measure every number of the card.

    Errors: UserError from the model only. Takes about ten minutes on one core.
    """
    ask, draws = _Asker(model, config, progress), Random(f"card/{config.seed}")
    seen = {k: _obeys(ask, draws, k, False) for k in (0, 1, 2, 3, 4)}
    held = {k: _obeys(ask, draws, k, True) for k in (2, 3, 4)}
    natural, habits, parses = _unprompted(ask, draws)
    wrote = {k: _writes(ask, draws, k) for k in (1, 2, 3, 4)}
    return Card(
        config=config,
        seen={str(k): rate(v) for k, v in seen.items()},
        held_out={str(k): rate(v) for k, v in held.items()},
        seen_all=rate([x for v in seen.values() for x in v]),
        held_out_all=rate([x for v in held.values() for x in v]),
        facts=rate(_facts(ask)),
        unrelated=rate(_unrelated(ask, draws)),
        natural=natural,
        habits=habits,
        parses=parses,
        written={str(k): rate(once) for k, (once, _) in wrote.items()},
        written_of_8={str(k): rate(many) for k, (_, many) in wrote.items() if many},
        written_12=rate([x for k in (1, 2) for x in wrote[k][0]]),
        written_12_of_8=rate([x for k in (1, 2) for x in wrote[k][1]]),
    )
