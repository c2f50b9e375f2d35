"""The worth of sentences: what each adds to the proxy reward, the true reward and the closeness to a tuned model.

A sentence's worth is its Shapley value over subsets of the text's sentences: what it adds, on average over the orders in which
they could have been written. So of two sentences that say the same each has half, and none looks idle because the other
stands beside it, as both do when one is left out at a time (which is told beside it). All games are measured on the same
tasks, and the rewards on the same answers.

How many tasks a subset gets is decided by the budget (`plan`), and said. Intervals resample tasks. Left out: the place of a
sentence; a subset keeps the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.records import Candidate, Record
from scrutable.core.stats import Array
from scrutable.evolve import shapley
from scrutable.evolve.games import Game, Games, Spending, mean_of
from scrutable.evolve.ledger import Keyed
from scrutable.evolve.sentences import Cut

_DRAWS = 10_000  # of a bootstrap: corrected tails are thin
_LONGEST = 200  # sentences


class WorthConfig(Config):
    """How the worth of sentences is measured."""

    budget: int = Field(default=30_000, ge=16, description="rollouts that may be paid for in all; never exceeded")
    tasks: int = Field(default=96, ge=2, description="most tasks on which a subset of sentences is tried")
    exact: int = Field(default=10, ge=1, le=12, description="sentences up to which all subsets are tried")
    least: int = Field(
        default=24, ge=2, description="tasks that each subset must get for that; else orders of sentences are drawn"
    )
    pairs: int = Field(default=2, ge=1, description="orders, each with its reverse, that a task walks at most")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="level of the intervals")
    temperature: float = Field(default=1.0, ge=0, description="temperature at which tasks are answered")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    batch: int = Field(default=256, ge=1, description="rollouts made at once; the unit that is recorded")


class Value(Record):
    """What a sentence is worth in one game."""

    shapley: Interval = Field(description="its Shapley value, with an interval over tasks")
    sure: Interval = Field(description="the same, at a level corrected for the number of sentences")
    error: float | None = Field(description="standard error, over tasks (and orders, where they were drawn)")
    left_out: Interval | None = Field(
        description="how much the whole text loses without it; None where nothing is known"
    )


class SentenceWorth(Record):
    """What one sentence is worth, in each game that could be measured: proxy, true, kl (nats closer)."""

    module: str
    sentence: str
    games: dict[str, Value]


class TextWorth(Record):
    """What the sentences of a text are worth, and how that was measured."""

    candidate: Candidate
    sentences: tuple[SentenceWorth, ...]
    method: Literal["subsets", "orders"]
    tasks: int = Field(description="tasks on which each subset (or each order) was tried")
    subsets: int = Field(description="different texts tried")
    empty: dict[str, Interval] = Field(description="what the model scores without a text, by game")
    whole: dict[str, Interval] = Field(description="what it scores with the whole text, by game")
    notes: tuple[str, ...] = ()


def spending_of(config: WorthConfig) -> Spending:
    """Return what the games may spend under a config, and how they draw."""
    return Spending(config.budget, config.batch, config.temperature, config.max_tokens)


@dataclass(frozen=True)
class Plan:
    """How a text of so many sentences is measured. rollouts: the most that it takes."""

    method: Literal["subsets", "orders"]
    tasks: int
    pairs: int
    rollouts: int


def plan(sentences: int, tasks: int, budget: int, config: WorthConfig) -> Plan:
    """Choose between all subsets and drawn orders, and on how many tasks each is tried, within a budget of rollouts.

    All subsets where there are few sentences, and the budget gives each of them enough tasks. Else each task gets orders
    of its own, as many tasks as there are before a second pair of orders for any. Errors: UserError when not even two
    tasks fit, and when there is no sentence, or there are too many.
    """
    if not 1 <= sentences <= _LONGEST:
        raise UserError(f"the text has {sentences} sentences: their worth is measured of 1 to {_LONGEST}")
    most = min(tasks, config.tasks)
    if sentences <= config.exact:
        each = min(most, budget >> sentences)
        if each >= min(config.least, most) and each >= 2:
            return Plan("subsets", each, 0, each << sentences)
    walk, alone = 2 * max(sentences - 1, 1), 2 + sentences
    each = min(most, budget // (walk + alone))
    if each < 2:
        raise UserError(
            f"{budget} rollouts do not suffice for {sentences} sentences: {2 * (walk + alone)} are the least that tells anything"
        )
    pairs = max(1, min(config.pairs, (budget // each - alone) // walk))
    return Plan("orders", each, pairs, each * (pairs * walk + alone))


@dataclass(frozen=True)
class Table:
    """What a text's subsets scored. alone: by game, the Shapley values [sentences, tasks]; without: the falls, alike."""

    plan: Plan
    alone: dict[Game, Array]
    without: dict[Game, Array]
    subsets: int
    notes: tuple[str, ...] = ()


def worth(games: Games, candidate: Candidate, tasks: Sequence[Keyed], chosen: Plan, config: WorthConfig) -> TextWorth:
    """Measure what each sentence of a candidate is worth on these tasks, as planned, and write a "worth" event.

    Errors: Exhausted when the budget of the games does not allow it.
    """
    cut = Cut.of(candidate.texts)
    amount = len(cut.parts)
    place = f"worth/{candidate.key}/{chosen.method}"
    used = tasks[: chosen.tasks]
    table = (_by_subsets if chosen.method == "subsets" else _by_orders)(games, cut, used, chosen)
    sentences = tuple(
        SentenceWorth(
            module=module,
            sentence=sentence,
            games={
                game: _value(games, f"{place}/{game}/{at}", table, game, at, amount, config.level)
                for game in table.alone
            },
        )
        for at, (module, sentence) in enumerate(cut.sentences)
    )
    nobody, everybody = (_made(cut, subset).key for subset in (0, shapley.everyone(amount)))
    empty, whole = (
        {game: _mean(games, games.row(game, one, used), f"{place}/{game}/{one}", config.level) for game in table.alone}
        for one in (nobody, everybody)
    )
    found = TextWorth(
        candidate=candidate,
        sentences=sentences,
        method=chosen.method,
        tasks=len(used),
        subsets=table.subsets,
        empty={game: one for game, one in empty.items() if one is not None},
        whole={game: one for game, one in whole.items() if one is not None},
        notes=(_said(chosen, amount, len(tasks), config), *table.notes),
    )
    games.run.append(place, "worth", found.model_dump(mode="json"))
    return found


def _by_subsets(games: Games, cut: Cut, tasks: Sequence[Keyed], chosen: Plan) -> Table:
    """Try every subset on every task."""
    made = [_made(cut, subset) for subset in range(1 << len(cut.parts))]
    games.ask(made, tasks)
    keys = [one.key for one in made]
    alone: dict[Game, Array] = {}
    without: dict[Game, Array] = {}
    notes = []
    for game in games.known(keys[-1], tasks):
        values, amount = shapley.filled(games.rows(game, keys, tasks))
        if not values.size:
            notes.append(f"{game}: too few answers could be scored")
            continue
        lost = len(tasks) - values.shape[1]
        if amount or lost:
            notes.append(
                f"{game}: {amount} of {values.size} scores are missing and were filled in from the others of their text "
                f"and task; {lost} tasks were left out"
            )
        alone[game], without[game] = shapley.exact(values), shapley.left_out(values)
    return Table(chosen, alone, without, len(set(keys)), tuple(notes))


def _by_orders(games: Games, cut: Cut, tasks: Sequence[Keyed], chosen: Plan) -> Table:
    """Walk drawn orders, each task its own, so that tasks stay independent of each other."""
    amount = len(cut.parts)
    whole = shapley.everyone(amount)
    alone: dict[Game, list[Array]] = {}
    without: dict[Game, list[Array]] = {}
    tried: set[int] = set()
    for task in tasks:
        draws = games.run.rng(f"worth/orders/{task[0]}/{amount}")
        orders = [order for _ in range(chosen.pairs) for order in shapley.order_pair(amount, draws)]
        subsets = list(dict.fromkeys(step for order in orders for step in shapley.prefixes(order)))
        subsets += [one for at in range(amount) if (one := whole ^ (1 << at)) not in set(subsets)]
        tried |= set(subsets)
        made = {subset: _made(cut, subset) for subset in subsets}
        games.ask(list(made.values()), [task])
        keys = {subset: one.key for subset, one in made.items()}
        for game in games.known(keys[whole], [task]):
            scores = {subset: float(games.row(game, key, [task])[0]) for subset, key in keys.items()}
            scores = {subset: score for subset, score in scores.items() if not np.isnan(score)}
            alone.setdefault(game, []).append(shapley.along(orders, scores))
            falls = [scores[whole] - scores.get(whole ^ (1 << at), np.nan) for at in range(amount)]
            without.setdefault(game, []).append(np.array(falls))
    columns = {game: np.stack(found, axis=1) for game, found in alone.items()}
    usable = {game: found for game, found in columns.items() if not np.isnan(found).all(axis=1).any()}
    notes = [f"{game}: too few answers could be scored" for game in columns.keys() - usable.keys()]
    return Table(
        chosen, usable, {game: np.stack(without[game], axis=1) for game in usable}, len(tried), tuple(sorted(notes))
    )


def _made(cut: Cut, subset: int) -> Candidate:
    return Candidate(texts=cut.only(subset), origin="subset")


def _value(games: Games, place: str, table: Table, game: Game, at: int, amount: int, level: float) -> Value:
    alone, without = table.alone[game][at], table.without[game][at]
    alone = alone[~np.isnan(alone)]
    corrected = 1 - (1 - level) / amount
    return Value(
        shapley=_known(mean_of(games, alone, place, level)),
        sure=_known(mean_of(games, alone, f"{place}/sure", corrected, _DRAWS)),
        error=float(alone.std(ddof=1) / np.sqrt(alone.size)) if alone.size > 1 else None,
        left_out=_mean(games, without, f"{place}/left_out", level),
    )


def _mean(games: Games, values: Array, place: str, level: float) -> Interval | None:
    return mean_of(games, values, place, level)


def _known(interval: Interval | None) -> Interval:
    if interval is None:
        raise ValueError("the mean of no values")
    return interval


def _said(chosen: Plan, amount: int, tasks: int, config: WorthConfig) -> str:
    """Say how it was measured, and why not otherwise."""
    if chosen.method == "subsets":
        why = "" if chosen.tasks == min(tasks, config.tasks) else ", which is what the budget allows"
        return f"all {1 << amount} subsets of {amount} sentences were tried on the same {chosen.tasks} tasks{why}"
    why = (
        f"more than {config.exact} sentences"
        if amount > config.exact
        else f"the budget gives all {1 << amount} subsets fewer than {config.least} tasks"
    )
    return (
        f"{why}: each of {chosen.tasks} tasks walked {2 * chosen.pairs} orders of its own, drawn in pairs (an order and its "
        "reverse); the errors hold what orders differ by"
    )
