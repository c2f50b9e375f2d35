"""What the events of one search say beside its texts: calls with their times, commits, spending, and all that failed.

Read leniently, like the rest: what an older version did not write is empty here, and its picture is left off the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scrutable.core.errors import one_line
from scrutable.core.journal import Event
from scrutable.core.records import Usage

Kind = Literal["rollouts", "reflections"]
_LONGEST = 200  # characters of a reason
NO_REASON = "the rater gave no score"


@dataclass(frozen=True)
class Call:
    """One call: of a model that answers (rollouts) or that writes. Seconds of the search, its pauses cut out."""

    kind: Kind
    began: float
    ended: float
    failed: bool
    retried: int


@dataclass
class Means:
    """Sums over the rollouts of one text that were scored."""

    count: int = 0
    value: float = 0.0
    true: float = 0.0
    trues: int = 0

    def mean(self) -> float:
        """Return the mean score."""
        return self.value / self.count

    def mean_true(self) -> float | None:
        """Return the mean true reward, where all of the same rollouts have one."""
        return self.true / self.count if self.trues == self.count else None


@dataclass
class Part:
    """What one kind of call in one stage came to."""

    calls: int = 0
    rollouts: int = 0
    usage: Usage = field(default_factory=Usage)


@dataclass
class Trace:
    """The search as it went. Counters count by reason, in the words of who failed."""

    calls: list[Call] = field(default_factory=list)
    commits: list[Mapping[str, Any]] = field(default_factory=list)
    slices: Mapping[str, Any] = field(default_factory=dict)
    parts: dict[tuple[str, Kind], Part] = field(default_factory=dict)
    means: dict[str, Means] = field(default_factory=dict)
    unscored: Counter[str] = field(default_factory=Counter)
    partly: Counter[str] = field(default_factory=Counter)
    unwritten: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    started: int = 0  # rollouts that the first texts took

    @property
    def rollouts(self) -> int:
        """Rollouts in all."""
        return sum(part.rollouts for part in self.parts.values())

    @property
    def searched(self) -> int:
        """Rollouts before the end began."""
        return sum(part.rollouts for (stage, _), part in self.parts.items() if stage == "search")

    @property
    def retries(self) -> int:
        """Requests that failed and were made again."""
        return sum(part.usage.retries for part in self.parts.values())


def trace_of(events: Sequence[Event], pause: float) -> Trace:
    """Return what the events of one search say. pause: seconds in which nothing ran from which on they are cut out."""
    trace, stage = Trace(), "search"
    calls: list[Call] = []
    for event in events:
        payload = event.payload
        if event.kind == "stage" and payload.get("name") == "end":
            stage = "end"
        elif event.kind == "proposal":
            trace.commits.append(payload)
        elif event.kind == "slices":
            trace.slices = payload
        elif event.kind == "candidate" and payload.get("why") == "started from":
            trace.started = trace.rollouts
        elif event.kind == "rollouts":
            failed = _rollouts(trace, payload)
            calls += _call(trace, event, (stage, "rollouts"), failed)
        elif event.kind == "reflection":
            reasons = [_said(line) for line in payload.get("failures") or ()]
            trace.unwritten.update(reasons)
            calls += _call(trace, event, (stage, "reflections"), bool(reasons) and not payload.get("texts"))
    trace.calls = _without_pauses(calls, pause)
    return trace


def _rollouts(trace: Trace, payload: Mapping[str, Any]) -> bool:
    """Take in the rollouts of one event; return whether any of them has no score."""
    failed = False
    for rollout in payload.get("rollouts") or ():
        if not isinstance(rollout, Mapping):
            continue
        score = rollout.get("score")
        score = score if isinstance(score, Mapping) else {}
        value, true = score.get("value"), score.get("true")
        reasons = [_said(line) for line in (*(score.get("failures") or ()), rollout.get("failure")) if line]
        if isinstance(value, int | float):
            trace.partly.update(reasons)
            means = trace.means.setdefault(str(rollout.get("candidate")), Means())
            means.count, means.value = means.count + 1, means.value + value
            if isinstance(true, int | float):
                means.trues, means.true = means.trues + 1, means.true + true
        else:
            failed = True
            trace.unscored[reasons[0] if reasons else NO_REASON] += 1
    return failed


def _call(trace: Trace, event: Event, place: tuple[str, Kind], failed: bool) -> list[Call]:
    """Count a call, and return it where its time is known."""
    part = trace.parts.setdefault(place, Part())
    part.calls += 1
    part.rollouts += len(event.payload.get("rollouts") or ())
    cost = event.cost if "cost" in event.meta else Usage()
    part.usage += cost
    trace.troubles.update(cost.troubles)
    clock = event.meta.get("clock")
    if not isinstance(clock, int | float) or not cost.seconds:
        return []
    return [Call(place[1], clock - cost.seconds, clock, failed, cost.retries)]


def _without_pauses(calls: list[Call], pause: float) -> list[Call]:
    """Return the calls by when they began, told from the first; spells in which nothing ran are cut out where they are long."""
    calls = sorted(calls, key=lambda call: (call.began, call.ended))
    found: list[Call] = []
    cut = calls[0].began if calls else 0.0
    until = cut
    for call in calls:
        if call.began - until > pause:
            cut += call.began - until
        until = max(until, call.ended)
        found.append(Call(call.kind, call.began - cut, call.ended - cut, call.failed, call.retried))
    return found


def _said(line: Any) -> str:
    return one_line(str(line), _LONGEST)
