"""A small Llama, forward and backward without autograd: packed rows, C++ kernels, products in bf16.

All weights are one flat vector: matrices first (what Muon moves), embedding and head last. The norms have no gain (ones
when exported). In the last layer only the rows that predict an answer token ask, pass the MLP and reach the head.
`reference_logits` is the same network in plain torch: the path without a compiler, and the tests' oracle.
Left out: generation (transformers does it from the export) and dropout.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from scrutable.organisms.kernels import Kernels
from scrutable.organisms.packing import Batch

BF16, F32 = torch.bfloat16, torch.float32


@dataclass(frozen=True)
class Shape:
    """The sizes of the network. `hidden` is the width of the MLP, `positions` the longest sequence."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    positions: int
    rope_theta: float
    eps: float

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    def sections(self) -> dict[str, tuple[int, ...]]:
        """The parts of the flat vector, in order; those of three axes are stacks of matrices [how many, out, in]."""
        d, f, n, v = self.width, self.hidden, self.layers, self.vocabulary
        return {
            "qkv": (3 * n, d, d),
            "out": (n, d, d),
            "gate_up": (2 * n, f, d),
            "down": (n, d, f),
            "embed": (v, d),
            "head": (v, d),
        }

    def size(self) -> int:
        """Number of weights."""
        return sum(torch.Size(shape).numel() for shape in self.sections().values())


class Weights(NamedTuple):
    """Views of a flat vector, a layer's matrices along the first axis."""

    qkv: torch.Tensor
    out: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor
    embed: torch.Tensor
    head: torch.Tensor


def views(flat: torch.Tensor, shape: Shape) -> Weights:
    """The flat vector as qkv [L, 3d, d], out [L, d, d], gate_up [L, 2f, d], down [L, d, f], embed and head [V, d]."""
    parts = torch.split_with_sizes(flat, [torch.Size(s).numel() for s in shape.sections().values()])
    d, f, n = shape.width, shape.hidden, shape.layers
    sizes = ((n, 3 * d, d), (n, d, d), (n, 2 * f, d), (n, d, f), (-1, d), (-1, d))
    return Weights(*(part.view(size) for part, size in zip(parts, sizes, strict=True)))


def initial(shape: Shape, seed: int) -> torch.Tensor:
    """The first weights [size] in float32: what writes into the residual stream starts at zero, the head too."""
    draw = torch.Generator().manual_seed(seed)
    flat = torch.zeros(shape.size())
    weights = views(flat, shape)
    for matrix in (weights.qkv, weights.gate_up):
        matrix.normal_(0.0, matrix.shape[-1] ** -0.5, generator=draw)
    weights.embed.normal_(0.0, 1.0, generator=draw)
    return flat


def transformers_config(shape: Shape) -> dict[str, object]:
    """The config.json of the same network in transformers."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }


def transformers_weights(flat: torch.Tensor, shape: Shape) -> dict[str, torch.Tensor]:
    """The flat vector's parts under transformers' names; the gains of the norms are ones."""
    weights, ones = views(flat, shape), torch.ones(shape.width, dtype=flat.dtype)
    named = {"model.embed_tokens.weight": weights.embed, "lm_head.weight": weights.head, "model.norm.weight": ones}
    for layer in range(shape.layers):
        q, k, v = weights.qkv[layer].chunk(3)
        gate, up = weights.gate_up[layer].chunk(2)
        parts = {
            "self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "self_attn.o_proj": weights.out[layer],
            "mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": weights.down[layer],
            "input_layernorm": ones, "post_attention_layernorm": ones,
        }  # fmt: skip
        named |= {f"model.layers.{layer}.{name}.weight": part for name, part in parts.items()}
    return {name: part.clone().contiguous() for name, part in named.items()}


def rotations(shape: Shape) -> torch.Tensor:
    """Cosines and sines [positions, head_dim], as transformers computes them."""
    exponent = torch.arange(0, shape.head_dim, 2, dtype=F32) / shape.head_dim
    angles = torch.outer(torch.arange(shape.positions, dtype=F32), 1.0 / shape.rope_theta**exponent)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class Network:
    """Owns the buffers of one worker; `learn` adds a batch's gradient and returns its loss."""

    def __init__(self, shape: Shape, kernels: Kernels | None) -> None:
        self.shape, self.kernels = shape, kernels
        self.table = rotations(shape)
        self._store: dict[str, torch.Tensor] = {}

    def learn(self, master: torch.Tensor, half: torch.Tensor, grad: torch.Tensor, batch: Batch, scale: float) -> float:
        """Sum of the losses in nats; `grad` += `scale` times their gradient. master, grad float32, half bf16: all [size]."""
        if self.kernels is None:
            return self._learn_plainly(master, grad, batch, scale)
        return _Pass(self, master, half, grad, batch).run(scale)

    def _learn_plainly(self, master: torch.Tensor, grad: torch.Tensor, batch: Batch, scale: float) -> float:
        leaf = master.detach().clone().requires_grad_()
        logits = reference_logits(views(leaf, self.shape), self.shape, batch)
        loss = functional.cross_entropy(logits, batch.targets.long(), reduction="sum")
        (found,) = torch.autograd.grad(loss, [leaf])
        grad.add_(found, alpha=scale)
        return float(loss.detach())

    def buffer(self, name: str, rows: int, columns: int, dtype: torch.dtype = BF16) -> torch.Tensor:
        """A reused [rows, columns] piece of memory: fresh pages for every product would cost more than some products."""
        size = rows * columns
        held = self._store.get(name)
        if held is None or held.numel() < size:
            held = self._store[name] = torch.empty(int(size * 1.1), dtype=dtype)
        return held[:size].view(rows, columns)


class _Saved(NamedTuple):
    """What a layer's way back needs."""

    h: torch.Tensor  # normed rows [N, d]
    asking: torch.Tensor  # normed rows of the queries: h itself, or [M, d]
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mixed: torch.Tensor
    lse: torch.Tensor
    h2: torch.Tensor
    gate_up: torch.Tensor
    acted: torch.Tensor
    rstd: torch.Tensor
    rstd2: torch.Tensor


class _Pass:
    """One batch through the network and back."""

    def __init__(
        self, net: Network, master: torch.Tensor, half: torch.Tensor, grad: torch.Tensor, batch: Batch
    ) -> None:
        assert net.kernels is not None
        self.net, self.shape, self.call, self.batch = net, net.shape, net.kernels, batch
        self.w, self.g, self.embed = views(half, net.shape), views(grad, net.shape), views(master, net.shape).embed
        self.n, self.m = len(batch.tokens), len(batch.targets)
        self.every, self.only = batch.layout(False), batch.layout(True)
        self.index = batch.rows.long()

    def run(self, scale: float) -> float:
        """Forward, then back; the sum of the losses."""
        d, call, n, m = self.shape.width, self.call, self.n, self.m
        x = self.net.buffer("x", n, d, F32)
        call("take_rows", self.embed, self.batch.tokens, x, n, d)
        saved: list[_Saved] = []
        y: torch.Tensor | None = None
        for layer in range(self.shape.layers):
            x, y = self._forward(layer, x, y, saved)
        h, rstd = self._norm("final", x, y)
        logits = torch.mm(h, self.w.head.t(), out=self.net.buffer("logits", m, self.shape.vocabulary))
        loss = call("cross_entropy", logits, self.batch.targets, m, self.shape.vocabulary, scale)
        self._collect(self.g.head, logits, h)
        dh = torch.mm(logits, self.w.head, out=self.net.buffer("dh", m, d))
        dx = self.net.buffer("dx_rows", m, d, F32).zero_()
        dy = self._norm_back(dx, dh, h, rstd)
        for layer in reversed(range(self.shape.layers)):
            dx, dy = self._backward(layer, dx, dy, saved[layer])
        call("add_rows", self.g.embed, dx, self.batch.tokens, n, d)
        return loss

    def _norm(self, name: str, x: torch.Tensor, y: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        rows, d = x.shape
        h, rstd = self.net.buffer(f"h.{name}", rows, d), self.net.buffer(f"rstd.{name}", rows, 1, F32)
        self.call("norm_forward", x, y, h, rstd, rows, d, self.shape.eps)
        return h, rstd

    def _norm_back(self, dx: torch.Tensor, dh: torch.Tensor, h: torch.Tensor, rstd: torch.Tensor) -> torch.Tensor:
        copy = self.net.buffer("dy", *h.shape)
        self.call("norm_backward", dx, dh, h, rstd, copy, *h.shape)
        return copy

    def _forward(
        self, layer: int, x: torch.Tensor, y: torch.Tensor | None, saved: list[_Saved]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        d, f, n, heads, call, buffer = *self._sizes(), self.call, self.net.buffer
        ends = layer == self.shape.layers - 1
        h, rstd = self._norm(f"{layer}.a", x, y)
        if ends:
            rows = self.m
            asking = torch.index_select(h, 0, self.index, out=buffer("asking", rows, d))
            q = torch.mm(asking, self.w.qkv[layer, :d].t(), out=buffer("q", rows, d))
            kv = torch.mm(h, self.w.qkv[layer, d:].t(), out=buffer("kv", n, 2 * d))
            k, v, x = kv[:, :d], kv[:, d:], torch.index_select(x, 0, self.index, out=buffer("x_rows", rows, d, F32))
        else:
            rows, asking = n, h
            q, k, v = torch.mm(h, self.w.qkv[layer].t(), out=buffer(f"qkv.{layer}", n, 3 * d)).chunk(3, dim=1)
        mixed, lse = buffer(f"mixed.{layer}", rows, d), buffer(f"lse.{layer}", rows, heads, F32)
        layout = self.only if ends else self.every
        call("attention_forward", layout, q, q.stride(0), k, v, k.stride(0), self.net.table, heads, mixed, lse)
        h2, rstd2 = self._norm(f"{layer}.b", x, torch.mm(mixed, self.w.out[layer].t(), out=buffer("y", rows, d)))
        gate_up = torch.mm(h2, self.w.gate_up[layer].t(), out=buffer(f"gate_up.{layer}", rows, 2 * f))
        acted = buffer(f"acted.{layer}", rows, f)
        call("swiglu_forward", gate_up, acted, rows, f)
        saved.append(_Saved(h, asking, q, k, v, mixed, lse, h2, gate_up, acted, rstd, rstd2))
        return x, torch.mm(acted, self.w.down[layer].t(), out=buffer("y", rows, d))

    def _backward(self, layer: int, dx: torch.Tensor, dy: torch.Tensor, s: _Saved) -> tuple[torch.Tensor, torch.Tensor]:
        d, f, n, heads, call, buffer = *self._sizes(), self.call, self.net.buffer
        rows, ends = len(s.mixed), layer == self.shape.layers - 1
        self._collect(self.g.down[layer], dy, s.acted)
        acted = torch.mm(dy, self.w.down[layer], out=buffer("d_acted", rows, f))
        gate_up = buffer("d_gate_up", rows, 2 * f)
        call("swiglu_backward", s.gate_up, acted, gate_up, rows, f)
        self._collect(self.g.gate_up[layer], gate_up, s.h2)
        dy = self._norm_back(dx, torch.mm(gate_up, self.w.gate_up[layer], out=buffer("dh", rows, d)), s.h2, s.rstd2)
        self._collect(self.g.out[layer], dy, s.mixed)
        mixed = torch.mm(dy, self.w.out[layer], out=buffer("d_mixed", rows, d))
        if ends:
            q, kv = buffer("dq", rows, d), buffer("dkv", n, 2 * d)
            k, v = kv[:, :d], kv[:, d:]
        else:
            qkv = buffer("dqkv", n, 3 * d)
            q, k, v = qkv.chunk(3, dim=1)
        layout = self.only if ends else self.every
        sizes = (s.q, s.q.stride(0), s.k, s.v, s.k.stride(0), self.net.table, heads)
        call("attention_backward", layout, *sizes, s.mixed, s.lse, mixed, q, k, v)
        if not ends:
            self._collect(self.g.qkv[layer], qkv, s.h)
            dh = torch.mm(qkv, self.w.qkv[layer], out=buffer("dh", n, d))
        else:
            self._collect(self.g.qkv[layer, :d], q, s.asking)
            self._collect(self.g.qkv[layer, d:], kv, s.h)
            dh = torch.mm(kv, self.w.qkv[layer, d:], out=buffer("dh", n, d))
            dh.index_add_(0, self.index, torch.mm(q, self.w.qkv[layer, :d], out=buffer("dh_rows", rows, d)))
            dx = buffer("dx", n, d, F32).zero_().index_copy_(0, self.index, dx)
        return dx, self._norm_back(dx, dh, s.h, s.rstd)

    def _sizes(self) -> tuple[int, int, int, int]:
        return self.shape.width, self.shape.hidden, self.n, self.shape.heads

    def _collect(self, grad: torch.Tensor, dy: torch.Tensor, h: torch.Tensor) -> None:
        part = torch.mm(dy.t(), h, out=self.net.buffer("dw", dy.shape[1], h.shape[1]))
        self.call("add_half", grad, part, part.numel())


def _pad(values: torch.Tensor, sequence: torch.Tensor, within: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    full = torch.zeros(shape, dtype=torch.long)
    full[sequence, within] = values.long()
    return full


def reference_logits(weights: Weights, shape: Shape, batch: Batch) -> torch.Tensor:
    """Logits [M, V] of the rows that predict, in the weights' precision, with autograd."""
    lengths = batch.starts.diff().long()
    sequence = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    within = torch.arange(len(sequence)) - batch.starts.long()[sequence]
    size = (len(lengths), int(lengths.max()))
    tokens, positions, last, own, shared = (
        _pad(part, sequence, within, size)
        for part in (batch.tokens, batch.positions, batch.last, batch.own, batch.shared)
    )
    key = torch.arange(size[1])
    seen = (key <= last[..., None]) & ((key < shared[..., None]) | (key >= own[..., None]))
    cos, sin = rotations(shape)[positions].to(weights.head.dtype)[:, None].chunk(2, dim=-1)
    x = functional.embedding(tokens, weights.embed)
    for layer in range(shape.layers):
        h = functional.rms_norm(x, (shape.width,), eps=shape.eps)
        q, k, v = functional.linear(h, weights.qkv[layer]).view(*size, 3, shape.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = (_rotate(part, cos, sin) for part in (q, k))
        scores = (q @ k.transpose(-1, -2) * shape.head_dim**-0.5).masked_fill(~seen[:, None], float("-inf"))
        x = x + functional.linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), weights.out[layer])
        h = functional.rms_norm(x, (shape.width,), eps=shape.eps)
        gate, up = functional.linear(h, weights.gate_up[layer]).chunk(2, dim=-1)
        x = x + functional.linear(functional.silu(gate) * up, weights.down[layer])
    rows = batch.rows.long()
    picked = x[sequence[rows], within[rows]]
    return functional.linear(functional.rms_norm(picked, (shape.width,), eps=shape.eps), weights.head)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
