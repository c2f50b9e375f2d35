"""Accounts: what a lens says of a change, and what of it holds.

An `Account` is separate claims with their evidence and cost. A `Fidelity` says how much of the change comes back when
the *before* is given the text, and always stands beside its nulls. Nothing here computes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scrutable.core.records import Record, Usage


class Interval(Record):
    """A number with its interval (95% unless said). `low`/`high` are None when there was nothing to resample."""

    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = Field(default=None, description="number of tasks behind it")


class Slice(Record):
    """The tasks on which a claim holds: found, not given. `words` are those of the prompt that mark it."""

    says: str = Field(default="on every task", description="the slice in words")
    words: tuple[str, ...] = Field(default=(), description="a task is inside when its prompt has this run of words")
    share: float | None = Field(default=None, description="share of tasks inside")


class Evidence(Record):
    """One task seen before and after."""

    task: str = Field(description="key of the task")
    prompt: str
    before: str = Field(description="an answer of the before")
    after: str = Field(description="an answer of the after")
    with_text: str | None = Field(default=None, description="an answer of the before given the text")
    note: str = ""


class Claim(Record):
    """One thing a lens says changed."""

    says: str = Field(description="the claim to people")
    text: str | None = Field(default=None, description="a sentence that can be given to a model, or None")
    slice: Slice = Slice()
    before: float | None = Field(default=None, description="rate before, inside the slice")
    after: float | None = Field(default=None, description="rate after, inside the slice")
    outside: float | None = Field(default=None, description="rate after, outside the slice")
    nats: float | None = Field(
        default=None, description="divergence carried by it, nats an answer averaged over all tasks"
    )
    evidence: tuple[Evidence, ...] = ()


class Artifact(Record):
    """A file left in the run folder."""

    path: str = Field(description="relative to the run folder")
    says: str


class Account(Record):
    """What one lens says of one change. The account's text joins its claims' texts."""

    lens: str
    claims: tuple[Claim, ...] = ()
    usage: Usage = Field(default_factory=Usage)
    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what the reader must know: failures counted, limits met")

    @property
    def text(self) -> str:
        """The claims' texts, joined."""
        return " ".join(c.text for c in self.claims if c.text)


class Share(Record):
    """A share recovered by a text, beside the same share for its nulls. None where no share may be printed."""

    name: str = Field(description="kl, kl_base, js, match, reward, true_reward")
    value: Interval | None = None
    unrelated: tuple[float, ...] = Field(default=(), description="the share of each unrelated text")
    random: tuple[float, ...] = Field(default=(), description="the share of each random text of equal length")
    shuffled: tuple[float, ...] = Field(
        default=(), description="the same words in other orders: not a null, a question about word order"
    )
    why_not: str = Field(default="", description="why no share is printed")

    def __str__(self) -> str:
        """One line: the share with its interval and its nulls, or why there is none."""
        if self.value is None:
            return f"{self.name}: no share ({self.why_not or 'not measured'})"
        low, high = self.value.low, self.value.high
        span = f" ({100 * low:.1f} to {100 * high:.1f}%)" if low is not None and high is not None else ""
        nulls = (("unrelated", self.unrelated), ("random", self.random))
        told = [f"{name} texts at most {100 * max(values):.1f}%" for name, values in nulls if values]
        return "; ".join([f"{self.name} recovered {100 * self.value.value:.1f}%{span}", *told])


class Match(Record):
    """Agreement of sampled answers, for models that give no log-probabilities.

    A gap is a squared distance in likeness: 0 on average where two answer alike, at most 2; one that was sampled may lie
    below 0. Told apart: how often a classifier that knows words alone tells an answer of the tuned model from another one to
    the same task; 0.5 where it cannot.
    """

    gap: Interval = Field(description="from the base to the tuned model")
    left: Interval = Field(description="from base + text to the tuned model")
    chance: float = Field(description="p-value of the gap: how often answers with exchanged names have so large a one")
    likeness: dict[str, Interval] = Field(
        default_factory=dict, description="of two answers to one task, from 0 to 1: who and who"
    )
    told: dict[str, Interval] = Field(
        default_factory=dict, description="told apart from the tuned model: itself, base, base + text"
    )
    told_unrelated: tuple[float, ...] = Field(default=(), description="the same of base + each unrelated text")
    told_random: tuple[float, ...] = Field(default=(), description="the same of base + each random text")


class Fidelity(Record):
    """How much of a change a text carries. Divergences in nats a whole answer; None where no log-probabilities can be had.

    Then `match` stands for them, and the threshold is a gap in likeness.
    """

    text: str
    tasks: int
    answers: int = Field(description="answers per task")
    split: Literal["search", "keep", "report", "all"] = "report"
    changed: bool = Field(description="False: nothing measurable changed, and no share is printed")
    threshold: float = Field(description="the KL(tuned || base), or gap, at or below which nothing measurable changed")
    threshold_from: str = Field(description="'twins' or 'stated'; 'exchanged' names of answers, of a gap")
    kl: Interval | None = Field(default=None, description="KL(tuned || base) along the tuned model's answers")
    kl_left: Interval | None = Field(
        default=None, description="KL(tuned || base + text) along the tuned model's answers"
    )
    kl_base: Interval | None = Field(default=None, description="KL(tuned || base) along the base's answers")
    js: Interval | None = Field(
        default=None, description="Jensen-Shannon divergence of tuned and base, along the answers of both"
    )
    match: Match | None = Field(default=None, description="what sampled answers say, where nothing else can be had")
    twins: tuple[float, ...] = Field(default=(), description="KL(twin || base) of each twin")
    shares: tuple[Share, ...] = ()
    rewards: dict[str, Interval] = Field(default_factory=dict, description="base, tuned, base + text: proxy and true")
    fluency: dict[str, Interval] = Field(default_factory=dict, description="of base, tuned, base + text")
    notes: tuple[str, ...] = ()
    usage: Usage = Field(default_factory=Usage)

    def __str__(self) -> str:
        """A line for each share, or one that nothing measurable changed."""
        if not self.changed:
            return f"nothing measurable changed: {self.unchanged}"
        return "\n".join(str(share) for share in self.shares)

    @property
    def unchanged(self) -> str:
        """Why nothing measurable changed, in half a sentence."""
        if self.match is not None:
            told = f"the gap in likeness is {self.match.gap.value:.3g}, not above {self.threshold:.3g}"
            return f"{told}, which exchanged answers reach too"
        return f"KL(tuned ‖ base) is {self.kl.value if self.kl else 0.0:.3g} nats an answer, not above {self.threshold:.3g}"

    def share(self, name: str) -> Share | None:
        """Return the share of that name, or None."""
        return next((s for s in self.shares if s.name == name), None)
