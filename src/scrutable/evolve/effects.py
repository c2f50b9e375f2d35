"""Effects: what is known of single sentences, over all proposals: how a score changed when one came in, or went.

A child that differs from its parent by one sentence says something of that sentence, also where it lost. Screening is short, so
a good one often loses once; here its tasks add up, whoever the parent was, and it comes back as an idea until the tasks
speak against it. Sums of paired differences; nothing is promised by them, and the test decides as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scrutable.core.records import Candidate
from scrutable.evolve.sentences import fitted, sentences, without

_DRAWN = 4.0  # so many tasks without a difference are added to those seen
_CARRIED = 0.5  # what was seen beside other parents, and on tasks chosen for telling, counts by half


@dataclass
class Effects:
    """Sums and numbers of differences by (module, sentence)."""

    _seen: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)

    def note(self, parent: Candidate, child: Candidate, module: str, differences: Sequence[float]) -> None:
        """Take in a child's differences to its parent, where one sentence is all that they differ by."""
        change = one_changed(parent.texts[module], child.texts[module])
        if change is not None and differences:
            sentence, sign = change
            total, count = self._seen.get((module, sentence), (0.0, 0))
            self._seen[module, sentence] = total + sign * sum(differences), count + len(differences)

    def worth(self, module: str, sentence: str) -> float:
        """Return the estimated effect of having a sentence, drawn towards none."""
        total, count = self._seen.get((module, sentence), (0.0, 0))
        return total / (count + _DRAWN)

    def carried(self, parent: Candidate, child: Candidate, module: str) -> tuple[float, float]:
        """Return what is known beforehand of a child: a sum of differences to its parent and a number of tasks."""
        change = one_changed(parent.texts[module], child.texts[module])
        if change is None:
            return 0.0, 0.0
        total, count = self._seen.get((module, change[0]), (0.0, 0))
        return _CARRIED * change[1] * total, _CARRIED * count

    def ideas(self, parent: Candidate, module: str, most: int) -> list[Candidate]:
        """Return children of a parent that what is known speaks for: a sentence more, or one less; the best first."""
        text = parent.texts[module]
        have = sentences(text)
        found = list[tuple[float, str, str]]()
        for name, sentence in self._seen:
            worth = self.worth(module, sentence)
            if name == module and sentence not in have and worth > 0:
                found.append((-worth, fitted(text, sentence), "sentence"))
        for place, sentence in enumerate(have):
            worth = self.worth(module, sentence)
            if worth < 0:
                found.append((worth, without(text, place), "removal"))
        return [
            Candidate(texts={**parent.texts, module: text}, parents=(parent.key,), origin=origin)
            for _, text, origin in sorted(found)[:most]
        ]


def one_changed(before: str, after: str) -> tuple[str, int] | None:
    """Return the one sentence by which two texts differ, with 1 where it came in and -1 where it went; None otherwise."""
    old, new = sentences(before), sentences(after)
    came, went = [one for one in new if one not in old], [one for one in old if one not in new]
    if len(came) + len(went) != 1:
        return None
    return (came[0], 1) if came else (went[0], -1)
