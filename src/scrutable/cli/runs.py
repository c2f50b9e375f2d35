"""`scrutable runs`: the list of runs, the newest first."""

from __future__ import annotations

import time
from typing import Any

import click

from scrutable.cli.folders import root
from scrutable.cli.screen import Screen, common
from scrutable.core.errors import one_line
from scrutable.core.journal import RunSummary, list_runs


@click.command()
@common(run=False, seed=False)
def runs(screen: Screen) -> None:
    """List the runs in runs/ (or in SCRUTABLE_RUNS): what each does, when, and whether it is done."""
    found = sorted(list_runs(root()), key=lambda summary: (summary.last or 0.0, summary.name), reverse=True)
    rows = [_row(summary) for summary in found]
    if rows:
        screen.table(
            ("run", "verb", "environment", "last event", "state"),
            ((row["run"], row["verb"], row["env"], _when(row["last"]), row["state"]) for row in rows),
        )
    else:
        screen.say(f"no runs in {root()}/ yet")
    screen.result({"runs": rows})


def _row(summary: RunSummary) -> dict[str, Any]:
    ended = "done" if summary.done else "failed" if summary.failed else "stopped"
    state = "running" if summary.held else ended
    return {
        "run": summary.name,
        "path": str(summary.path),
        "verb": str(summary.config.get("verb", "")),
        "env": str(summary.config.get("env", "")),
        "state": one_line(summary.problem, 120) if summary.problem else state,
        "events": summary.events,
        "started": summary.started,
        "last": summary.last,
        "digest": summary.digest,
        "cost": summary.cost.model_dump(mode="json"),
    }


def _when(clock: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(clock)) if clock else ""
