"""Two models in step: answers drawn from what one says more than the other (contrastive decoding).

At each position the logits are `l_before + alpha (l_after - l_before)`: alpha 0 is the before, 1 the after, and beyond 1 what
changed is exaggerated. Far out, tokens that neither would say come up, so those that the after finds much less likely than
its likeliest are left out (the plausibility constraint of Li et al. 2022, arXiv 2210.15097, section 3.3, there with the
amateur subtracted). Source of the amplification: Liu et al. 2021, arXiv 2105.03023.

Models of transformers keep a cache each and take turns on shared weights; any other open model passes the whole answer through
again at each position. Left out: more than two models, and sampling that truncates by mass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from scrutable.models.base import OpenModel
from scrutable.models.decoding import Stepping, picked
from scrutable.models.hf import HFModel
from scrutable.models.tokens import check_same_tokens

if TYPE_CHECKING:
    import torch

_LOWEST = -100.0
"""Nats of a token that a model rules out: differences of two of them must stay numbers."""


@dataclass(frozen=True)
class Amplify:
    """How answers are drawn. alpha: see the module; limit: most tokens; plausible: a token that the after finds less likely
    than this share of its likeliest is left out (0: none); temperature 0 is greedy."""

    alpha: float
    limit: int
    temperature: float = 0.0
    plausible: float = 0.05


def amplified_answers(
    pair: tuple[OpenModel, OpenModel],
    prompts: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
    uniforms_BA: torch.Tensor,
    how: Amplify,
) -> list[list[int]]:
    """Answer each prompt; returns the after's token ids, an end token last where the answer ended.

    pair, prompts: of before and after, each prompt in the tokens of its model. uniforms_BA: float64 in [0, 1) on the CPU, at
    least `limit` columns. Errors: UserError when the two do not share a tokenizer; ModelFailure when logits are no numbers.
    """
    import torch

    before, after = pair
    shared = check_same_tokens(after, before)
    ends = {i for i, token in enumerate(shared.ids_a.tolist()) if token in getattr(after, "ends", frozenset())}
    steps = (_in_step(before, prompts[0]), _in_step(after, prompts[1]))
    answers: list[list[int]] = [[] for _ in prompts[1]]
    alive = torch.arange(len(answers))
    for position in range(how.limit):
        rows_b, rows_a = (one.logits().float().cpu().log_softmax(-1) for one in steps)
        mixed = mix(rows_b.index_select(-1, shared.ids_b), rows_a.index_select(-1, shared.ids_a), how)
        places = picked(mixed, uniforms_BA[alive, position], how.temperature)
        for row, place in zip(alive.tolist(), places.tolist(), strict=True):
            answers[row].append(int(shared.ids_a[place]))
        going = torch.tensor([place not in ends for place in places.tolist()])
        if position + 1 == how.limit or not bool(going.any()):
            break
        alive, places, kept = alive[going], places[going], going.nonzero()[:, 0]
        for one, ids in zip(steps, (shared.ids_b, shared.ids_a), strict=True):
            one.follow(kept, ids[places])
    return answers


def mix(before_BV: torch.Tensor, after_BV: torch.Tensor, how: Amplify) -> torch.Tensor:
    """Return the amplified logits [B, V] of two log-probabilities [B, V], minus infinity where a token is not plausible."""
    mixed = before_BV.clamp(min=_LOWEST) + how.alpha * (after_BV.clamp(min=_LOWEST) - before_BV.clamp(min=_LOWEST))
    if how.plausible > 0:
        least = after_BV.max(-1, keepdim=True).values + math.log(how.plausible)
        mixed = mixed.masked_fill(after_BV < least, -math.inf)
    return mixed


class _Step(Protocol):
    """One model's side: the logits [B, rows] of the next token, and going on with some rows."""

    def logits(self) -> torch.Tensor: ...

    def follow(self, kept: torch.Tensor, tokens: torch.Tensor) -> None: ...


def _in_step(model: OpenModel, prompts: Sequence[Sequence[int]]) -> _Step:
    return _Cached(model, prompts) if isinstance(model, HFModel) else _Whole(model, prompts)


class _Cached:
    """A model of transformers with its cache; its adapter is on only while it is asked."""

    def __init__(self, model: HFModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._size = max(model.vocabulary.values()) + 1
        with model.opened() as module:
            self._batch = Stepping(module, prompts)

    def logits(self) -> torch.Tensor:
        return self._batch.logits[:, : self._size]

    def follow(self, kept: torch.Tensor, tokens: torch.Tensor) -> None:
        device = self._model.device
        with self._model.opened():
            self._batch.follow(kept.to(device), tokens.to(device))


class _Whole:
    """Any open model: the answer so far is passed through again, with one more token whose distribution is looked at."""

    def __init__(self, model: OpenModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._rows: list[tuple[list[int], list[int]]] = [(list(prompt), []) for prompt in prompts]
        self._any = min(model.vocabulary.values())

    def logits(self) -> torch.Tensor:
        import torch

        prompts, answers = [prompt for prompt, _ in self._rows], [[*said, self._any] for _, said in self._rows]
        return torch.stack([rows[-1] for rows in self._model.logprobs(prompts, answers)])

    def follow(self, kept: torch.Tensor, tokens: torch.Tensor) -> None:
        chosen = [self._rows[row] for row in kept.tolist()]
        self._rows = [(prompt, [*said, token]) for (prompt, said), token in zip(chosen, tokens.tolist(), strict=True)]
