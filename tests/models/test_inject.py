"""Injection against its formula, written as a loop, and against plain forward passes without cache, padding or batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.conftest import KINDS
from transformers import AutoModelForCausalLM

from scrutable.core.errors import UserError
from scrutable.core.records import Sampling
from scrutable.models.capture import Capture
from scrutable.models.hf import HFModel, load_model
from scrutable.models.inject import Injection, answer_injected, injected
from scrutable.models.passages import EVERY, Passage
from scrutable.models.places import Stack

Find = Callable[..., Path]
ROWS, COLUMNS = [0, 0, 2, 3, 3], [1, 3, 0, 2, 1]


def by_hand(h: torch.Tensor, vectors: torch.Tensor, rows: list[int], columns: list[int], alpha: float) -> torch.Tensor:
    """The oracle's formula, number by number."""
    new = h.clone()
    for v, row, column in zip(vectors, rows, columns, strict=True):
        length = sum(float(x) ** 2 for x in h[row, column]) ** 0.5
        own = sum(float(x) ** 2 for x in v) ** 0.5
        for i in range(h.shape[-1]):
            new[row, column, i] += alpha * length * float(v[i]) / own if own else 0.0
    return new


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def injection(vectors: torch.Tensor, rows: list[int] = ROWS, columns: list[int] = COLUMNS, **more: Any) -> Injection:
    return Injection(vectors, torch.tensor(rows), torch.tensor(columns), **more)


@pytest.mark.parametrize("alpha", [1.0, -0.5])
def test_it_is_the_oracles_formula(alpha: float) -> None:
    h, vectors = drawn(4, 5, 6), drawn(5, 6, seed=1)
    before = h.clone()
    wanted = by_hand(h, vectors, ROWS, COLUMNS, alpha)
    made = injection(vectors, alpha=alpha)
    torch.testing.assert_close(made.added(h), wanted)
    assert torch.equal(h, before)
    torch.testing.assert_close(made.add_to(h), wanted)
    torch.testing.assert_close(h, wanted)


def test_a_vectors_own_length_does_not_count_and_one_of_zeros_adds_nothing() -> None:
    h, vectors = drawn(4, 5, 6), drawn(5, 6, seed=1)
    wanted = injection(vectors).added(h)
    torch.testing.assert_close(injection(vectors * torch.tensor([[1e-9], [1e9], [3.0], [0.1], [1.0]])).added(h), wanted)
    assert torch.equal(injection(torch.zeros(5, 6)).added(h), h)


def test_several_vectors_at_one_place_are_added_up() -> None:
    h, vectors = drawn(1, 2, 6), drawn(3, 6, seed=1)
    wanted = by_hand(h, vectors, [0, 0, 0], [1, 1, 1], 1.0)
    torch.testing.assert_close(injection(vectors, [0, 0, 0], [1, 1, 1]).added(h), wanted)


def test_plain_addition_adds_the_vector_at_its_scale() -> None:
    h, vectors = drawn(4, 5, 6), drawn(5, 6, seed=1)
    wanted = h.clone()
    for v, row, column in zip(vectors, ROWS, COLUMNS, strict=True):
        wanted[row, column] += 2.5 * v
    torch.testing.assert_close(injection(vectors, scale=2.5).added(h), wanted)


@pytest.mark.parametrize("scale", [None, 2.0])
def test_gradients_are_those_of_finite_differences(scale: float | None) -> None:
    vectors = drawn(5, 6, seed=1).requires_grad_()
    h = drawn(4, 5, 6)
    assert torch.autograd.gradcheck(lambda v: injection(v, scale=scale).added(h), (vectors,))


def test_the_length_of_the_stream_lets_no_gradient_through() -> None:
    h = drawn(4, 5, 6).requires_grad_()
    out = injection(drawn(5, 6, seed=1)).added(h)
    weights = drawn(4, 5, 6, seed=2)
    (gradient,) = torch.autograd.grad((out * weights).sum(), h)
    assert torch.equal(gradient, weights)


PROMPTS = [(2, 8, 9, 10), (9, 20, 21), (2, 8, 9, 10), tuple(range(20, 30))]
AT = {0: [1, 3], 1: [0], 2: [2], 3: [9]}


@pytest.mark.medium
@pytest.mark.parametrize("place", ["embedding", "residual.0", "residual.1"])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_plain_passes_over_an_injected_prompt(kind: str, place: str, folder_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu")
    rows = [row for row, columns in AT.items() for _ in columns]
    columns = [column for columns in AT.values() for column in columns]
    vectors = drawn(len(rows), 32, seed=3).float()
    made = injection(vectors, rows, columns, at=place, alpha=3.0)
    found = answer_injected(model, PROMPTS, made, Sampling(temperature=0, max_tokens=6))
    layer = Stack.of(model.module, "it").layers[1 if place == "residual.1" else 0]
    changed = 0
    for row, prompt in enumerate(PROMPTS):
        mine = vectors[[at for at, of in enumerate(rows) if of == row]]

        def push(h: torch.Tensor, mine: torch.Tensor = mine, row: int = row) -> torch.Tensor:
            return by_hand(h, mine, [0] * len(mine), AT[row], 3.0)

        handle = (
            layer.register_forward_pre_hook(lambda _, args, push=push: (push(args[0]), *args[1:]))
            if place == "embedding"
            else layer.register_forward_hook(lambda *given, push=push: push(given[2]))
        )
        assert found[row] == greedy(model, prompt, 6)
        handle.remove()
        changed += found[row] != greedy(model, prompt, 6)
    assert changed >= 2


def greedy(model: HFModel, prompt: tuple[int, ...], most: int) -> list[int]:
    answer: list[int] = []
    while len(answer) < most and not (answer and answer[-1] in model.ends):
        with torch.no_grad():
            logits = model.module(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits
        answer.append(int(logits[0, -1, : model.size].argmax()))
    return answer


def test_only_the_first_pass_is_changed_and_no_hook_stays(llama: HFModel) -> None:
    made = injection(drawn(5, 32, seed=1).float(), at="residual.0")
    ids = torch.arange(20).reshape(4, 5)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = llama.module(input_ids=ids).logits
        return found

    plain = logits()
    with llama.opened(), injected(llama, made):
        first, second = logits(), logits()
    assert (first - plain).abs().max() > 0.1
    assert torch.equal(second, plain) and torch.equal(logits(), plain)
    with pytest.raises(ZeroDivisionError), injected(llama, made):
        raise ZeroDivisionError
    assert torch.equal(logits(), plain)


def test_a_capture_within_sees_the_sum(llama: HFModel) -> None:
    passages = [Passage("a", row, tuple(range(5 * row, 5 * row + 4)), (7,)) for row in range(4)]
    plain = Capture(llama, ("residual.0",), EVERY).read(passages).at["residual.0"].reshape(4, 5, 32)
    vectors = drawn(5, 32, seed=1).float()
    with injected(llama, injection(vectors, at="residual.0")):
        found = Capture(llama, ("residual.0",), EVERY).read(passages).at["residual.0"].reshape(4, 5, 32)
    torch.testing.assert_close(found, by_hand(plain, vectors, ROWS, COLUMNS, 1.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_above_and_below_learn_through_an_injection(kind: str, folder_of: Find) -> None:
    """In training: the gradients of all weights are those of a pass in which the vectors were added out of place."""
    loaded = load_model(folder_of(kind), device="cpu")
    module = AutoModelForCausalLM.from_pretrained(folder_of(kind)).eval()
    model = loaded.over(module, "trained")
    made = injection(drawn(5, 32, seed=1).float(), at="residual.0")
    ids = torch.arange(20).reshape(4, 5)

    def gradients() -> list[torch.Tensor]:
        module.zero_grad()
        module(input_ids=ids, labels=ids).loss.backward()
        return [p.grad.clone() for p in module.parameters() if p.grad is not None]

    with injected(model, made):
        found = gradients()
    layer = Stack.of(module, "it").layers[0]
    handle = layer.register_forward_hook(lambda *given: made.added(given[2].clone()))
    wanted = gradients()
    handle.remove()
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert any(not torch.equal(one, other) for one, other in zip(found, gradients(), strict=True))


def test_what_does_not_fit_is_refused(llama: HFModel, folder_of: Find) -> None:
    with pytest.raises(UserError, match="is 32 wide, the vectors 6"), injected(llama, injection(drawn(5, 6))):
        pass
    with pytest.raises(UserError, match="has 2 layers"), injected(llama, injection(drawn(5, 32), at="residual.2")):
        pass
    with pytest.raises(ValueError, match=r"not at out\.0\.mlp"):
        injection(drawn(5, 32), at="out.0.mlp")
    with pytest.raises(ValueError, match="one row and one column"):
        injection(drawn(4, 32))
    module = AutoModelForCausalLM.from_pretrained(folder_of("llama"))
    module.gradient_checkpointing_enable()
    repeated = llama.over(module, "repeated")
    with pytest.raises(UserError, match="checkpoints its gradients"), injected(repeated, injection(drawn(5, 32))):
        pass
