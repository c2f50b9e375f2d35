"""A proposal: one parent, one reflection on its answers, the children that come of it, and the test of the best of them.

Written as a generator: it asks for rollouts or for a reflection, and is gone on with when they are there, so that many
proposals are under way at once and none waits for another. All that it decides rests on what was known when it began and on
what it asked for itself: so it comes to the same whatever else is under way, and whenever its results come.

Children are screened together on a few of the shown tasks (successive halving: Jamieson & Talwalkar, arXiv 1502.07943), which
promises nothing; the best must then beat its parent by a test that looks after every few tasks and keeps its rate of false
accepts (`core/sequential.py`). No task that the writer was shown here tests what it wrote, unless the pool is too small.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from scrutable.core.records import Candidate
from scrutable.core.sequential import Standard, flip_test
from scrutable.core.stats import complete
from scrutable.evolve.ledger import Cell, CellKey, Keyed, Ledger
from scrutable.evolve.reflection import Item, Proposal
from scrutable.evolve.screening import Screening
from scrutable.evolve.sentences import fitted, sentences, without
from scrutable.evolve.showing import Handed, Show, handed


@dataclass(frozen=True)
class Ask:
    """Rollouts that a proposal waits for."""

    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Write:
    """A reflection that a proposal waits for."""

    key: str
    parent: Candidate
    module: str
    items: tuple[Item, ...]


Strand = Generator[Ask | Write, Proposal | None, "Outcome"]


@dataclass(frozen=True)
class Plan:
    """How much a proposal may try. screen: tasks a child is screened on at a time; look: tasks between two looks of the
    test; finalists: how many of the screened are tested; contrasts: whether the writer compares two answers to a task."""

    items: int
    width: int
    screen: int
    look: int
    finalists: int
    compose: bool
    repeats: int
    whole: bool = False
    improves: bool = False
    contrasts: bool = False


@dataclass(frozen=True)
class Idea:
    """A child that needs no writing, and what is known of it: a sum of differences to its parent over so many tasks."""

    candidate: Candidate
    total: float
    tasks: float


@dataclass(frozen=True)
class Start:
    """What a proposal begins with: all that is decided from what is known at that moment.

    shown: tasks whose answers the writer sees; order: the tasks of the test, in their order; merges, ideas: children to be
    tried that need no writing; closed: whether a text need not be tried again, given whether several samples wrote it;
    others: (candidate, task) of further answers, known before; tally: how many samples wrote each sentence, before.
    """

    number: int
    parent: Candidate
    module: str
    shown: tuple[Keyed, ...]
    order: tuple[Keyed, ...]
    standard: Standard
    merges: tuple[Candidate, ...] = ()
    closed: Callable[[str, bool], bool] = field(default=lambda key, agreed: False)
    others: tuple[tuple[str, Keyed], ...] = ()
    ideas: tuple[Idea, ...] = ()
    tally: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """What became of a child: its mean difference to its parent over `tasks` tasks, and why it was taken in or not."""

    candidate: Candidate
    accepted: bool
    why: str
    tasks: int = 0
    gain: float = 0.0
    for_good: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a proposal came to. cells: all that it asked for and was given; spent: why it was given no more.

    uses: what each cell was wanted for first (shown, screening, test); seen: (candidate, task) whose answers the writer saw.
    """

    start: Start
    judged: tuple[Judged, ...]
    cells: tuple[CellKey, ...]
    proposal: Proposal
    spent: str = ""
    uses: tuple[str, ...] = ()
    seen: tuple[tuple[str, str], ...] = ()


class Propose:
    """The life of a proposal: `strand` makes the generator."""

    def __init__(self, start: Start, plan: Plan, ledger: Ledger, show: Show) -> None:
        self.start, self.plan, self._ledger, self._show = start, plan, ledger, show
        self.key = f"proposal/{start.number}"
        self.cells: dict[CellKey, str] = {}
        self._use = "shown"
        self._seen: tuple[tuple[str, str], ...] = ()
        self._last: list[CellKey] = []  # of these, what the last ask added
        self.judged: list[Judged] = []
        self.proposal = Proposal()

    def outcome(self, spent: str = "") -> Outcome:
        """Return what it has come to so far. spent: why its last ask was refused, so that it goes no further."""
        refused = set(self._last if spent else ())
        cells = {cell: use for cell, use in self.cells.items() if cell not in refused}
        uses = tuple(cells.values())
        return Outcome(self.start, tuple(self.judged), tuple(cells), self.proposal, spent, uses, self._seen)

    def strand(self) -> Strand:
        """Reflect, screen, test."""
        start, plan = self.start, self.plan
        yield self._ask([start.parent], start.shown)
        self._last = []
        handed = self._handed()
        items, self._seen = handed.items, handed.seen
        written = yield Write(f"reflection/{start.number}", start.parent, start.module, items)
        self.proposal = written or Proposal()
        if self.proposal.shown is not None and not plan.contrasts:
            self._seen = tuple(self._seen[place] for place in self.proposal.shown)
        screening, tried = self._screening(handed), False
        field_ = self._children(screening)
        self._use = "test"
        if plan.improves:
            yield from self._improves(field_[:1])
            return self.outcome()
        for _ in range(screening.stages):
            if len(field_) <= plan.finalists:
                break
            tried, self._use = True, "screening"
            yield self._ask_each({one.key: (one, screening.next(one.key)) for one in field_})
            ranked = screening.ranked(field_)
            keep = max(plan.finalists, math.ceil(len(field_) / 2))
            field_, out = ranked[:keep], ranked[keep:]
            self._lost(out)
        if tried:
            self._lost(field_[plan.finalists :])
            ahead = [one for one in field_[: plan.finalists] if screening.ahead(one)]
            self._lost([one for one in field_[: plan.finalists] if one not in ahead])
            field_ = ahead
        self._use = "test"
        yield from self._test(field_, start.order)
        return self.outcome()

    # -------------------------------------------------------------------------------------------------------- children

    def _handed(self) -> Handed:
        """Return what the writer is handed: the parent's answers, and others' to the same tasks."""
        start = self.start
        own = [(task, self._ledger.rollout(start.parent.key, key)) for key, task in start.shown]
        others = [(task, self._ledger.rollout(name, key)) for name, (key, task) in start.others]
        draws = self._ledger.run.random(f"{self.key}/items")
        return handed(own, others, self._show, self.plan.items, draws, beside=self.plan.contrasts)

    def _children(self, screening: Screening) -> list[Candidate]:
        """Return the children worth trying, most promising first, each text once."""
        start, parent, module = self.start, self.start.parent, self.start.module
        written = [_child(parent, module, text, "reflection") for text in self.proposal.texts]
        fit = self._fit(self._alone())
        dropped = [_child(parent, module, rest, "removal") for rest in self._shorter()]
        known = [one for pair in zip_longest((one.candidate for one in start.ideas), start.merges) for one in pair]
        if parent.texts[module]:  # where a text was found it stays, mostly
            further = [*fit[:1], *written[:1], *dropped[:1], *fit[1:], *written[1:]]
        else:
            further = [one for pair in zip_longest(written, fit) for one in pair]
        found = dict[str, Candidate]()
        for some, most in ((known, max(1, self.plan.width // 3)), (further, self.plan.width)):
            for one in some:
                if one is not None and len(found) < most:
                    key = one.key
                    if key != parent.key and not start.closed(key, screening.agreed(key)):
                        found.setdefault(key, one)
        return list(found.values())

    def _alone(self) -> list[str]:
        """Return the sentences that were written, now or before, those first that most samples wrote."""
        if not self.plan.compose:
            return []
        tally = Counter(self.start.tally)
        for text, votes in zip(self.proposal.texts, self.proposal.votes, strict=True):
            for sentence in dict.fromkeys(sentences(text)):
                tally[sentence] += votes
        return [sentence for sentence, _ in tally.most_common()]

    def _fit(self, found: Sequence[str]) -> list[Candidate]:
        """Return the parent with each of these sentences."""
        parent, module = self.start.parent, self.start.module
        return [_child(parent, module, fitted(parent.texts[module], one), "sentence") for one in found]

    def _shorter(self) -> list[str]:
        """Return the parent's text without each of its sentences, in drawn order: some came in with something good."""
        text = self.start.parent.texts[self.start.module]
        count = len(sentences(text))
        if not self.plan.compose or count < 2:
            return []
        places = list(range(count))
        self._ledger.run.random(f"{self.key}/shorter").shuffle(places)
        return [without(text, place) for place in places]

    # ------------------------------------------------------------------------------------------------ screening, test

    def _screening(self, handed: Handed) -> Screening:
        """Return how the children are screened: a text, and each of its sentences, first where its evidence is."""
        start, written = self.start, self.proposal
        known = {one.candidate.key: (one.total, one.tasks) for one in start.ideas}
        spread = start.standard.bound
        found = Screening(self._ledger, start.parent.key, start.shown, self.plan.screen, known, spread)
        grounds = written.grounds or ((),) * len(written.texts)
        for text, votes, places in zip(written.texts, written.votes, grounds, strict=True):
            tasks = [handed.seen[place][1] for place in places]
            children = [_child(start.parent, start.module, text, ""), *self._fit(sentences(text))]
            for key in dict.fromkeys(child.key for child in children):
                found.ground(key, tasks, votes, sum(written.votes))
        return found

    def _ask(self, candidates: Sequence[Candidate], tasks: Sequence[Keyed]) -> Ask:
        return self._ask_each({one.key: (one, tasks) for one in candidates})

    def _ask_each(self, wanted: Mapping[str, tuple[Candidate, Sequence[Keyed]]]) -> Ask:
        """Return the cells wanted; those that are known already among them, since they count as this proposal's too."""
        cells = [
            Cell(one, name, key, task, repeat)
            for name, (one, tasks) in wanted.items()
            for key, task in tasks
            for repeat in range(self.plan.repeats)
        ]
        self._last = [cell.place for cell in cells if cell.place not in self.cells]
        self.cells.update(dict.fromkeys(self._last, self._use))
        return Ask(tuple(cells))

    def _lost(self, out: Sequence[Candidate]) -> None:
        why = "lost the screening, to other texts or to its parent"
        self.judged += [Judged(one, False, why, for_good=False) for one in out]

    def _pair(self, one: Candidate, tasks: Sequence[Keyed]) -> tuple[np.ndarray, np.ndarray]:
        column, value = self._ledger.column, self.start.parent.key
        child, parent = complete(column(one.key, tasks), column(value, tasks))
        return child, parent

    def _test(self, children: Sequence[Candidate], tasks: Sequence[Keyed]) -> Generator[Ask, Proposal | None, None]:
        """Compare each child with its parent, look by look, until it is decided."""
        going, looks = list(children), {one.key: list[int]() for one in children}
        for used in range(self.plan.look, len(tasks) + self.plan.look, self.plan.look):
            if not going:
                return
            yield self._ask([self.start.parent, *going], tasks[used - self.plan.look : used])
            still = []
            for one in going:
                child, parent = self._pair(one, tasks[:used])
                if child.size and child.size not in looks[one.key]:
                    looks[one.key].append(child.size)
                verdict = self._verdict(one, child - parent, looks[one.key], len(tasks))
                if verdict == "undecided" and used < len(tasks):
                    still.append(one)
                else:
                    gain = float((child - parent).mean()) if child.size else 0.0
                    better = verdict == "better"
                    told = "better than its parent" if better else "not shown to be better than its parent"
                    self.judged.append(
                        Judged(one, better, f"{told}: {gain:+.3g} on {child.size} tasks", child.size, gain)
                    )
                    if better and self.plan.whole:
                        yield self._ask([one], tasks)
            going = still

    def _verdict(self, one: Candidate, differences: np.ndarray, looks: Sequence[int], planned: int) -> str:
        if not differences.size:
            return "undecided"
        rng = self._ledger.run.rng(f"{self.key}/test/{one.key}")
        return flip_test(differences, looks, planned, self.start.standard, rng)

    def _improves(self, children: Sequence[Candidate]) -> Generator[Ask, Proposal | None, None]:
        """Take a child in when its sum on the shown tasks is above its parent's: the reference's gate, for comparison."""
        for one in children:
            yield self._ask([one], self.start.shown)
            child, parent = self._pair(one, self.start.shown)
            gain = float((child - parent).mean()) if child.size else 0.0
            told = f"{'better' if gain > 0 else 'no better'} than its parent on what was shown: {gain:+.3g}"
            if gain > 0 and self.plan.whole:
                yield self._ask([one], self.start.order)
            self.judged.append(Judged(one, gain > 0, told, child.size, gain))


def _child(parent: Candidate, module: str, text: str, origin: str) -> Candidate:
    return Candidate(texts={**parent.texts, module: text}, parents=(parent.key,), origin=origin)
