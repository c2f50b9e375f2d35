"""Tiny models, written once for all tests of this place, and never changed by them (copy one to break it)."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import tiny_adapter, tiny_model

from scrutable.models.hf import HFModel, load_model

KINDS = ("llama", "qwen3", "gemma3", "gpt2")


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A tiny model's directory, by kind and chat template."""
    made: dict[tuple[str, bool], Path] = {}

    def find(kind: str = "llama", chat_template: bool = True) -> Path:
        key = (kind, chat_template)
        if key not in made:
            made[key] = tiny_model(tmp_path_factory.mktemp(kind) / kind, kind, chat_template, padding_rows=5)
        return made[key]

    return find


@pytest.fixture(scope="session")
def adapter_of(folder_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A random adapter's directory, by the kind of its base and a seed."""
    made: dict[tuple[str, int], Path] = {}

    def find(kind: str = "llama", seed: int = 1) -> Path:
        key = (kind, seed)
        if key not in made:
            made[key] = tiny_adapter(folder_of(kind), tmp_path_factory.mktemp("adapter") / "tuned", seed=seed)
        return made[key]

    return find


@pytest.fixture(scope="session")
def llama(folder_of: Callable[..., Path]) -> HFModel:
    """A loaded tiny Llama; tests must not change it."""
    return load_model(folder_of("llama"), device="cpu")
