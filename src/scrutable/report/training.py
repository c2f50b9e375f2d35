"""How training went: the curve of proxy and true reward, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from scrutable.report.gather import Facts, Training
from scrutable.report.nodes import Curve, Line, Node, Note, Section, Table
from scrutable.report.words import number, plural

TREND = 30
"""Steps from which a curve is drawn as a running mean over its noise."""
KINDS: tuple[tuple[str, str, Literal["proxy", "true"]], ...] = (
    ("proxy reward", "reward", "proxy"),
    ("true reward", "true_reward", "true"),
)


def training_section(facts: Facts) -> Section | None:
    """Return the curves of all trainings of a run, or None where nothing was trained."""
    if not facts.trainings:
        return None
    nodes: list[Node] = []
    for training in facts.trainings:
        curve = _curve(training, len(facts.trainings) > 1)
        nodes += [curve, _curve_table(training)] if curve.lines else []
        nodes += [Note(text=f"It ended because {why}.") for why in _ends(facts, training)]
    return Section(anchor="training", title="How training went", nodes=tuple(nodes)) if nodes else None


def _ends(facts: Facts, training: Training) -> list[str]:
    """Return why a training ended, where its result says so."""
    payload = facts.results.get(training.scope, {})
    why = payload.get("stopped_why")
    return [why] if isinstance(why, str) and why else []


def _curve(training: Training, named: bool) -> Curve:
    lines: list[Line] = []
    told: list[str] = []
    for name, key, style in KINDS:
        raw, checked = _points(training.steps, key), _points(training.validations, key)
        best = checked or raw
        if best:
            told.append(f"{name} from {number(best[0][1])} to {number(best[-1][1])}")
        if raw:
            lines.append(Line(name=name, style=style, points=_trend(raw)))
        if checked:
            lines.append(Line(name=f"{name}, validation", style=style, points=checked, marks=True))
    steps = max((int(row["step"]) for row in (*training.steps, *training.validations)), default=0)
    mean = f" Lines are means over {_window(len(training.steps))} steps." if len(training.steps) >= TREND else ""
    return Curve(
        title=f"Reward over training{f' ({training.scope})' if named else ''}",
        says=f"Over {plural(steps, 'step')}: {'; '.join(told)}.{mean}",
        x_label="step",
        lines=tuple(lines),
        dots="measured on validation tasks" if any(line.marks for line in lines) else "",
    )


def _points(rows: list[Mapping[str, Any]], key: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row["step"]), float(row[key])) for row in rows if isinstance(row.get(key), int | float))


def _window(steps: int) -> int:
    return max(3, steps // 20)


def _trend(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Return the mean of the last few steps at each step, so that a noisy curve can be read; few points stay as they are."""
    if len(points) < TREND:
        return points
    window = _window(len(points))
    return tuple(
        (x, sum(y for _, y in points[max(0, at - window + 1) : at + 1]) / min(window, at + 1))
        for at, (x, _) in enumerate(points)
    )


def _curve_table(training: Training) -> Table:
    rows = training.validations or training.steps
    every = max(1, len(rows) // 20)
    picked = [row for at, row in enumerate(rows) if at % every == 0 or at == len(rows) - 1]
    what = "validation" if training.validations else "training step"
    cells = [
        (str(row["step"]), _cell(row.get("reward")), _cell(row.get("true_reward")), _cell(row.get("kl")))
        for row in picked
    ]
    return filled(f"The numbers, by {what}", ("step", "proxy reward", "true reward", "KL to base"), cells, folded=True)


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else "–"


def filled(caption: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], folded: bool = False) -> Table:
    """Return a table without the columns in which no row has anything."""
    kept = [at for at in range(len(columns)) if at == 0 or any(row[at] != "–" for row in rows)]
    shown = tuple(tuple(row[at] for at in kept) for row in rows)
    return Table(caption=caption, columns=tuple(columns[at] for at in kept), rows=shown, folded=folded)
