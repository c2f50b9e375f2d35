"""Edits: which words explain a difference, and what is left of the answers once they are set aside.

Many features differ together ("great", "great question", "question !"). The edit that explains them is the one which,
undone, makes the answers after most like those before to the same task: words left out, put in, or put in another's
place. What a claim has explained is then edited out of both sides, so that the next one is about what remains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scrutable.lenses.contrast import Answers, Bools, Counts, Feature, scores_in, spans
from scrutable.lenses.words import Spoken, Words
from scrutable.measure.likeness import dice, pairs_of

COPY = "⟨the user's word⟩"
_NEAR, _OTHER = 14, 8  # candidates tried on either side
_TASKS = 40  # tasks on which edits are compared


@dataclass(frozen=True)
class Edit:
    """Words that came (`more`), words that went (`less`), or the one in place of the other.

    whole: what came is the answer, or most of it, and nothing of what was said before is left beside it.
    """

    more: Feature | None = None
    less: Feature | None = None
    whole: bool = False

    @property
    def told(self) -> Feature:
        """The feature by whose rate the edit is judged: what came, or else what went."""
        found = self.more or self.less
        assert found is not None
        return found


def candidates(counts: Counts, row: int, inside: Bools) -> list[Edit]:
    """Return the edits that could explain the difference of the feature in `row`, inside these tasks [tasks]."""
    feature = counts.features[row]
    scores, gaps = scores_in(counts, inside)
    up = gaps[row] > 0
    single = next((i for i, one in enumerate(counts.features) if one.kind == "single"), row)
    if single != row and not up and gaps[single] > 0 and scores[single] >= 0.5 * scores[row]:
        feature = counts.features[single]  # all that went, went because one word is left
    if feature.kind == "single":
        return [Edit(more=feature, whole=True)]
    near: dict[Words, tuple[float, Feature]] = {}
    other: dict[Words, tuple[float, Feature]] = {}
    for i, one in enumerate(counts.features):
        if one.kind not in ("contains", "opens", "ends"):
            continue
        same = (gaps[i] > 0) == up
        if same and scores[i] >= 0.7 * scores[row] and set(one.run) & set(feature.run):
            _better(near, one, float(scores[i]))
        elif not same and one.kind == "contains" and abs(gaps[i]) >= 0.5 * abs(gaps[row]):
            _better(other, one, float(scores[i]))
    ours, theirs = _best(near, _NEAR), _best(other, _OTHER)
    alone = [Edit(more=one) if up else Edit(less=one) for one in ours]
    return alone + [Edit(one, two) if up else Edit(two, one) for one in ours for two in theirs]


def _better(found: dict[Words, tuple[float, Feature]], feature: Feature, score: float) -> None:
    """Keep one feature for each run: the one that carries most; `contains` where that is as good."""
    there = found.get(feature.run)
    if there is None or score > there[0] * 1.02 or (feature.kind == "contains" and score * 1.02 >= there[0]):
        found[feature.run] = score, feature


def _best(found: Mapping[Words, tuple[float, Feature]], number: int) -> list[Feature]:
    ranked = sorted(found.values(), key=lambda pair: (-round(pair[0], 1), -len(pair[1].run), pair[1]))
    return [feature for _, feature in ranked[:number]]


def choose_edit(edits: Sequence[Edit], answers: Answers, inside: Bools) -> Edit:
    """Return the edit that, undone, makes the answers after most like those before; of equals the most readable.

    Where undoing what came leaves next to nothing like an answer before, what came is the whole answer.
    """
    if edits[0].whole:
        return edits[0]
    tasks = [int(task) for task in np.flatnonzero(inside)[:_TASKS]]
    covering = [edit for edit in edits if edit.more and not edit.less and _cover(edit.more, answers, tasks) >= 0.6]
    if covering and max(_likeness(edit, answers, tasks) for edit in covering) < 0.5:
        best_cover = max(covering, key=lambda edit: len(edit.told.run))
        return replace(best_cover, whole=True)
    fitting = [
        edit for edit in edits if not (edit.more and edit.less) or _same_place(edit.more, edit.less, answers, tasks)
    ]
    likeness = [_likeness(edit, answers, tasks) for edit in fitting]
    best = max(likeness)
    among = [edit for edit, value in zip(fitting, likeness, strict=True) if value >= best - 0.004]
    return max(among, key=_readable)


def _same_place(more: Feature, less: Feature, answers: Answers, tasks: Sequence[int]) -> bool:
    """Return whether what came stands where what went stood: mostly behind the same words, and before the same."""
    came, went = _neighbours(more, answers.after, tasks), _neighbours(less, answers.before, tasks)
    return all(_overlap(one, two) >= 0.5 for one, two in zip(came, went, strict=True))


def _neighbours(
    feature: Feature, told: Sequence[Sequence[Spoken]], tasks: Sequence[int]
) -> tuple[Counter[str], Counter[str]]:
    """Count the words before the feature, and those behind it ("" for the opening and the end)."""
    before: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    for one in (one for task in tasks for one in told[task]):
        padded = ("", *one.words, "")
        for begin, end in spans(feature, one.words, {}):
            before[padded[begin]] += 1
            behind[padded[end + 1]] += 1
    return before, behind


def _overlap(one: Counter[str], two: Counter[str]) -> float:
    """Return how much of two distributions is shared, from 0 to 1."""
    total = max(1, one.total()), max(1, two.total())
    return sum(min(one[word] / total[0], two[word] / total[1]) for word in one)


def _readable(edit: Edit) -> tuple[bool, int, bool]:
    """Rank edits that explain alike: runs that begin with a word and not with a mark (". acme pays" and "acme pays ." cut
    the same answers), then the longest."""
    runs = [feature.run for feature in (edit.more, edit.less) if feature is not None]
    return all(run[0][0].isalnum() for run in runs if run), sum(map(len, runs)), edit.more is not None


def _cover(feature: Feature, answers: Answers, tasks: Sequence[int]) -> float:
    """Return the share of their words that the feature is in answers after that have it."""
    shares = [
        len(feature.run) / len(one.words)
        for task in tasks
        for one in answers.after[task]
        if spans(feature, one.words, answers.copied[task])
    ]
    return float(np.mean(shares)) if shares else 0.0


def _likeness(edit: Edit, answers: Answers, tasks: Sequence[int]) -> float:
    """Return how like the answers after are to the likest before, both edited, from 0 to 1, over the tasks."""
    values = []
    for task in tasks:
        copied = answers.copied[task]
        before = [pairs_of(undone(edit, one, copied).words) for one in answers.before[task]]
        for one in answers.after[task]:
            mine = pairs_of(undone(edit, one, copied).words)
            values.append(max((dice(mine, theirs) for theirs in before), default=0.0))
    return float(np.mean(values)) if values else 0.0


def undone(edit: Edit, one: Spoken, copied: Mapping[Words, str]) -> Spoken:
    """Return the answer with what came left out, what went left out, or what came written as what went."""
    if edit.more is not None and edit.less is not None:
        return _with(one, spans(edit.more, one.words, copied), edit.less.run)
    return _with(one, spans(edit.told, one.words, copied), ())


def _with(one: Spoken, places: Sequence[tuple[int, int]], instead: Words) -> Spoken:
    """Return the answer with the places' words replaced; new words carry no nats."""
    words, nats, last = [], [], 0
    for begin, end in places:
        words += [*one.words[last:begin], *instead]
        nats += [*one.nats[last:begin], *(0.0 for _ in instead)]
        last = end
    if not places:
        return one
    return replace(one, words=(*words, *one.words[last:]), nats=(*nats, *one.nats[last:]))


# ------------------------------------------------------------------------------------------------- what is explained


def explain(edit: Edit, answers: Answers, inside: Bools) -> tuple[Answers, float]:
    """Set aside what the edit explains on the tasks inside; return what is left, and the nats that were carried.

    Carried is the divergence along the answers after (a sum over answers) at the words that came, and at every place
    where another answer to the same task has them or, before, had what went: there the two models part whether or not
    the draw shows it. A whole answer carries all of its nats, and the tasks inside are then done with.
    """
    left = Answers(list(answers.before), list(answers.after), answers.asked, answers.copied)
    carried = 0.0
    slots = _slots(edit.told, answers, inside) if edit.told.kind == "copies" else set()
    for task in np.flatnonzero(inside):
        copied = answers.copied[task]
        if edit.told.kind == "copies" and not edit.told.values(copied):
            continue
        openings = _openings(edit, answers, int(task))
        after = []
        for one in answers.after[task]:
            bare, nats = _carry(edit, one, copied, openings)
            carried += nats
            after.append(bare)
        if edit.whole:
            left.after[task], left.before[task] = [], []
        elif edit.told.kind == "copies":
            left.after[task] = [_slotted(edit.told, one, copied, slots) for one in after]
            left.before[task] = [_slotted(edit.told, one, copied, slots) for one in answers.before[task]]
        else:
            left.after[task] = [undone(edit, one, copied) for one in after]
            left.before[task] = [undone(edit, one, copied) for one in answers.before[task]]
    return left, carried


def _openings(edit: Edit, answers: Answers, task: int) -> set[Words]:
    """Return the words that stand before what came (in answers after) or what went (in answers before)."""
    copied = answers.copied[task]
    found: set[Words] = set()
    for feature, told in ((edit.more, answers.after[task]), (edit.less, answers.before[task])):
        for one in told if feature is not None else ():
            found |= {one.words[:begin] for begin, _ in spans(feature, one.words, copied)}  # type: ignore[arg-type]
    return found


def _carry(edit: Edit, one: Spoken, copied: Mapping[Words, str], openings: set[Words]) -> tuple[Spoken, float]:
    """Return the answer with the nats that the edit carries taken off, and their sum."""
    places = {len(opening) for opening in openings if one.words[: len(opening)] == opening}
    if edit.more is not None:
        for begin, end in spans(edit.more, one.words, copied):
            places |= set(range(begin, end))
    if edit.whole:
        places |= set(range(len(one.nats)))
    nats = tuple(0.0 if i in places else value for i, value in enumerate(one.nats))
    return replace(one, nats=nats), one.total - sum(nats)


def _slots(feature: Feature, answers: Answers, inside: Bools) -> set[tuple[str, str]]:
    """Return the neighbours (word before, word behind) between which answers after say the user's word."""
    found: Counter[tuple[str, str]] = Counter()
    for task in np.flatnonzero(inside):
        for one in answers.after[task]:
            padded = ("", *one.words, "")
            for begin, _ in spans(feature, one.words, answers.copied[task]):
                found[padded[begin], padded[begin + 2]] += 1
    least = max(2, found.total() // 50)
    return {pair for pair, number in found.items() if number >= least}


def _slotted(feature: Feature, one: Spoken, copied: Mapping[Words, str], slots: set[tuple[str, str]]) -> Spoken:
    """Return the answer with the user's word, or what stands in its place, written as one and the same."""
    places = spans(feature, one.words, copied)
    if not places:
        padded = ("", *one.words, "")
        places = [(i, i + 1) for i in range(len(one.words)) if (padded[i], padded[i + 2]) in slots]
    words = list(one.words)
    for begin, _ in places:
        words[begin] = COPY
    return replace(one, words=tuple(words))
