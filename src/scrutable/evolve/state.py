"""The state of a search: who is accepted, what is known of them, and what a proposal begins with.

It changes only by commits, one proposal at a time in a given order; scores of proposals still under way are not in it. So
what a proposal begins with depends on how many commits came before it, and on nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import zip_longest

from scrutable.core.accounts import Interval
from scrutable.core.journal import Run
from scrutable.core.records import Candidate
from scrutable.core.sequential import Standard
from scrutable.core.stats import normal_mean
from scrutable.evolve.budget import tokens_of
from scrutable.evolve.cells import CellKey, Cells
from scrutable.evolve.effects import Effects, one_changed
from scrutable.evolve.front import Front
from scrutable.evolve.joins import joined
from scrutable.evolve.ledger import Keyed, Ledger
from scrutable.evolve.parts import Parts
from scrutable.evolve.proposals import Idea, Judged, Outcome, Start
from scrutable.evolve.sentences import length, sentences

_LOST = 2  # so often may a text lose a screening before it is tried no more
_IDEAS = 3  # children of a proposal that come of what is known of sentences
_ENOUGH = 16  # tasks from which on a plain mean may reach the target


class State:
    """Accepted candidates, the front, texts that need not be tried again, and the commits that made them so.

    explore: tasks that a writer is shown; contrasts: others' answers that it may be shown too; beside: these are to the same
    tasks, since the writer compares; apart: the tasks are drawn anew each time, from those outside the pool (as the
    reference does).
    """

    def __init__(
        self,
        ledger: Ledger,
        parts: Parts,
        explore: int,
        contrasts: int = 0,
        *,
        beside: bool = False,
        apart: bool = False,
    ) -> None:
        self.run: Run = ledger.run
        self.ledger, self.parts = ledger, parts
        self.front = Front([key for key, _ in parts.pool])
        self.accepted: dict[str, Candidate] = {}
        self.commits = 0
        self._explore, self._contrasts, self._beside, self._apart = explore, contrasts, beside, apart
        self._handed: dict[
            int, set[tuple[str, str]]
        ] = {}  # proposal under way -> (candidate, task) handed to its writer
        self._unseen: dict[str, dict[str, None]] = {}  # task -> whose answers to it no writer saw yet
        self._scores: dict[str, dict[str, float]] = {}
        self._screened: dict[str, dict[str, float]] = {}
        self._paid = Cells[int]()  # after how many commits it was charged
        self._seen: dict[str, dict[str, int]] = {}  # candidate -> task -> how often the writer saw it
        self._turns: dict[str, Counter[str]] = {}  # candidate -> how often each of its texts came up
        self._tally: dict[str, Counter[str]] = {}  # module -> sentence -> how many samples wrote it
        self.effects = Effects()
        self._tested: set[str] = set()
        self._lost: dict[str, list[int]] = {}  # text -> after which commits it lost a screening
        self._closed: dict[str, int] = {}  # text -> after which commit it was decided
        self._pool = dict(parts.pool)
        self._range = (math.inf, -math.inf)
        self._tokens = 0
        self.notes: tuple[str, ...] = ()
        self._orders: dict[str, tuple[str, ...]] = {}

    # ---------------------------------------------------------------------------------------------------------- begin

    def begin(self, number: int, standard: Standard, compose: bool) -> Start:
        """Return what proposal `number` begins with."""
        draws = self.run.random(f"proposal/{number}/parent")
        parent = self.accepted[self.front.draw(draws)]
        module = self._module(parent, number)
        shown = self._shown(parent, number)
        names = {key for key, _ in shown}
        order = [pair for pair in self._order(parent.key) if pair[0] not in names]
        if len(order) < max(8, len(self.parts.pool) // 4):  # so few tasks that the shown ones must decide too
            order += [pair for pair in shown if pair[0] in self._pool]
            self.notes = (
                "the pool is small beside what a proposal shows: tasks that its writer saw tested what it wrote",
            )
        seen, others = self.commits, self._others(parent, shown)
        self._handed[number] = {(parent.key, key) for key in names} | {(name, key) for name, (key, _) in others}
        return Start(
            number=number,
            parent=parent,
            module=module,
            shown=shown,
            order=tuple(order),
            standard=standard,
            merges=joined(parent, module, self.accepted, self.front) if compose else (),
            others=others,
            ideas=self._ideas(parent, module) if compose else (),
            tally=dict(self._tally.get(module, ())),
            closed=lambda key, agreed: self._is_closed(key, seen, agreed=agreed),
        )

    def _module(self, parent: Candidate, number: int) -> str:
        """Return which text is to be rewritten: after a gain in one, another; then they take turns."""
        names = sorted(parent.texts)
        turn = number % len(names)
        return min(names[turn:] + names[:turn], key=lambda name: self._turns[parent.key][name])

    def _order(self, parent: str) -> list[Keyed]:
        """Return the pool in the order in which this parent's children are tried: all of them alike, so that it is paid once."""
        if parent not in self._orders:
            order = list(self._pool)
            self.run.random(f"order/{parent}").shuffle(order)
            self._orders[parent] = tuple(order)
        return [(key, self._pool[key]) for key in self._orders[parent]]

    def _shown(self, parent: Candidate, number: int) -> tuple[Keyed, ...]:
        """Return the tasks whose answers the writer sees: those that are paid for and were seen least, else from the far end.

        Half of them at most are those where most answers of others wait to be seen.
        """
        if self._apart:
            shown = self.parts.shown
            return tuple(self.run.random(f"proposal/{number}/shown").sample(shown, min(self._explore, len(shown))))
        have = self._scores.get(parent.key, {})
        order = list(reversed(self._order(parent.key)))
        order += [pair for pair in self.parts.shown if pair[0] not in self._pool]
        known = [pair for pair in order if pair[0] in have]
        if len(known) < min(self._explore, len(order)):
            known += [pair for pair in order if pair[0] not in have]
        rank = {pair[0]: place for place, pair in enumerate(known)}
        waiting = [pair for pair in known if pair[0] in have and self._unseen.get(pair[0])] if self._contrasts else []
        waiting.sort(key=lambda pair: (-len(self._unseen[pair[0]]), rank[pair[0]]))
        first = waiting[: self._explore // 2]
        taken = {key for key, _ in first}
        rest = [pair for pair in known if pair[0] not in taken]
        seen = Counter(self._seen.get(parent.key, {}))
        seen.update(key for pairs in self._handed.values() for name, key in pairs if name == parent.key)
        rest.sort(key=lambda pair: (seen[pair[0]], pair[0] not in have, rank[pair[0]]))
        return tuple([*first, *rest][: self._explore])

    def _ideas(self, parent: Candidate, module: str) -> tuple[Idea, ...]:
        """Return the children for which speaks what is known of single sentences, with what is known."""
        made = self.effects.ideas(parent, module, _IDEAS)
        return tuple(
            Idea(one, *self.effects.carried(parent, one, module)) for one in made if one.key not in self._tested
        )

    def _others(self, parent: Candidate, shown: Sequence[Keyed]) -> tuple[tuple[str, Keyed], ...]:
        """Return whose answers no writer saw or is handed now: (candidate, task), of each task in turn, the shown first."""
        handed = set[tuple[str, str]]().union(*self._handed.values())
        names = {key for key, _ in shown}
        rest = [] if self._beside else [pair for pair in self._order(parent.key) if pair[0] not in names]
        found = list[tuple[str, Keyed]]()
        for tasks in (shown, rest):
            queues = [self._waiting(parent.key, pair, handed) for pair in tasks]
            for row in zip_longest(*queues):  # no further than is wanted: there may be hundreds of thousands
                found += [one for one in row if one is not None]
                if len(found) >= self._contrasts:
                    return tuple(found[: self._contrasts])
        return tuple(found)

    def _waiting(self, parent: str, pair: Keyed, handed: Set[tuple[str, str]]) -> Iterator[tuple[str, Keyed]]:
        """Yield whose answers to a task no writer saw or is handed now."""
        for name in self._unseen.get(pair[0], ()):
            if name != parent and (name, pair[0]) not in handed:
                yield name, pair

    def _is_closed(self, key: str, seen: int, *, agreed: bool) -> bool:
        """Whether a text need not be tried again. agreed: several samples wrote it, so that lost screenings do not close it."""
        lost = sum(at < seen for at in self._lost.get(key, ())) >= _LOST
        return self._closed.get(key, seen) < seen or (lost and not agreed)

    # --------------------------------------------------------------------------------------------------------- commit

    def commit(self, outcome: Outcome) -> int:
        """Take in what a proposal came to; return how many rollouts it is charged (those that no earlier one was)."""
        start = outcome.start
        self._handed.pop(start.number, None)
        charged = self._charge(outcome.cells)
        reflection = self.run.get(f"reflection/{start.number}")
        self._tokens += tokens_of(reflection.cost) if reflection else 0
        for name, task, _ in outcome.cells:
            if task not in self._seen.setdefault(name, {}):
                self._seen[name][task] = 0
                self._unseen.setdefault(task, {})[name] = None
        for name, task in outcome.seen:
            row = self._seen.setdefault(name, {})
            row[task] = row.get(task, 0) + 1
            self._unseen.get(task, {}).pop(name, None)
        touched = {name for name, _, _ in outcome.cells}
        for name in sorted(touched):
            self._scores.setdefault(name, {})
        shown = {key for key, _ in start.shown}
        for name, task, _ in outcome.cells:
            value = self.ledger.value(name, task)
            # What a child scored where it was screened was a reason to choose it: it says too much of how good it is.
            chosen_by = task in shown and name != start.parent.key and not self._apart
            chosen_by |= task in self._screened.get(name, ())
            if value is not None and task in self._pool:
                (self._screened.setdefault(name, {}) if chosen_by else self._scores[name])[task] = value
        for name in sorted(touched & self.accepted.keys()):
            self.front.score(name, self._scores[name])
            self._widen(name)
        self._turns[start.parent.key][start.module] += 1
        tally = self._tally.setdefault(start.module, Counter())
        for text, votes in zip(outcome.proposal.texts, outcome.proposal.votes, strict=True):
            tally.update(dict.fromkeys(sentences(text), votes))
        for one in outcome.judged:
            self._note(one, outcome)
            self._judge(one, start)
        self.commits += 1
        return charged

    def take_in(self, one: Candidate, parent: str | None, cells: Sequence[CellKey] = ()) -> None:
        """Accept a candidate with the scores that are known of it."""
        self._charge(cells)
        for name, task, _ in cells:
            value = self.ledger.value(name, task)
            if value is not None and task in self._pool:
                self._scores.setdefault(name, {})[task] = value
        key = one.key
        if key not in self.accepted:
            self.accepted[key] = one
            above = self.accepted[parent].texts if parent in self.accepted else one.texts
            self._turns[key] = Counter(name for name, text in one.texts.items() if text != above.get(name))
            if parent is None:
                self._closed[key] = -1
            self.front.add(key, parent, self._scores.get(key, {}), length(one.texts))
            self._widen(key)

    def _note(self, one: Judged, outcome: Outcome) -> None:
        """Keep what a child says of the one sentence by which it differs from its parent."""
        start, name = outcome.start, one.candidate.key
        module = start.module
        if one_changed(start.parent.texts[module], one.candidate.texts[module]) is None:
            return
        pairs = [
            (self.ledger.value(name, task), self.ledger.value(start.parent.key, task))
            for task in dict.fromkeys(task for cell, task, _ in outcome.cells if cell == name)
        ]
        both = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
        self.effects.note(start.parent, one.candidate, start.module, both)

    def _judge(self, one: Judged, start: Start) -> None:
        key = one.candidate.key
        if one.for_good:
            self._tested.add(key)
            self._closed.setdefault(key, self.commits)
        else:
            self._lost.setdefault(key, []).append(self.commits)
        if one.accepted and key not in self.accepted:
            parent = start.parent.key if start.parent.key in self.front else None
            self.take_in(one.candidate, parent)

    def _charge(self, cells: Sequence[CellKey]) -> int:
        fresh = [cell for cell in dict.fromkeys(cells) if cell not in self._paid]
        for cell in fresh:
            self._paid[cell] = self.commits
        self._tokens += sum(self.ledger.tokens(cell) for cell in fresh)
        return len(fresh)

    def paid(self, cell: CellKey) -> bool:
        """Whether a cell was charged by a commit, or to a start."""
        return cell in self._paid

    def fresh(self, cells: Iterable[CellKey], seen: int) -> list[CellKey]:
        """Return those of these cells that were not charged by the first `seen` commits."""
        return [cell for cell in cells if self._paid.get(cell, seen) >= seen]

    # ---------------------------------------------------------------------------------------------------------- looks

    @property
    def charged(self) -> tuple[int, int]:
        """Rollouts and tokens that commits were charged."""
        return len(self._paid), self._tokens

    @property
    def best(self) -> str:
        """The key of the best candidate."""
        return self.front.best()

    def reached(self, target: float | None) -> bool:
        """Whether the best candidate's plain mean reaches the target, on enough tasks."""
        if target is None:
            return False
        best = self.best
        scored = len(self._scores.get(best, {}))
        return scored >= min(_ENOUGH, len(self._pool)) and self.front.mean(best) >= target

    def spread(self) -> float:
        """Return the range of the accepted candidates' scores: those of bad texts may lie anywhere."""
        return max(0.0, self._range[1] - self._range[0])

    def _widen(self, key: str) -> None:
        values = self._scores.get(key, {}).values()
        low, high = self._range
        self._range = min(low, *values, low), max(high, *values, high)

    def scores(self, key: str) -> Mapping[str, float]:
        """Return a candidate's scores on the pool, by task."""
        return self._scores.get(key, {})

    def mean(self, key: str) -> Interval | None:
        """Return a text's mean on what of the pool it was scored on, screening too, with an interval: for people to see."""
        known = list({**self._screened.get(key, {}), **self._scores.get(key, {})}.values())
        return normal_mean(known) if known else None
