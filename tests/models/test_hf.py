"""HFModel: answers by seed, exact log-probabilities in any batch, identity by content."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.conftest import KINDS
from tests.tiny import tiny_model

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Message, Sampling
from scrutable.models import hf
from scrutable.models.base import Model, OpenModel
from scrutable.models.hf import HFModel, Loading, load_model

Find = Callable[..., Path]


def ask(content: str, system: str = "") -> Conversation:
    head = (Message(role="system", content=system),) if system else ()
    return (*head, Message(role="user", content=content))


ASKED = [
    ask("what is the capital of france ?"),
    ask("sky ?"),
    ask("it " * 30),
    ask("is it ?", "be short ."),
    ask("sky ?"),
]
DRAWN = Sampling(max_tokens=15, seed=3)


def test_it_is_an_open_model(llama: HFModel) -> None:
    assert isinstance(llama, OpenModel)
    assert isinstance(llama, Model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat_template", [True, False])
def test_answers_and_log_probabilities_hang_together(kind: str, chat_template: bool, folder_of: Find) -> None:
    """A greedy answer's every token is the likeliest, by the log-probabilities of the same model."""
    model = load_model(folder_of(kind, chat_template), device="cpu")
    made = model.generate(ASKED, Sampling(temperature=0.0, max_tokens=10))
    told = model.logprobs([model.encode(a) for a in ASKED], [g.tokens or () for g in made])
    for generation, tensor in zip(made, told, strict=True):
        assert generation.failure is None
        assert generation.tokens == tuple(tensor.argmax(-1).tolist())
        assert generation.answer == model.decode(generation.tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_do_not_depend_on_batch_or_order(kind: str, folder_of: Find) -> None:
    model = load_model(folder_of(kind), device="cpu", batch_size=3)
    prompts = [model.encode(a) for a in ASKED]
    answers = [list(range(8, 9 + 4 * i)) for i in range(len(prompts))]
    together = model.logprobs(prompts, answers)
    turned = model.logprobs(prompts[::-1], answers[::-1])[::-1]
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        alone = model.logprobs([prompt], [answer])[0]
        torch.testing.assert_close(together[i], alone, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(turned[i], alone, atol=2e-5, rtol=1e-4)


def test_log_probabilities_sum_to_one_over_the_tokens_alone(llama: HFModel) -> None:
    """The embedding has five padding rows; a model without them says the same."""
    told = llama.logprobs([[2, 8]], [[9, 10]])[0]
    assert told.shape[1] == len(llama.vocabulary) == llama.module.lm_head.weight.shape[0] - 5
    torch.testing.assert_close(told.exp().sum(-1), torch.ones(2))


def test_a_large_vocabulary_is_worked_through_in_pieces(llama: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, answers = [llama.encode(a) for a in ASKED], [[9, 10, 11]] * len(ASKED)
    whole = llama.logprobs(prompts, answers)
    sizes: list[int] = []
    score = hf.score_answers
    monkeypatch.setattr(hf, "score_answers", lambda m, p, a, v: (sizes.append(len(p)), score(m, p, a, v))[1])
    monkeypatch.setattr(hf, "_LOGITS_ON_CPU", 2 * 3 * 78)
    for a, b in zip(llama.logprobs(prompts, answers), whole, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)
    assert max(sizes) == 2


def test_an_empty_answer_has_no_rows(llama: HFModel) -> None:
    assert [tuple(t.shape) for t in llama.logprobs([[2], [2]], [[], [5]])] == [(0, 73), (1, 73)]


def test_the_same_batch_answers_the_same(llama: HFModel) -> None:
    assert [g.tokens for g in llama.generate(ASKED, DRAWN)] == [g.tokens for g in llama.generate(ASKED, DRAWN)]


def test_an_answer_does_not_depend_on_how_the_batch_is_cut(folder_of: Find, llama: HFModel) -> None:
    small = load_model(folder_of(), device="cpu", batch_size=2)
    assert [g.tokens for g in small.generate(ASKED, DRAWN)] == [g.tokens for g in llama.generate(ASKED, DRAWN)]


def test_another_seed_answers_otherwise(llama: HFModel) -> None:
    other = DRAWN.model_copy(update={"seed": 4})
    assert [g.tokens for g in llama.generate(ASKED, DRAWN)] != [g.tokens for g in llama.generate(ASKED, other)]


def test_repeats_in_a_batch_are_drawn_apart(llama: HFModel) -> None:
    assert len({g.tokens for g in llama.generate([ASKED[0]] * 8, DRAWN)}) > 4


def test_nothing_global_is_drawn_from(llama: HFModel) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    llama.generate(ASKED, DRAWN)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # type: ignore[index]


def test_a_complete_answer_ends_with_an_end_token_and_a_cut_one_does_not(llama: HFModel) -> None:
    made = llama.generate(ASKED * 20, Sampling(max_tokens=20, seed=1))
    assert {g.complete for g in made} == {True, False}
    for generation in made:
        assert generation.tokens is not None
        assert generation.complete == (generation.tokens[-1] in llama.ends)
        assert not llama.ends & set(generation.tokens[:-1])
        assert len(generation.tokens) == 20 or generation.complete


def test_several_end_tokens_are_obeyed(folder_of: Find, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of(), tmp_path / "copy"))
    (folder / "generation_config.json").write_text('{"eos_token_id": [3, 20, 21, 22, 23]}')
    model = load_model(folder, device="cpu")
    assert model.ends == {3, 20, 21, 22, 23}
    ended = {g.tokens[-1] for g in model.generate(ASKED * 20, DRAWN) if g.tokens and g.complete}
    assert len(ended) > 2


def test_usage_counts_tokens(llama: HFModel) -> None:
    for asked, generation in zip(ASKED, llama.generate(ASKED, DRAWN), strict=True):
        assert generation.usage.prompt_tokens == len(llama.encode(asked))
        assert generation.usage.answer_tokens == len(generation.tokens or ())
        assert generation.usage.generations == 1


def test_a_prompt_that_cannot_be_asked_fails_alone(folder_of: Find) -> None:
    model = load_model(folder_of("gpt2"), device="cpu")  # 256 positions
    asked = [ASKED[0], ask("it " * 300), ask("\ud800"), ASKED[1]]
    made = model.generate(asked, DRAWN)
    assert [g.failure is None for g in made] == [True, False, False, True]
    assert "256 positions" in str(made[1].failure)
    assert made[1].answer == ""


def test_an_answer_is_cut_where_the_positions_end(folder_of: Find) -> None:
    model = load_model(folder_of("gpt2"), device="cpu")
    asked = ask("it " * (250 - len(model.encode(ask("")))))
    neighbours = [ask(word) for word in ("it", "sky", "is it", "paris", "rome")]
    made = model.generate([asked, *neighbours], Sampling(max_tokens=50, temperature=1.0))
    assert all(g.failure is None for g in made)
    assert len(made[0].tokens or ()) <= 6
    assert max(len(g.tokens or ()) for g in made) > 6


def test_scoring_beyond_the_positions_is_refused(llama: HFModel) -> None:
    with pytest.raises(UserError, match="256 positions"):
        llama.logprobs([[5] * 250], [[5] * 10])


def test_no_conversations_no_answers(llama: HFModel) -> None:
    assert llama.generate([], DRAWN) == []
    assert llama.logprobs([], []) == []


def test_a_batch_that_does_not_fit_is_halved(llama: HFModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [g.tokens for g in llama.generate(ASKED, DRAWN)]
    draw = hf.draw_answers

    def full(module: object, prompts: list[list[int]], *rest: object) -> list[list[int]]:
        if len(prompts) > 2:
            raise torch.OutOfMemoryError
        return draw(module, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hf, "draw_answers", full)
    assert [g.tokens for g in llama.generate(ASKED, DRAWN)] == whole


def test_identity_is_that_of_the_content(folder_of: Find, llama: HFModel, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder_of(), tmp_path / "elsewhere"))
    assert load_model(copy, device="cpu", batch_size=7).identity == llama.identity
    other = tiny_model(tmp_path / "other", seed=1, padding_rows=5)
    thinking = load_model(copy, device="cpu", chat_options={"thinking": True})
    assert len({llama.identity, load_model(other).identity, thinking.identity}) == 3


def test_identity_sees_config_template_and_adapter(
    folder_of: Find, adapter_of: Find, llama: HFModel, tmp_path: Path
) -> None:
    turned = Path(shutil.copytree(folder_of(), tmp_path / "turned"))
    config = (turned / "config.json").read_text()
    (turned / "config.json").write_text(config.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-03'))
    bare = Path(shutil.copytree(folder_of(), tmp_path / "bare"))
    (bare / "chat_template.jinja").unlink()
    views = [llama, load_model(turned), load_model(bare), load_model(adapter_of()), load_model(adapter_of(seed=2))]
    assert len({view.identity for view in views}) == 5


def test_identity_sees_what_the_weights_are_rounded_to(folder_of: Find, adapter_of: Find, llama: HFModel) -> None:
    """Whoever goes on with a run on another device gets another dtype by default: another model, not the same one."""
    rounded = load_model(adapter_of(), device="cpu", dtype="bfloat16")
    assert load_model(folder_of(), device="cpu", dtype="float32").identity == llama.identity
    assert len({llama.identity, rounded.base.identity, load_model(adapter_of()).identity, rounded.identity}) == 4


def test_identity_sees_what_ends_an_answer(folder_of: Find, llama: HFModel, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder_of(), tmp_path / "copy"))
    (copy / "generation_config.json").write_text('{"eos_token_id": [3, 11]}')
    assert load_model(copy, device="cpu").ends == {3, 11}
    assert load_model(copy, device="cpu").identity != llama.identity


def test_an_adapter_with_a_tokenizer_of_its_own_speaks_by_it(folder_of: Find, adapter_of: Find, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(adapter_of(), tmp_path / "tuned"))
    for file in folder_of().glob("tokenizer*"):
        shutil.copy(file, adapter)
    (adapter / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %} red")
    tuned = load_model(adapter, device="cpu")
    assert tuned.tokenizer.decode(tuned.encode(ask("sky"))) == "sky red"
    assert tuned.tokenizer.decode(tuned.base.encode(ask("sky"))) == "<bos> <user> sky <assistant>"


def test_knobs_may_be_given_as_a_record_or_by_name(folder_of: Find) -> None:
    model = load_model(folder_of(), Loading(device="cpu", dtype="bfloat16"), batch_size=2)
    assert (model.batch_size, model.module.dtype) == (2, torch.bfloat16)
    assert model.logprobs([[5]], [[6]])[0].dtype == torch.float32


def test_where_it_runs_is_no_part_of_a_runs_digest() -> None:
    assert Loading(device="cuda", batch_size=3).digest() == Loading().digest()
    assert Loading(dtype="bfloat16").digest() != Loading().digest()
