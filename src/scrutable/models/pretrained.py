"""What lies in a checked directory, loaded: the transformers module and its tokenizer, each error in one line.

Only safetensors are read. A tensor that is missing or of another shape is refused: transformers would fill it with
random numbers and go on.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scrutable.core.errors import ModelFailure, UserError, boundary
from scrutable.models.source import BUILT_IN, Source, read_json


def load_module(source: Source, device: str, dtype: str, *, trust: bool) -> Any:
    """Load the causal language model of a directory, frozen and in evaluation mode; no global draw is made."""
    import torch
    from transformers import AutoModelForCausalLM

    wanted = ("float32" if device == "cpu" else "auto") if dtype == "auto" else dtype
    if wanted not in ("auto", "float32", "bfloat16", "float16"):
        raise UserError(f"dtype {dtype!r} is unknown: use auto, float32, bfloat16 or float16")
    try:
        with boundary(ModelFailure), _quietly(), torch.random.fork_rng(devices=[]):
            module, told = AutoModelForCausalLM.from_pretrained(
                source.folder,
                dtype=wanted if wanted == "auto" else getattr(torch, wanted),
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, in one line
                trust_remote_code=trust,
            )
            module = module.to(device).eval().requires_grad_(False)
    except ModelFailure as failure:
        fix = "save or fetch it again, or name another"
        if not trust and "auto_map" in read_json(source.folder / "config.json"):
            fix = "its own code is run only with trust_remote_code (--trust-remote-code), and where it is named itself"
        raise UserError(f"{source.folder} cannot be loaded ({failure.args[0]}): {fix}") from failure
    wrong = sorted(told["missing_keys"]) + sorted(str(entry[0]) for entry in told["mismatched_keys"])
    if wrong:
        raise UserError(
            f"the weights in {source.folder} do not fit its config.json: {len(wrong)} tensors are missing or of "
            f"another shape, {wrong[0]} among them; save the model again"
        )
    if "past_key_values" not in inspect.signature(module.forward).parameters:
        raise UserError(
            f"{source.folder} is a {type(module).__name__}, which keeps a running state instead of keys and values: "
            "use a model with attention"
        )
    if source.name == BUILT_IN:
        module.name_or_path = BUILT_IN  # so that adapters trained on it name it, not this machine's path
    return module


def load_tokenizer(folder: Path, *, trust: bool) -> Any:
    """Load the tokenizer of a directory."""
    from transformers import AutoTokenizer

    try:
        with boundary(ModelFailure), _quietly():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except ModelFailure as failure:
        raise UserError(
            f"the tokenizer in {folder} cannot be loaded ({failure.args[0]}): save or fetch it again"
        ) from failure


def choose_device(wanted: str) -> str:
    """Resolve "auto", or check that torch can use what is wanted. Errors: UserError."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = wanted.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no GPU that torch can use: choose device cpu")
    if kind not in ("cpu", "cuda", "mps"):
        raise UserError(f"device {wanted!r} is unknown: use auto, cpu, cuda or mps")
    return wanted


def rows_of(module: Any) -> int:
    """Rows of the embedding, padding included."""
    return int(module.get_input_embeddings().weight.shape[0])


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers' bars and load reports off the terminal: what matters of them is raised."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
