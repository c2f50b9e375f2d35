"""The trainer's C++ kernels: compiled when first asked for, called through ctypes.

Left out: a cache on disk. Compiling takes about a second, and a library built for one CPU's instructions must not be
found by another. Where no compiler is there, `load` says so and returns None; the trainer then uses its plain path.
"""

import ctypes
import functools
import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

_log = logging.getLogger(__name__)
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math",
          "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math", "-ffinite-math-only")  # fmt: skip


class LayoutStruct(ctypes.Structure):
    """`Layout` of kernels.cpp: which rows belong together and what each query may see."""

    _fields_ = [("sequences", ctypes.c_long)] + [
        (name, ctypes.c_void_p)
        for name in ("keys", "queries", "last", "start", "shared", "key_positions", "query_positions")
    ]


class Kernels:
    """Calls a function of the library with tensors as pointers, int as long, float as float, None as a null pointer."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._library.cross_entropy.restype = ctypes.c_double

    def __call__(self, name: str, *arguments: "torch.Tensor | LayoutStruct | int | float | None") -> float:
        """What the function returns, 0 for those that return nothing."""
        converted = [_argument(value) for value in arguments]
        return float(getattr(self._library, name)(*converted) or 0.0)


def _argument(value: "torch.Tensor | LayoutStruct | int | float | None") -> object:
    if value is None:
        return ctypes.c_void_p(None)
    if isinstance(value, torch.Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, LayoutStruct):
        return ctypes.byref(value)
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.c_float(value)


@functools.cache
def load(head_dim: int) -> Kernels | None:
    """The kernels for heads of this width (a multiple of 16), or None, with a warning, where they cannot be built."""
    compiler = shutil.which("g++")
    if compiler is None:
        _log.warning(
            "no g++ found: training takes the plain path, several times slower; install g++ to have the fast one"
        )
        return None
    source = Path(__file__).with_name("kernels.cpp")
    with tempfile.TemporaryDirectory(prefix="kernels-") as folder:
        target = Path(folder) / "kernels.so"
        command = [compiler, *_FLAGS, f"-DHD={head_dim}", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            _log.warning("g++ failed, so training takes the plain path, several times slower: %s", done.stderr[:500])
            return None
        return Kernels(ctypes.CDLL(str(target)))
