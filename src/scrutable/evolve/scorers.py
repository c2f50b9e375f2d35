"""What a search can maximise: the reward of answers, or closeness to a tuned model.

`RewardScorer` lets a program answer and an environment rate: a rollout. `ClosenessScorer` generates nothing: a text's score
on a task is minus the exact divergence KL(tuned || before + text) along the tuned model's own answers, one forward pass a
cell. Neither remembers scores (the ledger does); the second remembers the tuned model's distributions while they fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from scrutable.core.errors import ModelFailure
from scrutable.core.records import Generation, Rollout, Sampling, Score, Task, Usage, digest_of
from scrutable.envs.base import Environment
from scrutable.evolve.ledger import Cell
from scrutable.measure.answers import Said
from scrutable.measure.change import Change
from scrutable.measure.divergence import token_divergences
from scrutable.models.base import Model
from scrutable.models.tokens import TokenMap, check_same_tokens
from scrutable.programs.base import Program
from scrutable.programs.evaluate import evaluate
from scrutable.programs.text import TEXT, SingleText, place_text

if TYPE_CHECKING:
    import torch


_TEMPLATE = 32  # tokens that a chat template may add to a message


# ------------------------------------------------------------------------------------------------------------- reward


@dataclass(frozen=True)
class RewardScorer:
    """Scores by rollouts: the program answers with the model, the environment rates."""

    env: Environment
    model: Model
    program: Program
    sampling: Sampling

    @property
    def identity(self) -> str:
        """Hash of environment, model, program and sampling (its seed is the batch's)."""
        told = [self.program.identity, self.sampling.temperature, self.sampling.max_tokens]
        return digest_of(["reward", self.env.identity, self.model.identity, told])

    def most(self, cells: Sequence[Cell]) -> Usage:
        """Return the most that these cells can cost: no tokenizer makes more tokens than there are bytes.

        Each module reads the task, its text, and what came before it; a chat template adds some tokens to each message. Money
        is by the served prices, where the model has some. Retries of requests whose answers were lost are not in it.
        """
        names, limit = self.program.modules, self.sampling.max_tokens
        read = 0
        for cell in cells:
            messages = cell.task.messages
            asked = sum(len(message.content.encode()) for message in messages) + _TEMPLATE * (len(messages) + 1)
            texts = sum(len(text.encode()) for text in cell.candidate.texts.values())
            read += len(names) * asked + texts + limit * len(names) * (len(names) - 1) // 2
        written = limit * len(names) * len(cells)
        price = getattr(self.model, "price", None)
        money = float(price(read, written)) if price is not None else 0.0
        return Usage(prompt_tokens=read, answer_tokens=written, money=money)

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Answer and rate each cell (see `Scorer`)."""
        if not cells:
            return []
        # `evaluate` takes one candidate; which texts each row gets is the program's business, so the program is told.
        given = _EachItsOwn(self.program, [cell.candidate.texts for cell in cells])
        sampling = self.sampling.model_copy(update={"seed": seed})
        tasks = [cell.task for cell in cells]
        rollouts = evaluate(given, cells[0].candidate, self.model, self.env, tasks, sampling)
        return [
            one.model_copy(update={"candidate": cell.candidate_key, "task": cell.key, "repeat": cell.repeat})
            for one, cell in zip(rollouts, cells, strict=True)
        ]


@dataclass(frozen=True)
class _EachItsOwn:
    """A Program in which each task has texts of its own. A single text: one call of the model for all of them."""

    program: Program
    texts: Sequence[Mapping[str, str]]

    @property
    def modules(self) -> tuple[str, ...]:
        return self.program.modules

    @property
    def identity(self) -> str:
        return self.program.identity

    def run(
        self, model: Model, texts: Mapping[str, str], tasks: Sequence[Task], sampling: Sampling
    ) -> list[Generation]:
        if isinstance(self.program, SingleText):
            asked = [place_text(task.messages, own[TEXT]) for task, own in zip(tasks, self.texts, strict=True)]
            return model.generate(asked, sampling)
        groups: dict[str, list[int]] = {}
        for row, own in enumerate(self.texts):
            groups.setdefault(digest_of(dict(own)), []).append(row)
        found: list[Generation] = [Generation()] * len(tasks)
        for number, rows in enumerate(groups.values()):
            drawn = sampling.model_copy(update={"seed": (sampling.seed + 7919 * number) % 2**31})
            answers = self.program.run(model, self.texts[rows[0]], [tasks[row] for row in rows], drawn)
            for row, answer in zip(rows, answers, strict=True):
                found[row] = answer
        return found


# ---------------------------------------------------------------------------------------------------------- closeness


@dataclass
class ClosenessScorer:
    """Scores by minus KL(tuned || before + text) in nats a whole answer, along answers that the tuned model gave.

    said: the tuned model's answers by (task's key, repeat). shown: the feedback that marks them as demonstrations.
    memory: bytes for the tuned model's distributions, and as many again for what is worked on.
    """

    change: Change
    said: Mapping[tuple[str, int], Said]
    shown: str
    memory: int = 512 << 20
    _kept: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict)
    _held: int = 0

    @cached_property
    def identity(self) -> str:
        """Hash of the pair and of the answers."""
        said = sorted((key, repeat, one.tokens) for (key, repeat), one in self.said.items())
        return digest_of(["closeness", self.change.identity, self.shown, said])

    @cached_property
    def _shared(self) -> TokenMap:
        """How the tuned model's tokens correspond to the before's."""
        return check_same_tokens(self.change.after.open, self.change.before.open)

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Measure each cell, several texts in one forward pass (see `Scorer`). Nothing is drawn: the seed is not used."""
        found: list[Rollout] = [self._unusable(cell) for cell in cells]
        ready = [(row, one) for row, cell in enumerate(cells) if (one := self._ready(cell)) is not None]
        for part in self._fitting(ready):
            told = [one for _, one in part]
            tuned, passes = self._tuned(told)
            given = self.change.before.open.logprobs([one.prompt for one in told], [one.answer for one in told])
            for (row, one), logp, logq, passed in zip(part, tuned, given, passes, strict=True):
                kl, _, _ = token_divergences(logp, common(logq, self._shared.ids_b))
                found[row] = self._rollout(one, round(float(kl.sum()), 6), passed)
        return found

    def _ready(self, cell: Cell) -> _Ready | None:
        """Return the cell as the before is shown it; None where there is no answer, or the before cannot be shown it."""
        said = self.said[cell.key, cell.repeat]
        answer = self._shared.to_b(said.tokens) if said.usable else None
        if answer is None:
            return None
        try:
            speaker = self.change.before.given(cell.candidate.texts[TEXT])
            return _Ready(cell, said, speaker.encode(cell.task), answer)
        except ModelFailure:
            return None

    def _rollout(self, one: _Ready, nats: float, passes: int) -> Rollout:
        cell = one.cell
        return Rollout(
            task=cell.key,
            candidate=cell.candidate_key,
            answer=one.said.generation.answer,
            score=Score(value=-nats, feedback=self.shown),
            repeat=cell.repeat,
            usage=Usage(forward_passes=passes, answer_tokens=passes * len(one.answer)),
        )

    def _unusable(self, cell: Cell) -> Rollout:
        failure = (
            self.said[cell.key, cell.repeat].generation.failure or "model: the tuned model's answer cannot be used"
        )
        return Rollout(
            task=cell.key, candidate=cell.candidate_key, answer="", score=Score(), repeat=cell.repeat, failure=failure
        )

    def _tuned(self, told: Sequence[_Ready]) -> tuple[list[torch.Tensor], list[int]]:
        """Return the tuned model's log-probabilities [T, shared tokens] along the answers, and each cell's forward passes.

        A text costs one pass a cell; the tuned model costs another where its distributions are not kept.
        """
        places = [one.said.cell for one in told]
        owed = {one.said.cell: one.said for one in told if one.said.cell not in self._kept}
        after = self.change.after
        found: dict[tuple[str, int], torch.Tensor] = {}
        for place, said in owed.items():
            # Alone: beside others its last digits would differ, and which are owed depends on what is kept, so that a search
            # that was killed and goes on would score otherwise than one that was not.
            (rows,) = after.open.logprobs([after.encode(said.task)], [said.tokens])
            found[place] = common(rows, self._shared.ids_a)
        passes = [2 if place in found and place not in places[:row] else 1 for row, place in enumerate(places)]
        tuned = [found[place] if place in found else self._kept[place] for place in places]
        for place, one in found.items():
            size = one.numel() * one.element_size()
            if self._held + size <= self.memory:  # what came first is kept: the pool is asked for again and again
                self._kept[place] = one
                self._held += size
        return tuned, passes

    def _fitting(self, ready: Sequence[tuple[int, _Ready]]) -> Iterator[list[tuple[int, _Ready]]]:
        """Split a batch so that two distributions of each position, and as much again of temporaries, fit the memory."""
        most = max(1, self.memory // (16 * max(1, len(self.change.before.open.vocabulary))))
        part: list[tuple[int, _Ready]] = []
        longest = 0
        for row, one in ready:
            longest = max(longest, len(one.answer))
            if part and longest * (len(part) + 1) > most:
                yield part
                part, longest = [], len(one.answer)
            part.append((row, one))
        if part:
            yield part


@dataclass(frozen=True)
class _Ready:
    """A cell with what the before is shown: token ids of the prompt and of the tuned model's answer, its own ids."""

    cell: Cell
    said: Said
    prompt: list[int]
    answer: list[int]


def common(rows: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return rows [T, V] over the tokens that both models have, in their common order, normalised again over them."""
    import torch

    if len(ids) == rows.shape[-1] and bool((ids[1:] > ids[:-1]).all()):
        return rows
    return torch.log_softmax(rows.index_select(-1, ids.to(rows.device)).float(), dim=-1)
