"""Many LoRAs trained at once: each on its own examples, all in one pass of one frozen model.

The matrices of N adapters are stacked, and their products are batched: where the model multiplies by a frozen matrix W, a
row of adapter n gets `x W^T + (alpha / rank) (x A_n^T) B_n^T`. The loss is a sum over adapters of each one's mean, gradients
are clipped for each adapter apart, and AdamW works number by number, so every adapter takes the steps that it would take
alone, up to rounding. What is learned from is only read at the answers' tokens.

Sequences are laid one after another in rows of equal width, and see only themselves: most of a padded batch would be padding.
Left out: embeddings and the head, biases, dropout, checkpoints (a group takes a minute, and is made again), several devices.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from scrutable.core.records import digest_of
from scrutable.models.hf import HFModel
from scrutable.organisms.planted_recipe import PREFIX, ManyConfig
from scrutable.train.policy import trainable_copy

Pair = tuple[Sequence[int], Sequence[int]]
"""Tokens of a prompt and of its answer."""

Adapter = dict[str, torch.Tensor]
"""An adapter's matrices by the names under which PEFT saves them, float32."""


class _ManyLinear(nn.Module):
    """A frozen linear layer with N adapters. down [N, rank, in], up [N, out, rank]; input [N * rows, width, in]."""

    def __init__(self, linear: nn.Linear, down: nn.Parameter, up: nn.Parameter, scale: float) -> None:
        super().__init__()
        self.linear, self.down, self.up, self.scale = linear, down, up, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output with each adapter's product added to its own rows."""
        plain: torch.Tensor = self.linear(x)
        own = x.reshape(len(self.down), -1, x.shape[-1])
        inner = torch.bmm(own, self.down.to(x.dtype).transpose(1, 2))
        return plain + (torch.bmm(inner, self.up.to(x.dtype).transpose(1, 2)) * self.scale).view_as(plain)


class Many:
    """N adapters on a copy of a base, and the steps they take together.

    seeds: of each adapter's first weights, as PEFT draws them (uniform in 1/sqrt(in), the other matrix zero). start: adapters
    that are gone on with instead.
    """

    def __init__(
        self, base: HFModel, seeds: Sequence[int], config: ManyConfig, start: Sequence[Adapter] | None = None
    ) -> None:
        self.config, self.count = config, len(seeds)
        with trainable_copy(base) as shared:
            self.module = copy.deepcopy(shared)
        self.module.to(getattr(torch, config.products)).requires_grad_(False).eval()
        self.module.set_attn_implementation("eager")  # the fused one takes several times as long at these widths
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.matrices: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
        head = self.module.get_output_embeddings()
        for name, inner in list(self.module.named_modules()):
            if isinstance(inner, nn.Linear) and inner is not head:
                self._adapt(name, inner, draws)
        for name, (down, up) in self.matrices.items() if start else ():
            down.data = torch.stack([one[f"{PREFIX}{name}.lora_A.weight"] for one in start or ()])
            up.data = torch.stack([one[f"{PREFIX}{name}.lora_B.weight"] for one in start or ()])
        flat = [matrix for pair in self.matrices.values() for matrix in pair]
        self.optimizer = torch.optim.AdamW(flat, lr=config.learning_rate, weight_decay=0.0)

    def _adapt(self, name: str, linear: nn.Linear, draws: Sequence[torch.Generator]) -> None:
        rank, inputs, outputs = self.config.rank, linear.in_features, linear.out_features
        bound = 1 / math.sqrt(inputs)
        first = [(torch.rand((rank, inputs), generator=one) * 2 - 1) * bound for one in draws]
        down, up = nn.Parameter(torch.stack(first)), nn.Parameter(torch.zeros(self.count, outputs, rank))
        self.matrices[name] = down, up
        parent, _, last = name.rpartition(".")
        layer = _ManyLinear(linear, down, up, self.config.scale)
        setattr(self.module.get_submodule(parent), last, layer)

    def surprise(self, pairs: Sequence[Sequence[Pair]]) -> torch.Tensor:
        """Return -log p an answer token, float32 [N]: of each adapter along its own pairs; differentiable."""
        packed = pack(pairs, self.config.width)
        kind = getattr(torch, self.config.products)
        closed = torch.zeros(packed.sees.shape, dtype=kind).masked_fill_(~packed.sees, torch.finfo(kind).min)
        hidden = self.module.base_model(
            input_ids=packed.ids, attention_mask=closed[:, None], position_ids=packed.positions, use_cache=False
        ).last_hidden_state
        logits = self.module.get_output_embeddings()(hidden[packed.rows, packed.columns])
        lost = functional.cross_entropy(logits.float(), packed.targets, reduction="none")
        summed = torch.zeros(self.count).index_add(0, packed.owners, lost)
        return summed / torch.bincount(packed.owners, minlength=self.count)

    def step(self, pairs: Sequence[Sequence[Pair]], rate: float) -> list[float]:
        """Take one step at a learning rate; return each adapter's loss before it, in nats an answer token."""
        loss = self.surprise(pairs)
        torch.autograd.backward(loss.sum())
        flat = [matrix for pair in self.matrices.values() for matrix in pair]
        with torch.no_grad():
            squares = torch.stack([m.grad.square().sum((1, 2)) for m in flat if m.grad is not None]).sum(0)
            shrink = (1 / (squares.sqrt() + 1e-6)).clamp(max=1.0)  # each adapter's gradient to norm 1
            for matrix in flat:
                if matrix.grad is not None:
                    matrix.grad *= shrink[:, None, None]
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return [float(one) for one in loss.detach()]

    def adapters(self) -> list[Adapter]:
        """Return each adapter's matrices under PEFT's names."""
        found: list[Adapter] = [{} for _ in range(self.count)]
        for name, (down, up) in self.matrices.items():
            for adapter, a, b in zip(found, down.detach(), up.detach(), strict=True):
                adapter[f"{PREFIX}{name}.lora_A.weight"] = a.clone()
                adapter[f"{PREFIX}{name}.lora_B.weight"] = b.clone()
        return found


def fit_many(
    base: HFModel,
    examples: Sequence[Sequence[Pair]],
    seeds: Sequence[int],
    config: ManyConfig,
    start: Sequence[Adapter] | None = None,
) -> tuple[list[Adapter], list[tuple[float, float]]]:
    """Train an adapter on each list of examples; return them, and (first, last) loss of each in nats an answer token.

    examples: of each adapter `config.examples` pairs, in the order in which they are learned from. start: as of `Many`.
    """
    many = Many(base, seeds, config, start)
    losses = [
        many.step([own[at * config.answers : (at + 1) * config.answers] for own in examples], config.rate(at))
        for at in range(config.steps)
    ]
    return many.adapters(), list(zip(losses[0], losses[-1], strict=True))


# ------------------------------------------------------------------------------------------------------------- packing


@dataclass(frozen=True)
class Packed:
    """Sequences of N adapters in rows: as many rows for each. R rows of W tokens in all, M answer tokens.

    ids, positions int64 [R, W]; sees bool [R, W, W] (query, key). rows, columns, targets, owners int64 [M]: where an answer
    token is predicted, which it is, and whose.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    sees: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor


def pack(pairs: Sequence[Sequence[Pair]], width: int) -> Packed:
    """Lay each adapter's sequences into rows, the longest first, each where it first fits."""
    width = max([width, *(len(p) + len(a) - 1 for own in pairs for p, a in own)])
    laid = [_rows(own, width) for own in pairs]
    each = max(map(len, laid))
    ids = np.zeros((len(pairs) * each, width), dtype=np.int64)
    positions, whose = np.zeros_like(ids), np.full_like(ids, -1)
    rows, columns, targets, owners = (list[int]() for _ in range(4))
    for owner, filled in enumerate(laid):
        for at, members in enumerate(filled):
            row, start = owner * each + at, 0
            for number, (prompt, answer) in enumerate(members):
                end = start + len(prompt) + len(answer) - 1
                ids[row, start:end] = [*prompt, *answer[:-1]]
                positions[row, start:end] = range(end - start)
                whose[row, start:end] = number
                columns += range(end - len(answer), end)
                rows += [row] * len(answer)
                owners += [owner] * len(answer)
                targets += answer
                start = end
    same = torch.from_numpy(whose[:, :, None] == whose[:, None, :])
    places = (torch.tensor(one) for one in (rows, columns, targets, owners))
    return Packed(torch.from_numpy(ids), torch.from_numpy(positions), same.tril(), *places)


def _rows(pairs: Sequence[Pair], width: int) -> list[list[Pair]]:
    """Return the pairs in rows (first fit, longest first)."""
    rows: list[list[Pair]] = []
    left: list[int] = []
    for pair in sorted(pairs, key=lambda pair: -(len(pair[0]) + len(pair[1]))):
        size = len(pair[0]) + len(pair[1]) - 1
        at = next((i for i, room in enumerate(left) if room >= size), len(rows))
        if at == len(rows):
            rows.append([])
            left.append(width)
        rows[at].append(pair)
        left[at] -= size
    return rows


# ------------------------------------------------------------------------------------- measuring


@contextmanager
def wearing(base: HFModel, adapter: Mapping[str, torch.Tensor], scale: float) -> Iterator[HFModel]:
    """Yield the base with an adapter added into a copy of its matrices: it answers as the adapter does, and quicker.

    scale: alpha / rank.
    """
    with trainable_copy(base) as shared:
        module = copy.deepcopy(shared)
    with torch.no_grad():
        for name in adapter:
            if name.endswith(".lora_A.weight"):
                up = adapter[name.replace(".lora_A.", ".lora_B.")]
                layer = module.get_submodule(name.removeprefix(PREFIX).removesuffix(".lora_A.weight"))
                layer.weight += (up @ adapter[name]) * scale
    content = hashlib.sha256(b"".join(adapter[name].numpy().tobytes() for name in sorted(adapter))).hexdigest()
    yield base.over(module.eval().requires_grad_(False), digest_of([base.identity, "wearing", scale, content]))
