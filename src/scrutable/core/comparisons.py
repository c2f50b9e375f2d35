"""Comparisons: do several runs converge? What was measured of them side by side, as records. Nothing here computes.

Distances are divergences in nats an answer; members are named by their place in `Comparison.members`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.records import Record, Usage

Kind = Literal["text", "rl"]


class Member(Record):
    """One of those compared."""

    name: str
    kind: Kind = Field(description="'text': the base given a text; 'rl': a tuned model")
    text: str = Field(default="", description="the text it is given, or what was read of it")
    from_base: Interval = Field(description="Jensen-Shannon divergence from the base: how much it changed")
    rewards: dict[str, Interval] = Field(default_factory=dict, description="proxy and true, of the answers measured on")


class Pair(Record):
    """How far two members are apart."""

    a: int
    b: int
    js: Interval = Field(description="Jensen-Shannon divergence along the answers of both")
    kl: Interval = Field(description="mean of KL(a || b) along a's answers and KL(b || a) along b's")


class Parting(Record):
    """Two groups of members that the tree joins, the distance between them, and whether they are shown to be apart."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    distance: Interval = Field(description="mean over pairs across; `low` is the bound that was tested")
    apart: bool


class Matched(Record):
    """Sentences with one effect, however they are spelled, and which members say it."""

    says: str = Field(description="the sentence that stands for them: the one said most often, of those the shortest")
    wordings: tuple[str, ...]
    members: tuple[int, ...]
    effect: Interval = Field(
        description="Jensen-Shannon divergence of base + sentence from the base, mean of the wordings"
    )
    idle: bool = Field(default=False, description="not shown to change the base's answers by more than the limit")


class Comparison(Record):
    """What several runs have in common, how far they are apart, and into how many behaviours they fall."""

    base: str = Field(description="the model they started from")
    env: str
    split: Literal["search", "keep", "report", "all"]
    tasks: int
    answers: int = Field(description="answers per task, of each")
    members: tuple[Member, ...]
    pairs: tuple[Pair, ...]
    limit: float = Field(description="the distance up to which two behaviours count as one")
    limit_from: Literal["idle words", "stated"]
    idle: tuple[float, ...] = Field(
        default=(), description="distance of a member from itself given an unrelated text beside its own, one a text"
    )
    clusters: tuple[tuple[int, ...], ...] = Field(description="members that behave alike, the largest first")
    partings: tuple[Parting, ...] = Field(default=(), description="the tests that decided, the farthest apart first")
    stable: float = Field(description="share of task resamples with the same clusters")
    silhouette: float | None = None
    between: dict[str, Interval] = Field(
        default_factory=dict, description="mean distance by kinds: 'text and text', 'rl and rl', 'rl and text'"
    )
    claims: tuple[Matched, ...] = Field(default=(), description="sentences by effect, those of most members first")
    notes: tuple[str, ...] = ()
    usage: Usage = Field(default_factory=Usage)

    def js(self, a: int, b: int) -> float:
        """Return the distance of two members; 0 of one from itself."""
        return next((pair.js.value for pair in self.pairs if {pair.a, pair.b} == {a, b}), 0.0)

    @property
    def in_common(self) -> tuple[Matched, ...]:
        """The claims of all members that say any."""
        saying = {member for claim in self.claims for member in claim.members}
        return tuple(c for c in self.claims if not c.idle and set(c.members) == saying and len(saying) > 1)

    @property
    def alone(self) -> tuple[Matched, ...]:
        """The claims of one member only."""
        return tuple(c for c in self.claims if not c.idle and len(c.members) == 1)

    def __str__(self) -> str:
        """One line: how many behaviours, and which members show each."""
        named = ["; ".join(", ".join(self.members[at].name for at in group) for group in self.clusters)]
        count = len(self.clusters)
        return f"{count} {'behaviour' if count == 1 else 'behaviours'} in {len(self.members)} runs: {named[0]}"
