"""Everything below the first screen: claims with evidence, fidelity in full, training, texts, cost, how to reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrutable.core.accounts import Claim, Evidence, Fidelity, Match, Slice
from scrutable.core.records import Usage
from scrutable.core.stats import quantile
from scrutable.report.comparison import comparison_sections
from scrutable.report.first import NAMES, bars, claim_anchor
from scrutable.report.gather import Facts, Measured, Reading
from scrutable.report.nodes import ClaimNode, Commands, Exhibit, Node, Note, Quote, Section, Table
from scrutable.report.search import search_sections, texts_section
from scrutable.report.spending import failures_section, spending
from scrutable.report.training import filled, training_section
from scrutable.report.words import between, compared, count, number, percent, plural, seconds, shortened, spoken, spread
from scrutable.report.worth import worth_sections

MOST_EXHIBITS = 8
"""Pieces of evidence shown for one claim; the run's events hold all of them."""
SPEAKERS = ("base", "tuned", "base + text")
MOST_KNOBS = 14
"""Lines of a config that stand open."""


def sections(facts: Facts) -> tuple[Section, ...]:
    """Return the parts that have something to say."""
    made = [
        *(section for found in facts.comparisons for section in comparison_sections(found)),
        *(_claims(reading) for reading in facts.readings),
        _fidelity(facts),
        training_section(facts),
        texts_section(facts),
        *search_sections(facts),
        *worth_sections(facts),
        failures_section(facts),
        _cost(facts),
        _reproduce(facts),
    ]
    return tuple(section for section in made if section is not None)


# ------------------------------------------------------------------------------------------------------------- claims


def _claims(reading: Reading) -> Section:
    account = reading.account
    nodes: list[Node] = [_claim(claim, claim_anchor(reading, at)) for at, claim in enumerate(account.claims)]
    nodes += [Note(text=note) for note in account.notes]
    if not account.claims:
        nodes.insert(0, Note(text="This lens found nothing to say."))
    title = f"What the {account.lens} lens read" + (" in what is left" if reading.of_remainder else "")
    intro = f"{plural(len(account.claims), 'claim')}, with the answers behind each." if account.claims else ""
    anchor = claim_anchor(reading, 0).removeprefix("claim-").removesuffix("-1")
    return Section(anchor=f"read-{anchor}", title=title, intro=intro, nodes=tuple(nodes))


def _claim(claim: Claim, anchor: str) -> ClaimNode:
    where = "" if claim.after is None and claim.slice == Slice() else claim.slice.says
    if claim.slice.share is not None and claim.slice.share < 1:
        where += f" ({percent(claim.slice.share)} of the tasks)"
    return ClaimNode(
        anchor=anchor,
        says=shortened(claim.says),
        text=shortened(claim.text) if claim.text else None,
        where=where,
        before=claim.before,
        after=claim.after,
        outside=claim.outside,
        nats=claim.nats,
        exhibits=tuple(_exhibit(evidence) for evidence in claim.evidence[:MOST_EXHIBITS]),
        held_back=max(0, len(claim.evidence) - MOST_EXHIBITS),
    )


def _exhibit(evidence: Evidence) -> Exhibit:
    before, after = compared(evidence.before, evidence.after)
    given = None if evidence.with_text is None else compared(evidence.after, evidence.with_text)[1]
    return Exhibit(prompt=shortened(evidence.prompt), before=before, after=after, with_text=given, note=evidence.note)


# ----------------------------------------------------------------------------------------------------------- fidelity


def _fidelity(facts: Facts) -> Section | None:
    if not facts.measured:
        return None
    nodes = [node for measured in facts.measured for node in _measured(measured)]
    return Section(
        anchor="fidelity",
        title="How much they carry, in full",
        intro="Every share stands beside its nulls: what texts that have nothing to do with the change would seem to recover.",
        nodes=tuple(nodes),
    )


def _measured(measured: Measured) -> list[Node]:
    fidelity = measured.fidelity
    made = bars(measured)
    nodes: list[Node] = [Quote(label=measured.label, text=fidelity.text or "(the empty text)")]
    nodes.append(
        Note(
            text=f"{plural(fidelity.tasks, 'task')} of the {fidelity.split} split × {plural(fidelity.answers, 'answer')}; "
            "intervals are 95%, by resampling tasks."
        )
    )
    if made.rest:
        nodes.append(made.model_copy(update={"label": "the other shares", "first": made.rest, "rest": (), "says": ""}))
    if made.changed:
        nodes.append(_share_table(measured))
    of_gaps = [_divergence_table(fidelity)] if fidelity.match is None else _match_tables(fidelity, fidelity.match)
    nodes += [*of_gaps, *_rate_tables(fidelity)]
    return [*nodes, *(Note(text=note) for note in fidelity.notes)]


def _share_table(measured: Measured) -> Table:
    made = bars(measured)
    rows = [
        (
            bar.name,
            percent(bar.value.value) if bar.value else f"none: {bar.why_not or 'not measured'}",
            between(bar.value) if bar.value else "",
            "–" if bar.unrelated_95 is None else f"{percent(bar.unrelated_95)} (of {len(bar.unrelated)})",
            "–" if not bar.random else percent(max(bar.random)),
            spread(bar.shuffled) if bar.shuffled else "–",
        )
        for bar in (*made.first, *made.rest)
    ]
    columns = (
        "share",
        "recovered",
        "interval",
        "unrelated texts, 95th percentile",
        "random texts, highest",
        "words shuffled, median",
    )
    return Table(caption=f"Shares: {measured.label}", columns=columns, rows=tuple(rows))


def _divergence_table(fidelity: Fidelity) -> Table:
    named = (
        ("KL(tuned ‖ base), along the tuned model's answers", fidelity.kl),
        ("KL(tuned ‖ base + text), along the tuned model's answers", fidelity.kl_left),
        ("KL(tuned ‖ base), along the base's answers", fidelity.kl_base),
        ("Jensen–Shannon, along the answers of both", fidelity.js),
    )
    rows = [(name, number(value.value), between(value, "nats")) for name, value in named if value is not None]
    limit = "set by the twins" if fidelity.threshold_from == "twins" else "stated"
    rows.append(("nothing measurable changed at or below", number(fidelity.threshold), limit))
    if fidelity.twins:
        rows.append(("KL(twin ‖ base) of each twin", ", ".join(number(value) for value in fidelity.twins), ""))
    return Table(
        caption="Divergences, nats an answer",
        columns=("divergence", "value", "interval"),
        rows=tuple(rows),
        folded=True,
    )


def _match_tables(fidelity: Fidelity, match: Match) -> list[Table]:
    """Return what sampled answers say: gaps in likeness, and how well a classifier tells the speakers apart."""
    pairs = [(f"likeness of two answers: {who}", value) for who, value in match.likeness.items()]
    named = [("gap from the base to the tuned model", match.gap), ("gap from base + text", match.left), *pairs]
    rows = [(name, number(value.value), between(value, "plain")) for name, value in named]
    rows.append(("nothing measurable changed at or below", number(fidelity.threshold), "by exchanged names"))
    rows.append(("chance of as large a gap by exchanged names", number(match.chance), ""))
    gaps = Table(
        caption="Agreement of sampled answers",
        columns=("likeness", "value", "interval"),
        rows=tuple(rows),
        folded=True,
    )
    told = [(who, percent(value.value), between(value)) for who, value in match.told.items()]
    for name, values in (("unrelated texts", match.told_unrelated), ("random texts", match.told_random)):
        if values:
            told.append((f"base + {name}, lowest and median", percent(min(values)), percent(quantile(values, 0.5))))
    columns = ("whose", "told", "interval")
    caption = "Answers that a classifier of words tells from the tuned model's (50%: it cannot)"
    return [gaps, Table(caption=caption, columns=columns, rows=tuple(told), folded=True)]


def _rate_tables(fidelity: Fidelity) -> list[Table]:
    """Return rewards and fluency as tables of measure by speaker; their names are 'speaker: measure'."""
    tables = []
    for caption, values in (("Rewards", fidelity.rewards), ("Fluency", fidelity.fluency)):
        parted = {tuple(name.rpartition(": ")[::2]): value for name, value in values.items()}
        # written with sorted keys: the order of the story is put back
        speakers = sorted({speaker for speaker, _ in parted}, key=lambda name: (_rank(name), name))
        rows = [
            (measure.replace("_", " "), *(spoken(parted.get((speaker, measure))) for speaker in speakers))
            for measure in dict.fromkeys(measure for _, measure in parted)
        ]
        if rows:
            tables.append(Table(caption=caption, columns=("measure", *speakers), rows=tuple(rows), folded=True))
    return tables


def _rank(speaker: str) -> int:
    return SPEAKERS.index(speaker) if speaker in SPEAKERS else len(SPEAKERS)


# ----------------------------------------------------------------------------------------------- texts, cost, commands


def _cost(facts: Facts) -> Section | None:
    total = sum(facts.cost.values(), Usage())
    rows = [_cost_row(part, facts.cost.get(part), facts.elapsed.get(part, 0.0)) for part in facts.elapsed]
    rows = [row for row in rows if any(cell != "–" for cell in row[1:])]
    if not rows:
        return None
    if facts.cost:
        rows.append(_cost_row("in all", total, sum(facts.elapsed.values())))
    columns = (
        "part",
        "forward passes",
        "answers",
        "tokens read",
        "tokens written",
        "model time",
        "by the clock",
        "US dollars",
    )
    nodes: list[Node] = [filled("By part of the run", columns, rows)]
    nodes += spending(facts)
    return Section(anchor="cost", title="What it cost", nodes=tuple(nodes))


def _cost_row(part: str, usage: Usage | None, elapsed: float) -> tuple[str, ...]:
    known = usage or Usage()
    numbers = (known.forward_passes, known.generations, known.prompt_tokens, known.answer_tokens)
    return (
        part,
        *(count(value) if value else "–" for value in numbers),
        seconds(known.seconds) if known.seconds else "–",
        seconds(elapsed) if elapsed >= 0.05 else "–",
        f"{known.money:,.4f}" if known.money else "–",
    )


def _reproduce(facts: Facts) -> Section:
    command = facts.about.get("command")
    lines = [command] if isinstance(command, str) and command else []
    nodes: list[Node] = [Commands(lines=(*lines, f"scrutable report {facts.name}"))]
    knobs = _flat(facts.config)
    nodes.append(Table(caption="Config", columns=("knob", "value"), rows=knobs, folded=len(knobs) > MOST_KNOBS))
    versions = facts.about.get("versions")
    if isinstance(versions, Mapping) and versions:
        nodes.append(Table(caption="Versions", columns=("package", "version"), rows=_flat(versions), folded=True))
    if any(measured.fidelity.changed for measured in facts.measured):
        explained = tuple((name, explains) for name, explains in NAMES.values())
        nodes.append(Table(caption="What the shares mean", columns=("share", "meaning"), rows=explained, folded=True))
    intro = "The same command in a new folder gives the same events; in the same folder it goes on where it stopped."
    return Section(anchor="reproduce", title="How to reproduce it", intro=intro if lines else "", nodes=tuple(nodes))


def _flat(value: Mapping[str, Any], prefix: str = "") -> tuple[tuple[str, str], ...]:
    rows: list[tuple[str, str]] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            rows += _flat(inner, f"{prefix}{key}.")
        else:
            shown = (
                "–" if inner is None or inner == "" else shortened(inner if isinstance(inner, str) else str(inner), 400)
            )
            rows.append((f"{prefix}{key}", shown))
    return tuple(rows)
