"""Events, and the one place that holds them: the open file, the lock, and the events in memory with their look-ups.

`Run` (core/journal.py) is the face of this. Appending takes one lock; looking up takes none.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from scrutable.core import folder
from scrutable.core.errors import UserError, one_line
from scrutable.core.records import Record, Usage

Payload = Mapping[str, Any] | Record
LONG = 1000  # bytes of JSON from which on a payload is kept as such
SYNC_SECONDS = 1.0  # a kill loses nothing; a power cut may lose the events of this long, which are then owed again


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Its identity is (key, payload), with every member named `usage` in the payload set aside.

    Payload and meta are JSON values as read from the disk (tuples are lists); do not change them.
    meta: `clock` (seconds since 1970), `attempt` (from 1), and `cost` (a Usage: what this event alone cost) where given.
    """

    key: str
    kind: str
    content: Mapping[str, Any] | bytes = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def payload(self) -> Mapping[str, Any]:
        """What happened. A long one is kept as its JSON and read when it is asked for: a run of millions of answers stays
        small in memory, and Python's collector has nothing to walk over in it.
        """
        return _read(self.content) if isinstance(self.content, bytes) else self.content

    @property
    def identity(self) -> str:
        """What must be the same in a run that was killed and resumed: canonical JSON of kind, key and payload."""
        return folder.canonical([self.key, self.kind, _without_usage(self.payload)])

    @property
    def cost(self) -> Usage:
        """What this event alone cost; zero where none was given."""
        return Usage.model_validate(self.meta.get("cost", {}))


Listener = Callable[[Event], None]


class Store:
    """What all scopes of one run share: the file, the lock, the events in memory."""

    def __init__(self, path: Path, lock: int | None) -> None:
        self.path = path
        self.lock_handle = lock
        self.config = folder.read_config(path)
        self.temporary = False
        self.handle: int | None = None
        self.events: list[Event] = []
        self.kinds: dict[str, list[Event]] = {}
        self.index: dict[str, Event] = {}
        self.offset = 0
        self.mutex = threading.RLock()
        self.listeners: list[Listener] = []
        self.secrets = folder.known_secrets()
        self.synced = 0.0
        self.torn = 0
        self.refresh()
        if lock is not None:
            self.handle = os.open(path / folder.EVENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self.torn = os.fstat(self.handle).st_size - self.offset
            os.ftruncate(self.handle, self.offset)  # the torn last line, owed again

    def refresh(self) -> list[Event]:
        """Read what stands in the file beyond what is known; return the new events. The writer knows all."""
        with self.mutex:
            if self.handle is not None:
                return []
            rows, self.offset = folder.read_events(self.path, self.offset)
            fresh = [Event(row["key"], row["kind"], _kept(row["payload"]), row["meta"]) for row in rows]
            return [event for event in fresh if self.remember(event)]

    def remember(self, event: Event) -> bool:
        """Take an event that is on the disk into memory; False when it stands already."""
        there = self.index.get(event.key)
        if there is not None:
            if there.identity != event.identity:
                raise UserError(f"{self.path / folder.EVENTS} is damaged: two events have the key {event.key!r}")
            return False
        self.events.append(event)
        self.kinds.setdefault(event.kind, []).append(event)
        self.index[event.key] = event
        for listener in list(self.listeners):
            self.tell(listener, event)
        return True

    def append(self, key: str, kind: str, payload: Payload, cost: Usage | None, attempt: int) -> Event:
        """Write one event, or return the same one that stands."""
        meta: dict[str, Any] = {"clock": round(time.time(), 3), "attempt": attempt}
        if cost is not None:
            meta["cost"] = cost.model_dump(mode="json", exclude_defaults=True)
        said = self.without_secrets(folder.canonical(payload))
        head = json.loads(self.without_secrets(folder.canonical({"key": key, "kind": kind, "meta": meta})))
        if not head["key"] or not said.startswith("{"):
            raise TypeError("an event needs a key, and a payload that is a mapping or a Record")
        event = Event(head["key"], head["kind"], _packed(said), head["meta"])
        with self.mutex:
            there = self.index.get(event.key)
            if there is not None:
                if there.identity != event.identity:
                    raise ValueError(
                        f"the event {event.key!r} stands with another payload: {_first_difference(there, event)}"
                    )
                return there
            line = f'{folder.canonical(head)[:-1]},"payload":{said}}}\n'
            self.write(line.encode("utf-8", "surrogatepass"))
            self.remember(event)
        return event

    def without_secrets(self, text: str) -> str:
        """Return the text with every known secret struck out."""
        for secret in self.secrets:
            text = text.replace(secret, "[redacted]")
        return text

    def write(self, data: bytes) -> None:
        """Add whole lines to the file, or nothing (a full disk)."""
        handle = self.must_write()
        before = os.fstat(handle).st_size
        try:
            done = 0
            while done < len(data):
                done += os.write(handle, data[done:])
        except BaseException:
            os.ftruncate(handle, before)
            raise
        self.offset = before + len(data)
        now = time.monotonic()
        if now - self.synced >= SYNC_SECONDS:
            os.fsync(handle)
            self.synced = now

    def must_write(self) -> int:
        """Return the descriptor to append to, or refuse with a UserError."""
        if self.handle is None:
            raise UserError(f"{self.path} is open for reading only, or closed")
        return self.handle

    def subscribe(self, listener: Listener, replay: bool) -> Callable[[], None]:
        """Let a listener hear events; return the function that ends it."""
        with self.mutex:
            self.listeners.append(listener)
            for event in list(self.events) if replay else []:
                self.tell(listener, event)

        def end() -> None:
            if listener in self.listeners:
                self.listeners.remove(listener)

        return end

    def tell(self, listener: Listener, event: Event) -> None:
        """Call one listener; one that raises is dropped."""
        if listener not in self.listeners:
            return
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 (a display's defect must not end the run)
            self.listeners.remove(listener)
            warnings.warn(f"a listener failed and hears no more: {type(error).__name__}: {error}", stacklevel=2)

    def close(self) -> None:
        """Sync, close, let the folder go; twice is once."""
        with self.mutex:
            if self.handle is not None:
                os.fsync(self.handle)
                os.close(self.handle)
                self.handle = None
            if self.lock_handle is not None:
                os.close(self.lock_handle)
                self.lock_handle = None
            if self.temporary:
                shutil.rmtree(self.path, ignore_errors=True)


def _packed(said: str) -> Mapping[str, Any] | bytes:
    """Return a payload's JSON as an event keeps it: as bytes where it is long."""
    if len(said) >= LONG:
        return said.encode("utf-8", "surrogatepass")
    found: dict[str, Any] = json.loads(said)
    return found


def _kept(payload: Mapping[str, Any]) -> Mapping[str, Any] | bytes:
    """Return a payload that was read as an event keeps it."""
    return _packed(folder.canonical(payload))


@lru_cache(maxsize=64)
def _read(content: bytes) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(content.decode("utf-8", "surrogatepass"))
    return found


def _without_usage(value: Any) -> Any:
    """Return the payload with every member named `usage` left out: two runs of one thing cost differently."""
    if isinstance(value, dict):
        return {name: _without_usage(inner) for name, inner in value.items() if name != "usage"}
    return [_without_usage(inner) for inner in value] if isinstance(value, list) else value


def _first_difference(there: Event, now: Event) -> str:
    """Say in one line where two events of one key differ."""
    if there.kind != now.kind:
        return f"kind {there.kind!r} there, {now.kind!r} now"
    old, new = dict(there.payload), dict(now.payload)
    for name in sorted(old.keys() | new.keys()):
        if _without_usage({"": old.get(name)}) != _without_usage({"": new.get(name)}):
            return one_line(f"{name}: {old.get(name, 'absent')!r} there, {new.get(name, 'absent')!r} now")
    return "the same values in another type"
