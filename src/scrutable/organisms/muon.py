"""Muon for the matrices, AdamW for embedding and head, on one flat vector shared by the workers.

Muon (Jordan et al. 2024): momentum, then an approximate orthogonalisation of each matrix by five Newton-Schulz steps.
Each worker moves its own slice of every stack of matrices and of the rest. Left out: weight decay on the matrices.
"""

from dataclasses import dataclass

import torch

from scrutable.organisms.llama import Shape

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ADAM_PARTS = ("embed", "head")


@dataclass(frozen=True)
class Rates:
    """Learning rates of one step and what does not change between steps."""

    matrices: float
    rest: float
    momentum: float
    betas: tuple[float, float]
    decay: float


@dataclass
class State:
    """All float32 [size]: weights, momentum, second moment (only of the rest, so shorter); `half` is the bf16 copy."""

    master: torch.Tensor
    momentum: torch.Tensor
    second: torch.Tensor
    half: torch.Tensor


def adam_size(shape: Shape) -> int:
    """How many numbers at the end of the flat vector AdamW moves."""
    return sum(torch.Size(shape.sections()[name]).numel() for name in ADAM_PARTS)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz on a stack [n, rows, columns], in bf16: singular values come out between about 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x: torch.Tensor = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = (x.transpose(1, 2) if tall else x).to(torch.bfloat16).contiguous()
    for _ in range(5):
        square = torch.bmm(x, x.transpose(1, 2))
        mixed = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, mixed, x, beta=a)
    return x.transpose(1, 2) if tall else x


def update(state: State, grad: torch.Tensor, shape: Shape, rates: Rates, step: int, worker: int, workers: int) -> None:
    """One worker's part of step `step` (from 1); grad float32 [size] is overwritten. Sizes as in Shape.sections."""
    start = 0
    for name, sizes in shape.sections().items():
        count = torch.Size(sizes).numel()
        if name not in ADAM_PARTS:
            each = count // sizes[0]
            low, high = (start + sizes[0] * w // workers * each for w in (worker, worker + 1))
            if high > low:
                _muon(state, grad, low, high, sizes[1:], rates)
        start += count
    rest = adam_size(shape)
    first = state.master.numel() - rest
    _adam(state, grad, first, rest * worker // workers, rest * (worker + 1) // workers, rates, step)


def _muon(state: State, grad: torch.Tensor, low: int, high: int, sizes: tuple[int, ...], rates: Rates) -> None:
    g, momentum = grad[low:high], state.momentum[low:high]
    momentum.lerp_(g, 1.0 - rates.momentum)
    moved = orthogonal(g.lerp_(momentum, rates.momentum).view(-1, *sizes))
    scale = max(1.0, sizes[0] / sizes[1]) ** 0.5
    master = state.master[low:high].view(-1, *sizes)
    master.add_(moved.float(), alpha=-rates.matrices * scale)
    state.half[low:high].copy_(state.master[low:high])


def _adam(state: State, grad: torch.Tensor, first: int, low: int, high: int, rates: Rates, step: int) -> None:
    g, momentum = grad[first + low : first + high], state.momentum[first + low : first + high]
    second, master = state.second[low:high], state.master[first + low : first + high]
    one, two = rates.betas
    momentum.lerp_(g, 1.0 - one)
    second.mul_(two).addcmul_(g, g, value=1.0 - two)
    spread = (second / (1.0 - two**step)).sqrt_().add_(1e-10)
    master.mul_(1.0 - rates.rest * rates.decay)
    master.addcdiv_(momentum, spread, value=-rates.rest / (1.0 - one**step))
    state.half[first + low : first + high].copy_(master)
