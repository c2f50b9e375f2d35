"""Files: how anything is written so that a kill at any moment leaves either the old file or the new one.

Temporary file, fsync, rename; for folders the same. Tensors are safetensors and nothing else: a file that could run code
when it is read is refused when it is written. Names come from events, which may come from strangers: none may leave its root.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import UserError

if TYPE_CHECKING:
    import torch

PICKLES = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
"""Endings of files that are, or may hold, pickles."""


def inside(root: Path, name: str) -> Path:
    """Return `root / name`. `name` is relative, with forward slashes.

    Errors: UserError when the path would leave `root`, by `..`, by being absolute, or through a symbolic link.
    """
    parts = PurePosixPath(name).parts
    path = root.joinpath(*parts)
    bad = not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name
    if bad or not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"the path {name!r} leaves {root}: a name must be relative and stay inside")
    return path


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `path` whole or not at all; a file that stood there is replaced. Text is UTF-8. Makes missing parents.

    Errors: OSError, as of a folder that stands there: it is never replaced by a file.
    """
    with _beside(path) as temporary:
        temporary.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; at the end it takes the place of `path`. On an error `path` stays as it was.

    Errors: ValueError when a file in it could be a pickle.
    """
    with _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.suffix in PICKLES:
                raise ValueError(f"{file.name}: artifacts are safetensors, JSON or text; this may be a pickle")


def save_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write torch tensors or numpy arrays by name as safetensors, whole or not at all. Values move to the CPU."""
    import torch
    from safetensors.torch import save_file

    ready = {name: torch.as_tensor(value).detach().cpu().contiguous() for name, value in tensors.items()}
    pointers = [value.data_ptr() for value in ready.values() if value.numel()]
    if len(set(pointers)) < len(pointers):  # safetensors refuses tensors that share memory
        ready = {name: value.clone() for name, value in ready.items()}
    with _beside(path) as temporary:
        save_file(ready, temporary)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file to the CPU, by name.

    Errors: UserError when the file is missing or is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except SafetensorError as error:
        raise UserError(f"{path} is no safetensors file ({error})") from None


def no_room(error: Exception) -> str | None:
    """Return why there was no room to write (a full disk, a quota), or None where the error is another.

    safetensors tells the system's number in words alone.
    """
    numbers = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    found = re.search(r"\(os error (\d+)\)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    return os.strerror(number) if number in numbers else None


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when all went well and is removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    _remove(temporary)
    try:
        yield temporary
        for file in [temporary, *temporary.rglob("*")]:
            _sync(file)
        if temporary.is_dir() and path.is_dir() and not path.is_symlink():  # a rename replaces no folder that is full
            shutil.rmtree(path)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """Remove a file or a folder, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
