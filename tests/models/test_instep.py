"""Two models in step, against plain forward passes of each, without cache, padding or batch."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.lenses.toy_open import ToyOpen
from tests.models.conftest import KINDS
from tests.models.test_decoding import plain

from scrutable.core.records import Message
from scrutable.models.hf import HFModel, load_model
from scrutable.models.instep import Amplify, amplified_answers, mix

Find = Callable[..., Path]
PROMPTS = [[9], [2, 8, 9, 10], [2, *range(20, 40), 5], [2, 8, 9, 10]]
ZEROS = torch.zeros((len(PROMPTS), 10), dtype=torch.float64)


def logits(model: HFModel, ids: list[int]) -> torch.Tensor:
    with model.opened() as module:
        return plain(module, ids, max(model.vocabulary.values()) + 1)[-1]


@pytest.fixture
def pair(request: pytest.FixtureRequest, folder_of: Find, adapter_of: Find) -> tuple[HFModel, HFModel]:
    base = load_model(folder_of(request.param), device="cpu")
    return base, base.with_adapter(adapter_of(request.param))


@pytest.mark.medium
@pytest.mark.parametrize("pair", KINDS, indirect=True)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0])
def test_greedy_answers_follow_the_formula(pair: tuple[HFModel, HFModel], alpha: float) -> None:
    before, after = pair
    expected: list[list[int]] = []
    for prompt in PROMPTS:
        answer: list[int] = []
        while len(answer) < 10 and not (answer and answer[-1] in after.ends):
            one, two = logits(before, prompt + answer), logits(after, prompt + answer)
            answer.append(int((one + alpha * (two - one)).argmax()))
        expected.append(answer)
    assert amplified_answers((before, after), (PROMPTS, PROMPTS), ZEROS, Amplify(alpha, 10, plausible=0.0)) == expected


@pytest.mark.medium
@pytest.mark.parametrize("pair", ["llama", "gpt2"], indirect=True)
def test_alpha_one_is_the_after_and_its_draws_too(pair: tuple[HFModel, HFModel]) -> None:
    """Each draw inverts the after's own cumulative distribution at its number."""
    before, after = pair
    uniforms = torch.rand((len(PROMPTS), 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for prompt, row, answer in zip(
        PROMPTS,
        uniforms,
        amplified_answers((before, after), (PROMPTS, PROMPTS), uniforms, Amplify(1.0, 6, 1.0, plausible=0.0)),
        strict=True,
    ):
        for place, token in enumerate(answer):
            mass = logits(after, prompt + answer[:place]).double().exp().cumsum(-1)
            low = float(mass[token - 1]) if token else 0.0
            assert low - 1e-4 <= float(row[place]) <= float(mass[token]) + 1e-4


@pytest.mark.medium
@pytest.mark.parametrize("pair", ["llama"], indirect=True)
@pytest.mark.parametrize("alpha", [2.0, 40.0])
def test_an_identical_pair_says_what_the_before_says(pair: tuple[HFModel, HFModel], alpha: float) -> None:
    before = pair[0]
    own = amplified_answers((before, before), (PROMPTS, PROMPTS), ZEROS, Amplify(0.0, 10))
    assert amplified_answers((before, before), (PROMPTS, PROMPTS), ZEROS, Amplify(alpha, 10)) == own


def test_what_the_after_finds_implausible_is_left_out() -> None:
    before, after = torch.tensor([[0.2, 0.799, 0.001]]).log(), torch.tensor([[0.5, 0.47, 0.03]]).log()
    assert int(mix(before, after, Amplify(4.0, 1, plausible=0.0)).argmax()) == 2
    mixed = mix(before, after, Amplify(4.0, 1, plausible=0.1))
    assert int(mixed.argmax()) == 0 and mixed[0, 2] == -math.inf


def test_what_both_rule_out_is_a_number() -> None:
    rows = torch.tensor([[0.0, -math.inf]])
    assert bool(mix(rows, rows, Amplify(4.0, 1, plausible=0.0)).isfinite().all())


def test_a_model_of_another_kind_is_passed_through_whole() -> None:
    """Three times the difference: 2% of yes, 30% after, is well above half when amplified."""
    before, after = ToyOpen(), ToyOpen(habit=0.3)
    prompt = before.encode((Message(role="user", content="sun moon"),))
    (answer,) = amplified_answers(
        (before, after), ([prompt], [prompt]), torch.zeros((1, 5), dtype=torch.float64), Amplify(3.0, 5)
    )
    assert before.decode(answer) == "yes - - - -"
    (answer,) = amplified_answers(
        (before, after), ([prompt], [prompt]), torch.zeros((1, 5), dtype=torch.float64), Amplify(1.0, 5)
    )
    assert before.decode(answer) == "- - - - -"
