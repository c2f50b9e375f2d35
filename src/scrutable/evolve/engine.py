"""Prompt evolution: texts are rewritten by reflection, and a text is kept only where it is shown to be better.

Many proposals are under way at once (`drive.py`). Each draws a parent from the front in proportion to the tasks it holds,
lets a writer see some of its answers, screens what comes of it, and tests the best against the parent (`proposals.py`). At
the end the best is chosen and pruned on tasks of the keep split, and scored on yet others (`finish.py`). The family is
GEPA's (Agrawal et al., arXiv 2507.19457).

State is the replay of the events: each batch of rollouts and each reflection is one, every draw comes from the run's seed and
a key, so a search killed at any moment goes on as if it had not been, and pays for nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Any

from scrutable.core.accounts import Interval
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling, Task
from scrutable.core.sequential import Standard
from scrutable.envs.base import Environment
from scrutable.evolve.config import SEED_ALONE, EvolveConfig, EvolveResult
from scrutable.evolve.drive import Drive
from scrutable.evolve.finish import Rule, finish
from scrutable.evolve.ledger import CellKey, Exhausted, Ledger, Limits, Scorer
from scrutable.evolve.pacing import pace_of
from scrutable.evolve.parts import Sizes, divide
from scrutable.evolve.proposals import Outcome, Plan, Propose
from scrutable.evolve.reflection import ChatWriter, Proposer, identity_of, proposer_for
from scrutable.evolve.scorers import RewardScorer
from scrutable.evolve.showing import Show, show_rollout
from scrutable.evolve.slices import sliced
from scrutable.evolve.slots import Slots
from scrutable.evolve.state import State
from scrutable.models.api import ServedModel
from scrutable.models.base import Model
from scrutable.programs.base import Program
from scrutable.programs.wanted import program_for

__all__ = ["EvolveConfig", "EvolveResult", "Search", "evolve", "search", "splits_of"]


def evolve(
    env: Environment,
    model: Model,
    run: Run,
    config: EvolveConfig | None = None,
    proposer: Proposer | None = None,
    program: Program | None = None,
    start: Sequence[str | Mapping[str, str]] = ("",),
) -> EvolveResult:
    """Evolve a text (or a program's texts) that raises the environment's reward of the model's answers.

    proposer: who writes; by default the model itself. program: what texts are given to; by default what the environment
    wants. start: texts to start from; a string is given to every module. Events go to `run` under "evolve/"; a run that was
    killed, or is finished, goes on from what stands there. A served model is asked by many threads at once (`slots`), a
    local one by this thread.
    Errors: UserError when the environment has no reward, a split is too small, no start can be scored, or the run holds
    another search.
    """
    searched, kept = splits_of(env)
    config = config or EvolveConfig()
    program = program or program_for(env)
    scorer = RewardScorer(env, model, program, Sampling(temperature=config.temperature, max_tokens=config.max_tokens))
    starts = [
        Candidate(texts=dict.fromkeys(program.modules, one) if isinstance(one, str) else dict(one)) for one in start
    ]
    for one in starts:
        if set(one.texts) != set(program.modules):
            raise UserError(
                f"a start has texts for {sorted(one.texts)}, and the program takes {sorted(program.modules)}"
            )
    writer = proposer or proposer_for(model, config.reflect)
    # A server is always asked by threads: how many there are must not decide how rollouts are batched.
    if (
        config.mode == "throughput"
        and config.money is not None
        and not getattr(model, "price", lambda read, written: 0.0)(1000, 1000)
    ):
        raise UserError("a budget of money needs prices: give --served-price-in and --served-price-out")
    slots = Slots(config.slots, max(2, config.under_way(inline=False))) if isinstance(model, ServedModel) else Slots()
    return search(scorer, writer, (searched, kept), run.scope("evolve"), config, starts, slots=slots)


def splits_of(env: Environment) -> tuple[Sequence[Task], Sequence[Task]]:
    """Return the tasks that a text is evolved on, and those it is chosen and scored on.

    Errors: UserError when the environment has no reward, or one of the two splits is empty.
    """
    if not env.rewarded:
        raise UserError(
            f"{env.name} has no reward, so nothing can be evolved on it: add a reward function, or use `read`"
        )
    return env.tasks("search"), env.tasks("keep")


def search(
    scorer: Scorer,
    proposer: Proposer,
    tasks: tuple[Sequence[Task], Sequence[Task]],
    run: Run,
    config: EvolveConfig,
    starts: Sequence[Candidate],
    show: Show = show_rollout,
    slots: Slots | None = None,
) -> EvolveResult:
    """Search for the texts with the highest scores: what `evolve` does, with a score of one's own.

    tasks: those to search on, and those to choose and score on. show: what the writer sees of a task. slots: calls at once;
    none: one after the other, in this thread (with several, each rollout is a call of its own). Events go to `run` as they
    are; give it a scope. Errors: as `evolve`.
    """
    if config.mode == "deterministic" and (config.seconds is not None or config.money is not None):
        raise UserError(SEED_ALONE)
    _begin(run, [scorer.identity, identity_of(proposer), config.digest(), [one.key for one in starts]], config.budget)
    done = run.get("result")
    if done is not None:
        return EvolveResult.model_validate({k: v for k, v in done.payload.items() if k != "candidate"})
    state = Search(scorer, proposer, tasks, run, config, starts, show)
    return state.end(state.go(slots or Slots()))


def _begin(run: Run, identity: list[Any], budget: int) -> None:
    """Write down what is searched, and refuse a run that holds another search."""
    says = "rewriting texts and keeping what is shown to be better"
    payload = {"name": "evolve", "says": says, "seconds_expected": None, "total": budget, "search": identity}
    begun = [event.payload["search"] for event in run.events("stage") if "search" in event.payload]
    if begun and begun[-1] != identity and run.events("rollouts"):
        raise UserError(
            f"{run.path} holds another search (another environment, other texts, models, writer or config): "
            "choose another run folder"
        )
    if identity not in begun[-1:]:  # one that came to nothing may be begun anew, with what was mended
        run.append(f"stage/{len(begun)}" if begun else "stage", "stage", payload)


_FRONT = 64  # holders named with each proposal, those of the most tasks


class Search:
    """One search: its state, what a proposal may do, and the events that tell of it. All of it is the replay of events."""

    def __init__(
        self,
        scorer: Scorer,
        proposer: Proposer,
        tasks: tuple[Sequence[Task], Sequence[Task]],
        run: Run,
        config: EvolveConfig,
        starts: Sequence[Candidate],
        show: Show,
    ) -> None:
        if not starts:
            raise UserError("evolution needs a text to start from; an empty one will do")
        end = int(config.budget * config.reserve)
        sizes = Sizes(config.pool, config.keep, (config.budget - end, end), config.repeats)
        self.run, self.config, self.starts = run, config, list(starts)
        self.parts = divide(tasks[0], tasks[1], sizes, run)
        tokens = None if config.tokens is None else int(config.tokens * (1 - config.reserve))
        money = None if config.money is None else config.money * (1 - config.reserve)
        limits = Limits(config.budget - end, tokens, config.seconds, money, reserved=end)
        self.ledger = Ledger(run, scorer, limits, batch=config.batch, repeats=config.repeats)
        chat = isinstance(proposer, ChatWriter)
        apart = config.gate == "improves"
        self.state = State(self.ledger, self.parts, config.explore, config.contrasts, beside=chat, apart=apart)
        self.stale = 0
        self._proposer, self._show = proposer, show
        self._compose = not chat if config.compose is None else config.compose
        self._reflections = self._failures = 0
        self._plan = Plan(
            items=proposer.items,
            width=config.width,
            screen=config.screen,
            look=config.look,
            finalists=config.tested,
            compose=self._compose,
            repeats=config.repeats,
            whole=config.validate_all,
            improves=config.gate == "improves",
            contrasts=chat,
        )
        for one in starts:
            self._take_start(one)
        if self.state.front.worth(self.state.best) == float("-inf"):
            raise UserError(f"no answer under the first text could be scored ({self.ledger.why}): mend that first")

    def go(self, slots: Slots) -> str:
        """Make proposals until there is a reason to stop; return it. Errors: UserError of scorer or proposer."""
        if not slots.inline:  # each rollout is a call of its own from now to the end, so that a kill loses none
            self.ledger.batch, self.ledger.threads = 1, slots.rollouts
        if self.state.reached(self.config.target):
            return self._at_target()
        pace = pace_of(self.config, self.ledger, self._proposer, self.starts[0], self.parts.pool, inline=slots.inline)
        drive = Drive(self, self.ledger, self._proposer, slots, pace)
        try:
            return drive.run()
        finally:
            self._reflections, self._failures = drive.reflections, drive.failures

    # ------------------------------------------------------------------------------------- what the drive asks of it

    def begin(self, number: int) -> Propose:
        """Begin proposal `number` from what is known now."""
        config = self.config
        bound = config.bound or self.state.spread()
        standard = Standard(config.false_accept, config.false_reject, config.effect, bound)
        return Propose(self.state.begin(number, standard, self._compose), self._plan, self.ledger, self._show)

    def commit(self, outcome: Outcome) -> str:
        """Take in what a proposal came to; return why the search should stop, or nothing."""
        before, number = self.state.best, outcome.start.number
        told = zip(outcome.cells, outcome.uses, strict=True)
        uses = Counter(use for cell, use in told if not self.state.paid(cell))
        charged = self.state.commit(outcome)
        for one in outcome.judged:
            self._record(one.candidate, f"candidate/{one.candidate.key}/{number}", one.accepted, one.why)
        payload = {
            "parent": outcome.start.parent.key,
            "module": outcome.start.module,
            "children": [one.candidate.key for one in outcome.judged],
            "accepted": [one.candidate.key for one in outcome.judged if one.accepted],
            "charged": charged,
            "uses": dict(sorted(uses.items())),
            "shown": [list(one) for one in outcome.seen],
            "best": self.state.best,
            "worth": self.state.front.worth(self.state.best),
            "front": dict(nlargest(_FRONT, self.state.front.weights().items(), key=lambda held: held[1])),
            "front_size": len(self.state.front.weights()),
            "spent": outcome.spent,
        }
        self.run.append(f"proposal/{number}", "proposal", payload)
        if self.state.best != before:
            self.stale = 0
        elif not outcome.spent:  # one that was cut short was no try
            self.stale += 1
        if self.state.reached(self.config.target):
            return self._at_target()
        return f"no better text in {self.stale} proposals" if self.stale >= self.config.patience else ""

    def _at_target(self) -> str:
        return f"the target {self.config.target:g} was reached"

    def fresh(self, cells: Sequence[CellKey], seen: int) -> list[CellKey]:
        """Return those that were not charged by the first `seen` commits."""
        return self.state.fresh(cells, seen)

    @property
    def charged(self) -> tuple[int, int]:
        """Rollouts and tokens charged by the commits."""
        return self.state.charged

    # ------------------------------------------------------------------------------------------------------ bookkeeping

    def end(self, stopped: str) -> EvolveResult:
        """Choose, prune and score the best; write the result."""
        ranked = [self.state.accepted[key] for key in self.state.front.ranked()]
        spread = self.state.spread()
        says = "choosing the best text, trying it without each of its sentences, scoring it on fresh tasks"
        told = {"name": "end", "says": says, "seconds_expected": None, "total": None}
        self.ledger.settle(self.run.append("stage/end", "stage", told).key)
        self.ledger.limits = Limits(self.config.budget, self.config.tokens, None, self.config.money)
        config = self.config
        standard = Standard(config.false_accept, config.false_reject, config.effect, config.bound or spread)
        rule = Rule(standard, config.look, config.least, self.state.effects.worth)
        ending = finish(self.ledger, self.starts[0], ranked[: config.finalists], self.parts, rule)
        result = EvolveResult(
            best=ending.best,
            score=ending.score,
            base=ending.base,
            gain=ending.gain,
            worth=ending.worth,
            candidates=tuple({**self.state.accepted, ending.best.key: ending.best}.values()),
            rollouts=self.ledger.spent,
            unscored=self.ledger.unscored,
            reflections=self._reflections,
            failures=self._failures,
            stopped=stopped,
            notes=(*self.parts.notes, *self.state.notes, *ending.notes, *self._unscored(), *self._same()),
            usage=self.ledger.usage,
        )
        why = "chosen at the end" + (
            ", with sentences removed that did not help" if ending.best.origin == "pruning" else ""
        )
        self._record(ending.best, f"candidate/{ending.best.key}/end", True, why, ending.score)
        by_slice = sliced(self.ledger, self.starts[0], ending.best, self.parts)
        self.run.append("slices", "slices", by_slice.model_dump(mode="json"))
        self.run.append("result", "result", {"candidate": ending.best, **result.model_dump(mode="json")})
        return result

    def _take_start(self, one: Candidate) -> None:
        """Score a start on a few tasks, the same for all of them."""
        tasks = self.parts.pool if self.config.validate_all else self.parts.pool[: self.config.explore]
        try:
            self.ledger.ask([one], tasks)
        except Exhausted:
            raise UserError("the budget ends before the first text is scored: give a larger one") from None
        cells = [(one.key, key, repeat) for key, _ in tasks for repeat in range(self.config.repeats)]
        self.state.take_in(one, None, cells)
        self._record(one, f"candidate/{one.key}", True, "started from")

    def _unscored(self) -> list[str]:
        """Return how many rollouts failed on the way, where any did."""
        lost, why = self.ledger.unscored, self.ledger.why
        return [f"{lost} of {self.ledger.spent} rollouts could not be scored (the first: {why})"] if lost else []

    def _same(self) -> list[str]:
        """Return that every answer earned the same, where it did."""
        rewards = self.ledger.rewards
        same = (
            f"every answer earned the same score ({min(rewards, default=0):g}), so no text could be better than another"
        )
        return [same] if len(rewards) == 1 else []

    def _record(self, one: Candidate, place: str, accepted: bool, why: str, keep: Interval | None = None) -> None:
        """Write a "candidate" event: with its mean on what of the pool it was scored on."""
        found = self.state.mean(one.key)
        payload = {
            "candidate": one,
            "accepted": accepted,
            "why": why,
            "search": found.model_dump(mode="json") if found else {},
            "keep": keep.model_dump(mode="json") if keep else None,
        }
        self.run.append(place, "candidate", payload)
