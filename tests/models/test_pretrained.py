"""Loading what a checked directory holds: damage and misfits are one line, nothing is filled with random numbers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scrutable.core.errors import UserError
from scrutable.models.hf import Loading, load_model
from scrutable.models.loading import load_pair

Find = Callable[..., Path]


@pytest.fixture
def broken(folder_of: Find, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder_of(), tmp_path / "copy"))


def refused(folder: Path, **knobs: object) -> str:
    with pytest.raises(UserError) as caught:
        load_model(folder, **knobs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_tensor_is_refused_not_invented(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in refused(broken)


def test_a_tensor_of_another_shape_is_refused(broken: Path) -> None:
    tensors = load_file(broken / "model.safetensors")
    tensors["lm_head.weight"] = torch.zeros(3, 3)
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert "lm_head.weight" in refused(broken)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"\xff" * 100),
        ("config.json", b"{"),
        ("config.json", b"{}"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "never-heard-of"}'),
        ("tokenizer.json", b"{"),
    ],
)
def test_damaged_files_are_refused_in_one_line(broken: Path, name: str, content: bytes) -> None:
    (broken / name).write_bytes(content)
    assert "copy" in refused(broken)


def test_code_beside_the_weights_is_not_run(broken: Path) -> None:
    ran = broken / "ran"
    (broken / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (broken / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}'
    )
    assert "trust_remote_code" in refused(broken)
    assert not ran.exists()


OWN_CODE = """from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({ran!r}).touch()
class C(LlamaConfig):
    model_type = "its-own"
class M(LlamaForCausalLM):
    config_class = C
"""


@pytest.fixture
def with_code(broken: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose own code leaves a file `ran` beside its directory."""
    import transformers.dynamic_module_utils as dynamic

    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(broken.parent / "modules"))
    config = json.loads((broken / "config.json").read_text())
    code = {"model_type": "its-own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (broken / "own.py").write_text(OWN_CODE.format(ran=str(broken.parent / "ran")))
    (broken / "config.json").write_text(json.dumps(config | code))
    return broken


@pytest.mark.parametrize("before", [False, True], ids=["alone", "after another adapter"])
def test_trust_does_not_reach_a_base_that_only_an_adapter_names(
    with_code: Path, adapter_of: Find, before: bool
) -> None:
    adapter = shutil.copytree(adapter_of(), with_code.parent / "tuned")
    told = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": str(with_code)}))
    with pytest.raises(UserError, match="where it is named itself"):
        load_pair(adapter_of(seed=2) if before else None, adapter, Loading(device="cpu", trust_remote_code=True))
    assert not (with_code.parent / "ran").exists()


def test_a_base_that_is_named_runs_its_code_when_trusted(with_code: Path, adapter_of: Find) -> None:
    loading = Loading(device="cpu", trust_remote_code=True)
    before, after = load_pair(with_code, adapter_of(), loading, verify=False)
    assert (with_code.parent / "ran").exists()
    assert before.module is after.module


def test_a_device_that_is_not_there_is_refused(folder_of: Find) -> None:
    assert "is unknown" in refused(folder_of(), device="abacus")
    if not torch.cuda.is_available():
        assert "no GPU" in refused(folder_of(), device="cuda")


def test_an_unknown_dtype_is_refused(folder_of: Find) -> None:
    assert "float32" in refused(folder_of(), device="cpu", dtype="float3")


def test_a_model_without_keys_and_values_is_refused(broken: Path) -> None:
    import transformers

    config = transformers.MambaConfig(vocab_size=73, hidden_size=32, num_hidden_layers=1, state_size=4)
    (broken / "model.safetensors").unlink()
    transformers.MambaForCausalLM(config).save_pretrained(broken)
    assert "running state" in refused(broken)


def test_loading_draws_nothing_global(folder_of: Find) -> None:
    before = torch.get_rng_state()
    load_model(folder_of(), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_prints_nothing(folder_of: Find, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(folder_of(), device="cpu")
    assert capfd.readouterr() == ("", "")
