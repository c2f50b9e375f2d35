"""Children: what is tried in a round. Texts that a writer proposes, their single sentences, and a merge of two candidates.

The writer sees a few tasks of a parent, bad and good ones together, so that it can tell when something is wanted. Sentences
are tried one by one on top of the parent, so that two things to say are found even if no one proposal says both.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from random import Random
from typing import Any

from scrutable.core.errors import ProposerFailure, boundary
from scrutable.core.records import Candidate, Rollout, Task, Usage
from scrutable.evolve.front import Front
from scrutable.evolve.ledger import Keyed, Ledger
from scrutable.evolve.reflection import Item, Proposal, Proposer
from scrutable.evolve.select import Contender
from scrutable.evolve.sentences import added, sentences, union

Show = Callable[[Task, Rollout], Item]
_LOST = 2  # so often may a text lose a screening before it is tried no more


def show_rollout(task: Task, rollout: Rollout) -> Item:
    """Show a writer what a rollout was: the answer, its score, and the rater's words."""
    score = rollout.score
    return Item(prompt=task.prompt, answer=rollout.answer, score=score.value, feedback=score.feedback)


@dataclass(frozen=True)
class Plan:
    """How many children of which kinds a round has (see `EvolveConfig`)."""

    explore: int
    reflections: int
    width: int
    compose: bool


class Nursery:
    """Makes each round's children, and counts what writing came to. Knows which texts need not be tried again."""

    def __init__(
        self, ledger: Ledger, front: Front, proposer: Proposer, shown: Sequence[Keyed], plan: Plan, show: Show
    ) -> None:
        self.reflections = 0
        self.failures = 0
        self._ledger, self._front, self._proposer = ledger, front, proposer
        self._shown, self._plan, self._show = shown, plan, show
        self._lost: Counter[str] = Counter()

    def close(self, key: str, *, for_good: bool = True) -> None:
        """Try a text no more: at once, or after it has lost twice."""
        self._lost[key] += _LOST if for_good else 1

    def children(self, number: int, accepted: Mapping[str, Candidate]) -> list[Contender]:
        """Return the children of round `number`, most promising first. Errors: Exhausted, UserError."""
        run, plan = self._ledger.run, self._plan
        draws = run.random(f"round/{number}/parents")
        parents = [accepted[self._front.draw(draws)] for _ in range(plan.reflections)]
        tasks = draws.sample(list(self._shown), min(plan.explore, len(self._shown)))
        self._ledger.ask(list({one.key: one for one in parents}.values()), tasks)
        written: Counter[tuple[str, str]] = Counter()  # (parent, its text anew) -> votes
        texts: dict[tuple[str, str], Candidate] = {}
        alone: Counter[tuple[str, str]] = Counter()  # (parent, one sentence more) -> votes
        for place, parent in enumerate(parents):
            module = draws.choice(sorted(parent.texts))
            proposal = self._reflect(f"reflection/{number}/{place}", parent, module, tasks)
            for text, votes in zip(proposal.texts, proposal.votes, strict=True):
                _put(written, texts, parent, {**parent.texts, module: text}, votes, "reflection")
                if plan.compose:
                    for sentence in sentences(text):
                        grown = {**parent.texts, module: added(parent.texts[module], [sentence])}
                        _put(alone, texts, parent, grown, votes, "sentence")
        ranked = [[texts[name] for name, _ in votes.most_common()] for votes in (written, alone)]
        merged = self._merges(draws, accepted) if plan.compose else []
        mixed = chain(merged, *(pair for pair in zip_longest(*ranked)))
        return self._fresh([one for one in mixed if one is not None])

    def _fresh(self, found: Sequence[Candidate]) -> list[Contender]:
        """Return the first `width` that are worth trying, each text once."""
        kept: dict[str, Contender] = {}
        for one in found:
            key = one.key
            if key not in kept and self._lost[key] < _LOST and len(kept) < self._plan.width:
                kept[key] = Contender(one, one.parents[0])
        return list(kept.values())

    def _merges(self, draws: Random, accepted: Mapping[str, Candidate]) -> list[Candidate]:
        """Return the union of two candidates that hold different tasks; the better of them is the one to beat."""
        holders = list(self._front.weights())
        if len(holders) < 2:
            return []
        first, second = sorted(draws.sample(holders, 2), key=lambda key: (-self._front.mean(key), key))
        texts = union(accepted[first].texts, accepted[second].texts)
        return [Candidate(texts=texts, parents=(first, second), origin="merge")]

    def _reflect(self, key: str, parent: Candidate, module: str, tasks: Sequence[Keyed]) -> Proposal:
        """Let the writer look at some of the tasks; one event. What fails is counted."""
        rollouts = [(task, self._ledger.rollout(parent.key, name)) for name, task in tasks]
        items = [
            self._show(*pair) for pair in pick(rollouts, self._proposer.items, self._ledger.run.random(f"{key}/items"))
        ]
        event = self._ledger.run.once(key, "reflection", partial(self._written, key, parent, module, items))
        self._ledger.pay(event.cost)
        proposal = Proposal.model_validate({k: v for k, v in event.payload.items() if k not in ("parent", "module")})
        self.reflections += 1
        self.failures += len(proposal.failures)
        return proposal

    def _written(self, key: str, parent: Candidate, module: str, items: Sequence[Item]) -> tuple[dict[str, Any], Usage]:
        """Ask the writer; return the event's payload and cost."""
        seed, start = self._ledger.run.seed_of(key), time.perf_counter()
        try:
            with boundary(ProposerFailure):
                found = self._proposer.propose(parent.texts, module, items, seed)
        except ProposerFailure as failure:
            found = Proposal(failures=(str(failure),))
        bare = found.model_copy(update={"usage": Usage()}).model_dump(mode="json")
        cost = found.usage.model_copy(update={"seconds": time.perf_counter() - start})
        return {"parent": parent.key, "module": module, **bare}, cost


def _put(
    votes: Counter[tuple[str, str]],
    texts: dict[tuple[str, str], Candidate],
    parent: Candidate,
    own: dict[str, str],
    count: int,
    origin: str,
) -> None:
    made = Candidate(texts=own, parents=(parent.key,), origin=origin)
    name = (parent.key, made.key)
    texts.setdefault(name, made)
    votes[name] += count


def pick(rollouts: Sequence[tuple[Task, Rollout]], count: int, draws: Random) -> list[tuple[Task, Rollout]]:
    """Draw `count` scored rollouts to show: more than half from the worst third, the rest from the best, shuffled."""
    scored = [pair for pair in rollouts if pair[1].score.value is not None]
    draws.shuffle(scored)  # of equals, any
    scored.sort(key=lambda pair: pair[1].score.value or 0.0)
    bad = min(len(scored), (count + 1) // 2)
    worst = scored[: max(bad, len(scored) // 3)]
    chosen = draws.sample(worst, bad)
    rest = [pair for pair in scored if pair not in chosen]
    good = min(len(rest), count - bad)
    chosen += draws.sample(rest[len(rest) - max(good, len(scored) // 3) :], good) if good else []
    draws.shuffle(chosen)
    return chosen
