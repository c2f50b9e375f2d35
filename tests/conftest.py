"""What every test stands on: one thread, no network, and no way to lean on the order of the others."""

import os
import sys

import pytest
from hypothesis import settings

# Before anything imports torch, numpy or a tokenizer.
os.environ.update(
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
)

# Machines are shared, so no deadline, and every run tries the same examples.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Pin torch where it is already imported; the environment above pins it where it is imported later."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
