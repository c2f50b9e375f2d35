"""A lens that was cut off: what it reads when it goes on, against what it reads undisturbed."""

import json
from collections.abc import Callable
from pathlib import Path

from scrutable.core.accounts import Account
from scrutable.core.journal import differing_keys

Once = Callable[[Path], Account]


def check_goes_on(once: Once, folder: Path, share: float) -> None:
    """Cut the events of a whole reading off after a share of them, read again there, and compare."""
    whole, cut = folder / "whole", folder / f"cut{share}"
    account = once(whole)  # what stands there is read again, not made
    lines = (whole / "events.jsonl").read_bytes().splitlines(keepends=True)
    cut.mkdir()
    (cut / "config.json").write_bytes((whole / "config.json").read_bytes())
    (cut / "events.jsonl").write_bytes(b"".join(lines[: int(share * len(lines))]))
    assert once(cut).claims == account.claims
    assert not differing_keys(whole, cut)
    keys = [json.loads(line)["key"] for line in (cut / "events.jsonl").read_bytes().splitlines()]
    assert len(keys) == len(set(keys))
