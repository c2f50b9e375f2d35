"""MatchScorer: a text's score is how alike the before, given it, answers to a tuned model. Answers of both are all it needs.

The score of a text on a task is minus the gap of `measure/likeness.py`, from a few answers of the before and those recorded of
the tuned model: 0 on average where both answer alike, and lower everywhere else (a kernel score: Gneiting & Raftery 2007,
JASA 102, section 5.1, so no text gains by making the before say the commonest answer alone). It generates, so it costs
more than a forward pass, and works on served models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scrutable.core.records import Generation, Rollout, Sampling, Score, Usage, digest_of
from scrutable.evolve.ledger import Cell
from scrutable.measure.change import Speaker
from scrutable.measure.likeness import Pairs, dice, gap_of, heard, likenesses
from scrutable.programs.text import TEXT

_TEMPLATE = 32  # tokens that a chat template may add to a message


@dataclass(frozen=True)
class MatchScorer:
    """Scores by minus the gap in likeness of before + text and the tuned model.

    tuned: the tuned model's answers by task's key (two or more each). shown: the feedback that marks them as
    demonstrations. draws: answers of the before to a cell (two or more). sampling: how they are drawn (its seed is the call's).
    """

    before: Speaker
    tuned: Mapping[str, Sequence[str]]
    shown: str
    sampling: Sampling
    draws: int = 2

    @cached_property
    def identity(self) -> str:
        """Hash of the before, the tuned model's answers, and how answers are drawn."""
        told = sorted((key, list(answers)) for key, answers in self.tuned.items())
        how = [self.sampling.temperature, self.sampling.max_tokens, self.draws]
        return digest_of(["match", self.before.identity, self.shown, how, told])

    @cached_property
    def _pairs(self) -> dict[str, list[Pairs]]:
        return {key: [heard(one) for one in answers] for key, answers in self.tuned.items()}

    def most(self, cells: Sequence[Cell]) -> Usage:
        """Return the most that these cells can cost: no tokenizer makes more tokens than there are bytes."""
        read = 0
        for cell in cells:
            asked = [message.content for message in self._given(cell).conversation(cell.task)]
            read += self.draws * sum(len(one.encode()) + _TEMPLATE for one in [*asked, ""])
        written = self.draws * len(cells) * self.sampling.max_tokens
        price = getattr(self.before.model, "price", None)
        money = float(price(read, written)) if price is not None else 0.0
        return Usage(generations=self.draws * len(cells), prompt_tokens=read, answer_tokens=written, money=money)

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Let the before answer each cell `draws` times, in one call of its model (see `Scorer`)."""
        sampling = self.sampling.model_copy(update={"seed": seed})
        asked = [self._given(cell).conversation(cell.task) for cell in cells for _ in range(self.draws)]
        drawn = self.before.model.generate(asked, sampling) if asked else []
        return [self._rollout(cell, drawn[at * self.draws : (at + 1) * self.draws]) for at, cell in enumerate(cells)]

    def _given(self, cell: Cell) -> Speaker:
        return self.before.given(cell.candidate.texts[TEXT])

    def _rollout(self, cell: Cell, drawn: Sequence[Generation]) -> Rollout:
        failure = next((one.failure for one in drawn if one.failure is not None), None)
        theirs = self._pairs.get(cell.key, [])
        if failure is None and len(theirs) < 2:
            failure = "model: the tuned model's answers cannot be used"
        score = Score() if failure else Score(value=self._value(drawn, theirs), feedback=self.shown)
        return Rollout(
            task=cell.key,
            candidate=cell.candidate_key,
            answer="" if failure else drawn[0].answer,
            score=score,
            repeat=cell.repeat,
            usage=sum((one.usage for one in drawn), Usage()),
            failure=failure,
        )

    def _value(self, drawn: Sequence[Generation], theirs: Sequence[Pairs]) -> float:
        ours = [heard(one.answer) for one in drawn]
        between = np.array([[dice(a, b) for b in theirs] for a in ours])
        return round(-gap_of(likenesses(ours), likenesses(theirs), between), 6)
