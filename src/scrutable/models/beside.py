"""What lies beside a model's weights: files of its directory that say how it writes (`reflection.json`, `language.json`).

Nothing is read here: who asks for a file knows its form.
"""

from __future__ import annotations

from pathlib import Path

from scrutable.models.base import Model


def directory_of(model: Model) -> Path | None:
    """Return the directory that a model's weights were read from (its `origin`), or None (a served model)."""
    place = getattr(model, "origin", None)
    return Path(place) if isinstance(place, str | Path) and Path(place).is_dir() else None


def file_of(model: Model, name: str) -> Path | None:
    """Return the file of that name beside the model's weights, or None where there is none."""
    folder = directory_of(model)
    return folder / name if folder is not None and (folder / name).is_file() else None
