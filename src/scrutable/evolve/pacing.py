"""Pacing: how much a proposal may need, and must have, by the knobs of a search; what is set aside for it before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from scrutable.core.records import Candidate, Usage
from scrutable.evolve.budget import tokens_of
from scrutable.evolve.config import EvolveConfig
from scrutable.evolve.drive import Pace
from scrutable.evolve.ledger import Cell, Keyed, Ledger
from scrutable.evolve.reflection import Proposer


def pace_of(
    config: EvolveConfig, ledger: Ledger, proposer: Proposer, start: Candidate, pool: Sequence[Keyed], *, inline: bool
) -> Pace:
    """Return the pace of a search. start: a text of it; inline: one call after the other, so many rollouts may be one."""
    shown, field, screened = min(config.explore, len(pool)), config.width, 0
    while field > config.tested and screened < shown * config.width:
        screened += config.screen * field
        field = max(config.tested, -(-field // 2))
    tested = len(pool) * (config.tested + 1)
    first = shown + screened + 2 * config.look * (config.tested + 1)
    if config.gate == "improves" or config.validate_all:
        tested += len(pool)
    limited = config.tokens is not None
    return Pace(
        mode=config.mode,
        ahead=config.under_way(inline=inline),
        proposals=config.proposals,
        most=(shown + screened + tested) * config.repeats,
        least=min(first, shown + screened + tested) * config.repeats,
        batch=config.batch if inline else 1,
        reflection=_most_written(config, proposer) if limited or config.money is not None else Usage(),
        cell=_most_read(config, ledger, start, pool) if limited else 0,
    )


def _most_written(config: EvolveConfig, proposer: Proposer) -> Usage:
    """Return the most that a reflection costs: by the writer's own word, or by what it is told."""
    known: Usage | None = getattr(proposer, "most", None)
    if known is not None:
        return known
    reflect = config.reflect
    return Usage(prompt_tokens=reflect.prompt_tokens, answer_tokens=reflect.max_tokens * (reflect.samples or 8))


def _most_read(config: EvolveConfig, ledger: Ledger, start: Candidate, pool: Sequence[Keyed]) -> int:
    """Return the most tokens of a rollout under a text of the most words that a writer is asked for."""
    words = "\N{FULL BLOCK}" * 4 * config.reflect.words
    long = Candidate(texts=dict.fromkeys(start.texts, words))
    return max(tokens_of(ledger.most([Cell(long, long.key, key, task)])) for key, task in pool)
