"""Selection: many children are screened together on few tasks, and the best of them must beat their parents in a standard.

The race (successive halving: Jamieson & Talwalkar, arXiv 1502.07943) costs little and promises nothing. The gate promises
one thing: a child that is no better than its parent passes with probability at most `false_accept`. It compares the two on
the same tasks, none of which the race has used, so that winning the race is no head start.

The test has two parts that share the error rate. Betting after each task (any distribution within the bound, any time)
saves tasks where the matter is clear. When the tasks are used up, both of two tests must agree: flips of sign (exact when
child and parent are alike) and a t-test corrected for skewness, since a child that helps a little on most tasks and does
harm on a few looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from scrutable.core.records import Candidate
from scrutable.core.sequential import paired_test
from scrutable.core.stats import Array, comparable, complete
from scrutable.evolve.ledger import Keyed, Ledger
from scrutable.evolve.sentences import length

Block = Sequence[Keyed]
_EXACT = 12  # so many differences are flipped in all ways, more by drawn signs
_FLIPS = 2000
_EARLY = 0.25  # share of the error rate that betting has; measured: most power at equal false accepts


@dataclass(frozen=True)
class Contender:
    """A child and the key of the parent it must beat."""

    candidate: Candidate
    parent: str


@dataclass(frozen=True)
class Judged:
    """What the gate says of a contender: its mean difference to its parent over `tasks` tasks."""

    contender: Contender
    accepted: bool
    tasks: int
    gain: float

    @property
    def why(self) -> str:
        """The reason in words."""
        told = "better than its parent" if self.accepted else "not shown to be better than its parent"
        return f"{told}: {self.gain:+.3g} on {self.tasks} tasks"


@dataclass(frozen=True)
class Standard:
    """What the gate demands. bound: the largest difference expected on one task, in the score's units; a larger one
    widens it. effect: the gain worth finding, as a share of it."""

    false_accept: float = 0.05
    false_reject: float = 0.2
    effect: float = 0.05
    bound: float = 1.0


def race(
    ledger: Ledger, contenders: Sequence[Contender], blocks: Sequence[Block], finalists: int
) -> tuple[list[Contender], list[Contender], int]:
    """Screen contenders block by block, keeping the best third each time, until at most `finalists` are left.

    Returns (those left that did better than their parents, best first; those that lost; how many blocks were used). At
    least half of the blocks are left for the gate. Errors: Exhausted.
    """
    field, lost, used = list(contenders), list[Contender](), 0
    while len(field) > finalists:
        ledger.ask([one.candidate for one in field], blocks[used])
        used += 1
        seen = [task for block in blocks[:used] for task in block]
        field = _ranked(ledger, field, seen)
        keep = max(finalists, math.ceil(len(field) / 3)) if used < len(blocks) // 2 else finalists
        field, out = field[:keep], field[keep:]
        lost += out
    if used:
        seen = [task for block in blocks[:used] for task in block]
        lost += [one for one in field if not _ahead(ledger, one, seen)]
        field = [one for one in field if _ahead(ledger, one, seen)]
    return field, lost, used


def _ahead(ledger: Ledger, one: Contender, tasks: Sequence[Keyed]) -> bool:
    """Whether a contender did better than its parent where it was screened: who did not is no use testing."""
    child, parent = complete(ledger.column(one.candidate.key, tasks), ledger.column(one.parent, tasks))
    return bool(child.sum() > parent.sum())


def _ranked(ledger: Ledger, field: Sequence[Contender], tasks: Sequence[Keyed]) -> list[Contender]:
    """Return contenders, best first by mean, of equals who has more scores, then the shorter."""
    found = comparable([ledger.column(one.candidate.key, tasks) for one in field])

    def rank(at: int) -> tuple[float, int, int, str]:
        (mean, scored), one = found[at], field[at].candidate
        return -mean, -scored, length(one.texts), one.key

    return [field[at] for at in sorted(range(len(field)), key=rank)]


def gate(
    ledger: Ledger, contenders: Sequence[Contender], blocks: Sequence[Block], standard: Standard, place: str
) -> Iterator[Judged]:
    """Compare each contender with its parent (scored on all of these tasks), and yield each when it is decided.

    place: the key that the flips' draws come from. Errors: Exhausted; those yielded before stand.
    """
    going, seen = list(contenders), list[Keyed]()
    for number, block in enumerate(blocks, start=1):
        ledger.ask([one.candidate for one in going], block)
        seen += block
        still = []
        for one in going:
            name = one.candidate.key
            child, parent = complete(ledger.column(name, seen), ledger.column(one.parent, seen))
            differences = child - parent
            flips = ledger.run.rng(f"{place}/{name}") if number == len(blocks) else None
            verdict = decide(differences, standard, flips)
            if verdict == "undecided" and number < len(blocks):
                still.append(one)
            else:
                gain = float(differences.mean()) if differences.size else 0.0
                yield Judged(one, verdict == "better", differences.size, gain)
        going = still
        if not going:
            return


def decide(
    differences: Array, standard: Standard, flips: np.random.Generator | None = None
) -> Literal["better", "not better", "undecided"]:
    """Say whether the child beats its parent, from differences [tasks] in an order fixed before they were seen.

    flips: given with the last task, when it is now or never.
    """
    largest = float(np.abs(differences).max(initial=0.0))
    if largest == 0:
        return "undecided" if flips is None else "not better"
    effect = min(standard.effect, 0.9) * (standard.bound or largest)
    early = standard.false_accept * _EARLY
    bound = max(standard.bound, largest)
    verdict = paired_test(
        differences, false_accept=early, false_reject=standard.false_reject, effect=effect, bound=bound
    ).verdict
    if verdict == "undecided" and flips is not None:
        p = max(flip_p(differences, flips), skew_p(differences))
        return "better" if p <= standard.false_accept - early else "not better"
    return verdict


def flip_p(differences: Array, rng: np.random.Generator) -> float:
    """Return the one-sided p-value of a sum this large when the sign of each difference is a coin's (Fisher 1935, section 21)."""
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    reached = moved.sum() - 1e-9 * np.abs(moved).sum()
    if moved.size <= _EXACT:
        ways = (np.arange(2**moved.size)[:, None] >> np.arange(moved.size)) & 1
        return float(((2 * ways - 1) @ moved >= reached).mean())
    signs = rng.integers(0, 2, size=(_FLIPS, moved.size), dtype=np.int8) * 2.0 - 1.0
    return float((1 + np.count_nonzero(signs @ moved >= reached)) / (1 + _FLIPS))


def skew_p(differences: Array) -> float:
    """Return the one-sided p-value of the mean by a t-statistic corrected for skewness.

    Source: the cubic of Hall 1992 (JRSS B 54), to first order Johnson's (1978, JASA 73); it rises with the mean throughout,
    where Johnson's turns round: twelve gains of twelve, one of them small, had p = 1.
    """
    count, mean, spread = differences.size, float(differences.mean()), float(differences.std())
    if spread == 0:
        return 0.0 if mean > 0 else 1.0
    skewness = float(((differences - mean) ** 3).mean()) / spread**3
    ratio = mean / spread * math.sqrt((count - 1) / count)
    bent = ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27 + skewness / (6 * count)
    return 1 - NormalDist().cdf(bent * math.sqrt(count))
