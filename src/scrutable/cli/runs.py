"""`scrutable runs`: the list of runs, the newest first."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from scrutable.cli.folders import all_runs, root
from scrutable.cli.screen import Screen, common
from scrutable.core.errors import UserError, one_line
from scrutable.core.folder import held
from scrutable.core.journal import Run


@click.command()
@common(run=False, seed=False)
def runs(screen: Screen) -> None:
    """List the runs in runs/ (or in SCRUTABLE_RUNS): what each does, when, and whether it is done."""
    rows = [_row(place) for place in all_runs()]
    if rows:
        columns = ("run", "verb", "environment", "state", "last event")
        screen.table(columns, ([str(row[column.replace(" ", "_")]) for column in columns] for row in rows))
    else:
        screen.say(f"no runs in {root()}/ yet")
    screen.result({"runs": rows})


def _row(place: Path) -> dict[str, Any]:
    try:
        run = Run.read(place)
    except UserError as error:
        return {"run": place.name, "state": one_line(error, 80)} | dict.fromkeys(
            ("verb", "environment", "before", "after", "events", "last_event"), ""
        )
    events = run.events()
    about = next((event.payload for event in events if event.kind == "about"), {})
    clock = events[-1].meta.get("clock", 0) if events else 0
    return {
        "run": place.name,
        "verb": str(run.config.get("verb", "")),
        "environment": str(about.get("env", "")),
        "before": str(about.get("before", "")),
        "after": str(about.get("after", "")),
        "state": "running" if held(place) else "done" if run.has("result") else "stopped",
        "events": len(events),
        "last_event": time.strftime("%Y-%m-%d %H:%M", time.localtime(clock)) if clock else "",
    }
