"""Config: a frozen record of knobs, declared once beside the function that reads it.

Each field carries its sentence (`Field(description=...)`): the command line's options, the reference and a run's
`config.json` are made from it. What may differ between a run and its resumption (worker counts, addresses, devices)
is marked with `anywhere()` and is no part of the digest.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from scrutable.core.records import Record, digest_of


def anywhere(default: Any, description: str, **limits: Any) -> Any:
    """Declare a knob that does not change results (device, workers, address): left out of the digest."""
    return Field(default=default, description=description, json_schema_extra={"anywhere": True}, **limits)


class Config(Record):
    """Base of every config."""

    def identity(self) -> dict[str, Any]:
        """Return the knobs that decide results, as JSON values."""
        fields = type(self).model_fields
        free = {
            n
            for n, f in fields.items()
            if isinstance(f.json_schema_extra, dict) and f.json_schema_extra.get("anywhere")
        }
        found: dict[str, Any] = {}
        for name in fields:
            if name in free:
                continue
            value = getattr(self, name)
            found[name] = (
                value.identity() if isinstance(value, Config) else self.model_dump(mode="json", include={name})[name]
            )
        return found

    def digest(self) -> str:
        """Return the hash of the knobs that decide results."""
        return digest_of(self.identity())
