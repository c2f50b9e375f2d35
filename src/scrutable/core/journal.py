"""The Run: an append-only journal of what happened, beside the artifacts that it names. State is its replay.

    runs/<name>/config.json   events.jsonl   artifacts/   (lock, and what a report writes)

An event is done when its line is on the disk, and its key is then taken for good. A run killed at any moment and opened
again continues as if it had not been: what is done is looked up (`get`, `once`), what is not is done, and every random
draw comes from a generator derived from (the run's seed, a key), so the same set of (key, payload) results.

Left out on purpose: no status fields, no checkpoints of state, no database. Progress, pages and trackers listen or replay.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self

from scrutable.core import draws, folder
from scrutable.core.accounts import Artifact
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.files import inside, load_tensors, replacing_folder, save_tensors
from scrutable.core.records import Usage
from scrutable.core.store import Event, Listener, Payload, Store

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["Event", "Listener", "Payload", "Run", "RunSummary", "differing_keys", "events_equal", "list_runs"]


class Run:
    """A run folder: open it, append events, look them up, leave artifacts. Use as a context manager.

    `Run.open` creates or resumes (one process at a time), `Run.read` only reads (any number, also beside a writer),
    `Run.temporary` is for work that nobody wants to keep. Any thread may append. `scope` gives the same run under a
    prefix: keys, draws and artifact names are relative to it, so that no two users of a run collide.
    """

    def __init__(self, store: Store, prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix
        self.path = store.path
        self.name = store.path.name
        self.config: Mapping[str, Any] = store.config.identity
        self.digest = store.config.digest
        self.seed = int(store.config.identity.get("seed") or 0)

    @property
    def writable(self) -> bool:
        """False when opened by `read`, or closed."""
        return self._store.handle is not None

    @property
    def torn(self) -> int:
        """Bytes of a torn last line (a kill, a power cut) that were cut off when this run was opened; 0: none."""
        return self._store.torn

    @classmethod
    def open(cls, path: str | Path, config: Config | Mapping[str, Any]) -> Self:
        """Create the run folder, or resume it. The run's seed is the config's `seed` (0 where it has none).

        Errors: UserError when another process holds it, when it was made with another config (the keys that differ are
        named), when a config field holds a secret, when the folder holds something else, when it is damaged.
        """
        resolved = folder.resolve(config)
        place = Path(path)
        folder.refuse_place(place)
        place.mkdir(parents=True, exist_ok=True)
        lock = folder.hold(place)
        try:
            if (place / folder.CONFIG).exists():
                folder.guard(place, resolved)
            else:
                folder.write_config(place, resolved)
            return cls(Store(place, lock))
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Open a run to look at only, also while another process writes it (`refresh` reads what came since).

        Errors: UserError when there is no run, or it is damaged.
        """
        return cls(Store(Path(path), None))

    @classmethod
    def temporary(cls, config: Config | Mapping[str, Any] | None = None) -> Self:
        """Open a new run in a temporary folder that is removed when the run is closed."""
        place = Path(tempfile.mkdtemp(prefix="scrutable-"))
        run = cls.open(place, {} if config is None else config)
        run._store.temporary = True
        return run

    def scope(self, name: str) -> Self:
        """Return this run seen under `name`: key `k` there is key `name/k` here."""
        return type(self)(self._store, f"{self._prefix}{name}/")

    # ------------------------------------------------------------------------------------------------------- events

    def append(self, key: str, kind: str, payload: Payload, *, cost: Usage | None = None, attempt: int = 1) -> Event:
        """Write one event and return it as a resumed run would read it. Safe from any thread.

        A key is taken once: the same key with the same payload changes nothing and returns the event that stands.
        payload: JSON values and Records. cost: what this event alone cost.
        Errors: ValueError when the key stands with another payload; TypeError when a value is no JSON.
        """
        return self._store.append(self._prefix + key, kind, payload, cost, attempt)

    def once(self, key: str, kind: str, make: Callable[[], tuple[Payload, Usage | None]]) -> Event:
        """Return the event of that key; where it is not done yet, call `make` for (payload, cost) and append it."""
        done = self.get(key)
        if done is not None:
            return done
        payload, cost = make()
        return self.append(key, kind, payload, cost=cost)

    def has(self, key: str) -> bool:
        """Return whether the event of that key is done."""
        return self._prefix + key in self._store.index

    def get(self, key: str) -> Event | None:
        """Return the event of that key, or None while it is not done."""
        return self._store.index.get(self._prefix + key)

    def events(self, kind: str | None = None) -> list[Event]:
        """Return the events (of one kind) in the order they were written; under a scope, those of the scope.

        Their keys are the whole keys.
        """
        found = list(self._store.events if kind is None else self._store.kinds.get(kind, ()))
        return [event for event in found if event.key.startswith(self._prefix)] if self._prefix else found

    def cost(self) -> Usage:
        """Return the sum of what the events cost."""
        return sum((event.cost for event in self.events() if "cost" in event.meta), Usage())

    def subscribe(self, listener: Listener, *, replay: bool = False) -> Callable[[], None]:
        """Call `listener` with each event from now on (with `replay`, first with those that stand), in their order.

        It is called in the appending thread, which holds the run's lock: it must be quick, and may look events up.
        A listener that raises is dropped with a warning: no display ends a run. Returns a function that ends it.
        """
        return self._store.subscribe(listener, replay)

    def refresh(self) -> list[Event]:
        """Read the events that another process wrote since; return them. For a run opened by `read`."""
        return self._store.refresh()

    # -------------------------------------------------------------------------------------------------------- draws

    def seed_of(self, key: str) -> int:
        """Return the seed of the draws for `key`: an integer in [0, 2**31), fit for torch and for servers."""
        return draws.seed_of(self.seed, self._prefix + key)

    def rng(self, key: str) -> np.random.Generator:
        """Return a new numpy generator for `key`: the same draws whenever it is asked for."""
        return draws.rng(self.seed, self._prefix + key)

    def random(self, key: str) -> Random:
        """Return a new `random.Random` for `key`: the same draws whenever it is asked for."""
        return draws.random(self.seed, self._prefix + key)

    # ---------------------------------------------------------------------------------------------------- artifacts

    def file(self, name: str) -> Path:
        """Return the path of the artifact `name` (relative to `artifacts/` and the scope), written or not.

        Errors: UserError when the name leaves the folder of artifacts.
        """
        return inside(self.path / "artifacts", self._prefix + name)

    def save_tensors(self, name: str, tensors: Mapping[str, Any], says: str = "") -> Artifact:
        """Write tensors or arrays by name to `<name>.safetensors`; return what to put into the event that names it."""
        return self._artifact(f"{name}.safetensors", says, lambda path: save_tensors(path, tensors))

    def load_tensors(self, artifact: str | Artifact) -> dict[str, torch.Tensor]:
        """Read tensors to the CPU: by the `name` they were saved under in this scope, or by what an event names.

        Errors: UserError when it is missing, is no safetensors file, or lies outside the run folder.
        """
        if isinstance(artifact, Artifact):
            return load_tensors(inside(self.path, artifact.path))
        return load_tensors(self.file(f"{artifact}.safetensors"))

    @contextmanager
    def saving_folder(self, name: str) -> Iterator[Path]:
        """Yield an empty folder for a library to save into (an adapter); at the end it becomes the artifact `name`.

        Errors: ValueError when a file in it could be a pickle.
        """
        self._store.must_write()
        with replacing_folder(self.file(name)) as place:
            yield place

    def _artifact(self, name: str, says: str, write: Callable[[Path], None]) -> Artifact:
        self._store.must_write()
        path = self.file(name)
        write(path)
        return Artifact(path=path.relative_to(self.path).as_posix(), says=says)

    # ---------------------------------------------------------------------------------------------------------- end

    def close(self) -> None:
        """Force the events to the disk and let the folder go. A run that is closed can still be looked at."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {len(self._store.events)} events)"


@dataclass(frozen=True)
class RunSummary:
    """What `list_runs` tells of a run folder. Times are seconds since 1970; `problem` is set where it cannot be read."""

    name: str
    path: Path
    digest: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    events: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    started: float | None = None
    last: float | None = None
    held: bool = False
    done: bool = False  # the whole job wrote its "result"
    failed: bool = False  # the last event says that it ended in an error
    cost: Usage = field(default_factory=Usage)
    problem: str = ""


def list_runs(root: str | Path = "runs") -> list[RunSummary]:
    """Return a summary of each run folder directly under `root`, by name. A damaged run is listed with its problem."""
    base = Path(root)
    places = sorted(p for p in base.iterdir() if (p / folder.CONFIG).is_file()) if base.is_dir() else []
    return [_summary(place) for place in places]


def _summary(path: Path) -> RunSummary:
    held = folder.held(path)
    try:
        run = Run.read(path)
    except UserError as error:
        return RunSummary(path.name, path, held=held, problem=str(error))
    events = run.events()
    return RunSummary(
        path.name,
        path,
        digest=run.digest,
        config=run.config,
        events=len(events),
        kinds=dict(Counter(event.kind for event in events)),
        started=events[0].meta.get("clock") if events else None,
        last=events[-1].meta.get("clock") if events else None,
        held=held,
        done=run.has("result"),
        failed=bool(events) and events[-1].kind == "failed",
        cost=run.cost(),
    )


def differing_keys(first: Run | str | Path, second: Run | str | Path) -> list[str]:
    """Return the keys of events that only one of two runs has, or that differ, in the order of the alphabet.

    Order, clock, attempt, cost and members named `usage` do not count.
    """
    one, two = ({event.key: event.identity for event in _reading(run).events()} for run in (first, second))
    return sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))


def events_equal(first: Run | str | Path, second: Run | str | Path) -> bool:
    """Return whether two runs did the same: the same set of (key, payload)."""
    return not differing_keys(first, second)


def _reading(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else Run.read(run)
