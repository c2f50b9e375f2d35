"""What with-rl came to, in words: an arm in a line, a case as a table, and all seeds of an environment as one table.

A case's figures have the intervals of its tasks. Over seeds the spread is that of the seeds, from the least to the most: few
seeds have no honest interval. Left out: what is measured, which is in `with_rl_measure.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any


def line(row: Mapping[str, Any]) -> str:
    """Return an arm in one line, for people."""
    told = "; ".join(
        f"{context} reward {spanned(row[key]['proxy'])}, KL {spanned(row[key]['kl'])}"
        for key, context in (("with_text", "with the text"), ("without", "without"))
        if row["text"] or key == "without"
    )
    return f"{told}; {row['rollouts']:,} rollouts, {row['seconds']:.0f} s; '{row['text']}'"


COLUMNS = (
    "arm",
    ">rollouts",
    ">search + RL",
    ">seconds",
    "context",
    ">proxy",
    ">true",
    ">KL to base",
    ">parses",
    "text",
)


def table(case: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of one case's table, by COLUMNS: of each arm with its text in context, and without."""
    rows: list[tuple[str, ...]] = []
    for name, row in case["arms"].items():
        head = (name, f"{row['rollouts']:,}", f"{row['search']:,} + {row['training']:,}", f"{row['seconds']:.0f}")
        for at, (context, which) in enumerate(_contexts(name, bool(row["text"]))):
            cells = (spanned(row[which].get(key)) for key in ("proxy", "true", "kl", "parses"))
            rows.append((*(head if at == 0 else ("", "", "", "")), context, *cells, row["text"] if at == 0 else ""))
    return rows


OVER = ("arm", ">seeds", ">rollouts", ">RL", "context", ">proxy", ">true", ">KL to base")


def over_seeds(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the cases of one environment as one: "arms" by name, and "explained", each figure over the seeds.

    A figure is its mean, its least and its most over the seeds that have it ("value", "low", "high"), None where none has.
    """
    arms = {}
    for name in cases[0]["arms"]:
        rows = [case["arms"][name] for case in cases]
        arms[name] = {
            "seeds": len(rows),
            **{key: fmean(row[key] for row in rows) for key in ("rollouts", "search", "training", "seconds")},
            "found": sum(bool(row["text"]) for row in rows),
            **{
                context: {key: _spread([row[context].get(key) for row in rows]) for key in rows[0][context]}
                for context in ("with_text", "without")
            },
        }
    found = [case["explained"] for case in cases if case["explained"]]
    shares = {
        name: {key: _spread([one[name][key] for one in found]) for key in found[0][name]}
        for name in (found[0] if found else ())
    }
    return {"rollouts": cases[0]["rollouts"], "arms": arms, "explained": shares}


def _spread(values: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [float(value["value"]) for value in values if value is not None]
    return {"value": fmean(known), "low": min(known), "high": max(known), "count": len(known)} if known else None


def over_table(environment: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of one environment's table, by OVER; an arm whose seeds found no text is shown without one."""
    rows: list[tuple[str, ...]] = []
    for name, row in environment["arms"].items():
        head = (name, str(row["seeds"]), f"{row['rollouts']:,.0f}", f"{row['training']:,.0f}")
        contexts = _contexts(name, bool(row["found"]))
        for at, (context, key) in enumerate(contexts):
            cells = (spanned(row[key].get(column)) for column in ("proxy", "true", "kl"))
            rows.append((*(head if at == 0 else ("", "", "", "")), context, *cells))
    return rows


def _contexts(arm: str, text: bool) -> list[tuple[str, str]]:
    """Return in which contexts an arm is shown, and by what key; that of inoculation is without its text."""
    bare = [("no text", "without")]
    return bare if arm == "inoculated" or not text else [("text", "with_text"), *bare]


EXPLAINED = ("not learned of RL's change", ">KL", ">proxy", ">true")


def explained_table(case: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of one case's second table, by EXPLAINED."""
    says = {"inoculated": "with the found text in context", "unrelated": "with an unrelated text (the null)"}
    return [
        (says[name], *(spanned(found[key], "no share") for key in ("kl", "proxy", "true")))
        for name, found in case["explained"].items()
    ]


def spanned(value: Mapping[str, Any] | None, none: str = "–") -> str:
    """Return a number with its interval."""
    if value is None:
        return none
    if value["low"] is None:
        return f"{value['value']:.2f}"
    return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
