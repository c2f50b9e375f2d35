"""What is captured, against transformers' hidden states, plain modules, and finite differences; there one passage at a time."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.conftest import KINDS
from tests.tiny import tiny_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from scrutable.core.errors import UserError
from scrutable.models.capture import Capture, Difference
from scrutable.models.hf import HFModel, load_model
from scrutable.models.passages import ANSWER, EVERY, PROMPT_LAST, Passage, Span, States
from scrutable.models.places import Stack
from scrutable.models.replay import ScriptedModel

Find = Callable[..., Path]
# Of many lengths, so that all are padded but one; the first ends with <end>, as answers do, and one answer is empty.
PASSAGES = [
    Passage("b", 0, (2, 8, 9, 10), (11, 12, 3), 0.7),
    Passage("a", 0, tuple(range(20, 41)), (5,), -1.3),
    Passage("b", 1, (2, 8, 9, 10), (30, 31, 32, 33, 34, 35, 3), 1.0),
    Passage("c", 0, (9,), ()),
    Passage("d", 2, (9, 7), (40, 41), 2.0),
]
HEAD = ("embedding", "residual.0", "residual.1")


def linear_of(kind: str) -> tuple[str, str]:
    """The module that reads the stream first, and the one that writes to it last."""
    return ("attn.c_attn", "mlp.c_proj") if kind == "gpt2" else ("self_attn.q_proj", "mlp.down_proj")


def rows_of(states: States, task: str, answer: int, place: str) -> torch.Tensor:
    """The rows of one passage."""
    kept = torch.tensor([states.row(n)[:2] == (task, answer) for n in range(len(states))])
    return states.at[place][kept]


def hidden(module: Any, one: Passage) -> tuple[torch.Tensor, ...]:
    """transformers' own hidden states [tokens, width]: the embedding, after each layer, the last of them normed."""
    ids = torch.tensor([[*one.prompt, *one.tokens]])
    with torch.no_grad():
        found = module(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    return tuple(h[0] for h in found)


def hooks_in(module: Any) -> int:
    return sum(len(inner._forward_hooks) + len(inner._forward_pre_hooks) for inner in module.modules())


@contextmanager
def no_hooks_left(model: HFModel) -> Iterator[None]:
    before = hooks_in(model.module)
    yield
    assert hooks_in(model.module) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_is_that_of_transformers(kind: str, folder_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu", batch_size=3)
    states = Capture(model, HEAD, EVERY).read(PASSAGES)
    with no_hooks_left(model):
        alone = Capture(model, ("residual.0",), ANSWER).read(PASSAGES)
    decoder = model.module.get_decoder()
    norm = decoder.ln_f if kind == "gpt2" else decoder.norm
    for one in PASSAGES:
        whole = hidden(model.module, one)
        told = {"rtol": 1e-4, "atol": 1e-4}
        for place, wanted in zip(HEAD[:2], whole, strict=False):
            torch.testing.assert_close(rows_of(states, one.task, one.answer, place), wanted, **told)
        last = rows_of(states, one.task, one.answer, HEAD[2])
        torch.testing.assert_close(norm(last), whole[2], **told)
        answers = rows_of(alone, one.task, one.answer, "residual.0")
        torch.testing.assert_close(answers, whole[1][len(one.prompt) :], **told)


@pytest.mark.parametrize("kind", KINDS)
def test_a_modules_input_and_output_are_what_it_takes_and_makes(kind: str, folder_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu")
    first, last = linear_of(kind)
    layer = Stack.of(model.module, model.name).layers[1]
    places = ("residual.0", f"in.1.{first}", f"in.1.{last}", f"out.1.{last}", "out.1.mlp")
    at = Capture(model, places).read(PASSAGES).at
    norm = layer.ln_1 if kind == "gpt2" else layer.input_layernorm
    torch.testing.assert_close(at[f"in.1.{first}"], norm(at["residual.0"]))
    torch.testing.assert_close(at[f"out.1.{last}"], layer.get_submodule(last)(at[f"in.1.{last}"]))
    torch.testing.assert_close(at["out.1.mlp"], at[f"out.1.{last}"])


@pytest.mark.parametrize("kind", KINDS)
def test_all_linear_modules_of_a_layer_are_named_also_beneath_an_adapter(
    kind: str, folder_of: Find, adapter_of: Find
) -> None:
    model = load_model(folder_of(kind), device="cpu")
    stack = Stack.of(model.module, model.name)
    bare = stack.linear(1)
    assert len(bare) == (4 if kind == "gpt2" else 7) and set(linear_of(kind)) <= set(bare)
    tuned = model.with_adapter(adapter_of(kind))
    assert stack.linear(1) == bare
    one = Capture(tuned, tuple(f"out.1.{path}" for path in bare)).read(PASSAGES).at
    assert [h.shape[-1] for h in one.values()] == [
        stack.layers[1].get_submodule(p)(one_input(stack, p)).shape[-1] for p in bare
    ]


def one_input(stack: Stack, path: str) -> torch.Tensor:
    inner = stack.layers[1].get_submodule(path).get_base_layer()
    return torch.zeros(1, inner.in_features if hasattr(inner, "in_features") else inner.weight.shape[0])


def log_probability(module: Any, one: Passage, size: int) -> torch.Tensor:
    logits = module(input_ids=torch.tensor([[*one.prompt, *one.tokens]]), use_cache=False).logits[0]
    logprobs = logits[len(one.prompt) - 1 : -1, :size].log_softmax(-1)
    return one.weight * logprobs.gather(1, torch.tensor(one.tokens)[:, None]).sum()


def double(folder: Path, kind: str) -> Any:
    """Load a model in float64 throughout: transformers' own norms round to float32, which differences would magnify."""
    module = AutoModelForCausalLM.from_pretrained(folder).double().eval()
    for inner in module.modules():
        if type(inner).__name__.endswith("RMSNorm"):
            scale = inner.weight + 1 if kind == "gemma3" else inner.weight
            eps = inner.eps if kind == "gemma3" else inner.variance_epsilon
            inner.forward = lambda x, scale=scale, eps=eps: (
                scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
            )
    return module.requires_grad_(False)


GRADIENTS = ("embedding", "residual.0", "residual.1", "in.1.{first}", "out.1.{last}", "in.0.{last}", "out.0.{first}")


@pytest.mark.medium
@pytest.mark.parametrize("place", GRADIENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_is_that_of_finite_differences(kind: str, place: str, folder_of: Find) -> None:
    first, last = linear_of(kind)
    place = place.format(first=first, last=last)
    module = double(folder_of(kind), kind)
    model = load_model(folder_of(kind), device="cpu").over(module, "double")
    passages = [one for one in PASSAGES if one.tokens]
    states = Capture(model, (f"gradient.{place}", "residual.1"), EVERY).read(passages)
    generator = torch.Generator().manual_seed(1)
    kinds = place.split(".")
    target: Any = Stack.of(module, "it").layers[int(kinds[1]) if len(kinds) > 1 else 0]
    if len(kinds) > 2:
        target = target.get_submodule(".".join(kinds[2:]))
    for one in passages:
        gradient = rows_of(states, one.task, one.answer, f"gradient.{place}")
        assert gradient.dtype == torch.float64
        push = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)

        def moved(by: float, push: torch.Tensor = push, one: Passage = one) -> torch.Tensor:
            if kinds[0] in ("embedding", "in"):
                handle = target.register_forward_pre_hook(lambda _, args: (args[0] + by * push, *args[1:]))
            else:
                handle = target.register_forward_hook(lambda *given: given[2] + by * push)
            with torch.no_grad():
                found = log_probability(module, one, model.size)
            handle.remove()
            return found

        step = 1e-5
        slope = (moved(step) - moved(-step)) / (2 * step)
        torch.testing.assert_close((gradient * push).sum(), slope, rtol=1e-5, atol=1e-7)


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_no_batch_and_no_order_changes_what_is_found(kind: str, folder_of: Find) -> None:
    places = (*HEAD, "gradient.residual.0", f"in.1.{linear_of(kind)[1]}")
    whole = Capture(load_model(folder_of(kind), device="cpu"), places).read(PASSAGES)
    for size in (1, 2):
        other = Capture(load_model(folder_of(kind), device="cpu", batch_size=size), places).read(PASSAGES[::-1])
        for one in PASSAGES:
            for place in places:
                mine, theirs = (rows_of(states, one.task, one.answer, place) for states in (whole, other))
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_rows_say_where_they_come_from(llama: HFModel) -> None:
    states = Capture(llama, ("embedding",), Span(-1, 2)).read(PASSAGES)
    told = [("b", 0, -1), ("b", 0, 0), ("b", 0, 1), ("a", 0, -1), ("a", 0, 0), ("b", 1, -1), ("b", 1, 0), ("b", 1, 1)]
    assert [states.row(n) for n in range(len(states))] == [*told, ("c", 0, -1), ("d", 2, -1), ("d", 2, 0), ("d", 2, 1)]
    tokens = [one.tokens[t] if t >= 0 else one.prompt[t] for one in PASSAGES for t in Span(-1, 2).over(one)]
    torch.testing.assert_close(states.at["embedding"], llama.module.get_input_embeddings().weight[tokens])


def test_the_prompts_last_token_is_read_without_the_answer(llama: HFModel) -> None:
    seen: list[torch.Size] = []
    handle = llama.module.get_input_embeddings().register_forward_hook(lambda *given: seen.append(given[1][0].shape))
    states = Capture(llama, ("residual.1",), PROMPT_LAST).read(PASSAGES)
    handle.remove()
    assert seen == [(len(PASSAGES), max(len(one.prompt) for one in PASSAGES))]
    whole = Capture(llama, ("residual.1",), EVERY).read(PASSAGES)
    torch.testing.assert_close(states.at["residual.1"], whole.at["residual.1"][whole.position == -1])


def test_nothing_is_found_where_nothing_is_asked(llama: HFModel) -> None:
    for asked in ([], [PASSAGES[3]]):
        states = Capture(llama, ("residual.0", "in.0.mlp.down_proj", "gradient.embedding")).read(asked)
        assert len(states) == 0
        assert [h.shape for h in states.at.values()] == [(0, 32), (0, 64), (0, 32)]


def test_a_pass_ends_where_the_last_place_is_seen(llama: HFModel) -> None:
    layers = Stack.of(llama.module, "it").layers
    passed: list[str] = []
    watched = {"second layer": layers[1], "head": llama.module.lm_head, "first mlp": layers[0].mlp}
    handles = [m.register_forward_pre_hook(lambda *_, name=n: passed.append(name)) for n, m in watched.items()]
    Capture(llama, ("embedding", "residual.0")).read(PASSAGES)
    assert passed == ["first mlp"]
    passed.clear()
    Capture(llama, ("out.0.self_attn.o_proj",)).read(PASSAGES)
    assert passed == []
    Capture(llama, ("residual.1",)).read(PASSAGES)
    assert passed == ["first mlp", "second layer"]
    for handle in handles:
        handle.remove()


def test_an_ended_pass_keeps_nothing_alive(llama: HFModel) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    layers = Stack.of(llama.module, "it").layers
    handle = layers[0].register_forward_hook(lambda *given: alive.append(weakref.ref(given[2])))
    gc.disable()
    try:
        Capture(llama, ("residual.0",)).read(PASSAGES)
        assert alive and all(one() is None for one in alive)
    finally:
        gc.enable()
        handle.remove()


@pytest.mark.parametrize("places", [("residual.0", "residual.1"), ("gradient.residual.0",)])
def test_no_hook_stays_after_an_error(places: tuple[str, ...], llama: HFModel) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    handle = Stack.of(llama.module, "it").layers[1].register_forward_pre_hook(fail)
    with no_hooks_left(llama), pytest.raises(ZeroDivisionError):
        Capture(llama, places).read(PASSAGES)
    handle.remove()
    Capture(llama, places).read(PASSAGES)


def test_gradients_are_had_where_the_caller_wants_none_and_leave_none_behind(llama: HFModel) -> None:
    wanted = Capture(llama, ("gradient.residual.0",)).read(PASSAGES).at["gradient.residual.0"]
    with torch.no_grad():
        found = Capture(llama, ("gradient.residual.0", "residual.1")).read(PASSAGES)
    torch.testing.assert_close(found.at["gradient.residual.0"], wanted)
    assert not any(h.requires_grad for h in found.at.values())
    assert all(p.grad is None and not p.requires_grad for p in llama.module.parameters())


# --------------------------------------------------------------------------------------------------------- differences


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_a_toggled_difference_is_that_of_two_models_loaded_apart(kind: str, folder_of: Find, adapter_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu", batch_size=2)
    tuned = model.with_adapter(adapter_of(kind))
    linear = [f"{side}.1.{path}" for side, path in zip(("in", "out"), linear_of(kind), strict=True)]
    places = ("residual.0", "residual.1", "gradient.residual.0", *linear)
    shown = [(one, one) for one in PASSAGES]
    found = Difference.of(model, tuned, places).read(shown)
    alone = load_model(adapter_of(kind), device="cpu")
    apart = Difference.of(load_model(folder_of(kind), device="cpu"), alone, places).read(shown)
    separately = [Capture(one, places).read(PASSAGES) for one in (load_model(folder_of(kind), device="cpu"), alone)]
    for place in places:
        assert found.at[place].abs().max() > 0.01
        torch.testing.assert_close(found.at[place], apart.at[place], rtol=1e-4, atol=1e-4)
        wanted = separately[1].at[place] - separately[0].at[place]
        torch.testing.assert_close(found.at[place], wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(Difference.of(model, model, ("residual.1",)).read(shown).at["residual.1"], torch.zeros(13, 32))


def test_an_answer_after_two_prompts_is_compared_token_by_token(llama: HFModel) -> None:
    longer = [Passage(one.task, one.answer, (50, 51, *one.prompt), one.tokens) for one in PASSAGES]
    found = Difference.of(llama, llama, ("residual.1",), Span(-1)).read(list(zip(PASSAGES, longer, strict=True)))
    one, two = (Capture(llama, ("residual.1",), Span(-1)).read(side).at["residual.1"] for side in (PASSAGES, longer))
    torch.testing.assert_close(found.at["residual.1"], two - one)
    with pytest.raises(UserError, match="prompts of different lengths"):
        Difference.of(llama, llama, ("residual.1",), EVERY).read(list(zip(PASSAGES, longer, strict=True)))


# ------------------------------------------------------------------------------------------------------------ refusals


def refused(match: str) -> Any:
    return pytest.raises(UserError, match=match)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("residual", "names no place"),
        ("residual.-1", "names no place"),
        ("residual.0.mlp", "names no place"),
        ("in.1", "names no place"),
        ("gradient", "names no place"),
        ("residual.2", "has 2 layers, counted from 0"),
        ("out.0.mlp.gate", "modules of that layer are self_attn.q_proj, "),
    ],
)
def test_a_place_that_is_not_there_is_refused_in_one_line(place: str, why: str, llama: HFModel) -> None:
    with refused(why) as caught:
        Capture(llama, ("residual.0", place))
    assert "\n" not in str(caught.value)


def test_models_of_other_shapes_are_refused(llama: HFModel, folder_of: Find, tmp_path: Path) -> None:
    def over(**changed: int) -> HFModel:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4} | changed
        return llama.over(LlamaForCausalLM(LlamaConfig(vocab_size=100, **sizes)).eval(), "other")

    with refused("is 32 wide at embedding, .* 16: compare"):
        Difference.of(llama, over(hidden_size=16), ("residual.0",))
    with refused("has 2 layers, .* has 3: compare"):
        Difference.of(llama, over(num_hidden_layers=3), ("residual.0",))
    with refused("is 64 wide at in.0.mlp.down_proj, .* 48: compare"):
        Difference.of(llama, over(intermediate_size=48), ("in.0.mlp.down_proj",))
    with refused("no in.0.self_attn.q_proj: modules of that layer are attn.c_attn"):
        Difference.of(llama, load_model(folder_of("gpt2"), device="cpu"), ("in.0.self_attn.q_proj",))


def test_a_model_without_a_stack_is_refused(llama: HFModel) -> None:
    module = LlamaForCausalLM(LlamaConfig(vocab_size=100, hidden_size=8, num_hidden_layers=2, num_attention_heads=1))
    module.model.layers = torch.nn.Sequential(*module.model.layers)
    with refused("is a LlamaForCausalLM, which has no known stack of layers"):
        Capture(llama.over(module, "sequential"), ("residual.0",))


def test_a_served_model_is_refused() -> None:
    with refused("has no layers here"):
        Capture(ScriptedModel(lambda *_: ""), ("residual.0",))


def test_what_does_not_fit_the_model_is_refused(llama: HFModel) -> None:
    with refused("do not fit the 256 positions"):
        Capture(llama, ("residual.0",)).read([Passage("a", 0, (5,) * 250, (6,) * 7)])
    with refused("without tokens"):
        Capture(llama, ("residual.0",)).read([Passage("a", 0, (), (6,))])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_of_a_quantised_model_the_stream_is_read_and_gradients_are_refused(llama: HFModel, folder_of: Find) -> None:
    plain = AutoModelForCausalLM.from_pretrained(folder_of("llama")).eval()
    module = torch.ao.quantization.quantize_dynamic(plain, {torch.nn.Linear}, dtype=torch.qint8)
    model = llama.over(module, "quantised")
    found = Capture(model, ("residual.0", "in.1.mlp.down_proj"), EVERY).read(PASSAGES)
    for one in PASSAGES[:1]:  # alone: such a layer scales its numbers by the batch that it is given
        alone = Capture(model, ("residual.0",), EVERY).read([one]).at["residual.0"]
        torch.testing.assert_close(alone, hidden(module, one)[1])
    assert found.at["in.1.mlp.down_proj"].shape[1] == 64
    with refused("has quantised weights, through which no gradient is had"):
        Capture(model, ("gradient.residual.0",))


def test_half_precision_is_given_as_float32(folder_of: Find) -> None:
    model = load_model(folder_of("llama"), device="cpu", dtype="bfloat16")
    states = Capture(model, ("residual.1", "gradient.residual.0")).read(PASSAGES)
    assert {h.dtype for h in states.at.values()} == {torch.float32}
    exact = Capture(load_model(folder_of("llama"), device="cpu"), ("residual.1",)).read(PASSAGES)
    torch.testing.assert_close(states.at["residual.1"], exact.at["residual.1"], rtol=0.1, atol=0.2)


def test_identities_tell_what_decides_the_numbers(llama: HFModel, adapter_of: Find, tmp_path: Path) -> None:
    tuned = llama.with_adapter(adapter_of())
    other = load_model(tiny_model(tmp_path / "other", seed=5), device="cpu")
    found = {
        Capture(model, places, span).identity
        for model in (llama, tuned, other)
        for places in (("residual.0",), ("residual.0", "residual.1"))
        for span in (ANSWER, EVERY)
    }
    assert len(found) == 12
