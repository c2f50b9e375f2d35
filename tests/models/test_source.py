"""Names and paths resolved; everything that can be wrong with a directory is one line that says what to do."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from scrutable.core.errors import UserError
from scrutable.models import source
from scrutable.models.source import find_source, weights_digest

Find = Callable[..., Path]


def refused(name: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        find_source(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def broken(folder_of: Find, tmp_path: Path) -> Path:
    """A copy of a good directory, to be broken."""
    return Path(shutil.copytree(folder_of(), tmp_path / "copy"))


def test_a_directory_is_called_by_its_last_part(folder_of: Find) -> None:
    found = find_source(folder_of("qwen3"))
    assert (found.name, found.adapter) == ("qwen3", False)


def test_an_adapter_is_told_from_a_full_model(adapter_of: Find) -> None:
    assert find_source(adapter_of()).adapter


def test_a_missing_path_is_refused() -> None:
    assert "there is no directory" in refused("./nowhere/model")


def test_a_name_that_the_hub_cannot_give_is_refused() -> None:
    assert "neither a directory here nor a hub model" in refused("nobody/nothing")


def test_a_hub_name_is_fetched_without_pickles_or_code(folder_of: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[str]] = {}

    def fetch(name: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return str(folder_of())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert find_source("someone/model").name == "someone/model"
    assert not {"*.bin", "*.pt", "*.py", "*"} & set(asked["someone/model"])


def test_a_file_is_refused(folder_of: Find) -> None:
    assert "is a file" in refused(folder_of() / "config.json")


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    assert "neither config.json nor adapter_config.json" in refused(tmp_path)


def test_a_directory_without_weights_is_refused(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    assert "holds no weights" in refused(broken)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_and_not_opened(broken: Path, name: str) -> None:
    (broken / "model.safetensors").rename(broken / name)
    assert "pickled weights" in refused(broken)


def test_a_pickled_adapter_is_refused(adapter_of: Find, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter_of(), tmp_path / "adapter"))
    (copy / "adapter_model.safetensors").rename(copy / "adapter_model.bin")
    assert "pickled weights" in refused(copy)


@pytest.mark.parametrize("name", ["adapter_model_2.safetensors", "adapter_model-00001-of-00001.safetensors"])
def test_safetensors_that_peft_does_not_read_do_not_let_a_pickle_in(
    adapter_of: Find, tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(adapter_of(), tmp_path / "adapter"))
    (copy / "adapter_model.safetensors").rename(copy / name)
    assert "holds no weights: expected adapter_model.safetensors" in refused(copy)
    (copy / "adapter_model.bin").write_bytes(b"")
    assert "pickled weights" in refused(copy)


def test_a_directory_without_a_tokenizer_is_refused(broken: Path) -> None:
    (broken / "tokenizer.json").unlink()
    assert "holds no tokenizer" in refused(broken)


def test_the_built_in_model_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BUILT_IN_FOLDER", tmp_path)
    assert "scrutable pidgin build" in refused("pidgin")


def test_the_digest_sees_any_tensor_change(broken: Path) -> None:
    from safetensors.torch import load_file, save_file

    before = weights_digest(broken)
    assert weights_digest(broken) == before
    for name in load_file(broken / "model.safetensors"):
        tensors = load_file(broken / "model.safetensors")
        tensors[name] = tensors[name] + 0.5
        changed = broken / name
        changed.mkdir()
        save_file(tensors, changed / "model.safetensors", metadata={"format": "pt"})
        assert weights_digest(changed) != before, name


@pytest.mark.medium
def test_the_digest_sees_one_byte_anywhere_in_a_large_file(tmp_path: Path) -> None:
    """Written as a hole and one byte, so that 80 MB cost nothing."""
    digests = set()
    for place in (0, 50_000_000, 70_000_001, 79_999_999):
        folder = tmp_path / str(place)
        folder.mkdir()
        header = json.dumps({"w": {"dtype": "U8", "shape": [80_000_000], "data_offsets": [0, 80_000_000]}}).encode()
        with (folder / "model.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 80_000_000)
            file.seek(8 + len(header) + place)
            file.write(b"\x01")
        digests.add(weights_digest(folder))
    assert len(digests) == 4


def test_a_file_is_hashed_once_until_it_is_written_again(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, file = weights_digest(broken), broken / "model.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(source.hashlib, "file_digest", None)  # to be called is an error
        assert weights_digest(broken) == before
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert weights_digest(broken) != before
