"""The run folder on the disk, below `Run`: who holds it, which config it was made with, and its event lines.

Pure file work. What an event means is `core/journal.py`. Needs a POSIX system (`flock`).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scrutable.core.config import Config
from scrutable.core.errors import UserError, one_line
from scrutable.core.files import write_atomic
from scrutable.core.records import Record, digest_of

CONFIG = "config.json"
EVENTS = "events.jsonl"
LOCK = "lock"

_SECRET_WORDS = {"apikey", "secret", "password", "passwd", "passphrase", "credential", "credentials"}
_SECRET_PAIRS = {
    *((first, "key") for first in ("api", "access", "private", "secret", "auth")),
    *((first, "token") for first in ("api", "access", "auth", "bearer", "hf", "refresh", "session")),
}
_SECRET_VALUE = re.compile(
    r"://[^/\s:@]+:[^/\s@]+@"  # a password in an address
    r"|[?&](?:api_?)?(?:key|token)=[^&\s]{8}"
    r"|\bsk-[\w-]{16}|\bhf_\w{16}|\bgh[pousr]_\w{16}|\bAKIA[0-9A-Z]{16}\b|^Bearer \S{8}"
)


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no blanks: equal values give equal text. Records become their JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Turn a Record, wherever it stands in a payload, into JSON values."""
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a number of numpy's or torch's
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value and no Record; write tensors as artifacts")


def foreign(path: Path) -> str | None:
    """Return the name of something in the folder that shows it to be no run's, or None."""
    if not path.is_dir() or (path / CONFIG).exists():
        return None
    return min((p.name for p in path.iterdir() if p.name != LOCK and p.suffix != ".part"), default=None)


def refuse_place(path: Path) -> None:
    """Refuse a place where no run folder can be made or gone on with, before anything is written.

    Errors: UserError when it is a file, or holds something else, or its parent can hold no folder.
    """
    nearest = next((p for p in path.absolute().parents if p.exists()), Path("/"))
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file: choose another run folder")
    if (others := foreign(path)) is not None:
        raise UserError(f"{path} holds something else ({one_line(others, 40)}): choose another run folder")
    if not path.exists() and not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise UserError(f"{path} cannot be made in {nearest}: choose another run folder")


# ---------------------------------------------------------------------------------------------------------- the lock


def hold(path: Path) -> int:
    """Take the run folder for this process; return the descriptor that holds it until closed or the process ends.

    Errors: UserError when another process, or another Run of this one, holds it.
    """
    handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for wait in (0.02, 0.1, 0.0):  # a look from `held` takes the lock for an instant
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(wait)
            continue
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        return handle
    holder = os.pread(handle, 20, 0).decode() or "unknown"
    os.close(handle)
    raise UserError(f"{path} is held by process {holder}: wait until it ends, or choose another run folder")


def held(path: Path) -> bool:
    """Return whether some process holds the run folder now."""
    try:
        handle = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


# -------------------------------------------------------------------------------------------------------- the config


@dataclass(frozen=True)
class Resolved:
    """A config as written: what decides results, and what may differ between a run and its resumption."""

    identity: dict[str, Any]
    anywhere: dict[str, Any]

    @property
    def digest(self) -> str:
        """Hash of the knobs that decide results."""
        return digest_of(self.identity)


def resolve(config: Config | Mapping[str, Any]) -> Resolved:
    """Return the config as JSON values, in its two parts. A plain mapping decides results as a whole.

    Errors: UserError when a field holds a secret; name an environment variable in the config instead.
    """
    whole: dict[str, Any] = json.loads(canonical(config))
    refuse_secrets(whole)
    identity: dict[str, Any] = json.loads(canonical(config.identity() if isinstance(config, Config) else config))
    return Resolved(identity, _rest(whole, identity))


def write_config(path: Path, config: Resolved) -> None:
    """Write `config.json` of a new run."""
    try:
        made_with = version("scrutable")
    except PackageNotFoundError:
        made_with = "unknown"
    whole = {"config": config.identity, "anywhere": config.anywhere, "digest": config.digest, "scrutable": made_with}
    write_atomic(path / CONFIG, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")


def read_config(path: Path) -> Resolved:
    """Read `config.json`.

    Errors: UserError when there is none (then there is no run), or it is damaged or was changed by hand.
    """
    try:
        whole = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        config = Resolved(dict(whole["config"]), dict(whole["anywhere"]))
        sound = whole["digest"] == config.digest
    except FileNotFoundError:
        raise UserError(f"there is no run at {path} (it has no {CONFIG})") from None
    except (ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise UserError(f"{path / CONFIG} is damaged or was changed by hand: restore it, or choose another run folder")
    return config


def guard(path: Path, now: Resolved) -> None:
    """Refuse to go on with a run under a config that would give other results.

    Errors: UserError that names the keys that differ, with both values.
    """
    there = read_config(path)
    if there.digest == now.digest:
        return
    old, new = _flat(there.identity), _flat(now.identity)
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key, "absent") != new.get(key, "absent"))
    told = [f"{key} ({old.get(key, 'absent')} there, {new.get(key, 'absent')} now)" for key in keys[:6]]
    if len(keys) > 6:
        told.append(f"{', '.join(keys[6:12])}{', ...' if len(keys) > 12 else ''}")
    raise UserError(
        f"{path} was made with another config: {'; '.join(told)}. Give the same values, or choose another run folder"
    )


def refuse_secrets(value: Any, where: tuple[str, ...] = ()) -> None:
    """Refuse a config that holds a key, a token or a password: the run folder is made to be passed on.

    Told by the field's name (`api_key`, `hf_token`, `*_secret`, `*_password`; other names ending in `key` or `token` only
    with a value that looks drawn at random), or by the value (known kinds of keys, an address with a password). Numbers
    are no secrets (`max_tokens`), nor are names of environment variables (`api_key_env`).
    Errors: UserError naming the field, never its value.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            refuse_secrets(inner, (*where, str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            refuse_secrets(inner, where)
    elif (
        isinstance(value, str) and value.strip("* ") and (_names_a_secret(where, value) or _SECRET_VALUE.search(value))
    ):
        raise UserError(
            f"the config field {'.'.join(where) or '(value)'} holds a secret, and run folders are passed on: "
            "put it into an environment variable and name the variable"
        )


def _names_a_secret(where: tuple[str, ...], value: str) -> bool:
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", where[-1] if where else "")]
    if not words:
        return False
    if words[-1] in _SECRET_WORDS or tuple(words[-2:]) in _SECRET_PAIRS:
        return True
    drawn = len(value) >= 20 and not re.search(r"\s", value) and bool(re.search(r"\d", value))
    return words[-1] in {"key", "token"} and drawn


def known_secrets() -> tuple[str, ...]:
    """Return the values of environment variables named like secrets: a server's error message may quote one of them."""
    named = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")
    values = {value for name, value in os.environ.items() if named.search(name) and len(value) >= 16}
    return tuple(sorted(values, key=len, reverse=True))


def _rest(whole: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """Return what `whole` has beyond `identity`, nested alike."""
    rest: dict[str, Any] = {}
    for key, value in whole.items():
        if key not in identity:
            rest[key] = value
        elif isinstance(value, dict) and isinstance(identity[key], dict) and (inner := _rest(value, identity[key])):
            rest[key] = inner
    return rest


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return dotted key -> value as short JSON. Lists are values."""
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in _flat(inner, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): one_line(canonical(value), 60)}


# --------------------------------------------------------------------------------------------------------- the lines


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Read the whole events that begin at byte `offset`; return them and the byte after the last of them.

    What follows is a torn line, owed again: a line without its end, or (after a power cut) a last line that is no JSON.
    Errors: UserError when a line before the last is damaged.
    """
    try:
        with (path / EVENTS).open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    lines = data.split(b"\n")[:-1]
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line.decode("utf-8", "surrogatepass"))
            if not (
                isinstance(event["key"], str) and isinstance(event["kind"], str) and isinstance(event["payload"], dict)
            ):
                raise TypeError("no event")
            event["meta"] = dict(event.get("meta", {}))
        except (ValueError, TypeError, KeyError):
            if number == len(lines) and data.endswith(b"\n"):
                break
            raise UserError(
                f"{path / EVENTS}: event {number} after byte {offset} is damaged; restore the file, or cut it there to go on"
            ) from None
        events.append(event)
        offset += len(line) + 1
    return events, offset
