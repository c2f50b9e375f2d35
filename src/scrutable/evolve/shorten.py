"""Shortening: how much of a text can go before it is worse, and the shortest that is not.

The front says, for each number of words, the best text that can be had by leaving sentences out: of all subsets where they can
be tried, else of the texts that are left when the sentences worth least go one after another. It is found on `choose` tasks,
where the best of many looks better than it is; so its texts are compared with the whole on `check` tasks, the longest
first, and the first that is not shown to be as good ends it (a fixed sequence: the chance that any of them passes
wrongly is 5%, however many there are). As good: the lower end of the paired 90% interval lies above minus the margin, which
is stated before anything is checked. What the shortest of them scores is told on tasks that decided nothing.

On request the same is then done within the sentences, word by word, the word that is missed least first: it makes texts
that a model follows and people would not write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Usage
from scrutable.core.stats import comparable
from scrutable.evolve import shapley
from scrutable.evolve.games import Games, Shares, Standing, Subject, begin, gained, mean_of, shares_of, standing
from scrutable.evolve.ledger import Exhausted, Keyed
from scrutable.evolve.sentences import Cut, length, words
from scrutable.evolve.worth import Plan, TextWorth, WorthConfig, plan, spending_of, worth

_ONE_SIDE = 0.9  # level of an interval whose lower end is exceeded with 95%


class ShortenConfig(Config):
    """How a text is shortened. The seed is the run's."""

    worth: WorthConfig = Field(default_factory=WorthConfig, description="how sentences are measured")
    margin: float = Field(
        default=0.05, gt=0, lt=1, description="loss that counts as none, as a share of the range of all scores given"
    )
    check: int = Field(default=192, ge=2, description="keep tasks on which shorter texts are compared with the whole")
    report: int = Field(default=192, ge=2, description="report tasks on which the outcome is told")
    words: bool = Field(default=False, description="leave out words within sentences, too")


class Length(Record):
    """One text of the front."""

    candidate: Candidate
    words: int
    score: float = Field(description="mean on the tasks that chose it: the best of many looks better than it is")
    loss: Interval | None = Field(
        default=None, description="this minus the whole on check tasks (90%); None: not compared"
    )
    as_good: bool | None = Field(default=None, description="is the loss shown to be smaller than the margin?")


class ShortenResult(Record):
    """What came of it. Scores are on report tasks, which decided nothing."""

    whole: Standing
    short: Standing = Field(description="the shortest text not shown to be worse; the whole where there is none")
    base: Standing = Field(description="the model without a text")
    gained: dict[str, Interval] = Field(description="short minus whole, task by task, by game; below 0 is lost")
    words: tuple[int, int] = Field(description="words of the whole, and of the short text")
    margin: float = Field(description="loss that counts as none, in units of the reward")
    front: tuple[Length, ...] = Field(description="the best text for each number of words, the longest first")
    within: tuple[Length, ...] = Field(default=(), description="the same of the words of what was then left")
    worth: TextWorth = Field(description="the worth of the whole text's sentences")
    tasks: int = Field(description="report tasks")
    rollouts: int
    notes: tuple[str, ...] = ()
    usage: Usage = Field(default_factory=Usage)


def shorten(subject: Subject, texts: Mapping[str, str], run: Run, config: ShortenConfig | None = None) -> ShortenResult:
    """Find the shortest text, made by leaving sentences out, that is not worse than the whole by more than a margin.

    Events go to `run` under "shorten/"; a run that was killed, or is finished, goes on from what stands there.
    Errors: UserError when the environment has no reward, the text has no sentence, tasks are too few, or the budget is too
    small.
    """
    config = config or ShortenConfig()
    subject.check()
    run = run.scope("shorten")
    done = run.get("result")
    if done is not None:
        return ShortenResult.model_validate(done.payload)
    whole = Candidate(texts=dict(texts))
    begin(run, "shorten", whole, subject.identity(config, texts))
    shares = shares_of(subject.env, run, config.worth.tasks, config.check, config.report)
    games = Games(subject, run, spending_of(config.worth), shares.all)
    result = _Shortening(games, whole, shares, config).result()
    run.append("result", "result", result.model_dump(mode="json"))
    return result


def reserved(sentences: int, shares: Shares) -> int:
    """Return the rollouts kept back for comparing shorter texts with the whole, and for the report.

    The tests end at the first text that fails, and a front holds at most one text more than there are sentences where
    these go one after another; where subsets are many, what does not fit is told.
    """
    return (sentences + 1) * (len(shares.check) + len(shares.choose)) + 3 * len(shares.report)


@dataclass
class _Shortening:
    """One text being shortened."""

    games: Games
    whole: Candidate
    shares: Shares
    config: ShortenConfig

    def result(self) -> ShortenResult:
        """Do it in order, and return what came of it."""
        games, shares, config = self.games, self.shares, self.config
        cut = Cut.of(self.whole.texts)
        amount = len(cut.parts)
        kept = reserved(amount, shares)
        chosen = plan(amount, len(shares.choose), games.left - kept, config.worth)
        told = worth(games, self.whole, shares.choose, chosen, config.worth)
        notes: list[str] = []
        tried = self._tried(cut, told, chosen)
        used = shares.choose[: chosen.tasks]
        margin = config.margin * games.spread
        games.run.append("margin", "margin", {"margin": margin, "share": config.margin, "range": games.spread})
        front, short = self._checked(self.whole, front_of(games, tried, used), margin, notes)
        within: list[Length] = []
        if config.words:
            within, short = self._within(short, used, margin, notes)
        base = Candidate(texts=dict.fromkeys(self.whole.texts, ""))
        games.ask([base, self.whole, short], shares.report)
        return ShortenResult(
            whole=standing(games, self.whole, shares.report),
            short=standing(games, short, shares.report),
            base=standing(games, base, shares.report),
            gained=gained(games, self.whole, short, shares.report),
            words=(length(self.whole.texts), length(short.texts)),
            margin=margin,
            front=tuple(front),
            within=tuple(within),
            worth=told,
            tasks=len(shares.report),
            rollouts=games.ledger.spent,
            notes=tuple(notes),
            usage=games.usage,
        )

    def _tried(self, cut: Cut, told: TextWorth, chosen: Plan) -> list[Candidate]:
        """Return the texts that the front is chosen from, all of them scored on the tasks that choose."""
        amount = len(cut.parts)
        if chosen.method == "subsets":
            return [self._made(cut, subset) for subset in range(1 << amount)]
        value = [one.games["proxy"].shapley.value if "proxy" in one.games else 0.0 for one in told.sentences]
        made = [self._made(cut, subset) for subset in falling(value)]
        self.games.ask(made, self.shares.choose[: chosen.tasks])
        return made

    def _made(self, cut: Cut, subset: int) -> Candidate:
        if subset == shapley.everyone(len(cut.parts)):
            return self.whole
        return Candidate(texts=cut.only(subset), parents=(self.whole.key,), origin="shortening")

    def _checked(
        self, best: Candidate, front: Sequence[Length], margin: float, notes: list[str]
    ) -> tuple[list[Length], Candidate]:
        """Compare texts shorter than `best` with the whole, the longest first; return them all, and the last as good."""
        checked, ended, whole = [], False, self.whole
        tasks, longest = self.shares.check, length(best.texts)
        for one in front:
            if one.words >= longest or ended:
                checked.append(one)
                continue
            if 2 * len(tasks) > self.games.left - 3 * len(self.shares.report):
                notes.append("not all of the front was compared with the whole: too few rollouts were left")
                checked.append(one)
                ended = True
                continue
            self.games.ask([whole, one.candidate], tasks)
            falls = self.games.row("proxy", one.candidate.key, tasks) - self.games.row("proxy", whole.key, tasks)
            falls = falls[~np.isnan(falls)]
            loss = mean_of(self.games, falls, f"check/{one.candidate.key}", _ONE_SIDE)
            good = loss is not None and loss.low is not None and loss.low > -margin
            checked.append(one.model_copy(update={"loss": loss, "as_good": good}))
            best, ended = (one.candidate, False) if good else (best, True)
        return checked, best

    def _within(
        self, short: Candidate, tasks: Sequence[Keyed], margin: float, notes: list[str]
    ) -> tuple[list[Length], Candidate]:
        """Leave out words: each is tried without alone, then they go one after another, the least missed first."""
        cut = Cut.of(short.texts, words)
        amount = len(cut.parts)
        made = replace(self, whole=short)
        whole = shapley.everyone(amount)
        try:
            alone = [made._made(cut, whole ^ (1 << at)) for at in range(amount)]
            self._fits(2 * amount * len(tasks))
            self.games.ask([short, *alone], tasks)
            scores = self.games.rows("proxy", [one.key for one in alone], tasks)
            missed = [-mean for mean, _ in comparable([[None if np.isnan(x) else x for x in row] for row in scores])]
            tried = [made._made(cut, subset) for subset in falling(missed)]
            self.games.ask(tried, tasks)
        except Exhausted as why:
            notes.append(f"no words were left out within sentences: {why}")
            return [], short
        return self._checked(short, front_of(self.games, tried, tasks), margin, notes)

    def _fits(self, rollouts: int) -> None:
        if rollouts > self.games.left - 3 * len(self.shares.report):
            raise Exhausted(f"the next {rollouts} rollouts do not fit")


def falling(value: Sequence[float]) -> list[int]:
    """Return the subsets from the whole to nothing when what is worth least goes first, one after another."""
    subset = shapley.everyone(len(value))
    found = [subset]
    for at in sorted(range(len(value)), key=lambda place: (value[place], -place)):
        subset ^= 1 << at
        found.append(subset)
    return found


def front_of(games: Games, tried: Sequence[Candidate], tasks: Sequence[Keyed]) -> list[Length]:
    """Return the texts of which no shorter or equally long one scores as much, the longest first, on tasks they were asked on."""
    known = {one.key: one for one in tried}
    rows = [[None if np.isnan(x) else float(x) for x in games.row("proxy", key, tasks)] for key in known]
    found = [
        Length(candidate=one, words=length(one.texts), score=mean)
        for one, (mean, scored) in zip(known.values(), comparable(rows), strict=True)
        if scored
    ]
    front: list[Length] = []
    for one in sorted(found, key=lambda each: (each.words, -each.score, each.candidate.key)):
        if not front or one.score > front[-1].score:
            front.append(one)
    return front[::-1]
