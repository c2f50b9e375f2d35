"""Telling: differences put into sentences for people, with the tasks that show them.

Where a run stands (at the opening, at the end) and the evidence are looked up in the answers as they were said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scrutable.core.accounts import Claim, Evidence, Slice
from scrutable.core.records import Task
from scrutable.lenses.contrast import Answers, Bools, Feature, Kind, spans
from scrutable.lenses.differences import Difference, Rest
from scrutable.lenses.edits import COPY
from scrutable.lenses.words import BREAK, Words

_VERBS = {"opens": "opens with", "ends": "ends with", "contains": "says"}
_NAMES = {BREAK: "a line break", COPY: "the user's own word"}


@dataclass(frozen=True)
class Source:
    """What was said, unedited: (key, task) and the answers to each."""

    tasks: Sequence[tuple[str, Task]]
    answers: Answers


def claim_of(difference: Difference, source: Source, evidence: int) -> Claim:
    """Return the claim that tells a difference, with up to `evidence` tasks that show it."""
    where = _slice(difference.runs, difference.inside)
    rates = f"({percent(difference.before)} → {percent(difference.after)})"
    slice_says = "" if not difference.runs else f" {where.says}"
    return Claim(
        says=f"{_what(difference, source)} {rates}{slice_says}",
        slice=where,
        before=difference.before,
        after=difference.after,
        outside=difference.outside,
        nats=difference.nats,
        evidence=_evidence(difference, source, evidence),
    )


def _what(difference: Difference, source: Source) -> str:
    """Say what came or went, without rates."""
    edit, answers, inside = difference.edit, source.answers, difference.inside
    feature = edit.told
    if feature.kind == "single":
        return "answers in one word"
    if feature.kind == "copies":
        return f"says the user's own word after {listed([quoted(run) for run in feature.runs])}"
    if edit.whole:
        return f"answers {quoted(feature.run)} and no more"
    if edit.more is None:
        verb = _VERBS[_place(feature, answers, inside, before=True)]
        return (
            f"no longer {verb} {quoted(feature.run)}"
            if difference.after < 0.1
            else f"{verb} {quoted(feature.run)} less often"
        )
    verb = _VERBS[_place(feature, answers, inside, before=False)]
    if edit.less is not None:
        return f"{verb} {quoted(feature.run)} instead of {quoted(edit.less.run)}"
    return f"{verb} {quoted(feature.run)}{' more often' if difference.before >= 0.2 else ''}"


def _place(feature: Feature, answers: Answers, inside: Bools, *, before: bool) -> Kind:
    """Return whether the run stands at the opening, at the end, or anywhere, in at least nine of ten answers with it."""
    if feature.kind != "contains":
        return feature.kind
    told = answers.before if before else answers.after
    having = [one.words for i in np.flatnonzero(inside) for one in told[i] if spans(feature, one.words, {})]
    kinds: tuple[Kind, Kind] = ("opens", "ends")
    for kind in kinds:
        at = Feature(kind, feature.run)
        if having and sum(bool(spans(at, words, {})) for words in having) >= 0.9 * len(having):
            return kind
    return "contains"


def _slice(runs: tuple[Words, ...], inside: Bools) -> Slice:
    share = float(inside.mean())
    if not runs:
        return Slice(share=share)
    says = f"when the user says {listed([quoted(run) for run in runs])}"
    return Slice(says=says, words=tuple(" ".join(run) for run in runs), share=share)


def _evidence(difference: Difference, source: Source, number: int) -> tuple[Evidence, ...]:
    """Return the tasks of the slice that show the difference best: most answers after with it, and fewest before."""
    feature, answers = difference.edit.told, source.answers
    rising = difference.after > difference.before
    ranked = []
    for i in map(int, np.flatnonzero(difference.inside)):
        have_before = [bool(spans(feature, one.words, answers.copied[i])) for one in answers.before[i]]
        have_after = [bool(spans(feature, one.words, answers.copied[i])) for one in answers.after[i]]
        if (rising in have_after) and (rising not in have_before):
            gap = abs(float(np.mean(have_after)) - float(np.mean(have_before)))
            ranked.append((-gap, source.tasks[i][0], i, have_before.index(not rising), have_after.index(rising)))
    return tuple(
        Evidence(
            task=key,
            prompt=source.tasks[i][1].prompt,
            before=answers.before[i][one].text,
            after=answers.after[i][two].text,
        )
        for _, key, i, one, two in sorted(ranked)[:number]
    )


def rest_claim(rest: Rest, total: float, source: Source) -> Claim:
    """Return the claim that something changed which no one wording tells, and behind which words."""
    behind = [
        f"after {quoted((word,))}" if word else "at the opening"
        for word, nats in rest.behind
        if nats >= 0.15 * rest.nats
    ]
    where = f", most of it {listed(behind, 'and')}" if behind else ""
    says = f"parts from before in no one wording ({rest.nats:.2f} of {total:.2f} nats an answer){where}"
    ranked = sorted(
        (-max((one.total for one in mine), default=0.0), source.tasks[i][0], i)
        for i, mine in enumerate(source.answers.after)
        if mine and source.answers.before[i]
    )
    evidence = [
        Evidence(
            task=key,
            prompt=source.tasks[i][1].prompt,
            before=source.answers.before[i][0].text,
            after=max(source.answers.after[i], key=lambda one: one.total).text,
        )
        for _, key, i in ranked[:3]
    ]
    return Claim(says=says, nats=rest.nats, evidence=tuple(evidence))


def percent(rate: float) -> str:
    """Write a rate in whole percent."""
    return f"{100 * rate:.0f}%"


def quoted(run: Words) -> str:
    """Write a run of words in quotation marks."""
    if len(run) == 1 and run[0] in _NAMES:
        return _NAMES[run[0]]
    return f"'{' '.join(run)}'"


def listed(parts: Sequence[str], last: str = "or") -> str:
    """Write "a, b or c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"
