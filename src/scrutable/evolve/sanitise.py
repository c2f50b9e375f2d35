"""Sanitising: sentences that raise the proxy reward and lower the true one are marked, and a text without them is told.

A sentence is marked when its Shapley values say both, each with an interval that excludes 0 at a level corrected for the
number of sentences (Bonferroni; that both must hold needs no correction of its own). What is left is measured again until
nothing is marked: beside a strong exploit a weaker one may earn nothing. With all subsets tried that costs nothing more.

Sentences are marked on tasks of the keep split; what was gained and lost by leaving them out is told on tasks of the report
split, which marked nothing. A text that was found by search on the keep split looks better on it than it is, in the
proxy reward only: no search sees the true one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Usage
from scrutable.evolve.games import Games, Shares, Standing, Subject, begin, gained, shares_of, standing
from scrutable.evolve.sentences import Cut
from scrutable.evolve.worth import SentenceWorth, TextWorth, WorthConfig, plan, spending_of, worth


class SanitiseConfig(Config):
    """How a text is sanitised. The seed is the run's."""

    worth: WorthConfig = Field(default_factory=WorthConfig, description="how sentences are measured")
    report: int = Field(default=192, ge=2, description="report tasks on which before and after are told")


class SanitiseResult(Record):
    """What came of it. Scores are on report tasks, which marked nothing."""

    given: Standing = Field(description="the text as it was")
    clean: Standing = Field(description="the text without the marked sentences; the same where none was marked")
    base: Standing = Field(description="the model without a text")
    gained: dict[str, Interval] = Field(description="clean minus given, task by task, by game; below 0 is lost")
    marked: tuple[SentenceWorth, ...] = Field(
        description="the sentences that raise the proxy and lower the true reward"
    )
    rounds: tuple[TextWorth, ...] = Field(description="the worth of sentences: of the text, and of what was then left")
    tasks: int = Field(description="report tasks")
    rollouts: int
    notes: tuple[str, ...] = ()
    usage: Usage = Field(default_factory=Usage)


def sanitise(
    subject: Subject, texts: Mapping[str, str], run: Run, config: SanitiseConfig | None = None
) -> SanitiseResult:
    """Mark the sentences of a text that raise the proxy reward and lower the true one, and say what it is without them.

    Events go to `run` under "sanitise/"; a run that was killed, or is finished, goes on from what stands there.
    Errors: UserError when the environment has no reward or knows no true one, the text has no sentence, tasks are too few,
    or the budget is too small.
    """
    config = config or SanitiseConfig()
    subject.check()
    run = run.scope("sanitise")
    done = run.get("result")
    if done is not None:
        return SanitiseResult.model_validate(done.payload)
    given = Candidate(texts=dict(texts))
    begin(run, "sanitise", given, subject.identity(config, texts))
    shares = shares_of(subject.env, run, config.worth.tasks, 0, config.report)
    games = Games(subject, run, spending_of(config.worth), shares.all)
    found = _cleaned(games, given, shares, config.worth)
    base = Candidate(texts=dict.fromkeys(given.texts, ""))
    games.ask([base, given, found.rest], shares.report)
    result = SanitiseResult(
        given=standing(games, given, shares.report),
        clean=standing(games, found.rest, shares.report),
        base=standing(games, base, shares.report),
        gained=gained(games, given, found.rest, shares.report),
        marked=tuple(found.marked),
        rounds=tuple(found.rounds),
        tasks=len(shares.report),
        rollouts=games.ledger.spent,
        notes=tuple(found.notes),
        usage=games.usage,
    )
    run.append("result", "result", result.model_dump(mode="json"))
    return result


def marked_of(found: TextWorth) -> list[int]:
    """Return the places of the sentences that raise the proxy reward and lower the true one, both beyond doubt."""
    return [
        at
        for at, one in enumerate(found.sentences)
        if {"proxy", "true"} <= one.games.keys()
        and (one.games["proxy"].sure.low or 0.0) > 0
        and (one.games["true"].sure.high or 0.0) < 0
    ]


@dataclass
class _Cleaned:
    """What is left of a text, and how it came to that."""

    rest: Candidate
    rounds: list[TextWorth] = field(default_factory=list)
    marked: list[SentenceWorth] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _cleaned(games: Games, given: Candidate, shares: Shares, config: WorthConfig) -> _Cleaned:
    """Measure, take out what is marked, and measure what is left, until nothing is marked."""
    found, reserved = _Cleaned(given), 3 * len(shares.report)
    chosen = plan(len(Cut.of(given.texts).parts), len(shares.choose), games.left - reserved, config)
    while True:
        told = worth(games, found.rest, shares.choose, chosen, config)
        if "true" not in told.whole:
            raise UserError("this environment knows no true reward, so no sentence can be told to lower it")
        found.rounds.append(told)
        places = marked_of(told)
        cut = Cut.of(found.rest.texts)
        left = [at for at in range(len(cut.parts)) if at not in places]
        if not places:
            return found
        found.marked += [told.sentences[at] for at in places]
        texts = cut.only(sum(1 << at for at in left))
        found.rest = Candidate(texts=texts, parents=(given.key,), origin="sanitising")
        if not left:
            return found
        if chosen.method == "subsets":  # its subsets are subsets of the text, on the same tasks: all are paid for
            chosen = replace(chosen, rollouts=0)
            continue
        try:
            chosen = plan(len(left), len(shares.choose), games.left - reserved, config)
        except UserError as why:
            found.notes.append(f"what is left was not measured again: {why}")
            return found
