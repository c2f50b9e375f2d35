"""How many requests a server is asked at once, and when it is left alone: one limiter for each server.

`Pace` is the rule, and pure: whoever calls it says what time it is. Concurrency falls by half where a round of requests is
refused or lost, and grows by one for each round that is answered (additive increase, multiplicative decrease: Chiu and Jain,
1989), never above `most`. A Retry-After holds all back, not only the request that was refused. While nothing listens, one
request at a time looks whether the server is back. `Limiter` lets threads wait for what a Pace says.

Left out: token rates (a server tells of them by refusing), and what a single request does after a failure (`api.py`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pydantic import Field

from scrutable.core.records import Record

_LONGEST_LOOK = 5.0  # seconds between two looks whether a server is back
_TOLD_AFTER = 2.0  # seconds of waiting that are worth a line
_TOLD_AGAIN = 30.0  # seconds until the next
_log = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of a request, as far as it tells about the server."""

    ANSWERED = "an answer"
    FAILED = "a response of no use: the server is there, and has room"
    LOST = "no response: cut off, or too late"
    BUSY = "refused: too many requests, or not ready"
    GONE = "nothing listens there"


class ServerRecord(Record):
    """What asking a server came to so far: figures of this process, for pages and notes; no part of any result."""

    requests: int = Field(default=0, description="requests made, failed ones too")
    answered: int = Field(default=0, description="requests that were answered")
    troubles: dict[str, int] = Field(default_factory=dict, description="what went wrong -> how often: 'status 429'")
    given_up: int = Field(default=0, description="requests that became a failure of their task")
    paused: float = Field(default=0.0, description="seconds for which the server asked to be left alone")
    away: float = Field(default=0.0, description="seconds for which nothing listened there")
    absences: int = Field(default=0, description="times it went away")
    limit: int = Field(default=0, description="requests that may be under way at once now")
    least: int = Field(default=0, description="the fewest that this was")
    most: int = Field(default=0, description="the most that it may be")


@dataclass
class Pace:
    """The rule. Times are seconds of any one clock; `began` is when the request that is told of was started.

    most: requests that may be under way at once. backoff: seconds between the first looks after a server that is away.
    patience: seconds of asking in vain after which it is given up. name: what the lines call it.
    """

    most: int
    backoff: float
    patience: float
    name: str = "the server"
    limit: float = 0.0
    under_way: int = 0
    heard: bool = False  # it has responded at least once
    troubles: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    _until: float = -math.inf  # nobody starts before
    _since: float | None = None  # it has been asked in vain
    _gone: float | None = None  # since when nothing listens
    _looks: int = 0
    _filled: float = -math.inf  # when as many were under way as may be
    _cut: float = -math.inf  # when concurrency last fell
    _told: float | None = None  # when a line was last written about the waiting
    _sent: int = 0
    _answered: int = 0
    _paused: float = 0.0
    _away: float = 0.0
    _absences: int = 0
    _least: int = 0

    def __post_init__(self) -> None:
        self.limit = float(self.most)
        self._least = self.most

    def wait(self, now: float) -> float:
        """Return the seconds until one more request may start: 0 at once, infinity when one must end first."""
        if now < self._until:
            return self._until - now
        room = 1 if self._gone is not None else int(self.limit)
        return 0.0 if self.under_way < room else math.inf

    def start(self, now: float) -> None:
        """One more is under way."""
        self.under_way += 1
        self._sent += 1
        if self.under_way >= int(self.limit):
            self._filled = now

    def end(self, now: float, began: float, outcome: Outcome, why: str = "", asked: float | None = None) -> str:
        """One has come back; return what is worth telling people, '' for nothing.

        why: what went wrong, '' for nothing. asked: the server's Retry-After, in seconds.
        """
        self.under_way -= 1
        if why:
            self.troubles[why] += 1
        if outcome is Outcome.ANSWERED:
            self._answered += 1
            if self._filled >= began:  # what was not used has not been shown to be borne
                self.limit = min(float(self.most), self.limit + 1 / self.limit)
        if outcome in (Outcome.LOST, Outcome.BUSY) and began >= self._cut:
            # Once a round: the others of it were started before this was known.
            self._cut = now
            self.limit = max(1.0, self.limit / 2)
            self._least = min(self._least, int(self.limit))
        if outcome is Outcome.LOST or (self._gone is not None and began < self._gone):
            return ""  # says nothing about whether it is there now
        if outcome is Outcome.GONE:
            self._look_later(now)
        else:
            self._is_there(now)
        if outcome not in (Outcome.BUSY, Outcome.GONE):
            return self._relief(now)
        self._since = now if self._since is None else self._since
        if outcome is Outcome.BUSY and asked:
            until = min(now + asked, self._since + self.patience)
            self._paused += max(0.0, until - max(self._until, now))
            self._until = max(self._until, until)
        return self._news(now, why)

    def overdue(self, now: float) -> float:
        """Return the seconds for which it has been asked in vain, where that is longer than there is patience; else 0."""
        spell = 0.0 if self._since is None else now - self._since
        return spell if spell >= self.patience else 0.0

    def record(self, now: float) -> ServerRecord:
        """Return the figures."""
        return ServerRecord(
            requests=self._sent,
            answered=self._answered,
            troubles=dict(sorted(self.troubles.items())),
            given_up=self.given_up,
            paused=round(self._paused, 3),
            away=round(self._away + (0.0 if self._gone is None else now - self._gone), 3),
            absences=self._absences,
            limit=int(self.limit),
            least=self._least,
            most=self.most,
        )

    def _news(self, now: float, why: str) -> str:
        """Return that it is waited for, where that is worth a line: now and then, and not for a moment's trouble."""
        since = now if self._since is None else self._since
        if max(now, self._until) - since < _TOLD_AFTER or (self._told is not None and now - self._told < _TOLD_AGAIN):
            return ""
        self._told = now
        past = f" for {now - since:.0f} s" if now - since >= 1 else ""
        rest = f", to be asked again in {self._until - now:.0f} s" if self._until - now >= _TOLD_AFTER else ""
        return f"waiting for {self.name}, up to {self.patience:g} s: {why}{past}{rest}"

    def _relief(self, now: float) -> str:
        """It answers: return that it does so again, where the waiting was told."""
        told, since = self._told, self._since
        self._since = self._told = None
        return "" if told is None or since is None else f"{self.name} answers again after {now - since:.0f} s"

    def _look_later(self, now: float) -> None:
        if self._gone is None:
            self._gone, self._looks = now, 0
            self._absences += 1
        self._until = max(self._until, now + min(_LONGEST_LOOK, self.backoff * 2**self._looks))
        self._looks = min(self._looks + 1, 30)

    def _is_there(self, now: float) -> None:
        self.heard = True
        if self._gone is not None:
            self._away += now - self._gone
            self._gone = None


class Limiter:
    """A Pace that threads wait for. Its lines go to `say`: logged as warnings until somebody listens."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self.say: Callable[[str], None] = _log.warning
        self._pace = pace
        self._clock = clock
        self._changed = threading.Condition()

    @property
    def record(self) -> ServerRecord:
        """The figures so far."""
        with self._changed:
            return self._pace.record(self._clock())

    @property
    def heard(self) -> bool:
        """Whether the server has responded at least once."""
        return self._pace.heard

    def enter(self, stop: threading.Event) -> float | None:
        """Wait until a request may start; return the time of that, or None when `stop` was set before (see `wake`)."""
        with self._changed:
            while not stop.is_set():
                wait = self._pace.wait(self._clock())
                if wait <= 0:
                    now = self._clock()
                    self._pace.start(now)
                    return now
                self._changed.wait(None if math.isinf(wait) else wait)
        return None

    def leave(self, began: float, outcome: Outcome, why: str = "", asked: float | None = None) -> float:
        """Say what became of a request (see `Pace.end`); return the seconds asked in vain once patience is at an end, else 0."""
        with self._changed:
            now = self._clock()
            line = self._pace.end(now, began, outcome, why, asked)
            over = self._pace.overdue(now)
            self._changed.notify_all()
        if line and not over:
            self.say(line)
        return over

    def give_up(self) -> None:
        """Count a request that became a failure of its task."""
        with self._changed:
            self._pace.given_up += 1

    def wake(self) -> None:
        """Let all who wait look at their `stop`."""
        with self._changed:
            self._changed.notify_all()


_known: weakref.WeakValueDictionary[tuple[str, int, float, float], Limiter] = weakref.WeakValueDictionary()
_knowing = threading.Lock()


def limiter_at(url: str, most: int, backoff: float, patience: float) -> Limiter:
    """Return the limiter of a server, the same for all who ask it in the same way: two models may be on one server."""
    key = (url, most, backoff, patience)
    with _knowing:
        found = _known.get(key)
        if found is None:
            found = _known[key] = Limiter(Pace(most, backoff, patience, f"the server at {url}"))
        return found
