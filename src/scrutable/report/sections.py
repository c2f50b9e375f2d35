"""Everything below the first screen: claims with evidence, fidelity in full, training, texts, cost, how to reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrutable.core.accounts import Claim, Evidence, Fidelity
from scrutable.core.records import Usage
from scrutable.report.first import NAMES, bars, claim_anchor
from scrutable.report.gather import Facts, Measured, Reading, Training
from scrutable.report.lineage import lineage
from scrutable.report.nodes import ClaimNode, Commands, Curve, Exhibit, Line, Node, Note, Quote, Section, Table
from scrutable.report.words import between, compared, count, number, percent, plural, seconds, shortened

MOST_EXHIBITS = 8
"""Pieces of evidence shown for one claim; the run's events hold all of them."""
TREND = 30
"""Steps from which a curve is drawn as a running mean over its noise."""


def sections(facts: Facts) -> tuple[Section, ...]:
    """Return the parts that have something to say."""
    made = [
        *(_claims(reading) for reading in facts.readings),
        _fidelity(facts),
        _training(facts),
        _texts(facts),
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
    where = claim.slice.says
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
        nodes.append(made.model_copy(update={"first": made.rest, "rest": (), "says": ""}))
    if made.changed:
        nodes.append(_share_table(measured))
    nodes += [_divergence_table(fidelity), *_rate_tables(fidelity)]
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
            "–" if bar.shuffled is None else percent(bar.shuffled),
        )
        for bar in (*made.first, *made.rest)
    ]
    columns = ("share", "recovered", "interval", "unrelated texts, 95th percentile", "random texts, highest", "words shuffled")
    return Table(caption=f"Shares: {measured.label}", columns=columns, rows=tuple(rows))


def _divergence_table(fidelity: Fidelity) -> Table:
    named = (
        ("KL(tuned ‖ base), along the tuned model's answers", fidelity.kl),
        ("KL(tuned ‖ base + text), along the tuned model's answers", fidelity.kl_left),
        ("KL(tuned ‖ base), along the base's answers", fidelity.kl_base),
        ("Jensen–Shannon, along the answers of both", fidelity.js),
    )
    rows = [(name, number(value.value), between(value, "nats")) for name, value in named]
    limit = "95th percentile of the twins" if fidelity.threshold_from == "twins" else "stated"
    rows.append(("nothing measurable changed at or below", number(fidelity.threshold), limit))
    if fidelity.twins:
        rows.append(("KL(twin ‖ base) of each twin", ", ".join(number(value) for value in fidelity.twins), ""))
    return Table(caption="Divergences, nats an answer", columns=("divergence", "value", "interval"), rows=tuple(rows), folded=True)


def _rate_tables(fidelity: Fidelity) -> list[Table]:
    tables = []
    for caption, values in (("Rewards", fidelity.rewards), ("Fluency", fidelity.fluency)):
        if values:
            rows = tuple((name.replace("_", " "), number(value.value), between(value, "plain")) for name, value in values.items())
            tables.append(Table(caption=caption, columns=("of", "value", "interval"), rows=rows, folded=True))
    return tables


# ----------------------------------------------------------------------------------------------------------- training


def _training(facts: Facts) -> Section | None:
    if not facts.trainings:
        return None
    nodes: list[Node] = []
    for training in facts.trainings:
        curve = _curve(training, len(facts.trainings) > 1)
        nodes += [curve, _curve_table(training)] if curve.lines else []
    return Section(anchor="training", title="How training went", nodes=tuple(nodes)) if nodes else None


def _curve(training: Training, named: bool) -> Curve:
    lines: list[Line] = []
    told: list[str] = []
    for name, key, style in (("proxy reward", "reward", "proxy"), ("true reward", "true_reward", "true")):
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
        (x, sum(y for _, y in points[max(0, at - window + 1) : at + 1]) / min(window, at + 1)) for at, (x, _) in enumerate(points)
    )


def _curve_table(training: Training) -> Table:
    rows = training.validations or training.steps
    every = max(1, len(rows) // 20)
    picked = [row for at, row in enumerate(rows) if at % every == 0 or at == len(rows) - 1]
    what = "validation" if training.validations else "training step"
    cells = [(str(row["step"]), _cell(row.get("reward")), _cell(row.get("true_reward")), _cell(row.get("kl"))) for row in picked]
    return Table(
        caption=f"The numbers, by {what}",
        columns=("step", "proxy reward", "true reward", "KL to base"),
        rows=tuple(cells),
        folded=True,
    )


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else "–"


# ----------------------------------------------------------------------------------------------- texts, cost, commands


def _texts(facts: Facts) -> Section | None:
    nodes: list[Node] = []
    for search in facts.searches:
        nodes.append(lineage(search))
        told = [plural(len(search.tried), "text") + " tried", plural(search.reflections, "reflection")]
        if search.rollouts:
            told.append(f"{plural(search.rollouts, 'answer')} scored")
        if search.unscored:
            told.append(f"{search.unscored:,} of them could not be scored, and count as nothing (not as 0)")
        nodes.append(Note(text="; ".join(told) + "."))
    if not nodes:
        return None
    intro = "From the first text to the chosen one. Words that a text added are underlined, words it dropped struck out."
    return Section(anchor="texts", title="How the texts came about", intro=intro, nodes=tuple(nodes))


def _cost(facts: Facts) -> Section | None:
    total = sum(facts.cost.values(), Usage())
    rows = [_cost_row(part, facts.cost.get(part), facts.elapsed.get(part, 0.0)) for part in facts.elapsed]
    rows = [row for row in rows if any(cell != "–" for cell in row[1:])]
    if not rows:
        return None
    if facts.cost:
        rows.append(_cost_row("in all", total, sum(facts.elapsed.values())))
    columns = ("part", "forward passes", "answers", "tokens read", "tokens written", "model time", "by the clock", "US dollars")
    nodes: list[Node] = [Table(caption="Cost", columns=columns, rows=tuple(rows))]
    if facts.failures:
        told = "; ".join(f"{plural(amount, 'failure')} of a {what}" for what, amount in facts.failures.most_common())
        nodes.append(Note(text=f"Gone on with, and counted: {told}."))
    if facts.unread:
        nodes.append(Note(text=f"{plural(facts.unread, 'event')} could not be read by this version, and is not shown."))
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
    nodes.append(Table(caption="Config", columns=("knob", "value"), rows=_flat(facts.config)))
    versions = facts.about.get("versions")
    if isinstance(versions, Mapping) and versions:
        nodes.append(Table(caption="Versions", columns=("package", "version"), rows=_flat(versions), folded=True))
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
            shown = "–" if inner is None or inner == "" else shortened(inner if isinstance(inner, str) else str(inner), 400)
            rows.append((f"{prefix}{key}", shown))
    return tuple(rows)
