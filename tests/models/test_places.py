"""Places: their names, the stack of layers they lie in, and modules that are called, and answer, in other ways than most."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from scrutable.models.places import Place, Stack


@pytest.mark.parametrize(
    "name",
    [
        "embedding",
        "residual.12",
        "in.0.mlp.down_proj",
        "out.3.attn.c_attn",
        "gradient.residual.0",
        "gradient.embedding",
    ],
)
def test_a_name_is_read_and_written_the_same(name: str) -> None:
    assert Place.named(name).name == name


class Odd(nn.Module):
    """A layer that is called by names alone, and returns the stream first of several things."""

    def forward(self, *, scale: float, stream: torch.Tensor) -> tuple[torch.Tensor, str]:
        return scale * stream, "and more"


def test_a_tensor_is_found_however_it_is_given_and_returned() -> None:
    stack = Stack(nn.ModuleList([Odd()]), 4, "odd")
    seen: list[torch.Tensor] = []

    def look(h: torch.Tensor) -> torch.Tensor:
        seen.append(h)
        return h + 1

    handles = [stack.attach(Place.named(name), look) for name in ("embedding", "residual.0")]
    stream, more = stack.layers[0](scale=10.0, stream=torch.zeros(1, 2, 4))
    assert more == "and more"
    assert [float(h.mean()) for h in (*seen, stream)] == [0, 10, 11]
    for handle in handles:
        handle.remove()
    assert float(stack.layers[0](scale=10.0, stream=torch.zeros(1, 2, 4))[0].mean()) == 0


def llama(**more: Any) -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=3, num_attention_heads=1, **more
        )
    )


def test_as_many_experts_as_layers_are_no_second_stack() -> None:
    module = llama()
    for layer in module.model.layers:
        layer.mlp.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
    assert Stack.of(module, "it").layers is module.model.layers


def test_another_tower_of_the_same_height_is_not_the_decoder() -> None:
    module = llama()
    module.tower = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
    assert Stack.of(module, "it").layers is module.model.layers


def test_the_width_is_that_of_the_text_model() -> None:
    module = llama()
    whole = SimpleNamespace(get_text_config=lambda: module.config)
    outer = nn.Module()
    outer.inner, outer.config = module, whole
    assert Stack.of(outer, "it").width == 8
