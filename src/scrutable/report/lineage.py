"""The lineage of texts: the line from the first text to the chosen one, with what each step changed, and all that was tried."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from scrutable.report.first import chosen, score_of
from scrutable.report.gather import Search, Tried
from scrutable.report.nodes import Lineage, LineageText, Piece
from scrutable.report.words import number, plural, shortened, woven

_DIGEST = re.compile(r"/[0-9a-f]{16}\b")
MOST_TRIED = 200
"""Texts shown beside the line; the run's events hold all of them."""


def lineage(search: Search) -> Lineage:
    """Return the chosen text's line, oldest first, and the tree of the others in the order of their descent."""
    best = chosen(search)
    line: list[str] = []
    at = best.candidate.key if best else None
    while at is not None and at in search.tried and at not in line:
        line.append(at)
        at = _parent(search.tried[at])
    line.reverse()
    others = _descent(search, set(line))
    where = _DIGEST.sub("", search.scope)
    label = plural(len(line), "text") + " from the first to the chosen one" + (f" ({where})" if where else "")
    return Lineage(
        label=label,
        line=tuple(_text(search, key, at) for at, key in enumerate(line)),
        tried=tuple(_text(search, key, depth) for key, depth in others[:MOST_TRIED]),
    )


def _parent(tried: Tried) -> str | None:
    return tried.candidate.parents[0] if tried.candidate.parents else None


def _descent(search: Search, line: set[str]) -> list[tuple[str, int]]:
    """Return (key, depth) of the texts off the line, each after its parent."""
    children: dict[str | None, list[str]] = {}
    for key, tried in search.tried.items():
        parent = _parent(tried)
        children.setdefault(parent if parent in search.tried else None, []).append(key)
    ordered: list[tuple[str, int]] = []
    waiting = [(key, 0) for key in reversed(children.get(None, []))]
    seen: set[str] = set()
    while waiting:  # no recursion: a lineage may be thousands deep
        key, depth = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        if key not in line:
            ordered.append((key, depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(key, []))]
    return ordered


def _text(search: Search, key: str, depth: int) -> LineageText:
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
    )


def _scores(scores: Mapping[str, Any]) -> str:
    value = score_of(scores)
    if not math.isfinite(value):
        return ""
    low, high = scores.get("low"), scores.get("high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return f"{number(value)} ({number(low)} to {number(high)})"
    return number(value)
