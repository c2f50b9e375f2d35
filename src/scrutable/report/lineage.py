"""The lineage of texts: a tree whose trunk is the line to the chosen text, with what each text changed of its parent."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from scrutable.report.gather import Search, Tried
from scrutable.report.nodes import Dot, Dots, Lineage, LineageText, Piece, Role
from scrutable.report.words import number, plural, shortened, woven

_DIGEST = re.compile(r"/[0-9a-f]{16}\b")
MOST_TRIED = 200
"""Texts that were not kept, on the page; the run's events hold all of them."""
MOST_KEPT = 200
"""Accepted texts off the line, on the page."""
MOST_DOTS = 2000
"""Texts in the picture."""


def lineage(search: Search) -> Lineage:
    """Return the tree in words: the chosen text's line, oldest first, and the others in the order of their descent."""
    line = line_of(search)
    kept: list[tuple[str, int, str | None]] = []
    tried: list[tuple[str, int, str | None]] = []
    for key, depth, root in _descent(search, set(line)):
        (kept if search.tried[key].accepted else tried).append((key, depth, root))
    where = _DIGEST.sub("", search.scope)
    label = plural(len(line), "text") + " from the first to the chosen one" + (f" ({where})" if where else "")
    return Lineage(
        label=label,
        line=tuple(_text(search, key, at) for at, key in enumerate(line)),
        kept=tuple(_text(search, *one) for one in kept[:MOST_KEPT]),
        tried=tuple(_text(search, *one) for one in tried[:MOST_TRIED]),
        held_back=max(0, len(kept) - MOST_KEPT) + max(0, len(tried) - MOST_TRIED),
    )


def line_of(search: Search) -> list[str]:
    """Return the keys from the first text to the chosen one."""
    best = chosen(search)
    line: list[str] = []
    at = best.candidate.key if best else None
    while at is not None and at in search.tried and at not in line:
        line.append(at)
        at = _parent(search.tried[at])
    line.reverse()
    return line


def chosen(search: Search) -> Tried | None:
    """Return the text that a search ended with: the one it named, else the one that scored best, else the last accepted."""
    if search.chosen in search.tried:
        return search.tried[search.chosen]
    accepted = [tried for tried in search.tried.values() if tried.accepted]
    if not accepted:
        return None
    return max(accepted, key=lambda tried: (score_of(tried.keep), score_of(tried.search)))


def score_of(scores: object) -> float:
    """Return the number in a candidate's scores (`value`, `mean` or `score`), or minus infinity."""
    if isinstance(scores, dict):
        for name in ("value", "mean", "score"):
            inner = scores.get(name)
            if isinstance(inner, dict):
                inner = inner.get("value")
            if isinstance(inner, int | float) and math.isfinite(inner):
                return float(inner)
    return -math.inf


def when(search: Search) -> dict[str, float]:
    """Return how many rollouts the search had taken when a text was accepted, else when it was first judged."""
    spent, judged, accepted = float(search.trace.started), dict[str, float](), dict[str, float]()
    for commit in search.trace.commits:
        charged = commit.get("charged")
        spent += charged if isinstance(charged, int) else 0
        for found, keys in ((judged, commit.get("children")), (accepted, commit.get("accepted"))):
            for key in keys or ():
                found.setdefault(str(key), spent)
    return {**judged, **accepted}


def tree(search: Search) -> Dots | None:
    """Return the tree as a picture: each text at what had been spent when it was judged, and at its score."""
    line = line_of(search)
    role: dict[str, Role] = {key: "kept" if tried.accepted else "tried" for key, tried in search.tried.items()}
    for at, key in enumerate(line, start=1):
        role[key] = "chosen" if at == len(line) else "line"
    drawn = [key for key, tried in search.tried.items() if math.isfinite(_score(tried))]
    drawn = sorted(drawn, key=lambda key: role[key] == "tried")[:MOST_DOTS]
    if len(drawn) < 2:
        return None
    place = {key: at for at, key in enumerate(drawn)}
    across = _across(search)
    dots = []
    for key in drawn:
        parent = _parent(search.tried[key])
        linked = role[key] != "tried" and parent in place and parent != key
        up = place[parent] if linked and parent else None
        dots.append(Dot(x=across[key], y=_score(search.tried[key]), role=role[key], says=_dot(search, key), parent=up))
    kept = sum(dot.role != "tried" for dot in dots)
    return Dots(
        title="The tree of texts",
        says=f"{plural(kept, 'text')} kept, {plural(len(dots) - kept, 'text')} tried and not kept; each at its mean on those "
        "tasks of the search that it was scored on (few, where it was not kept).",
        x_label="rollouts" if search.trace.commits else "texts, in their order",
        y_label="score",
        dots=tuple(dots),
        legend=(("chosen", "chosen"), ("line", "the line to it"), ("kept", "kept"), ("tried", "not kept")),
    )


def _across(search: Search) -> dict[str, float]:
    """Return how far to the right each text stands: by rollouts, or by order where the events do not tell these."""
    if not search.trace.commits:
        return {key: float(at) for at, key in enumerate(search.tried)}
    found = when(search)
    last = max(found.values(), default=0.0)  # of those made at the end
    return {key: found.get(key, last if _parent(tried) else 0.0) for key, tried in search.tried.items()}


def _dot(search: Search, key: str) -> str:
    tried = search.tried[key]
    score = _scores(tried.search) or _scores(tried.keep)
    return f"{score}: {shortened(tried.candidate.text or '(the empty text)', 160)}"


def _score(tried: Tried) -> float:
    value = score_of(tried.search)
    return value if math.isfinite(value) else score_of(tried.keep)


def _parent(tried: Tried) -> str | None:
    return tried.candidate.parents[0] if tried.candidate.parents else None


def _descent(search: Search, line: set[str]) -> list[tuple[str, int, str | None]]:
    """Return (key, depth, root) of the texts off the line, each after its parent.

    depth: steps from the line, or from the first text of its own; root: the text of the line from which it leads off.
    """
    children: dict[str | None, list[str]] = {}
    for key, tried in search.tried.items():
        parent = _parent(tried)
        children.setdefault(parent if parent in search.tried else None, []).append(key)
    ordered: list[tuple[str, int, str | None]] = []
    waiting: list[tuple[str, int, str | None]] = [(key, 0, None) for key in reversed(children.get(None, []))]
    seen: set[str] = set()
    while waiting:  # no recursion: a lineage may be thousands deep
        key, depth, root = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        if key in line:
            depth, root = 0, key
        else:
            ordered.append((key, depth, root))
        waiting += [(child, depth + 1, root) for child in reversed(children.get(key, []))]
    return ordered


def _text(search: Search, key: str, depth: int, root: str | None = None) -> LineageText:
    tried = search.tried[key]
    parent = _parent(tried)
    text = tried.candidate.text
    pieces: tuple[Piece, ...]
    if parent in search.tried and search.tried[parent].candidate.text:
        pieces = woven(search.tried[parent].candidate.text, text)
    else:
        pieces = (Piece(text=shortened(text)),) if text else ()
    return LineageText(
        key=key,
        parent=parent,
        parents=tried.candidate.parents,
        origin=tried.candidate.origin,
        pieces=pieces,
        accepted=tried.accepted,
        why=tried.why,
        search=_scores(tried.search),
        keep=_scores(tried.keep),
        depth=depth,
        root=root,
    )


def _scores(scores: Mapping[str, Any]) -> str:
    value = score_of(scores)
    if not math.isfinite(value):
        return ""
    low, high = scores.get("low"), scores.get("high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return f"{number(value)} ({number(low)} to {number(high)})"
    return number(value)


def named(search: Search, key: str, longest: int = 160) -> str:
    """Return the text of a candidate, for a line."""
    tried = search.tried.get(key)
    return key if tried is None else shortened(tried.candidate.text, longest) or "(the empty text)"
