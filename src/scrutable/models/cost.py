"""What reading a model will cost, before it is spent: its size, and one timed batch."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scrutable.models.hf import HFModel


@dataclass(frozen=True)
class Estimate:
    """parameters: numbers of the model, adapters included. weight_bytes: memory they take. batch_bytes: further memory
    of a batch (logits, and their logarithms). seconds_per_pass: seconds of one sequence within a batch."""

    parameters: int
    weight_bytes: int
    batch_bytes: int
    seconds_per_pass: float


def estimate(model: HFModel, *, prompt_tokens: int = 64, answer_tokens: int = 16, batch: int = 8) -> Estimate:
    """Time one batch of `batch` different prompts with answers of the given lengths (after one to warm up)."""
    size = max(model.vocabulary.values()) + 1
    prompts = [[(row + 7 * i) % size for i in range(prompt_tokens)] for row in range(batch)]
    answers = [[(row + 5 * i) % size for i in range(answer_tokens)] for row in range(batch)]
    model.logprobs(prompts[:1], answers[:1])
    began = time.perf_counter()
    found = model.logprobs(prompts, answers)
    found[-1].sum().item()  # wait for a GPU to be done
    seconds = (time.perf_counter() - began) / batch
    tensors = {id(p): p for p in model.module.parameters()}.values()
    return Estimate(
        parameters=sum(p.numel() for p in tensors),
        weight_bytes=sum(p.numel() * p.element_size() for p in tensors),
        batch_bytes=2 * 4 * batch * answer_tokens * size,
        seconds_per_pass=seconds,
    )
