"""Names to models, and pairs that share what they can."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import tiny_adapter, tiny_model

from scrutable.core.errors import UserError
from scrutable.models import source
from scrutable.models.adapters import base_of
from scrutable.models.api import ServedModel
from scrutable.models.hf import HFModel, Loading
from scrutable.models.loading import load_pair, open_model, told_addresses

Find = Callable[..., Path]
CPU = Loading(device="cpu")


def test_a_directory_is_loaded(folder_of: Find) -> None:
    assert isinstance(open_model(folder_of(), CPU), HFModel)


def test_a_served_name_is_asked_at_the_usual_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host:1/v1")
    found = open_model("served:some/model")
    assert isinstance(found, ServedModel)
    assert found.name == "some/model"


def test_an_address_names_its_model() -> None:
    found = open_model("http://host:8000/v1#some/model")
    assert isinstance(found, ServedModel)
    assert found.name == "some/model"


def test_a_run_is_told_where_its_models_are_served(llama: HFModel) -> None:
    one, two = open_model("http://host:8000/v1#some/model"), open_model("http://other/v1/#judge")
    said = "some/model at http://host:8000/v1, judge at http://other/v1"
    assert told_addresses(one, two, llama, None, one) == {"served": said}
    assert told_addresses(llama) == {}


@pytest.mark.parametrize("name", ["served:", "http://host:8000/v1", "http://host:8000/v1#"])
def test_a_server_without_a_model_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name"):
        open_model(name)


def test_an_adapter_alone_brings_its_base(adapter_of: Find) -> None:
    before, after = load_pair(None, adapter_of(), CPU)
    assert after.base is before
    assert before.identity != after.identity


def test_a_full_model_alone_is_no_pair(folder_of: Find) -> None:
    with pytest.raises(UserError, match="BEFORE"):
        load_pair(None, folder_of(), CPU)


def test_a_model_and_its_adapter_share_weights(folder_of: Find, adapter_of: Find) -> None:
    before, after = load_pair(folder_of(), adapter_of(), CPU)
    assert before.module is after.module


def test_two_adapters_of_one_base_share_weights(adapter_of: Find) -> None:
    before, after = load_pair(adapter_of(seed=1), adapter_of(seed=2), CPU)
    assert before.module is after.module
    assert len({before.identity, after.identity, before.base.identity}) == 3


def test_two_adapters_of_two_bases_do_not(adapter_of: Find, tmp_path: Path) -> None:
    other = tiny_adapter(tiny_model(tmp_path / "base", seed=5), tmp_path / "tuned")
    before, after = load_pair(adapter_of(), other, CPU)
    assert before.module is not after.module


def test_two_full_models_are_two(folder_of: Find, tmp_path: Path) -> None:
    before, after = load_pair(folder_of(), tiny_model(tmp_path / "tuned", seed=5), CPU)
    assert before.module is not after.module


def test_the_same_directory_twice_is_one_model(folder_of: Find) -> None:
    before, after = load_pair(folder_of(), folder_of(), CPU)
    assert before is after


def test_an_adapter_of_another_base_is_refused(folder_of: Find, tmp_path: Path) -> None:
    other = tiny_adapter(tiny_model(tmp_path / "base", seed=5, padding_rows=5), tmp_path / "tuned")
    with pytest.raises(UserError, match="was trained on"):
        load_pair(folder_of(), other, CPU)


def test_the_built_in_model_is_named_by_its_adapters_not_by_its_place(
    folder_of: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model

    monkeypatch.setattr(source, "BUILT_IN_FOLDER", folder_of())
    model = open_model("pidgin", CPU)
    assert isinstance(model, HFModel)
    tuned = get_peft_model(model.module, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    tuned.save_pretrained(tmp_path / "tuned")
    assert base_of(tmp_path / "tuned") == "pidgin"
    before, after = load_pair(None, tmp_path / "tuned", CPU)
    assert (before.name, after.name) == ("pidgin", "tuned")


def test_the_built_in_model_refuses_an_adapter_of_another_base(
    folder_of: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BUILT_IN_FOLDER", folder_of())
    other = tiny_adapter(tiny_model(tmp_path / "base", seed=5, padding_rows=5), tmp_path / "tuned")
    with pytest.raises(UserError, match="was trained on"):
        load_pair("pidgin", other, CPU)
