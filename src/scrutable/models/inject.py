"""Injection: vectors added to the residual stream at given places of a batch, in the pass that reads the prompt.

In one indexed write, where a loop over the batch would wait for each row. There are two rules. By the activation oracle's
(adamkarvonen/activation_oracles), a vector is made as long as the stream is where it is added, times alpha:

    h' = h + alpha * stopgrad(|h|) * v / |v|

By the plain one, h' = h + scale * v. Gradients pass to h and to v. The vector is added and replaces nothing: so does that
code, though its words say otherwise. Left out: later passes, so an answer is steered by its prompt alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import UserError
from scrutable.core.records import Sampling
from scrutable.models.decoding import Drawing, draw_answers
from scrutable.models.hf import HFModel
from scrutable.models.places import Place, Stack

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Injection:
    """Vectors, and where they are added.

    vectors: [N, width]; one of zeros adds nothing. rows, columns: int64 [N] each, the row of the batch and the token there that
    a vector is for; several at one place are added up. at: where in the model, "embedding" or "residual.LAYER".
    alpha: by the oracle's rule, how long a vector is made, in lengths of the stream. scale: by the plain rule, if given.
    """

    vectors: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    at: str = "residual.1"
    alpha: float = 1.0
    scale: float | None = None

    def __post_init__(self) -> None:
        if Place.named(self.at).kind not in ("embedding", "residual") or Place.named(self.at).gradient:
            raise ValueError(f"vectors are added to the residual stream, not at {self.at}")
        if not (self.vectors.ndim == 2 and len(self.vectors) == len(self.rows) == len(self.columns)):
            raise ValueError("each vector needs one row and one column")

    def added(self, h_BTd: torch.Tensor) -> torch.Tensor:
        """Return the stream [B, T, width] with the vectors added; what was given stays as it was."""
        return h_BTd.index_put(self._where(h_BTd), self._terms(h_BTd), accumulate=True)

    def add_to(self, h_BTd: torch.Tensor) -> torch.Tensor:
        """Add the vectors to the stream itself, and return it: the same numbers, without a copy of all that is not touched."""
        return h_BTd.index_put_(self._where(h_BTd), self._terms(h_BTd), accumulate=True)

    def _where(self, h_BTd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rows.to(h_BTd.device), self.columns.to(h_BTd.device)

    def _terms(self, h_BTd: torch.Tensor) -> torch.Tensor:
        """Return what is added for each vector: [N, width]."""
        import torch

        wide = torch.promote_types(h_BTd.dtype, torch.float32)
        terms_Nd = self.vectors.to(h_BTd.device, wide)
        if self.scale is not None:
            terms_Nd = self.scale * terms_Nd
        else:
            length_N1 = h_BTd.detach()[self._where(h_BTd)].to(wide).norm(dim=-1, keepdim=True)
            terms_Nd = terms_Nd * (self.alpha * length_N1 / terms_Nd.norm(dim=-1, keepdim=True).clamp_min(1e-30))
        return terms_Nd.to(h_BTd)

    def moved(self, by: Sequence[int]) -> Injection:
        """Return the same with the columns of each row moved by so many (as padding on the left moves them)."""
        import torch

        return replace(
            self, columns=self.columns + torch.tensor(by, dtype=torch.long)[self.rows.cpu()].to(self.columns)
        )


@contextmanager
def injected(model: HFModel, injection: Injection) -> Iterator[None]:
    """Add the vectors in the first pass through the model from here on; later passes are left alone.

    A capture that begins later sees the sum. Hold the model (`opened`) around this. The hook is gone at the end, also after an
    error. Errors: UserError when the model has no such place, is of another width, or passes layers twice.
    """
    stack, place = Stack.of(model.module, model.name), Place.named(injection.at)
    stack.must_be_wide(injection.vectors.shape[1])
    if _checkpoints(model.module):
        raise UserError(
            f"{model.name} checkpoints its gradients, and would pass again without vectors: switch that off"
        )
    passed = False

    def look(h_BTd: torch.Tensor) -> torch.Tensor | None:
        nonlocal passed
        if passed:
            return None
        passed = True
        # What leaves a layer is a sum that nobody else holds; what enters the first may be somebody's own.
        return injection.add_to(h_BTd) if place.kind == "residual" else injection.added(h_BTd)

    handle = stack.attach(place, look)
    try:
        yield
    finally:
        handle.remove()


def answer_injected(
    model: HFModel, prompts: Sequence[Sequence[int]], injection: Injection, sampling: Sampling
) -> list[list[int]]:
    """Answer prompts (token ids) with vectors added while they are read; return each answer's token ids, its end token last.

    injection: rows are the prompts', columns count their tokens. All are answered as one batch; draws are the rows' own.
    Errors: UserError when a prompt and the longest answer do not fit the model; ModelFailure when its logits are not numbers.
    """
    import torch

    for prompt in prompts:
        model.must_fit(prompt, [0] * sampling.max_tokens)
    source = torch.Generator().manual_seed(sampling.seed % 2**63)
    uniforms = torch.rand((len(prompts), sampling.max_tokens), generator=source, dtype=torch.float64)
    how = Drawing(sampling.temperature, sampling.max_tokens, model.ends, model.size)
    width = max(map(len, prompts))
    with model.opened() as module, injected(model, injection.moved([width - len(prompt) for prompt in prompts])):
        return draw_answers(module, prompts, uniforms, how, apart=True)


def _checkpoints(module: Any) -> bool:
    """Whether layers are passed again when gradients are made; transformers renames what says so."""
    names = ("is_activation_checkpointing", "is_gradient_checkpointing")
    return bool(next((getattr(module, name) for name in names if hasattr(type(module), name)), False))
