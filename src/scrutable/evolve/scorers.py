"""What a search can maximise: the reward of answers, or closeness to a tuned model.

`RewardScorer` lets a program answer and an environment rate: a rollout. `ClosenessScorer` generates nothing: a text's score
on a task is minus the exact divergence KL(tuned || before + text) along the tuned model's own answers, one forward pass a
cell. Neither remembers scores (the ledger does); the second remembers the tuned model's distributions while they fit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scrutable.core.records import Generation, Rollout, Sampling, Score, Task, Usage, digest_of
from scrutable.envs.base import Environment
from scrutable.evolve.ledger import Cell
from scrutable.measure.answers import Said
from scrutable.measure.change import Change
from scrutable.measure.divergence import shared_tokens, token_divergences
from scrutable.models.base import Model
from scrutable.programs.base import Program
from scrutable.programs.evaluate import evaluate
from scrutable.programs.text import TEXT, SingleText, place_text

if TYPE_CHECKING:
    import torch


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
        told = [type(self.program).__name__, *self.program.modules, self.sampling.temperature, self.sampling.max_tokens]
        return digest_of(["reward", self.env.identity, self.model.identity, told])

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
    _kept: OrderedDict[tuple[str, int], torch.Tensor] = field(default_factory=OrderedDict)
    _held: int = 0
    _shared: torch.Tensor | None = None

    @property
    def identity(self) -> str:
        """Hash of the pair and of the answers."""
        said = sorted((key, repeat, one.tokens) for (key, repeat), one in self.said.items())
        return digest_of(["closeness", self.change.identity, self.shown, said])

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        """Measure each cell, several texts in one forward pass (see `Scorer`). Nothing is drawn: the seed is not used."""
        found: dict[int, Rollout] = {}
        rows = [row for row, cell in enumerate(cells) if self.said[cell.key, cell.repeat].usable]
        for part in self._fitting(rows, cells):
            for row, nats, passes in zip(part, *self._nats([cells[row] for row in part]), strict=True):
                found[row] = self._rollout(cells[row], nats, passes)
        return [found[row] if row in found else self._unusable(cell) for row, cell in enumerate(cells)]

    def _rollout(self, cell: Cell, nats: float, passes: int) -> Rollout:
        said = self.said[cell.key, cell.repeat]
        usage = Usage(forward_passes=passes, answer_tokens=passes * len(said.tokens))
        return Rollout(
            task=cell.key,
            candidate=cell.candidate_key,
            answer=said.generation.answer,
            score=Score(value=-nats, feedback=self.shown),
            repeat=cell.repeat,
            usage=usage,
        )

    def _unusable(self, cell: Cell) -> Rollout:
        failure = self.said[cell.key, cell.repeat].generation.failure or "model: the tuned model's answer has no token"
        return Rollout(
            task=cell.key, candidate=cell.candidate_key, answer="", score=Score(), repeat=cell.repeat, failure=failure
        )

    def _nats(self, cells: Sequence[Cell]) -> tuple[list[float], list[int]]:
        """Return KL in nats of each cell, and the forward passes each took (the tuned model's only where not kept)."""
        import torch

        before = self.change.before
        answers = [self.said[cell.key, cell.repeat].tokens for cell in cells]
        prompts = [before.given(cell.candidate.texts[TEXT]).encode(cell.task) for cell in cells]
        logqs = before.open.logprobs(prompts, answers)
        logps, passes = self._tuned(cells)
        nats = []
        for logp, logq in zip(logps, logqs, strict=True):
            kl, _, _ = token_divergences(logp, self._normalised(logq))
            nats.append(round(float(kl.sum(dtype=torch.float64)), 6))
        return nats, passes

    def _tuned(self, cells: Sequence[Cell]) -> tuple[list[torch.Tensor], list[int]]:
        """Return the tuned model's log-probabilities [T, shared tokens] along the answers, from memory where kept."""
        places = [(cell.key, cell.repeat) for cell in cells]
        owed = {place: cell for place, cell in zip(places, cells, strict=True) if place not in self._kept}
        after = self.change.after
        found = dict(self._kept)
        if owed:
            prompts = [after.encode(cell.task) for cell in owed.values()]
            new = after.open.logprobs(prompts, [self.said[place].tokens for place in owed])
            found.update({place: self._normalised(rows) for place, rows in zip(owed, new, strict=True)})
            for place in owed:
                self._keep(place, found[place])
        paid = set[tuple[str, int]]()
        passes = []
        for place in places:
            passes.append(2 if place in owed and place not in paid else 1)
            paid.add(place)
        return [found[place] for place in places], passes

    def _keep(self, place: tuple[str, int], rows: torch.Tensor) -> None:
        """Keep distributions, and let the oldest go when memory is full."""
        self._kept[place] = rows
        self._held += rows.numel() * rows.element_size()
        while self._held > self.memory:
            _, old = self._kept.popitem(last=False)
            self._held -= old.numel() * old.element_size()

    def _normalised(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows [T, rows of the embedding] over the tokens that both models have, normalised again."""
        import torch

        if self._shared is None:
            self._shared = shared_tokens(self.change.before.open.vocabulary, self.change.after.open.vocabulary)
        if len(self._shared) == rows.shape[-1]:
            return rows
        return torch.log_softmax(rows.index_select(-1, self._shared.to(rows.device)).float(), dim=-1)

    def _fitting(self, rows: Sequence[int], cells: Sequence[Cell]) -> Iterator[list[int]]:
        """Split a batch so that two distributions of each position, and as much again of temporaries, fit the memory."""
        most = max(1, self.memory // (16 * max(1, len(self.change.before.open.vocabulary))))
        part: list[int] = []
        longest = 0
        for row in rows:
            tokens = len(self.said[cells[row].key, cells[row].repeat].tokens)
            longest = max(longest, tokens)
            if part and longest * (len(part) + 1) > most:
                yield part
                part, longest = [], tokens
            part.append(row)
        if part:
            yield part
