"""Joins: children of a parent that need no writing, made of what others on the front hold.

A merge is tried only where two have parted: each holds tasks that the other does not. Of a program it takes the modules that
the other changed since their common ancestor; of a single text, sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from scrutable.core.records import Candidate
from scrutable.evolve.front import Front
from scrutable.evolve.sentences import fitted, sentences

_PARTED = 0.1  # share of the tasks that each of two candidates must hold alone before they are merged
_BORROWED = 2  # children of a proposal that have a sentence of others on the front

Accepted = Mapping[str, Candidate]


def joined(parent: Candidate, module: str, accepted: Accepted, front: Front) -> tuple[Candidate, ...]:
    """Return the parent with what helped another, and with single sentences of others in `module`."""
    return *_merges(parent, accepted, front), *_borrowed(parent, module, accepted, front)


def _merges(parent: Candidate, accepted: Accepted, front: Front) -> Iterator[Candidate]:
    own = front.holds(parent.key)
    least = max(1, round(_PARTED * front.tasks))
    for key in front.weights():
        theirs = front.holds(key)
        apart = min((own & ~theirs).bit_count(), (theirs & ~own).bit_count())
        if key != parent.key and apart >= least:
            texts = merged(parent, accepted[key], accepted)
            if texts != parent.texts:
                yield Candidate(texts=texts, parents=(parent.key, key), origin="merge")


def _borrowed(parent: Candidate, module: str, accepted: Accepted, front: Front) -> Iterator[Candidate]:
    """Yield the parent with one sentence more that others on the front hold, the commonest first.

    A whole line brings along what came in with something good; a sentence alone does not.
    """
    text = parent.texts[module]
    held = Counter(
        sentence
        for key in front.weights()
        for sentence in sentences(accepted[key].texts[module])
        if sentence not in sentences(text)
    )
    for sentence, _ in held.most_common(_BORROWED):
        texts = {**parent.texts, module: fitted(text, sentence)}
        yield Candidate(texts=texts, parents=(parent.key,), origin="sentence")


def merged(one: Candidate, other: Candidate, accepted: Accepted) -> dict[str, str]:
    """Return the first's texts with what came into the other's line since the two parted.

    Of a program these are whole texts, of those that the first has left as they were; of a single text, or where no module
    is left, sentences.
    """
    above = _line(one, accepted)
    base = next((accepted[key] for key in _line(other, accepted) if key in above), None)
    if base is not None and len(one.texts) > 1:
        theirs = {name for name, text in other.texts.items() if text != base.texts[name]}
        mine = {name for name, text in one.texts.items() if text != base.texts[name]}
        if theirs - mine:
            return {name: other.texts[name] if name in theirs - mine else t for name, t in one.texts.items()}
    return {name: _with(text, other, name, base) for name, text in one.texts.items()}


def _with(text: str, other: Candidate, module: str, base: Candidate | None) -> str:
    """Return a text with the sentences that another has and their common ancestor had not."""
    had = [] if base is None else sentences(base.texts[module])
    for sentence in sentences(other.texts[module]):
        if sentence not in had:
            text = fitted(text, sentence)
    return text


def _line(candidate: Candidate, accepted: Accepted) -> list[str]:
    """Return the keys from a candidate up to where its line began."""
    line = [candidate.key]
    while (above := accepted[line[-1]].parents[:1]) and above[0] in accepted and above[0] not in line:
        line.append(above[0])
    return line
