"""Adapters on shared weights: each view answers as its own model would; another base's adapter is refused."""

import json
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from tests.models.conftest import KINDS
from tests.tiny import tiny_adapter, tiny_model
from transformers import AutoModelForCausalLM

from scrutable.core.errors import UserError
from scrutable.models.adapters import base_of
from scrutable.models.hf import HFModel, load_model

Find = Callable[..., Path]
PROMPT, ANSWER = [2, 5, 7, 8, 9], [11, 12, 3]


def spoken(model: HFModel) -> torch.Tensor:
    return model.logprobs([PROMPT], [ANSWER])[0]


def expected(folder: Path, adapter: Path | None, model: HFModel) -> torch.Tensor:
    """The same by transformers and PEFT alone, on a model of its own."""
    module = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        module = PeftModel.from_pretrained(module, adapter)
    with torch.no_grad():
        logits = module(input_ids=torch.tensor([PROMPT + ANSWER])).logits
    return logits[0, len(PROMPT) - 1 : -1, : max(model.vocabulary.values()) + 1].log_softmax(-1)


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_base_and_two_adapters_take_turns_on_one_set_of_weights(kind: str, folder_of: Find, adapter_of: Find) -> None:
    one, two = adapter_of(kind, seed=1), adapter_of(kind, seed=2)
    base = load_model(folder_of(kind), device="cpu")
    views = {None: base, one: base.with_adapter(one), two: base.with_adapter(two)}
    assert len({id(view.module) for view in views.values()}) == 1
    told = {which: expected(folder_of(kind), which, base) for which in views}
    assert (told[one] - told[None]).abs().max() > 0.1 < (told[one] - told[two]).abs().max()
    for which in (one, None, two, one, two, None, None, one):
        torch.testing.assert_close(spoken(views[which]), told[which], atol=2e-5, rtol=1e-4)


def test_an_adapter_directory_brings_its_base(folder_of: Find, adapter_of: Find) -> None:
    tuned = load_model(adapter_of(), device="cpu")
    torch.testing.assert_close(spoken(tuned), expected(folder_of(), adapter_of(), tuned), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(spoken(tuned.base), expected(folder_of(), None, tuned), atol=2e-5, rtol=1e-4)


def test_loading_one_shows_no_warning_of_the_libraries(folder_of: Find, adapter_of: Find) -> None:
    base, adapter = load_model(folder_of(), device="cpu"), adapter_of()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", FutureWarning)
        base.with_adapter(adapter)
    assert not [one for one in told if one.category is FutureWarning]


def test_uses_may_nest(folder_of: Find, adapter_of: Find) -> None:
    tuned = load_model(adapter_of(), device="cpu")
    alone = spoken(tuned)
    with tuned.opened() as module:
        spoken(tuned.base)
        again = module(input_ids=torch.tensor([PROMPT + ANSWER])).logits[0, len(PROMPT) - 1 : -1, : alone.shape[1]]
    torch.testing.assert_close(again.log_softmax(-1), alone, atol=2e-5, rtol=1e-4)


def test_threads_do_not_see_each_others_adapter(adapter_of: Find) -> None:
    tuned = load_model(adapter_of(), device="cpu")
    told = {False: spoken(tuned.base), True: spoken(tuned)}
    wrong: list[bool] = []

    def ask(adapted: bool) -> None:
        for _ in range(20):
            wrong.append(not torch.allclose(spoken(tuned if adapted else tuned.base), told[adapted], atol=1e-5))

    threads = [threading.Thread(target=ask, args=(adapted,)) for adapted in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 40
    assert not any(wrong)


def test_the_same_adapter_is_loaded_once(adapter_of: Find, tmp_path: Path) -> None:
    tuned = load_model(adapter_of(), device="cpu")
    copy = shutil.copytree(adapter_of(), tmp_path / "copy")
    assert tuned.base.with_adapter(copy).identity == tuned.identity
    assert len(tuned._weights._loaded) == 1


def test_nothing_is_left_trainable(adapter_of: Find) -> None:
    tuned = load_model(adapter_of(), device="cpu")
    spoken(tuned)
    assert not any(p.requires_grad for p in tuned.module.parameters())


def test_the_base_is_found_by_a_path_relative_to_the_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_model(tmp_path / "base")
    adapter = tiny_adapter(base, tmp_path / "runs" / "tuned", relative=True)
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "../../base"
    monkeypatch.chdir("/")
    assert base_of(adapter) == str(base.resolve())


def named(folder: Path, name: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
    return folder


def test_a_hub_name_stays_a_name(tmp_path: Path) -> None:
    assert base_of(named(tmp_path / "a", "someone/model")) == "someone/model"


def test_the_built_in_model_is_known_wherever_it_lay(tmp_path: Path) -> None:
    assert base_of(named(tmp_path / "a", "/elsewhere/site-packages/scrutable/models/pidgin")) == "pidgin"


@pytest.mark.parametrize("name", [None, "", "/gone/base", "../gone"])
def test_a_base_that_is_not_there_is_one_line(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(UserError, match="BEFORE"):
        base_of(named(tmp_path / "a", name))


def refusal(base: Path, adapter: Path) -> str:
    model = load_model(base, device="cpu")
    before = spoken(model)
    with pytest.raises(UserError) as caught:
        model.with_adapter(adapter)
    torch.testing.assert_close(spoken(model), before)  # the base is as it was
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_adapter_of_another_architecture_is_refused(folder_of: Find, adapter_of: Find) -> None:
    assert "another base" in refusal(folder_of("gpt2"), renamed(adapter_of("llama"), ""))


def test_an_adapter_of_another_shape_is_refused(folder_of: Find, adapter_of: Find, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter_of(), tmp_path / "copy"))
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "adapter_model.safetensors")
    key = next(k for k in tensors if k.endswith("q_proj.lora_A.weight"))
    tensors[key] = torch.zeros(4, 48)
    save_file(tensors, copy / "adapter_model.safetensors")
    assert "takes 32 numbers, the adapter's 48" in refusal(folder_of(), copy)


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(folder_of: Find, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=9, padding_rows=5)
    assert "was trained on" in refusal(folder_of(), tiny_adapter(other, tmp_path / "tuned"))


def test_unless_the_user_says_so(folder_of: Find, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=9, padding_rows=5)
    adapter = tiny_adapter(other, tmp_path / "tuned")
    base = load_model(folder_of(), device="cpu")
    assert not torch.equal(spoken(base.with_adapter(adapter, verify=False)), spoken(base))


def renamed(adapter: Path, name: str) -> Path:
    """A copy beside it whose config names no base that is here, so that only the shapes can tell."""
    copy = adapter.parent / "renamed"
    shutil.copytree(adapter, copy, dirs_exist_ok=True)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
    return copy


def test_a_full_model_is_no_adapter(llama: HFModel, folder_of: Find) -> None:
    with pytest.raises(UserError, match="full model"):
        llama.with_adapter(folder_of("qwen3"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "PROMPT_TUNING"),
        (LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", bias="all"), "biases"),
    ],
)
def test_an_adapter_that_cannot_be_switched_off_is_refused(
    folder_of: Find, tmp_path: Path, config: LoraConfig, says: str
) -> None:
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(folder_of()), config)
    tuned.save_pretrained(tmp_path / "tuned")
    assert says in refusal(folder_of(), tmp_path / "tuned")


def embedding_saved(base: Path, folder: Path, *, rows: int = 0, moved: float = 0.0) -> Path:
    """An adapter saved with the whole embedding, which is longer by `rows`, or has other numbers, than the base's."""
    module = AutoModelForCausalLM.from_pretrained(base)
    module.resize_token_embeddings(module.config.vocab_size + rows, mean_resizing=False)
    tuned = get_peft_model(
        module, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
    )
    with torch.no_grad():
        tuned.get_input_embeddings().weight.add_(moved)
    tuned.save_pretrained(folder, save_embedding_layers=True)
    return folder


@pytest.mark.parametrize(
    "kind", ["llama", "qwen3"]
)  # with an embedding of its own for the output, and with one for both
@pytest.mark.parametrize(("rows", "moved", "says"), [(0, 0.1, "with other numbers"), (4, 0.0, "instead of")])
def test_an_adapter_that_would_change_the_base_is_refused(
    kind: str, rows: int, moved: float, says: str, folder_of: Find, tmp_path: Path
) -> None:
    told = refusal(folder_of(kind), embedding_saved(folder_of(kind), tmp_path / "tuned", rows=rows, moved=moved))
    assert says in told and "merge it" in told


def test_an_adapter_that_holds_the_bases_embedding_as_it_is_does_no_harm(folder_of: Find, tmp_path: Path) -> None:
    base = load_model(folder_of(), device="cpu")
    before = spoken(base)
    tuned = base.with_adapter(embedding_saved(folder_of(), tmp_path / "tuned"))
    assert not torch.equal(spoken(tuned), before)
    torch.testing.assert_close(spoken(base), before)


def test_an_embedding_saved_beside_the_bases_is_switched_with_the_adapter(folder_of: Find, tmp_path: Path) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(folder_of()), config)
    with torch.no_grad():
        tuned.get_input_embeddings().weight.add_(0.3)
    tuned.save_pretrained(tmp_path / "tuned")
    base = load_model(folder_of(), device="cpu")
    before = spoken(base)
    view = base.with_adapter(tmp_path / "tuned")
    torch.testing.assert_close(spoken(view), expected(folder_of(), tmp_path / "tuned", view), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(spoken(base), before)


def test_a_damaged_adapter_is_refused(folder_of: Find, adapter_of: Find, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter_of(), tmp_path / "copy"))
    (copy / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    assert "damaged" in refusal(folder_of(), copy)
