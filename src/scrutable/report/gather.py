"""What a run folder says, sorted: the events by what they are about. No judgement and no words yet.

Payloads that are records are read as records; the rest leniently, with `.get`, because a page must be had from any run,
also one that was killed in the middle, or that an older version wrote. What cannot be read is counted, never hidden.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from scrutable.core.accounts import Account, Fidelity
from scrutable.core.comparisons import Comparison
from scrutable.core.journal import Event, Run
from scrutable.core.records import Candidate, Record, Usage
from scrutable.report.trace import Trace, trace_of

R = TypeVar("R", bound=Record)
PAUSE = 600.0
"""Seconds without an event that count as a pause, not as work: a run was stopped and gone on with."""
READ, EVOLVED, GIVEN = "read from the weights", "evolved on the environment", "the text given"
LEFT = "in what is left"
SEEN = {
    "tokens": "seen in the words",
    "blackbox": "seen in the answers",
    "interview": "said by the tuned model itself",
}
"""Where lenses that open no model have it from."""


@dataclass
class Training:
    """One RL run: what each step and each validation said."""

    scope: str
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    validations: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Tried:
    """One text that a search tried."""

    candidate: Candidate
    accepted: bool
    why: str
    search: Mapping[str, Any]
    keep: Mapping[str, Any]


@dataclass
class Search:
    """One prompt evolution."""

    scope: str
    tried: dict[str, Tried] = field(default_factory=dict)
    rollouts: int = 0
    unscored: int = 0
    reflections: int = 0
    chosen: str | None = None
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True)
class Reading:
    """One account, and where in the run it stands."""

    scope: str
    account: Account

    @property
    def of_remainder(self) -> bool:
        """Is this an account of what a text left out?"""
        return _left(self.scope)


@dataclass(frozen=True)
class Measured:
    """One fidelity, and where its text is from."""

    label: str
    fidelity: Fidelity


def _label(scope: str, text: str, readings: list[Reading], searches: list[Search]) -> str:
    """Say where a text that was measured is from."""
    if _left(scope):
        return LEFT
    own = [search for search in searches if search.scope.split("/")[-1] == "evolve"]  # a lens may search, too
    ended = [search.tried[search.chosen] for search in own if search.chosen in search.tried]
    lenses = [reading.account.lens for reading in readings if reading.account.text == text and not reading.of_remainder]
    found = [SEEN.get(lens, READ) for lens in lenses]
    found = [READ] if READ in found else found
    if any(tried.candidate.text == text for tried in ended):
        found.append(EVOLVED)
    return (text and " and ".join(dict.fromkeys(found))) or GIVEN


def _left(scope: str) -> bool:
    return "remainder" in scope.split("/")


@dataclass
class Facts:
    """Everything a page is made of."""

    name: str
    path: str
    config: Mapping[str, Any]
    about: Mapping[str, Any]
    trainings: list[Training]
    searches: list[Search]
    readings: list[Reading]
    measured: list[Measured]
    comparisons: list[Comparison]
    results: Mapping[str, Mapping[str, Any]]
    cost: dict[str, Usage]
    elapsed: dict[str, float]
    unread: int
    began: str
    ended: str
    events: int


def gather(run: Run) -> Facts:
    """Sort the events of a run (opened with `Run.read`)."""
    events = run.events()
    unread: list[str] = []
    trainings, searches = _trainings(events), _searches(events, unread)
    readings = [
        Reading(_scope(event), account)
        for event in events
        if event.kind == "account" and (account := _record(Account, event.payload, unread))
    ]
    measured = [
        Measured(str(event.payload.get("label") or _label(_scope(event), fidelity.text, readings, searches)), fidelity)
        for event in events
        if event.kind == "fidelity" and (fidelity := _record(Fidelity, event.payload.get("fidelity"), unread))
    ]
    about = next((event.payload for event in events if event.kind == "about"), {})
    clocks = [clock for event in events if isinstance(clock := event.meta.get("clock"), int | float)]
    cost, elapsed = _costs(events)
    return Facts(
        name=run.name,
        path=str(run.path),
        config=run.config,
        about=about,
        trainings=trainings,
        searches=searches,
        readings=readings,
        measured=measured,
        comparisons=[
            comparison
            for event in events
            if event.kind == "comparison"
            and (comparison := _record(Comparison, event.payload.get("comparison"), unread))
        ],
        results={_scope(event): event.payload for event in events if event.kind == "result"},
        cost=cost,
        elapsed=elapsed,
        unread=len(unread),
        began=_day(min(clocks, default=0)),
        ended=_day(max(clocks, default=0)),
        events=len(events),
    )


def _trainings(events: list[Event]) -> list[Training]:
    found: dict[str, Training] = {}
    for event in events:
        if event.kind in ("step", "validation") and isinstance(event.payload.get("step"), int):
            scope = _scope(event)
            training = found.setdefault(scope, Training(scope))
            (training.steps if event.kind == "step" else training.validations).append(event.payload)
    for training in found.values():
        training.steps.sort(key=lambda row: row["step"])
        training.validations.sort(key=lambda row: row["step"])
    return list(found.values())


def _searches(events: list[Event], unread: list[str]) -> list[Search]:
    found: dict[str, Search] = {}
    for event in events:
        if event.kind not in ("candidate", "rollouts", "reflection", "result"):
            continue
        scope, payload = _scope(event), event.payload
        if event.kind == "result":
            if scope in found and isinstance(best := payload.get("candidate"), Mapping):
                candidate = _record(Candidate, best, unread)
                found[scope].chosen = candidate.key if candidate else None
            continue
        search = found.setdefault(scope, Search(scope))
        if event.kind == "candidate":
            if candidate := _record(Candidate, payload.get("candidate"), unread):
                search.tried[candidate.key] = _tried(candidate, payload, search.tried.get(candidate.key))
        elif event.kind == "reflection":
            search.reflections += 1
        else:
            _count_rollouts(search, payload)
    kept = {scope: search for scope, search in found.items() if search.tried}
    apart: dict[str, list[Event]] = {scope: [] for scope in kept}
    for event in events:
        if (scope := _scope(event)) in apart:
            apart[scope].append(event)
    for scope, search in kept.items():
        search.trace = trace_of(apart[scope], PAUSE)
    return list(kept.values())


def _tried(candidate: Candidate, payload: Mapping[str, Any], before: Tried | None) -> Tried:
    """Return what is known of a text; what was said of it earlier (it may lose and be tried again) is kept."""
    accepted, why = bool(payload.get("accepted", True)), str(payload.get("why") or "")
    if before is None:
        return Tried(candidate, accepted, why, _mapping(payload.get("search")), _mapping(payload.get("keep")))
    return Tried(
        before.candidate,
        accepted or before.accepted,
        "; ".join(dict.fromkeys(part for part in (before.why, why) if part)),
        _mapping(payload.get("search")) or before.search,
        _mapping(payload.get("keep")) or before.keep,
    )


def _count_rollouts(search: Search, payload: Mapping[str, Any]) -> None:
    for rollout in payload.get("rollouts") or ():
        search.rollouts += 1
        search.unscored += _mapping(_mapping(rollout).get("score")).get("value") is None


def _costs(events: list[Event]) -> tuple[dict[str, Usage], dict[str, float]]:
    """Return what each part of the run cost, and how long it took by the clock.

    The time since the event before belongs to the part whose event it led to; a longer pause is one in which nothing ran.
    """
    cost: dict[str, Usage] = {}
    elapsed: dict[str, float] = {}
    last: float | None = None
    for event in events:
        part = event.key.split("/")[0] if "/" in event.key else "the rest"
        if "cost" in event.meta:
            cost[part] = cost.get(part, Usage()) + event.cost
        clock = event.meta.get("clock")
        if isinstance(clock, int | float):
            gap = 0.0 if last is None else clock - last
            elapsed[part] = elapsed.get(part, 0.0) + (gap if 0 < gap < PAUSE else 0.0)
            last = clock
    return cost, elapsed


def _scope(event: Event) -> str:
    """Return the part of the key before the kind of event: 'read/distill' of 'read/distill/candidate/ab'."""
    parts = event.key.split("/")
    stop = next((at for at, part in enumerate(parts) if part.rstrip("s") == event.kind.rstrip("s")), len(parts) - 1)
    return "/".join(parts[:stop])


def _record(kind: type[R], payload: Any, unread: list[str]) -> R | None:
    try:
        return kind.model_validate(payload)
    except ValidationError:
        unread.append(kind.__name__)
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _day(clock: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(clock)) if clock else ""
