"""The tokens lens: where two models' distributions part along answers, gathered into claims.

Both answer the same tasks. What the answers after say and those before do not (or the other way round) is found word by
word, with the tasks on which it shows; each claim says how many nats of the divergence stand at its words. The claims are
for people: none has a text of its own. Needs log-probabilities, no training, no hidden states.

Left out: differences that show only over many words (tone, structure), which end up in what no wording tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Account, Claim
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task, Usage
from scrutable.lenses.contrast import Answers, Bools, copied_words
from scrutable.lenses.differences import Search, differences, lengths, rest_of
from scrutable.lenses.telling import Source, claim_of, rest_claim
from scrutable.lenses.words import Spoken, spoken, user_words
from scrutable.measure.answers import Said, answers_of, by_length, distinct_tasks, failures
from scrutable.measure.change import Change
from scrutable.measure.divergence import Meter, Parting
from scrutable.measure.fluency import by_task
from scrutable.measure.nulls import stated
from scrutable.measure.tab import Tab


class TokensConfig(Config):
    """How much is drawn, and what counts as a difference."""

    tasks: int = Field(default=200, ge=8, description="most tasks; half are searched, half confirm")
    answers: int = Field(default=4, ge=1, description="answers a task, of before and of after")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    claims: int = Field(default=12, ge=1, description="most claims")
    longest_run: int = Field(default=8, ge=1, description="most words of a run in an answer")
    longest_slice: int = Field(default=4, ge=1, description="most words of a run in a prompt that marks a slice")
    alpha: float = Field(default=0.01, gt=0, lt=1, description="chance of any false claim, on the tasks that confirm")
    least: float = Field(default=0.1, ge=0, le=1, description="least difference of rates worth a claim")
    stated: float = stated()
    evidence: int = Field(default=3, ge=0, description="tasks shown with each claim")
    batch: int = Field(default=128, ge=1, description="answers drawn and measured at once; the unit that is recorded")
    memory_mb: int = anywhere(512, "megabytes for distributions that are worked on", ge=1)


@dataclass(frozen=True)
class TokensLens:
    """Reads a change from what both say, and where their distributions part."""

    config: TokensConfig = field(default_factory=TokensConfig)

    @property
    def name(self) -> str:
        """The name of its file."""
        return "tokens"

    @property
    def identity(self) -> str:
        """Hash of what decides its account."""
        return self.config.digest()

    def planned(self, tasks: int) -> Usage:
        """Return the most that a reading costs (forward passes and generations), before anything is spent."""
        answers = min(tasks, self.config.tasks) * self.config.answers
        return Usage(generations=2 * answers, forward_passes=4 * answers)

    def read(self, change: Change, tasks: Sequence[Task], run: Run) -> Account:
        """Read the change on these (search) tasks (see `Lens`).

        Errors: UserError when the pair cannot be compared, or there are fewer than eight different tasks.
        """
        change.check()
        config = self.config
        keyed = by_length(distinct_tasks(tasks)[: config.tasks])
        if len(keyed) < 8:
            raise UserError(f"the tokens lens needs at least 8 different tasks, and there are {len(keyed)}: give more")
        batches = -(-len(keyed) * config.answers // config.batch)
        says = "where the two models' distributions part along their answers"
        stage = {"name": "tokens", "says": says, "seconds_expected": None, "total": 4 * batches}
        run.append(f"tokens/stage/{change.identity}/{len(keyed)}", "stage", stage)
        tab = Tab(run)
        before, after = (
            answers_of(speaker, keyed, config.answers, tab, config.batch, config.max_tokens)
            for speaker in (change.before, change.after)
        )
        meter = Meter(tab, config.batch, config.memory_mb << 20)
        partings = meter.along(after, change.after, change.before, per_token=True)
        back = meter.along(before, change.before, change.after)
        if not partings or not back:
            raise UserError(
                f"{change.name}: one of the two could answer none of the tasks, so there is nothing to read"
            )
        total, total_back = (
            fmean(by_task(said, {p.cell: p.kl for p in found}).values())
            for said, found in ((after, partings), (before, back))
        )
        notes = [
            f"KL(after ‖ before) is {total:.3f} nats an answer along the answers after, "
            f"KL(before ‖ after) {total_back:.3f} along those before",
            *_losses(before, after),
        ]
        if total <= config.stated:
            notes.append(
                f"nothing measurable changed: KL(after ‖ before) is at or below {config.stated} nats an answer"
            )
            return Account(lens=self.name, usage=tab.cost, notes=tuple(notes))
        source = Source(keyed, gathered(keyed, before, after, partings))
        claims, told = self.claims(source, total)
        return Account(lens=self.name, claims=claims, usage=tab.cost, notes=(*notes, *told))

    def claims(self, source: Source, total: float) -> tuple[tuple[Claim, ...], list[str]]:
        """Return the claims, those that carry most first, and notes on what they leave."""
        config = self.config
        searched = _half(source)
        search = Search(config.longest_run, config.longest_slice, config.claims, config.alpha, config.least)
        found, left = differences(source.answers, searched, search)
        claims = [claim_of(one, source, config.evidence) for one in sorted(found, key=lambda one: -one.nats)]
        rest = rest_of(left)
        held = [int(i) for i in np.flatnonzero(~searched)]
        notes = [
            f"the claims carry {sum(one.nats for one in found):.3f} of {total:.3f} nats an answer",
            f"rates are of {len(held)} tasks that were not searched",
        ]
        words_before, words_after, z = lengths(left, held)
        if abs(z) > 4 and abs(words_after - words_before) >= max(1.0, 0.2 * words_before):
            how = "longer" if z > 0 else "shorter"
            notes.append(f"what is left of the answers is {how}: {words_before:.1f} → {words_after:.1f} words")
        if rest.nats > max(config.stated, 0.25 * total):
            claims.append(rest_claim(rest, total, source))
        return tuple(claims), notes


def _half(source: Source) -> Bools:
    """Return which tasks are searched: every other one in the order of their keys, which says nothing about them."""
    keys = [key for key, _ in source.tasks]
    ranks = {key: rank for rank, key in enumerate(sorted(keys))}
    return np.array([ranks[key] % 2 == 0 for key in keys])


def gathered(
    keyed: Sequence[tuple[str, Task]], before: Sequence[Said], after: Sequence[Said], partings: Sequence[Parting]
) -> Answers:
    """Return the answers by task as words, those after with the nats of each word; what could not be measured is out."""
    nats = {one.cell: one.token_kl for one in partings}
    places = {key: i for i, (key, _) in enumerate(keyed)}
    told: tuple[list[list[Spoken]], list[list[Spoken]]] = ([[] for _ in keyed], [[] for _ in keyed])
    for one in before:
        if one.usable:
            told[0][places[one.key]].append(spoken(one.generation.answer, (), (), one.speaker.open.decode))
    for one in after:
        if one.cell in nats:
            told[1][places[one.key]].append(
                spoken(one.generation.answer, one.tokens, nats[one.cell], one.speaker.open.decode)
            )
    asked = [user_words(task) for _, task in keyed]
    return Answers(told[0], told[1], asked, copied_words(asked, max(3, len(asked) // 30)))


def _losses(before: Sequence[Said], after: Sequence[Said]) -> list[str]:
    """Return notes on answers that could not be used."""
    return [
        f"{failed} of {len(said)} answers {who} could not be measured"
        for who, said in (("before", before), ("after", after))
        if (failed := failures(said))
    ]
