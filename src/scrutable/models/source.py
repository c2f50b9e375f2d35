"""Where a model's files are: names and paths resolved to a directory, checked before anything is loaded.

Everything that can be wrong with a directory is found here and said in one line: a missing path, no weights, no
tokenizer, weights that exist only as pickles. Pickled weights are refused because loading them can run foreign code;
only safetensors are read. What is *in* the files is the business of `hf.py` and `adapters.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scrutable.core.errors import ModelFailure, UserError, boundary
from scrutable.core.records import digest_of

BUILT_IN = "pidgin"
BUILT_IN_FOLDER = Path(__file__).parent / "pidgin"

ADAPTER_WEIGHTS = "adapter_model.safetensors"  # where PEFT finds no file of this name, it goes on to a pickle
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
    "*.tiktoken",
)


@dataclass(frozen=True)
class Source:
    """A model on disk: its directory, how people call it, and whether it is a PEFT adapter of another model."""

    folder: Path
    name: str
    adapter: bool


def find_source(source: str | Path, *, trust_remote_code: bool = False) -> Source:
    """Resolve a directory, hub name or "pidgin" to a checked directory.

    A hub name is fetched into the hub's own cache (safetensors, tokenizer and config only; code only when trusted).
    Errors: UserError, one line, for whatever is missing or pickled.
    """
    text = str(source)
    if text == BUILT_IN:
        if not any(BUILT_IN_FOLDER.glob("*.safetensors")):
            raise UserError(
                "the built-in model is not part of this installation: make it with `scrutable pidgin build`"
            )
        return Source(BUILT_IN_FOLDER, BUILT_IN, adapter=False)
    if text.startswith(("served:", "http://", "https://")):
        raise UserError(f"{text} answers on a server, and its weights are needed here: name a directory or a hub name")
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _checked(folder, folder.resolve().name)
    if folder.exists():
        raise UserError(f"{text} is a file: name the directory that holds the model's config, weights and tokenizer")
    if text.startswith((".", "/", "~")) or text.count("/") != 1 or "\\" in text:
        raise UserError(
            f"there is no directory {text}: give a transformers or PEFT directory, a hub name (owner/name), or {BUILT_IN!r}"
        )
    return _checked(_fetch(text, trust_remote_code), text)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Errors: UserError when the file is no JSON object."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: write the model's directory again ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} is no JSON object: write the model's directory again")
    return found


def weights_digest(folder: Path) -> str:
    """Return the content hash of a directory's safetensors, every byte of them: training may change a few rows only.

    A file is read once a process, about a second a gigabyte, and again when its time or size has changed.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.safetensors")):
        told = file.stat()
        found[file.name] = _file_digest(file.resolve(), told.st_mtime_ns, told.st_size)
    return digest_of(found)


def has_any(folder: Path, patterns: Iterable[str]) -> bool:
    """Whether the folder itself holds a file of one of the patterns."""
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds a tokenizer."""
    return has_any(folder, _TOKENIZERS)


def _checked(folder: Path, name: str) -> Source:
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds neither config.json nor adapter_config.json: give a transformers or PEFT directory"
        )
    weights = ADAPTER_WEIGHTS if adapter else "*.safetensors"
    if not has_any(folder, (weights,)):
        if has_any(folder, _PICKLES):
            raise UserError(
                f"{folder} holds only pickled weights, which can run code when loaded: "
                "save the model again with save_pretrained, which writes safetensors"
            )
        raise UserError(f"{folder} holds no weights: expected {weights.replace('*', 'model')}")
    if not adapter and not has_tokenizer(folder):
        raise UserError(f"{folder} holds no tokenizer: save it there with tokenizer.save_pretrained")
    return Source(folder, name, adapter)


def _fetch(name: str, trust_remote_code: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken"]
    try:
        with boundary(ModelFailure):
            found = snapshot_download(
                name,
                allow_patterns=[*patterns, *(["*.py"] if trust_remote_code else [])],
                ignore_patterns=["*/*", "consolidated*"],  # copies of the same weights in other layouts
            )
    except ModelFailure as failure:
        raise UserError(
            f"{name!r} is neither a directory here nor a hub model that can be had now: "
            f"check the name, the network and your access ({failure.args[0][:120]})"
        ) from failure
    return Path(found)


@cache
def _file_digest(file: Path, _mtime_ns: int, _size: int) -> str:
    """Return the SHA-256 of a file. Its time and size are there for the cache alone."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
