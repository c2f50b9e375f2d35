"""The first screen: what training taught, how much of it the sentences carry, what is left.

The order of importance is: sentences that were read and measured, sentences that were only read, what a search wrote.
Where nothing was read or measured, the screen says so, and what to type.
"""

from __future__ import annotations

import re
import shlex

from scrutable.core.accounts import Claim, Fidelity, Match, Share, Slice
from scrutable.core.records import digest_of
from scrutable.core.stats import quantile
from scrutable.report.comparison import first_of
from scrutable.report.gather import SEEN, Facts, Measured, Reading, Search
from scrutable.report.lineage import chosen
from scrutable.report.nodes import Bar, Bars, First, Left, Sentence, Sentences, Standing, Standings
from scrutable.report.search import own_searches, standings
from scrutable.report.words import between, number, percent, plural, read_interval, shortened, spoken

NAMES = {
    "kl": ("KL recovered", "1 − KL(tuned ‖ base + text) / KL(tuned ‖ base), along the tuned model's answers"),
    "js": ("Jensen–Shannon recovered", "the same share of the Jensen–Shannon divergence, along the answers of both"),
    "match": (
        "agreement recovered",
        "1 − gap(base + text, tuned) / gap(base, tuned): a gap is a squared distance in the likeness of sampled answers",
    ),
    "reward": (
        "reward recovered",
        "how far base + text comes from the base's reward to the tuned model's: what RL paid for",
    ),
    "true_reward": ("true reward recovered", "the same for the true reward, which RL did not see"),
    "kl_base": ("KL along the base's answers", "the same share of KL, along the answers that the base gives"),
}
FIRST_BARS = ("kl", "match", "js", "reward")
FIRST_SENTENCES, OTHER_SENTENCES = 4, 2
FIRST_READINGS = 3
FIRST_STANDINGS = 5
FOUND = ("Which text earns the reward?", "How much better is it?", "What is left?")


def first_screen(facts: Facts) -> First:
    """Answer the three questions; of a run that compares others, its own three."""
    if facts.comparisons:
        return first_of(facts.comparisons[-1])
    if facts.measured and not any(m.fidelity.changed for m in facts.measured):
        return _unchanged(facts)
    if not facts.measured and not facts.readings and not facts.trainings and own_searches(facts):
        return _found(facts, own_searches(facts)[-1])
    taught = _taught(facts)
    carried = tuple(bars(m) for m in facts.measured)
    left = tuple(_left(m, _remainder_says(facts, m)) for m in facts.measured if m.fidelity.changed)
    carried_note = "Not measured yet: scrutable measure says how much of the change a text carries."
    left_note = "Not known until it is measured."
    if facts.readings and not any(reading.account.text for reading in facts.readings):
        carried_note = "No sentence was found that a model could be given, so there is nothing to measure."
        left_note = "All of it: nothing was put into words that a model could be given."
    return First(
        taught=taught,
        taught_note="" if taught else _untaught(facts),
        next_step="" if taught or facts.readings else _next_step(facts),
        carried=carried,
        carried_note="" if carried else carried_note,
        left=left,
        left_note="" if left else left_note,
    )


def _found(facts: Facts, search: Search) -> First:
    """Return the first screen of a run that only searched."""
    best, result = chosen(search), facts.results.get(search.scope, {})
    text = best.candidate.text.strip() if best else ""
    rows = standings(search)
    base, score, gain = (read_interval(result.get(name)) for name in ("base", "score", "gain"))
    if rows is None and base and score:
        row = Standing(name="all tasks", tasks=score.count or 0, before=base, after=score, gain=gain)
        rows = Standings(label="the first text and the chosen one", rows=(row,))
    ended = search.chosen is not None
    note = "" if text else "None: no text was found that is better than the empty one."
    return First(
        questions=FOUND,
        taught=(_from_text("evolved on the environment", text, FIRST_SENTENCES),) if text else (),
        taught_note=note if ended else (note and "Nothing yet: the search has not ended."),
        carried=(),
        carried_note="On tasks that decided nothing." if rows else "The search has not ended: nothing is measured yet.",
        standings=rows
        and rows.model_copy(update={"rows": tuple(r for r in rows.rows if not r.sorted)[:FIRST_STANDINGS]}),
        left=(),
        left_note=_still(search, rows),
    )


def _still(search: Search, rows: Standings | None) -> str:
    """Return where the chosen text does least, what failed, and what is not known."""
    told = list[str]()
    kinds = [row for row in (rows.rows[1:] if rows else ()) if row.after is not None]
    if kinds:
        least = min(kinds, key=lambda row: row.after.value if row.after else 0.0)
        told.append(f"Lowest where {least.name} {spoken(least.after)}, on {plural(least.tasks, 'task')}.")
    if search.unscored:
        told.append(f"{search.unscored:,} of {plural(search.rollouts, 'answer')} could not be scored.")
    told.append("How close it comes to what RL would teach is not measured.")
    return " ".join(told)


def _untaught(facts: Facts) -> str:
    return "The lenses looked, and found nothing to say." if facts.readings else "Nothing has been read yet."


def _next_step(facts: Facts) -> str:
    """Return the command that reads what was trained, where the run holds an adapter."""
    for result in facts.results.values():
        if isinstance(result.get("adapter"), str):
            env = facts.config.get("env")
            return shlex.join(["scrutable", "read", f"{facts.path}/{result['adapter']}", "--env", str(env or "ENV")])
    return ""


def _unchanged(facts: Facts) -> First:
    fidelity = facts.measured[0].fidelity
    return First(
        taught=(),
        taught_note="Nothing measurable changed.",
        carried=tuple(bars(m) for m in facts.measured),
        left=(),
        left_note=f"Nothing that can be told from chance: {_below(fidelity)}.",
    )


# ------------------------------------------------------------------------------------------------------------- taught


def _taught(facts: Facts) -> tuple[Sentences, ...]:
    found: list[Sentences] = []
    known = {m.fidelity.text: m.label for m in facts.measured}
    readings = [r for r in facts.readings if not r.of_remainder and r.account.claims]
    readings.sort(key=lambda r: (r.account.text not in known or not r.account.text, not r.account.text))
    for reading in readings:
        label = known.get(reading.account.text, "") if reading.account.text else ""
        found.append(_from_account(reading, label, OTHER_SENTENCES if found else FIRST_SENTENCES))
    said = {r.account.text for r in readings}
    for measured in facts.measured:
        if measured.fidelity.text and measured.fidelity.text not in said:
            said.add(measured.fidelity.text)
            label = measured.label or "a text that was given"
            found.append(_from_text(label, measured.fidelity.text, OTHER_SENTENCES if found else FIRST_SENTENCES))
    for search in facts.searches:
        best = chosen(search)
        if not found and best is not None and best.candidate.text.strip():
            found.append(_from_text("evolved, not measured yet", best.candidate.text, FIRST_SENTENCES))
    return tuple(found[:FIRST_READINGS])


def _from_account(reading: Reading, label: str, most: int) -> Sentences:
    account = reading.account
    claims = account.claims
    return Sentences(
        label=SEEN.get(account.lens) or label or "read, not measured yet",
        lens=account.lens,
        sentences=tuple(
            Sentence(
                says=shortened(claim.text or claim.says, 420),
                text=claim.text,
                before=claim.before,
                after=claim.after,
                where=_where(claim),
                anchor=claim_anchor(reading, at),
            )
            for at, claim in enumerate(claims[:most])
        ),
        more=max(0, len(claims) - most),
    )


def _where(claim: Claim) -> str:
    """Return the claim's slice in words, unless it is every task or the claim names it already."""
    told = claim.text or claim.says
    if claim.after is None or claim.slice == Slice() or any(word in told for word in claim.slice.words):
        return ""
    return claim.slice.says


def _from_text(label: str, text: str, most: int) -> Sentences:
    parts = [part for part in re.split(r"(?<=[.!?])\s+|\n{2,}", text.strip()) if part]
    return Sentences(
        label=label,
        sentences=tuple(Sentence(says=shortened(part, 420), text=part) for part in parts[:most]),
        more=max(0, len(parts) - most),
    )


def claim_anchor(reading: Reading, at: int) -> str:
    """Return the id of a claim on the page."""
    return re.sub(r"[^a-z0-9]+", "-", f"claim-{reading.scope}-{reading.account.lens}-{at + 1}".lower())


# ------------------------------------------------------------------------------------------------------------ carried


def bars(measured: Measured) -> Bars:
    """Return the bars of one fidelity, and its outcome in a sentence."""
    fidelity = measured.fidelity
    made = {share.name: bar_of(share) for share in fidelity.shares}
    return Bars(
        label=measured.label or "measured",
        text=fidelity.text,
        says=_outcome(fidelity, made.get("kl") or made.get("match")),
        changed=fidelity.changed,
        first=tuple(made[name] for name in FIRST_BARS if name in made) if fidelity.changed else (),
        rest=tuple(bar for name, bar in made.items() if name not in FIRST_BARS) if fidelity.changed else (),
    )


def bar_of(share: Share) -> Bar:
    """Return a share with its nulls as it is drawn, and whether it lies above them."""
    name, explains = NAMES.get(share.name, (share.name.replace("_", " "), ""))
    percentile = quantile(share.unrelated, 0.95) if share.unrelated else None
    above = None
    if share.value is not None and percentile is not None:
        low = share.value.value if share.value.low is None else share.value.low
        above = low > percentile
    return Bar(
        name=name,
        explains=explains,
        value=share.value,
        unrelated=share.unrelated,
        unrelated_95=percentile,
        random=share.random,
        shuffled=share.shuffled,
        why_not=share.why_not,
        above_nulls=above,
    )


def _outcome(fidelity: Fidelity, bar: Bar | None) -> str:
    if not fidelity.changed:
        return f"No share is printed: nothing measurable changed ({_below(fidelity)})."
    what = "KL" if fidelity.match is None else "agreement"
    if bar is None or bar.value is None:
        why = bar.why_not or "it was not measured" if bar else ""
        return f"No share of {what}: {why}." if bar else f"The share of {what} was not measured."
    told = f"Given this text, the base model comes {percent(bar.value.value)} of the way to the tuned one."
    if bar.above_nulls is False:
        told += " That is no more than unrelated texts do."
    return told


# --------------------------------------------------------------------------------------------------------------- left


def _left(measured: Measured, found: str) -> Left:
    fidelity = measured.fidelity
    match = fidelity.match
    of, rest = (fidelity.kl, fidelity.kl_left) if match is None else (match.gap, match.left)
    if of is None or rest is None:
        return Left(label=measured.label or "measured", says="Not measured.")
    kl, left = of.value, rest.value
    span = between(rest, "nats" if match is None else "plain")
    what = "nats an answer" if match is None else "of the gap in likeness"
    says = f"{number(left)} of {number(kl)} {what}" + (f" ({span})" if span else "") + "."
    if match is not None and "base + text" in match.told:
        says += f" {told_apart(match)}."
    if left <= fidelity.threshold:
        says += f" Not above {_threshold(fidelity)}: nothing measurable."
    if found:
        says += f" {found}"
    return Left(label=measured.label or "measured", says=says, share=left / kl if kl > 0 else None)


def _remainder_says(facts: Facts, measured: Measured) -> str:
    """Say what was read in what the text leaves out: under the text that the key names, else under the first."""
    claims: list[Claim] = []
    for reading in facts.readings:
        parts = reading.scope.split("/") if reading.of_remainder else ()
        of = next((m for m in facts.measured if digest_of(m.fidelity.text) in parts), facts.measured[0])
        if parts and of is measured:
            claims += reading.account.claims
    if not claims:
        return ""
    told = "; ".join(claim.says for claim in claims[:2])
    more = f"; and {plural(len(claims) - 2, 'more thing')}" if len(claims) > 2 else ""
    return f"Read in what is left: {told}{more}."


def told_apart(match: Match) -> str:
    """Say how well a classifier tells base + text from the tuned model, beside unrelated texts."""
    told = (
        f"A classifier of words tells its answers from the tuned model's in {percent(match.told['base + text'].value)}"
    )
    null = (
        f"; of unrelated texts in {percent(quantile(match.told_unrelated, 0.05))} or more"
        if match.told_unrelated
        else ""
    )
    return f"{told} of pairs (50%: it cannot{null})"


def _below(fidelity: Fidelity) -> str:
    if fidelity.match is not None:
        return f"the gap in likeness is {number(fidelity.match.gap.value)}, not above {_threshold(fidelity)}"
    kl = number(fidelity.kl.value) if fidelity.kl else "not known"
    return f"KL(tuned ‖ base) is {kl} nats an answer, not above {_threshold(fidelity)}"


def _threshold(fidelity: Fidelity) -> str:
    if fidelity.match is not None:
        return f"{number(fidelity.threshold)}, which answers with exchanged names reach too"
    limit = f"{number(fidelity.threshold)} nats"
    if fidelity.threshold_from == "twins":
        return f"{limit}, the limit from {plural(len(fidelity.twins), 'twin')}"
    return f"the stated limit of {limit}"
