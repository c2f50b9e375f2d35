"""The trainer: right gradients, learning, resuming, workers, export."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from scrutable.core.errors import UserError
from scrutable.organisms import kernels, trainer
from scrutable.organisms.llama import Network, Shape, views
from scrutable.organisms.packing import Example, SharedExample, pack

SMALL = Shape(vocabulary=50, width=64, layers=3, heads=2, hidden=96, positions=64, rope_theta=1e4, eps=1e-5)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def copy_task(step: int) -> list[Example]:
    """Say the k-th of six words."""
    draw = random.Random(step)
    found = []
    for _ in range(32):
        words, k = [draw.randrange(10, 30) for _ in range(6)], draw.randrange(6)
        found.append(Example([*words, k, words[k], 9], 7))
    return found


def config(**changes: object) -> trainer.TrainerConfig:
    base: dict[str, object] = {"vocabulary": 30, "width": 64, "layers": 2, "heads": 2, "hidden": 96, "positions": 32}
    return trainer.TrainerConfig.model_validate(base | {"steps": 30, "warmup": 5, "checkpoint_every": 10} | changes)


def some_examples() -> list[Example | SharedExample]:
    draw = random.Random(1)
    words = [[draw.randrange(50) for _ in range(n)] for n in (5, 17, 40, 9, 12, 7)]
    plain = [Example(w, len(w) - 3) for w in words[:3]]
    return [*plain, SharedExample(words[3], [Example(words[4], 4), Example(words[5], 2)])]


def gradient(examples: list[Example | SharedExample], fast: bool) -> tuple[float, torch.Tensor]:
    flat = torch.randn(SMALL.size(), generator=torch.Generator().manual_seed(0)).mul_(0.15).bfloat16()
    grad = torch.zeros(SMALL.size())
    network = Network(SMALL, kernels.load(SMALL.head_dim) if fast else None)
    return network.learn(flat.float(), flat, grad, pack(examples), 1.0), grad


@pytest.mark.medium
def test_kernels_agree_with_autograd() -> None:
    if kernels.load(SMALL.head_dim) is None:
        pytest.skip("no compiler")
    (loss, grad), (true_loss, truth) = gradient(some_examples(), True), gradient(some_examples(), False)
    assert loss == pytest.approx(true_loss, rel=2e-3)
    for found, wanted in zip(views(grad, SMALL), views(truth, SMALL), strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 0.03


def test_shared_prefix_is_the_same_as_repeating_it() -> None:
    *_, last = some_examples()
    assert isinstance(last, SharedExample)
    apart = [Example([*last.prefix, *b.tokens], len(last.prefix) + b.prompt_length) for b in last.branches]
    (loss, grad), (true_loss, truth) = gradient([last], False), gradient(list(apart), False)
    assert loss == pytest.approx(true_loss, rel=1e-5)
    assert torch.allclose(grad, truth, atol=1e-4)


def test_the_rates_fall_to_nothing_twice() -> None:
    made = config(steps=100, warmup=4, decay=0.5, again=20, again_factor=0.6)
    factors = [made.factor(step) for step in range(made.last)]
    assert (len(factors), factors[0], factors[4]) == (120, pytest.approx(0.2), 1)
    assert factors[50] == 1 and factors[75] == pytest.approx(0.5) and factors[99] == pytest.approx(0.02)
    assert factors[100] == pytest.approx(0.6) and factors[110] == pytest.approx(0.3)
    assert factors[119] == pytest.approx(0.03)


def test_a_run_goes_on_to_its_last_step(tmp_path: Path) -> None:
    seen: list[trainer.Progress] = []
    trainer.train(config(steps=4, again=3), copy_task, tmp_path, seen.append)
    assert [(one.step, one.last) for one in seen] == [(step, 7) for step in range(1, 8)]


@pytest.mark.medium
def test_learns_to_copy(tmp_path: Path) -> None:
    seen: list[trainer.Progress] = []
    trainer.train(config(steps=400), copy_task, tmp_path, seen.append)
    assert seen[0].loss > 3.0
    assert seen[-1].loss < 0.1


@pytest.mark.medium
def test_two_workers_do_what_one_does(tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        seen: list[trainer.Progress] = []
        trainer.train(config(workers=workers), copy_task, tmp_path / str(workers), seen.append)
        found.append([progress.loss for progress in seen])
    assert found[0] == pytest.approx(found[1], rel=0.05)


def _slow(step: int) -> list[Example]:
    time.sleep(0.02)
    return copy_task(step)


@pytest.mark.medium
def test_killed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    trainer.train(config(steps=60, workers=2), copy_task, tmp_path / "whole")
    victim = multiprocessing.get_context("fork").Process(
        target=trainer.train, args=(config(steps=60, workers=2), _slow, tmp_path / "cut")
    )
    victim.start()
    while not (tmp_path / "cut" / "checkpoint.safetensors").exists():
        time.sleep(0.01)
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    seen: list[int] = []
    trainer.train(config(steps=60, workers=2), copy_task, tmp_path / "cut", lambda p: seen.append(p.step))
    assert seen[0] > 10
    assert torch.equal(trainer.load(tmp_path / "whole")[1], trainer.load(tmp_path / "cut")[1])


def test_another_config_is_refused_by_name(tmp_path: Path) -> None:
    trainer.train(config(steps=1), copy_task, tmp_path)
    with pytest.raises(UserError, match="another config \\(seed\\)"):
        trainer.train(config(steps=1, seed=1), copy_task, tmp_path)


def test_transformers_gives_the_same_logits(tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    trainer.train(config(steps=20), copy_task, tmp_path / "run")
    trainer.export(tmp_path / "run", tmp_path / "model", eos=9)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    tokens = list(range(25))
    with torch.no_grad():
        theirs = model(torch.tensor([tokens[:-1]])).logits[0]
    ours = trainer.logits(tmp_path / "run", tokens)
    assert ours.std() > 0.1
    assert torch.allclose(ours, theirs, atol=1e-4)
