"""Recorded answers as passages: each with its prompt as the one or the other speaker is shown it, ready for a capture.

Tokens of the answer are kept as they were drawn, and translated where a speaker's tokenizer has them under other ids. Left
out are answers that failed, that hold a token which a speaker lacks, or whose task one cannot be shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from scrutable.measure.answers import Said
from scrutable.measure.change import Change, Speaker
from scrutable.measure.divergence import shown_to
from scrutable.models.passages import Passage

Pair = tuple[Passage, Passage]


def passages_of(said: Sequence[Said], speaker: Speaker) -> list[Passage]:
    """Return the answers as `speaker` would be shown them, whoever gave them.

    Errors: UserError when the speaker cannot be opened, or has another tokenizer than who gave them.
    """
    return [one for one, _ in _pairs(said, (speaker, speaker))]


def pairs_of(said: Sequence[Said], change: Change) -> list[Pair]:
    """Return the answers as the before and as the after would be shown them, for a Difference. Errors: as above."""
    return _pairs(said, (change.before, change.after))


def _pairs(said: Sequence[Said], pair: tuple[Speaker, Speaker]) -> list[Pair]:
    found: list[Pair] = []
    for one in shown_to(pair, [given for given in said if given.usable]):
        before, after = (
            Passage(one.said.key, one.said.repeat, tuple(prompt), tuple(answer))
            for prompt, answer in zip(one.prompts, one.answers, strict=True)
        )
        found.append((before, after))
    return found
