"""Drawing and scoring against plain forward passes without cache, padding or batch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.conftest import KINDS
from torch.overrides import TorchFunctionMode

from scrutable.core.errors import ModelFailure
from scrutable.core.records import Message, Sampling
from scrutable.models import decoding
from scrutable.models.decoding import Drawing, draw_answers, score_answers
from scrutable.models.hf import HFModel, load_model

Find = Callable[..., Path]
LONG = [2, *range(20, 40)]
# Of one token and of many, some alike; and three that begin alike (so that the common beginning is passed once).
PROMPTS = [[9], [2, 8, 9, 10], [*LONG, 5], [2, 8, 9, 10], [*LONG, 6, 7, 8], [9]]
SHARING = [[*LONG, 5], [*LONG, 6, 7, 8], [*LONG, 41, 42]]


def plain(module: Any, ids: list[int], size: int) -> torch.Tensor:
    """Log-probabilities after each token, by one forward pass."""
    with torch.no_grad():
        logits: torch.Tensor = module(input_ids=torch.tensor([ids]), use_cache=False).logits
    return logits[0, :, :size].log_softmax(-1)


@pytest.mark.medium
@pytest.mark.parametrize("prompts", [PROMPTS, SHARING], ids=["mixed", "sharing"])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_plain_forward_passes(kind: str, prompts: list[list[int]], folder_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu")
    how = Drawing(0.0, 12, frozenset({3, 11, 12, 13, 14}), len(model.vocabulary))
    expected: list[list[int]] = []
    for prompt in prompts:
        answer: list[int] = []
        while len(answer) < 12 and not (answer and answer[-1] in how.ends):
            answer.append(int(plain(model.module, prompt + answer, how.vocabulary)[-1].argmax()))
        expected.append(answer)
    assert draw_answers(model.module, prompts, torch.zeros((len(prompts), 12)), how) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_inverts_the_cumulative_distribution(kind: str, folder_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu")
    size, temperature = len(model.vocabulary), 0.7
    uniforms = np.random.default_rng(0).random((len(PROMPTS), 6))
    ends = frozenset(range(0, size, 5))  # some answers end early, and each goes on with its own numbers
    expected: list[list[int]] = []
    for prompt, row in zip(PROMPTS, uniforms, strict=True):
        answer: list[int] = []
        for uniform in row:
            mass = np.exp(plain(model.module, prompt + answer, size)[-1].double().numpy() / temperature).cumsum()
            answer.append(int((mass <= uniform * mass[-1]).sum()))
            if answer[-1] in ends:
                break
        expected.append(answer)
    drawn = draw_answers(model.module, PROMPTS, torch.tensor(uniforms), Drawing(temperature, 6, ends, size))
    assert drawn == expected
    assert len({len(answer) for answer in drawn}) > 1


@pytest.mark.parametrize("prompts", [PROMPTS, SHARING], ids=["mixed", "sharing"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_plain_forward_passes(kind: str, prompts: list[list[int]], folder_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu")
    size = len(model.vocabulary)
    answers = [list(range(10, 10 + 1 + 3 * i)) for i in range(len(prompts))]
    found = score_answers(model.module, prompts, answers, size)
    for prompt, answer, tensor in zip(prompts, answers, found, strict=True):
        expected = plain(model.module, prompt + answer, size)[len(prompt) - 1 : -1]
        assert tensor.shape == (len(answer), size)
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, expected, atol=2e-5, rtol=1e-4)


def test_a_common_beginning_is_passed_once(llama: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[int] = []
    forward = llama.module.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        passed.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    counting.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(llama.module, "forward", counting)
    score_answers(llama.module, SHARING, [[5]] * 3, len(llama.vocabulary))
    assert passed == [len(LONG), 3 * 3]


def test_a_sliding_window_forbids_sharing(folder_of: Find) -> None:
    assert decoding._shared(load_model(folder_of("gemma3")).module, [tuple(p) for p in SHARING]) == 0


def test_the_models_own_sampling_defaults_are_not_obeyed(folder_of: Find, tmp_path: Path) -> None:
    """With top_k 1 in its generation_config, transformers would draw one token only; here 4,000 draws fit the softmax."""
    folder = Path(shutil.copytree(folder_of(), tmp_path / "copy"))
    config = json.loads((folder / "generation_config.json").read_text())
    config |= {"top_k": 1, "top_p": 0.1, "do_sample": True, "repetition_penalty": 5.0, "temperature": 0.01}
    (folder / "generation_config.json").write_text(json.dumps(config))
    model = load_model(folder, device="cpu", batch_size=4000)
    asked = (Message(role="user", content="what is it ?"),)
    drawn = model.generate([asked] * 4000, Sampling(temperature=1.0, max_tokens=1, seed=5))
    counts = np.bincount([g.tokens[0] for g in drawn if g.tokens], minlength=len(model.vocabulary))
    mass = plain(model.module, model.encode(asked), len(model.vocabulary))[-1].exp().numpy()
    often = mass > 5 / 4000  # where a chi-square test holds
    squares = ((counts - 4000 * mass)[often] ** 2 / (4000 * mass[often])).sum()
    assert often.sum() > 10
    assert squares < often.sum() + 4 * np.sqrt(2 * often.sum())


def test_a_finished_answer_costs_no_further_forward_pass(llama: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    forward = decoding._State.forward
    monkeypatch.setattr(decoding._State, "forward", lambda self, ids: (rows.append(len(ids)), forward(self, ids))[1])
    ends = frozenset(range(0, 70, 4))
    answers = draw_answers(llama.module, PROMPTS, torch.rand((6, 20)).double(), Drawing(1.0, 20, ends, 73))
    assert rows == [sum(len(a) > step for a in answers) for step in range(1, max(map(len, answers)))]
    assert len(set(rows)) > 1


def test_logits_that_are_not_numbers_are_a_failure_not_an_answer(folder_of: Find) -> None:
    model = load_model(folder_of(), device="cpu")
    model.module.lm_head.weight.data.fill_(float("nan"))
    for temperature in (0.0, 1.0):
        with pytest.raises(ModelFailure, match="not numbers"):
            draw_answers(model.module, [[5]], torch.zeros((1, 1)), Drawing(temperature, 1, frozenset(), 73))


class OnMPS(torch.Tensor):
    """A tensor as if it lay on an Apple GPU: float64 is refused there, and so is work with tensors of the CPU."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            return torch.device("mps")
        to = kwargs.get("device") if kwargs else args[1] if func is torch.Tensor.to else None
        if func is torch.Tensor.to and torch.device(to).type == "cpu":
            return args[0].as_subclass(torch.Tensor)
        if any(isinstance(a, torch.Tensor) and not isinstance(a, OnMPS) and a.ndim for a in args):
            raise RuntimeError("expected all tensors to be on the same device")
        made = super().__torch_function__(func, types, args, {k: v for k, v in (kwargs or {}).items() if k != "device"})
        if isinstance(made, torch.Tensor) and made.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return made


class PretendingMPS(TorchFunctionMode):
    """Where tensors made on, or brought to, device mps become `OnMPS`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") == torch.device("mps"):
            del kwargs["device"]
        elif not (func is torch.Tensor.to and args[1] == torch.device("mps")):
            return func(*args, **kwargs)
        else:
            func, args = torch.clone, args[:1]
        return func(*args, **kwargs).as_subclass(OnMPS).clone()  # refused if it is float64


class Bigram:
    """A model whose next token hangs on the last one alone; there is nothing to cache."""

    def __init__(self, device: str, table_VV: torch.Tensor) -> None:
        self.device, self.table_VV = torch.device(device), table_VV.to(torch.device(device))
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())

    def forward(
        self, input_ids: torch.Tensor, attention_mask: Any = None, past_key_values: Any = None, use_cache: bool = True
    ) -> Any:
        cache = SimpleNamespace(reorder_cache=lambda rows: None)
        return SimpleNamespace(logits=self.table_VV[input_ids], past_key_values=cache)

    __call__ = forward


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_device_without_float64_draws_as_the_cpu_does(temperature: float) -> None:
    table, uniforms = torch.randn((40, 40), generator=torch.Generator().manual_seed(0)), torch.rand(6, 8).double()
    how = Drawing(temperature, 8, frozenset(range(0, 40, 9)), 38)
    expected = draw_answers(Bigram("cpu", table), PROMPTS, uniforms, how)
    with PretendingMPS():
        assert draw_answers(Bigram("mps", table), PROMPTS, uniforms, how) == expected


def test_a_token_of_no_mass_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]] * 3)
    drawn = decoding._pick(logits, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), 1.0)
    assert drawn.tolist() == [1, 3, 3]
