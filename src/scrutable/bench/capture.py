"""capture: what does it cost to read a model's inside, over a bare forward pass of the same tokens?

Everything in one process, in turn, round by round; a ratio is the median over rounds of one time over the bare pass's of the same
round, so that what else the machine does strikes both. Two models: the built-in one, where Python's own share is large, and a
random Llama in which computing dominates and the head is about a fifth of it, as in published models of a billion weights. The
bare pass is transformers' own forward of a model without adapters, head and all, no cache. Time is that of the processor on
the CPU, of the clock (after waiting for the device) elsewhere.

Injection is set against a loop over the batch that does the same row by row, as published code does: the writes alone.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from scrutable.core.config import Config, anywhere
from scrutable.models.capture import Capture, Difference
from scrutable.models.hf import HFModel, load_model
from scrutable.models.inject import Injection
from scrutable.models.passages import ANSWER, EVERY, Passage, Span
from scrutable.models.places import Stack
from scrutable.train.lora import Recipe, lora_config

if TYPE_CHECKING:
    import torch

Say = Callable[[str], None]
TARGETS = {
    "hooks on all layers, with the head": 1.05,
    "stop at the middle": 0.65,
    "difference by toggling, all layers": 2.2,
    "loop over indexed write": 5.0,
}
"""What a figure should be at most; the last at least."""


class CaptureConfig(Config):
    """What is measured."""

    rounds: int = Field(default=30, ge=5, description="rounds: each times everything once, in another order")
    big_rounds: int = Field(default=10, ge=3, description="rounds with the random Llama")
    batch: int = Field(default=64, ge=2, description="sequences passed at once, as measuring does")
    big_batch: int = Field(default=16, ge=2, description="sequences passed at once through the random Llama")
    prompt: int = Field(default=24, ge=2, description="tokens of a prompt")
    answer: int = Field(default=16, ge=2, description="tokens of an answer")
    width: int = Field(default=512, ge=64, description="width of the random Llama")
    layers: int = Field(default=8, ge=2, description="layers of the random Llama")
    rows: int = Field(default=12288, ge=512, description="rows of its embedding and head")
    injected: int = Field(default=64, ge=2, description="sequences of a batch in which vectors are added")
    device: str = anywhere("cpu", "cpu, cuda, cuda:1, mps")
    seed: int = Field(default=0, description="seed of weights, tokens and vectors")


def capture(config: CaptureConfig, say: Say = print) -> dict[str, Any]:
    """Measure both models; return the figures. Takes some minutes."""
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {"targets": TARGETS, "torch": torch.__version__, "device": config.device, "threads": 1}
    with tempfile.TemporaryDirectory(prefix="scrutable-") as place:
        small = load_model("pidgin", device=config.device)
        for name, model, size in (
            ("pidgin", small, (config.rounds, config.batch)),
            ("random Llama", random_llama(small, config), (config.big_rounds, config.big_batch)),
        ):
            say(f"{name}: {size[0]} rounds of {size[1]} x {config.prompt + config.answer} tokens")
            told = one_model(model, config, size, Path(place) / name.replace(" ", "-"))
            found[name] = told
            for what, ratio in told["over a bare pass"].items():
                say(f"  {what}: {ratio['ratio']:.3f} of a bare pass (half of the rounds {ratio['half']})")
            for what, one in told["injection"].items():
                say(f"  injection, {what}: the loop takes {one['loop over indexed write']:.1f} times the indexed write")
    return found


def random_llama(like: HFModel, config: CaptureConfig) -> HFModel:
    """Return a Llama with random weights that asks as `like` does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        module = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.rows,
                hidden_size=config.width,
                intermediate_size=config.width * 11 // 4,
                num_hidden_layers=config.layers,
                num_attention_heads=config.width // 64,
                tie_word_embeddings=False,
            )
        )
    return like.over(module.to(config.device).eval().requires_grad_(False), f"random llama {config.model_dump()}")


def one_model(model: HFModel, config: CaptureConfig, size: tuple[int, int], place: Path) -> dict[str, Any]:
    """Return the figures of one model. size: rounds, and sequences passed at once."""
    import torch

    rounds, batch = size
    ids = np.random.default_rng(config.seed).integers(4, model.size, size=(batch, config.prompt + config.answer))
    tensor = torch.from_numpy(ids).to(model.device)
    shown = [
        Passage(str(i), 0, tuple(row[: config.prompt]), tuple(row[config.prompt :]))
        for i, row in enumerate(ids.tolist())
    ]
    stack = Capture(model, ("embedding",)).stack

    def bare() -> None:
        with torch.no_grad():
            model.module(input_ids=tensor, attention_mask=torch.ones_like(tensor), use_cache=False)

    def hooked() -> None:
        seen: list[torch.Tensor] = []
        handles = [layer.register_forward_hook(lambda *given: seen.append(given[2])) for layer in stack.layers]
        bare()
        for handle in handles:
            handle.remove()

    things = {"hooks on all layers, with the head": hooked}
    things |= readings(model, stack, shown)
    things |= differences(with_random_adapter(model, place, config.seed), stack, shown)
    told = in_turn({"bare": bare, **things}, rounds, str(model.device))
    return {
        "rounds": rounds,
        "sequences": batch,
        "tokens": config.prompt + config.answer,
        "layers": len(stack.layers),
        "width": stack.width,
        "rows of the head": int(model.module.get_output_embeddings().weight.shape[0]),
        "bare pass, ms": round(1000 * float(np.median(told["bare"])), 3),
        "over a bare pass": {name: _ratio(told[name] / told["bare"]) for name in things},
        "injection": {
            f"{config.injected} sequences, {vectors} each": injections(config, stack.width, vectors, model.device)
            for vectors in (1, 4)
        },
    }


def readings(model: HFModel, stack: Stack, shown: Sequence[Passage]) -> dict[str, Callable[[], None]]:
    """Return what is read of one model, by what it is."""
    middle = f"residual.{len(stack.layers) // 2 - 1}"
    linears = [
        f"{side}.{at}.{path}" for at in range(len(stack.layers)) for path in stack.linear(at) for side in ("in", "out")
    ]

    def reading(places: Sequence[str], span: Span = ANSWER) -> Callable[[], None]:
        reader = Capture(model, tuple(places), span)
        return lambda: _drop(reader.read(shown))

    return {
        "all layers, answers' tokens": reading(stack.residuals),
        "all layers, every token": reading(stack.residuals, EVERY),
        "the last layer, without the head": reading(stack.residuals[-1:]),
        "stop at the middle": reading([middle]),
        "inputs and outputs of all linear modules, answers' tokens": reading(linears),
        "gradient at the middle, answers' tokens": reading([f"gradient.{middle}"]),
    }


def differences(tuned: HFModel, stack: Stack, shown: Sequence[Passage]) -> dict[str, Callable[[], None]]:
    """Return what is read of a model with its adapter on and off, by what it is."""
    pairs = [(one, one) for one in shown]

    def differing(places: Sequence[str]) -> Callable[[], None]:
        reader = Difference.of(tuned.base, tuned, places)
        return lambda: _drop(reader.read(pairs))

    return {
        "difference by toggling, all layers": differing(stack.residuals),
        "difference by toggling, the middle": differing(stack.residuals[len(stack.layers) // 2 - 1 :][:1]),
    }


def with_random_adapter(model: HFModel, place: Path, seed: int) -> HFModel:
    """Return a copy of the model with a random LoRA of rank 8 on all linear modules: the bare one stays bare."""
    import torch
    from peft import get_peft_model

    module = copy.deepcopy(model.module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lora = lora_config(module, Recipe())
        lora.init_lora_weights = False
        get_peft_model(copy.deepcopy(module), lora).save_pretrained(place, save_embedding_layers=False)
    return model.over(module, f"{model.identity} to be tuned").with_adapter(place, verify=False)


def injections(config: CaptureConfig, width: int, vectors: int, device: torch.device) -> dict[str, Any]:
    """Return what one indexed write costs, and the loop over the batch, on the stream of a whole batch."""
    import torch

    draw = torch.Generator().manual_seed(config.seed)
    batch = config.injected
    stream = torch.randn((batch, config.prompt, width), generator=draw).to(device)
    given = torch.randn((batch, vectors, width), generator=draw).to(device)
    columns = torch.stack([torch.randperm(config.prompt, generator=draw)[:vectors] for _ in range(batch)]).to(device)
    rows = torch.arange(batch).repeat_interleave(vectors).to(device)
    made = Injection(given.flatten(0, 1), rows, columns.flatten())
    apart = (made.added(stream) - loop(stream.clone(), given, columns)).abs().max()
    first, second = stream.clone(), stream.clone()
    small = replace(made, alpha=1e-3)  # so that a stream that is added to again and again stays a plain number
    told = in_turn(
        {"indexed": lambda: _drop(small.add_to(first)), "loop": lambda: _drop(loop(second, given, columns, 1e-3))},
        5 * config.rounds,
        str(device),
    )
    return {
        "loop over indexed write": round(float(np.median(told["loop"] / told["indexed"])), 2),
        "indexed write, ms": round(1000 * float(np.median(told["indexed"])), 4),
        "loop, ms": round(1000 * float(np.median(told["loop"])), 4),
        "largest difference": float(apart),
    }


def loop(stream: torch.Tensor, vectors: torch.Tensor, columns: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    """Add vectors [B, K, width] at columns [B, K] of the stream, row by row, in place."""
    import torch

    for row in range(len(stream)):
        here = stream[row, columns[row]]
        added = alpha * here.norm(dim=-1, keepdim=True) * torch.nn.functional.normalize(vectors[row], dim=-1)
        stream[row, columns[row]] = here + added.detach()
    return stream


def in_turn(things: Mapping[str, Callable[[], None]], rounds: int, device: str) -> dict[str, np.ndarray]:
    """Return seconds [rounds] of each thing, all in turn within a round, beginning with another in each; two to warm up."""
    names = list(things)
    found: dict[str, list[float]] = {name: [] for name in names}
    clock = _Clock(device)
    for number in range(-2, rounds):
        begin = number % len(names)
        for name in names[begin:] + names[:begin]:
            start = clock.now()
            things[name]()
            seconds = clock.now() - start
            if number >= 0:
                found[name].append(seconds)
    return {name: np.array(seconds) for name, seconds in found.items()}


@dataclass(frozen=True)
class _Clock:
    """Time of the processor on the CPU; elsewhere of the clock, when the device is done."""

    device: str

    def now(self) -> float:
        """Seconds since some moment."""
        if self.device == "cpu":
            return time.process_time()
        import torch

        (torch.cuda if self.device.startswith("cuda") else torch.mps).synchronize()
        return time.perf_counter()


def _ratio(ratios: np.ndarray) -> dict[str, Any]:
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return {"ratio": round(float(middle), 3), "half": [round(float(low), 3), round(float(high), 3)]}


def _drop(_: object) -> None:
    return None
