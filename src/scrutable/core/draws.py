"""Draws: every random number comes from (the run's seed, the key of what is drawn), so order and threads do not matter.

Two keys give independent streams; the same key gives the same stream on every machine.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def bits(seed: int, key: str) -> int:
    """Return 128 bits derived from the seed and the key."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode("utf-8", "surrogatepass")).digest()[:16])


def seed_of(seed: int, key: str) -> int:
    """Return an integer in [0, 2**31), fit for torch, for numpy's old interface and for servers."""
    return bits(seed, key) & (2**31 - 1)


def rng(seed: int, key: str) -> np.random.Generator:
    """Return a new numpy generator."""
    import numpy as np

    return np.random.default_rng(bits(seed, key))


def random(seed: int, key: str) -> Random:
    """Return a new `random.Random`."""
    return Random(bits(seed, key))
