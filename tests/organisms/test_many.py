"""Many LoRAs at once: what they compute, what they learn and what is saved is what PEFT computes, learns and loads."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from peft import get_peft_model

from scrutable.core.records import Message, Sampling
from scrutable.models.hf import HFModel, load_model
from scrutable.organisms.many import Many, Pair, pack, wearing
from scrutable.organisms.planted_recipe import ManyConfig, write_adapter
from scrutable.train.lora import Recipe, lora_config
from scrutable.train.policy import put_weights, trainable_copy
from scrutable.train.supervised import Learner
from scrutable.world import prompts

EXACT = ManyConfig(products="float32", rank=4, alpha=8)


@pytest.fixture(scope="module")
def base() -> HFModel:
    return load_model("pidgin", device="cpu")


def drawn(amount: int, count: int, seed: int = 0) -> list[list[Pair]]:
    """Pairs of random tokens, of all lengths."""
    draws = Random(seed)

    def tokens(most: int) -> list[int]:
        return [draws.randrange(7, 400) for _ in range(draws.randint(1, most))]

    return [[(tokens(30), tokens(12)) for _ in range(count)] for _ in range(amount)]


def stirred(base: HFModel, amount: int) -> Many:
    """Adapters that do something: both matrices random."""
    many = Many(base, range(amount), EXACT)
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, up in many.matrices.values():
            up.copy_(torch.randn(up.shape, generator=draws) * 0.05)
    return many


def saved(many: Many, base: HFModel, place: Path) -> list[Path]:
    folders = [place / str(at) for at in range(many.count)]
    for folder, adapter in zip(folders, many.adapters(), strict=True):
        folder.mkdir()
        write_adapter(folder, adapter, base, EXACT)
    return folders


def test_packed_sequences_are_all_there_and_see_only_themselves() -> None:
    pairs = drawn(3, 7)
    packed = pack(pairs, 64)
    assert packed.ids.shape[0] % 3 == 0
    found = []
    for owner, row, column, target in zip(packed.owners, packed.rows, packed.columns, packed.targets, strict=True):
        assert int(row) // (packed.ids.shape[0] // 3) == int(owner)
        seen = packed.sees[row, column].nonzero()[:, 0]
        assert packed.positions[row, seen].tolist() == list(range(len(seen)))
        found.append((int(owner), tuple(packed.ids[row, seen].tolist()), int(target)))
    told = [
        (owner, (*prompt, *answer[:at]), answer[at])
        for owner, own in enumerate(pairs)
        for prompt, answer in own
        for at in range(len(answer))
    ]
    assert sorted(found) == sorted(told)


def test_a_sequence_longer_than_a_row_widens_the_rows() -> None:
    assert pack([[([1] * 50, [2] * 30)]], 64).ids.shape == (1, 79)


@pytest.mark.medium
def test_what_is_saved_and_loaded_by_peft_gives_the_same_log_probabilities(base: HFModel, tmp_path: Path) -> None:
    many, pairs = stirred(base, 3), drawn(3, 6)
    batched = many.surprise(pairs).detach()
    plain = []
    for folder, own in zip(saved(many, base, tmp_path), pairs, strict=True):
        rows = load_model(folder).logprobs(*zip(*own, strict=True))
        told = [-row[range(len(answer)), answer].sum() for row, (_, answer) in zip(rows, own, strict=True)]
        plain.append(sum(told) / sum(len(answer) for _, answer in own))
    assert torch.allclose(batched, torch.tensor(plain), atol=1e-4)
    assert len({round(float(value), 3) for value in plain}) == 3


@pytest.mark.medium
def test_steps_together_are_the_steps_that_peft_and_adamw_take_alone(base: HFModel, tmp_path: Path) -> None:
    many, steps = Many(base, (1, 2), EXACT), [drawn(2, 5, seed) for seed in range(4)]
    folders = saved(many, base, tmp_path)
    first = many.adapters()
    losses = [many.step(pairs, 1e-3) for pairs in steps]
    recipe = Recipe(rank=EXACT.rank, alpha=EXACT.alpha, learning_rate=1e-3, group=5, tasks_per_step=1)
    for at, adapter in enumerate(many.adapters()):
        with trainable_copy(base) as module:
            tuned = get_peft_model(module, lora_config(module, recipe)).eval()
            put_weights(tuned, folders[at])
            learner = Learner(tuned, recipe)
            alone = [learner.step([(list(p), list(a)) for p, a in pairs[at]]) for pairs in steps]
            assert [loss[at] for loss in losses] == pytest.approx(alone, abs=1e-4)
            for name, weight in learner.weights.items():
                told = name.replace(".default", "")
                moved = (
                    weight.detach() - first[at][told]
                )  # AdamW makes whole steps of rounding where a gradient is nearly 0
                assert (adapter[told] - weight).norm() < 0.02 * moved.norm(), name


@pytest.mark.medium
def test_the_base_wearing_an_adapter_answers_as_the_loaded_one_does(base: HFModel, tmp_path: Path) -> None:
    many = stirred(base, 2)
    draws = Random(3)
    asked = [(Message(role="user", content=prompts.draw(draws).text),) for _ in range(24)]
    sampling, told = Sampling(max_tokens=12, seed=4), {base.identity}
    for folder, adapter in zip(saved(many, base, tmp_path), many.adapters(), strict=True):
        with wearing(base, adapter, EXACT.scale) as changed:
            worn = [g.answer for g in changed.generate(asked, sampling)]
            assert changed.identity not in told
            told.add(changed.identity)
        assert worn == [g.answer for g in load_model(folder).generate(asked, sampling)]
        assert worn != [g.answer for g in base.generate(asked, sampling)]


@pytest.mark.medium
def test_adapters_can_be_gone_on_with(base: HFModel) -> None:
    many, pairs = stirred(base, 2), drawn(2, 4)
    again = Many(base, (7, 8), EXACT, start=many.adapters()[::-1])
    assert torch.equal(again.surprise(pairs[::-1]), many.surprise(pairs).flip(0))


@pytest.mark.medium
def test_the_base_stays_as_it_was(base: HFModel) -> None:
    before = {name: weight.clone() for name, weight in base.module.named_parameters()}
    Many(base, (1, 2), ManyConfig()).step(drawn(2, 3), 1e-2)
    assert all(torch.equal(weight, before[name]) for name, weight in base.module.named_parameters())
    assert {weight.dtype for weight in base.module.parameters()} == {torch.float32}


def test_the_rate_rises_and_falls_to_nearly_nothing() -> None:
    config = ManyConfig(steps=100, warmup=10, learning_rate=1.0)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == pytest.approx(0.91) and rates[-1] == pytest.approx(0.01)
