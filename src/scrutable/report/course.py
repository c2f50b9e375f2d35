"""How a search went: the best text over rollouts, and how many calls were under way at once."""

from __future__ import annotations

import math

from scrutable.report.gather import Facts, Search
from scrutable.report.lineage import named, score_of
from scrutable.report.nodes import Curve, Line, Node, Note, Section, Table
from scrutable.report.words import number, plural, read_interval, spoken

MOST_BESTS = 30
"""Texts in the table of those that were the best for a while."""
_BINS = 120  # points of a line over time


def course_section(facts: Facts, search: Search) -> Section | None:
    """Return how a search went, where its events tell of commits or of times."""
    nodes: list[Node] = []
    anytime = _anytime(facts, search)
    if anytime is not None:
        nodes += [anytime, *_bests(search)]
    cut = [
        commit["spent"] for commit in search.trace.commits if isinstance(commit.get("spent"), str) and commit["spent"]
    ]
    if cut:
        every = plural(len(search.trace.commits), "proposal")
        nodes.append(Note(text=f"{len(cut):,} of {every} ended before it was tested to the end: {cut[0]}."))
    nodes += _slots(search)
    return Section(anchor="course", title="How the search went", nodes=tuple(nodes)) if nodes else None


def _steps(search: Search) -> list[tuple[float, float, str]]:
    """Return (rollouts so far, the search's estimate of its best text, that text's key) after each commit."""
    spent, found = float(search.trace.started), list[tuple[float, float, str]]()
    for commit in search.trace.commits:
        charged, worth = commit.get("charged"), commit.get("worth")
        spent += charged if isinstance(charged, int) else 0
        if isinstance(worth, int | float):
            found.append((spent, float(worth), str(commit.get("best"))))
    return found


def _anytime(facts: Facts, search: Search) -> Curve | None:
    steps = _steps(search)
    if not steps:
        return None
    points = _started(search) or [steps[0][:2]]
    for spent, worth, _ in steps:
        points += [(spent, points[-1][1]), (spent, worth)]
    result = facts.results.get(search.scope, {})
    base, score = read_interval(result.get("base")), read_interval(result.get("score"))
    total = float(search.trace.rollouts)
    points.append((max(points[-1][0], float(search.trace.searched)), points[-1][1]))
    lines = [Line(name="best so far", style="chosen", points=tuple(points))]
    told = f"The search's own estimate of its best text went from {number(points[0][1])} to {number(points[-1][1])}."
    if score is not None:
        fresh = ((total, score.value),) if base is None else ((0.0, base.value), (total, score.value))
        lines.append(Line(name="on fresh tasks", style="true", points=fresh, marks=True))
        told += f" That estimate decided; on fresh tasks, which decided nothing, it scores {spoken(score)}."
    return Curve(
        title="Best score over rollouts",
        says=told,
        x_label="rollouts",
        lines=tuple(lines),
        dots="the first text and the chosen one on tasks that decided nothing, the latter after all rollouts"
        if score is not None
        else "",
    )


def _started(search: Search) -> list[tuple[float, float]]:
    """Return the score of the best of the first texts, after the rollouts that these took."""
    first = [score_of(tried.search) for tried in search.tried.values() if not tried.candidate.parents]
    best = max(first, default=-math.inf)
    return [(float(search.trace.started), best)] if math.isfinite(best) else []


def _bests(search: Search) -> list[Node]:
    """Return the texts that were the best for a while, when, and by what estimate."""
    rows, last = [], ""
    for spent, worth, key in _steps(search):
        if key != last:
            rows.append((number(spent), number(worth), named(search, key, 400)))
            last = key
    if len(rows) < 2:
        return []
    folded = len(rows) > 6
    return [
        Table(
            caption="The best text, whenever it changed"
            + (f" (the last {MOST_BESTS})" if len(rows) > MOST_BESTS else ""),
            columns=("after rollouts", "estimate", "text"),
            rows=tuple(rows[-MOST_BESTS:]),
            folded=folded,
        )
    ]


def _slots(search: Search) -> list[Node]:
    """Return how many calls were under way over time, and where calls failed or had to be made again."""
    calls = search.trace.calls
    whole = max((call.ended for call in calls), default=0.0)
    if len(calls) < 3 or whole <= 0:
        return []
    width = whole / _BINS
    lines, told = [], []
    for kind, name, style in (("rollouts", "rollouts", "chosen"), ("reflections", "reflections", "proxy")):
        busy = [0.0] * _BINS
        own = [call for call in calls if call.kind == kind]
        for call in own:
            for at in range(min(_BINS - 1, int(call.began / width)), min(_BINS - 1, int(call.ended / width)) + 1):
                busy[at] += max(0.0, min(call.ended, (at + 1) * width) - max(call.began, at * width)) / width
        if own:
            points = tuple((round(at * whole / (_BINS - 1), 4), round(value, 4)) for at, value in enumerate(busy))
            lines.append(Line.model_validate({"name": name, "style": style, "points": points}))
            told.append(f"{name}: {number(sum(busy) / _BINS)} on average, {number(max(busy))} at most")
    troubled = [call for call in calls if call.failed or call.retried]
    if troubled:
        marks = tuple(sorted({(round(whole * int(_BINS * call.ended / whole) / _BINS, 4), 0.0) for call in troubled}))
        lines.append(Line(name="failed, or made again", style="true", points=marks, marks=True))
    return [
        Curve(
            title="Calls under way",
            says=f"{'; '.join(told)}. Pauses in which nothing ran are cut out.",
            x_label="seconds",
            lines=tuple(lines),
            dots=f"{plural(len(troubled), 'call')} that failed or had to be made again" if troubled else "",
        )
    ]
