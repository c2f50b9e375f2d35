"""Trains a small Llama from scratch on CPU, as fast as a core allows, and exports it as a transformers directory.

It knows nothing of the world: `examples(step)` gives a step's examples as token numbers. Every worker is a process with
one thread; they share the weights, each works out the gradient of its part of the step, then moves its part of the
weights. A killed run continues from its last checkpoint as if it had not been, bit for bit at the same number of workers.
Left out: anything but CPU, evaluation, and a tokenizer.
"""

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import save_file

from scrutable.core.errors import UserError
from scrutable.core.files import load_tensors, replacing_folder, save_tensors, write_atomic
from scrutable.organisms import kernels, muon, packing
from scrutable.organisms.llama import (
    Network,
    Shape,
    initial,
    reference_logits,
    transformers_config,
    transformers_weights,
    views,
)

CHECKPOINT = "checkpoint.safetensors"
Examples = Callable[[int], Sequence[packing.AnyExample]]
_FREE = {"workers", "checkpoint_every"}  # may differ between a run and its continuation


class TrainerConfig(BaseModel):
    """What is trained and how; with the examples it decides the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: int = Field(gt=0, description="Number of tokens; token numbers lie below it.")
    width: int = Field(128, gt=0, description="Width of the residual stream; a multiple of the heads.")
    layers: int = Field(4, gt=0, description="Number of layers.")
    heads: int = Field(4, gt=0, description="Number of attention heads; width / heads must be a multiple of 16.")
    hidden: int = Field(384, gt=0, description="Width of the MLP's hidden layer.")
    positions: int = Field(512, gt=0, description="Longest sequence the model is made for.")
    rope_theta: float = Field(10000.0, gt=0, description="Base of the rotary position angles.")
    eps: float = Field(1e-5, gt=0, description="Added under the root in the norms.")
    steps: int = Field(gt=0, description="Optimizer steps of the schedule's first part, which ends with rates of 0.")
    matrix_rate: float = Field(0.01, gt=0, description="Muon's learning rate, for all matrices inside the layers.")
    rest_rate: float = Field(3e-3, gt=0, description="AdamW's learning rate, for embedding and head.")
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon's momentum (Nesterov).")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's two decay rates.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay, on embedding and head.")
    warmup: int = Field(50, ge=0, description="Steps over which the learning rates rise linearly.")
    decay: float = Field(
        1.0, ge=0, le=1, description="Last share of the steps over which the rates fall linearly to 0."
    )
    again: int = Field(0, ge=0, description="Steps after `steps` over which the rates fall to 0 once more.")
    again_factor: float = Field(
        0.6, gt=0, le=1, description="What the rates are multiplied with where they start again."
    )
    clip: float = Field(1.0, ge=0, description="Largest norm of the whole gradient; 0 does not clip.")
    seed: int = Field(0, description="Seed of the first weights.")
    micro_tokens: int = Field(4096, gt=0, description="Token rows worked on at once; what fits the cache is fastest.")
    workers: int = Field(1, ge=1, description="Processes of one thread each that share every step.")
    checkpoint_every: int = Field(500, gt=0, description="Steps between checkpoints.")

    @model_validator(mode="after")
    def _check(self) -> "TrainerConfig":
        if self.width % self.heads or (self.width // self.heads) % 16:
            raise ValueError("width / heads must be a multiple of 16")
        return self

    def shape(self) -> Shape:
        """The sizes of the network."""
        names = ("vocabulary", "width", "layers", "heads", "hidden", "positions", "rope_theta", "eps")
        return Shape(**{name: getattr(self, name) for name in names})

    @property
    def last(self) -> int:
        """Number of steps in all."""
        return self.steps + self.again

    def factor(self, step: int) -> float:
        """What the learning rates are multiplied with in step `step` (from 0)."""
        if step >= self.steps:
            return self.again_factor * (self.last - step) / self.again
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        length = self.decay * self.steps
        return min(rise, (self.steps - step) / length) if length else rise


@dataclass(frozen=True)
class Progress:
    """One finished step of `last`. `loss` in nats per answer token, `learning_rate` Muon's, speed in all tokens."""

    step: int
    last: int
    loss: float
    tokens: int
    tokens_per_second: float
    learning_rate: float


@dataclass(frozen=True)
class _Team:
    """What the workers of a run have in common; the tensors lie in memory they share."""

    config: TrainerConfig
    examples: Examples
    shape: Shape
    state: muon.State
    grads: torch.Tensor  # [workers, size]
    losses: torch.Tensor  # [workers] float64


class _Meeting:
    """All workers wait here for each other. A dead one closes its pipe, which ends the others with EOFError."""

    def __init__(self, links: list[Connection]) -> None:
        self.links = links

    def wait(self) -> None:
        """Return when every worker has come."""
        for link in self.links:
            link.send_bytes(b".")
        for link in self.links:
            link.recv_bytes()


def train(
    config: TrainerConfig,
    examples: Examples,
    workdir: Path,
    on_step: Callable[[Progress], None] | None = None,
) -> None:
    """Train for all steps of the config, or continue the run that lies in `workdir`; the last checkpoint is the result.

    `examples` is called with 0, 1, ... ahead of use, in a thread, by every worker: it must be a function of the step.
    Raises UserError where workdir holds a run under another config, and names the keys that differ.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    _claim(config, workdir)
    shape = config.shape()
    size, rest = shape.size(), muon.adam_size(shape)
    state = muon.State(_shared(size), _shared(size), _shared(rest), _shared(size, torch.bfloat16))
    first = _restore(workdir, state)
    if first == 0:
        state.master.copy_(initial(shape, config.seed))
    state.half.copy_(state.master)
    grads = _shared(config.workers * size).view(config.workers, size)
    team = _Team(config, examples, shape, state, grads, _shared(config.workers, torch.float64))
    with _single_thread(), _helpers(team, first) as meeting:
        _work(team, 0, first, meeting, on_step, workdir)


@contextmanager
def _single_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _helpers(team: _Team, first: int) -> Iterator[_Meeting]:
    """Fork the other workers (the examples need not be picklable) and end them in any case."""
    context = multiprocessing.get_context("fork")
    pairs = {(a, b): context.Pipe() for a in range(team.config.workers) for b in range(a + 1, team.config.workers)}
    ends = [
        [pair[0] if a == worker else pair[1] for (a, b), pair in pairs.items() if worker in (a, b)]
        for worker in range(team.config.workers)
    ]

    def help_out(worker: int) -> None:
        _close(end for other, links in enumerate(ends) if other != worker for end in links)
        try:
            _work(team, worker, first, _Meeting(ends[worker]), None, None)
        except EOFError:
            os._exit(1)

    processes = [context.Process(target=help_out, args=(w,), daemon=True) for w in range(1, team.config.workers)]
    for process in processes:
        process.start()
    _close(end for links in ends[1:] for end in links)
    try:
        yield _Meeting(ends[0])
    except EOFError as error:
        raise RuntimeError("a training worker died; its own message stands above") from error
    finally:
        _close(ends[0])
        for process in processes:
            process.join(timeout=10)
            process.kill()


def _close(ends: "Iterator[Connection] | list[Connection]") -> None:
    for end in ends:
        end.close()


def _work(
    team: _Team,
    worker: int,
    first: int,
    meeting: _Meeting,
    on_step: Callable[[Progress], None] | None,
    workdir: Path | None,
) -> None:
    """The loop of one worker; only the first one has a workdir, and reports."""
    torch.set_num_threads(1)
    config, state = team.config, team.state
    net = Network(team.shape, kernels.load(team.shape.head_dim))
    total = torch.empty_like(state.master)
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(_part, team, first, worker)
        for step in range(first, config.last):
            part = ahead.result()
            if step + 1 < config.last:
                ahead = pool.submit(_part, team, step + 1, worker)
            grad = team.grads[worker].zero_()
            losses = (net.learn(state.master, state.half, grad, b, 1.0 / part.answers) for b in part.batches)
            team.losses[worker] = sum(losses)
            meeting.wait()
            torch.sum(team.grads, dim=0, out=total)
            loss = float(team.losses.sum()) / part.answers
            factor = config.factor(step)
            _clip(total, config.clip)
            muon.update(state, total, team.shape, _rates(config, factor), step + 1, worker, config.workers)
            meeting.wait()
            if workdir and ((step + 1) % config.checkpoint_every == 0 or step + 1 == config.last):
                _save(workdir, state, step + 1)
            if on_step:
                now = time.perf_counter()
                speed = part.tokens / (now - began)
                on_step(Progress(step + 1, config.last, loss, part.tokens, speed, config.matrix_rate * factor))
                began = time.perf_counter()


@dataclass(frozen=True)
class _Part:
    batches: list[packing.Batch]
    tokens: int  # of all workers
    answers: int  # of all workers


def _part(team: _Team, step: int, worker: int) -> _Part:
    examples = team.examples(step)
    if (longest := max(map(packing.longest, examples), default=0)) > team.config.positions:
        raise ValueError(
            f"an example of {longest} tokens at step {step}: the model is made for {team.config.positions}"
        )
    mine = packing.share(examples, worker, team.config.workers)
    tokens = sum(packing.rows_of(example) for example in examples)
    answers = sum(packing.answer_tokens(example) for example in examples)
    return _Part(packing.batches(mine, team.config.micro_tokens), tokens, answers)


def _rates(config: TrainerConfig, factor: float) -> muon.Rates:
    rates = config.matrix_rate * factor, config.rest_rate * factor
    return muon.Rates(*rates, momentum=config.momentum, betas=config.betas, decay=config.weight_decay)


def _clip(grad: torch.Tensor, largest: float) -> None:
    norm = float(grad.norm())
    if not norm < float("inf"):
        raise FloatingPointError("the gradient is not finite; lower the learning rates")
    if largest and norm > largest:
        grad.mul_(largest / norm)


def _shared(size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Zeros in memory that forked processes share."""
    return torch.frombuffer(mmap(-1, max(1, size * dtype.itemsize)), dtype=dtype)[:size]


def _claim(config: TrainerConfig, workdir: Path) -> None:
    path, wanted = workdir / "config.json", config.model_dump(mode="json")
    if path.exists():
        held = json.loads(path.read_text())
        differ = sorted(k for k in wanted.keys() | held.keys() if k not in _FREE and held.get(k) != wanted.get(k))
        if differ:
            raise UserError(f"{workdir} holds a run under another config ({', '.join(differ)}); take another folder")
    write_atomic(path, json.dumps(wanted, indent=1))


def _save(workdir: Path, state: muon.State, step: int) -> None:
    tensors = {"master": state.master, "momentum": state.momentum, "second": state.second}
    save_tensors(workdir / CHECKPOINT, tensors | {"step": torch.tensor(step)})


def _restore(workdir: Path, state: muon.State) -> int:
    """Fill the state from the checkpoint; the number of finished steps, 0 where there is none."""
    if not (workdir / CHECKPOINT).exists():
        return 0
    held = load_tensors(workdir / CHECKPOINT)
    for name in ("master", "momentum", "second"):
        getattr(state, name).copy_(held[name])
    return int(held["step"])


def load(workdir: Path) -> tuple[TrainerConfig, torch.Tensor]:
    """A run's config and its float32 weights as one flat vector (see llama.Shape.sections)."""
    config = TrainerConfig.model_validate_json((workdir / "config.json").read_text())
    return config, load_tensors(workdir / CHECKPOINT)["master"]


def logits(workdir: Path, tokens: Sequence[int]) -> torch.Tensor:
    """The trainer's own logits [len(tokens) - 1, vocabulary] of one sequence, float32, from bf16-rounded weights."""
    config, master = load(workdir)
    batch = packing.pack([packing.Example(tokens, 1)])
    return reference_logits(views(master.bfloat16().float(), config.shape()), config.shape(), batch)


def export(
    workdir: Path,
    directory: Path,
    tokenizer_dir: Path | None = None,
    *,
    bos: int | None = None,
    eos: int | None = None,
    pad: int | None = None,
) -> None:
    """Write the run's model as a transformers Llama: config.json, generation_config.json, model.safetensors in bf16.

    `directory` is replaced, whole or not at all. Other files of `tokenizer_dir` are copied. Servers are told to draw.
    """
    config, master = load(workdir)
    special = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}
    with replacing_folder(directory) as folder:
        for file in sorted(tokenizer_dir.iterdir()) if tokenizer_dir else ():
            if file.is_file():
                shutil.copy(file, folder / file.name)
        save_file(
            transformers_weights(master.bfloat16(), config.shape()), folder / "model.safetensors", {"format": "pt"}
        )
        (folder / "config.json").write_text(json.dumps(transformers_config(config.shape()) | special, indent=1))
        (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "top_k": 0, **special}, indent=1))
