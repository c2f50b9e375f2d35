"""The live display: a reader of a run's events, and nothing else. What it shows is what is on the disk.

On a terminal one display shows every stage with its progress, how long it took or may still take, and the latest figures.
Where stderr is no terminal (a log, a pipe) it writes a line when a stage begins and ends, and now and then between. The first
lines are held back until something is done: a run that fails before that says why, and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrutable.cli.screen import Screen
from scrutable.core.errors import one_line
from scrutable.core.journal import Event, Run
from scrutable.report.words import number, plural, seconds, visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# how much of a stage's total one event is
WORTH: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "step": lambda payload: 1,
    "answers": lambda payload: 1,
    "divergence": lambda payload: 1,
    "rollouts": lambda payload: len(payload.get("rollouts", ())),
}
SHOWN = 8
"""Stages on the display at once."""
QUIET_SECONDS = 10.0
"""Least time between two lines about the same stage where there is no terminal."""
HELD_SECONDS = 10.0
"""Longest time for which the first lines are held back there."""
BEGINNINGS = frozenset({"about", "stage", "answers"})
"""Kinds of events with which nothing is done yet: answers may turn out to be such as no reward can rate."""


@dataclass
class Searching:
    """What a search has come to: proposals that are decided, texts written for further ones, texts kept, the best's score."""

    rollouts: int = 0  # of this process
    written: int = 0
    decided: int = 0
    kept: set[str] = field(default_factory=set)
    best: float | None = None

    def take(self, event: Event, replaying: bool) -> None:
        """Take in an event of a search."""
        payload = event.payload
        if event.kind == "rollouts" and not replaying:
            self.rollouts += len(payload.get("rollouts", ()))
        elif event.kind == "reflection":
            self.written += 1
        elif event.kind == "proposal":
            self.decided += 1
            self.kept.update(str(key) for key in payload.get("accepted") or ())
            worth = payload.get("worth")
            self.best = float(worth) if isinstance(worth, int | float) else self.best

    def says(self, seconds: float) -> str:
        """Return it in a line; nothing while nothing was written. seconds: how long this process has been at it."""
        if not self.written and not self.decided:
            return ""
        parts = [plural(self.decided, "proposal")]
        if self.written > self.decided:
            parts.append(f"{self.written - self.decided} being tried")
        parts.append(f"{len(self.kept)} kept")
        if self.best is not None:
            parts.append(f"best so far {number(self.best)}")
        if self.rollouts and seconds > 1:
            parts.append(f"{number(self.rollouts / seconds)} rollouts/s")
        return ", ".join(parts)


@dataclass
class Stage:
    """One stage as it stands."""

    name: str
    says: str
    total: int | None
    expected: float | None
    began: float
    done: int = 0
    before: int = 0  # of `done`, what an earlier process did
    ended: float | None = None
    figures: str = ""
    search: Searching = field(default_factory=Searching)

    def elapsed(self, now: float) -> float:
        """Return the seconds it took, or takes so far."""
        return (self.ended if self.ended is not None else now) - self.began

    def left(self, now: float) -> float | None:
        """Return the seconds it may still take, where that can be told."""
        fresh = self.done - self.before
        if self.total is not None and fresh >= 3 and self.elapsed(now) > 1:
            return max(0.0, (self.total - self.done) * self.elapsed(now) / fresh)
        return None if self.expected is None else max(0.0, self.expected - self.elapsed(now))

    def share(self) -> float | None:
        """Return how much of it is done, at most 1."""
        return None if not self.total else min(1.0, self.done / self.total)


@dataclass
class Progress:
    """All stages of a run, fed with its events."""

    clock: Callable[[], float] = time.monotonic
    stages: list[Stage] = field(default_factory=list)
    replaying: bool = False
    failures: int = 0

    def take(self, event: Event) -> Stage | None:
        """Take in an event; return the stage that it began, if it began one."""
        payload = event.payload
        if event.kind == "stage":
            self.end()
            self.stages.append(self._stage(payload))
            return self.stages[-1]
        if self.stages:
            stage = self.stages[-1]
            worth = WORTH[event.kind](payload) if event.kind in WORTH else 0
            stage.done += worth
            stage.before += worth if self.replaying else 0
            stage.figures = figures(event) or stage.figures
            stage.search.take(event, self.replaying)
        return None

    def end(self) -> None:
        """The stage under way is over."""
        if self.stages and self.stages[-1].ended is None:
            self.stages[-1].ended = self.clock()

    def _stage(self, payload: Mapping[str, Any]) -> Stage:
        total, expected = payload.get("total"), payload.get("seconds_expected")
        return Stage(
            name=str(payload.get("name", "")),
            says=one_line(visible(str(payload.get("says", "")))),
            total=total if isinstance(total, int) else None,
            expected=float(expected) if isinstance(expected, int | float) else None,
            began=self.clock(),
        )


def figures(event: Event) -> str:
    """Return what an event says in figures, '' where it is nothing for people."""
    payload = event.payload
    if event.kind in ("step", "validation"):
        named = (("reward", "reward"), ("true reward", "true_reward"), ("KL", "kl"))
        parts = [f"{name} {number(payload[key])}" for name, key in named if isinstance(payload.get(key), int | float)]
        return f"step {payload.get('step')}: {', '.join(parts)}" if parts else ""
    if event.kind == "candidate" and payload.get("accepted"):
        texts = payload.get("candidate", {}).get("texts", {})
        return f"kept: {one_line(visible(' '.join(texts.values())) or '(the empty text)', 100)}"
    if event.kind == "account":
        return f"{payload.get('lens', '')}: {plural(len(payload.get('claims', ())), 'claim')}"
    return ""


@contextmanager
def following(run: Run, screen: Screen) -> Iterator[Progress]:
    """Show a run's progress on stderr while the enclosed work is done."""
    progress = Progress(replaying=True)
    display: _Live | _Lines = _Live(progress, screen) if screen.err.is_terminal else _Lines(progress, screen)

    def listen(event: Event) -> None:
        display.told(event, progress.take(event))

    with display:
        end = run.subscribe(listen, replay=True)
        progress.replaying = False
        for stage in progress.stages:
            stage.began = progress.clock()
            stage.ended = stage.began if stage.ended is not None else None
        try:
            yield progress
            progress.end()
        finally:
            end()


class _Live:
    """One display on a terminal, drawn again four times a second."""

    def __init__(self, progress: Progress, screen: Screen) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self.progress = progress
        self.spinner = Spinner("dots", style="cyan")
        self.live = Live(get_renderable=self.draw, console=screen.err, refresh_per_second=4, transient=False)

    def __enter__(self) -> None:
        self.live.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.live.__exit__(*error)

    def told(self, event: Event, stage: Stage | None) -> None:
        """Nothing to do: the next drawing shows it."""

    def draw(self) -> RenderableType:
        """Return the display: a line for each stage, and for the one under way its bar and its latest figures."""
        from rich.console import Group
        from rich.text import Text

        now, stages = self.progress.clock(), list(self.progress.stages)[-SHOWN:]
        parts: list[RenderableType] = []
        for stage in stages:
            over = stage.ended is not None
            parts.append(self._line(stage, f"{_count(stage)}  {_time(stage, now)}".strip() if over else ""))
            if not over:
                parts.append(self._bar(stage, now))
                if told := stage.search.says(stage.elapsed(now)):
                    parts.append(Text(f"  {told}", style="dim", overflow="ellipsis", no_wrap=True))
                if stage.figures:
                    parts.append(Text(f"  {stage.figures}", style="dim", overflow="ellipsis", no_wrap=True))
        return Group(*parts)

    def _line(self, stage: Stage, told: str) -> Table:
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1, 0, 0), expand=True)
        line.add_column(width=1)
        line.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        line.add_column(justify="right", no_wrap=True)
        mark: RenderableType = self.spinner if stage.ended is None else Text("✓", style="green")
        line.add_row(mark, Text(stage.says or stage.name), Text(told, style="dim"))
        return line

    def _bar(self, stage: Stage, now: float) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        share = stage.share()
        bar = Table.grid(padding=(0, 2, 0, 0))
        told = [Text(part, style="dim") for part in (_count(stage), _time(stage, now)) if part]
        drawn: list[RenderableType] = [] if share is None else [ProgressBar(total=1.0, completed=share, width=24)]
        bar.add_row(Text(""), *drawn, *told)
        return bar


class _Lines:
    """Lines in a log."""

    def __init__(self, progress: Progress, screen: Screen) -> None:
        self.progress = progress
        self.screen = screen
        self.said = 0.0
        self.timer = threading.Timer(HELD_SECONDS, screen.release)
        self.timer.daemon = True

    def __enter__(self) -> None:
        self.screen.hold()
        self.timer.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.timer.cancel()
        if kind is None:
            self._over()
        self.screen.release(drop=kind is not None and issubclass(kind, Exception))

    def told(self, event: Event, stage: Stage | None) -> None:
        """Write a line when a stage begins, and now and then while it goes on."""
        if self.progress.replaying:
            return
        if event.kind not in BEGINNINGS:
            self.screen.release()
        now = self.progress.clock()
        if stage is not None:
            self._over(-2)
            total = "" if stage.total is None else f" (up to {stage.total:,})"
            self.screen.note(f"{stage.name}: {stage.says}{total}")
            self.said = now
        elif self.progress.stages and now - self.said >= QUIET_SECONDS:
            self.said = now
            under_way = self.progress.stages[-1]
            search = under_way.search.says(under_way.elapsed(now))
            parts = [part for part in (_count(under_way), _time(under_way, now), search, under_way.figures) if part]
            self.screen.note(f"{under_way.name}: {', '.join(parts)}")

    def _over(self, which: int = -1) -> None:
        """Write that a stage is over."""
        if len(self.progress.stages) < -which:
            return
        stage = self.progress.stages[which]
        now = self.progress.clock()
        if stage.done > stage.before or stage.elapsed(now) > 1:
            self.screen.note(
                f"{stage.name}: done in {seconds(stage.elapsed(now))}{f'; {stage.figures}' if stage.figures else ''}"
            )


def _count(stage: Stage) -> str:
    if stage.total is None or stage.ended is not None or stage.done > stage.total:  # it was an estimate, and passed
        return f"{stage.done:,}" if stage.done else ""
    return f"{stage.done:,}/{stage.total:,}"


def _time(stage: Stage, now: float) -> str:
    told = seconds(stage.elapsed(now))
    if stage.ended is not None:
        return told
    left = stage.left(now)
    return told if left is None else f"{told}, about {seconds(left)} left"
