"""Prompt evolution: texts are rewritten by reflection, and a text is kept only where it is shown to be better.

A round: parents are drawn from the front (in proportion to the tasks they hold); a writer sees what they did on a few tasks;
its texts, their single sentences and a merge of two candidates become children; all are screened together on a few tasks,
and the best must beat their parents on others (`select.py`). At the end the best is chosen and pruned on tasks of the keep
split, and scored on yet others (`finish.py`). The family is GEPA's (Agrawal et al., arXiv 2507.19457).

State is the replay of the events: each batch of rollouts and each reflection is one, every draw comes from the run's seed and
a key, so a search killed at any moment goes on as if it had not been, and pays for nothing twice. Left out for now: rounds
that overlap; each waits for the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Record, Sampling, Task, Usage
from scrutable.core.stats import bootstrap_mean
from scrutable.envs.base import Environment
from scrutable.evolve.children import Nursery, Plan, Show, show_rollout
from scrutable.evolve.finish import Worth, finish
from scrutable.evolve.front import Front
from scrutable.evolve.ledger import Exhausted, Ledger, Limits, Scorer
from scrutable.evolve.parts import Sizes, blocks, divide
from scrutable.evolve.reflection import ChatWriter, Proposer, ReflectConfig, identity_of, proposer_for
from scrutable.evolve.scorers import RewardScorer
from scrutable.evolve.select import Contender, Judged, Standard, gate, race
from scrutable.evolve.sentences import length
from scrutable.models.base import Model
from scrutable.programs.base import Program
from scrutable.programs.text import SingleText


class EvolveConfig(Config):
    """How a text is evolved. The seed is the run's."""

    budget: int = Field(default=6000, ge=100, description="rollouts that may be paid for in all; never exceeded")
    reserve: float = Field(default=0.2, gt=0, lt=1, description="share of the budget kept back for the end")
    tokens: int | None = Field(default=None, ge=1, description="tokens (read and written) after which search ends")
    seconds: float | None = Field(default=None, gt=0, description="seconds of models at work after which search ends")
    rounds: int = Field(default=50, ge=0, description="most rounds")
    patience: int = Field(default=5, ge=1, description="stop after this many rounds without a better text")
    target: float | None = Field(default=None, description="stop when the best text's mean on the pool reaches this")
    pool: int = Field(default=96, ge=2, description="search tasks that decide who is accepted")
    keep: int = Field(
        default=96, ge=1, description="keep tasks for choosing and pruning, and as many for the final score"
    )
    block: int = Field(default=12, ge=1, description="pool tasks scored at a time in screening and in the test")
    explore: int = Field(
        default=24, ge=1, description="tasks a parent answers in a round, of which the writer sees some"
    )
    reflections: int = Field(
        default=4, ge=1, description="reflections in a round, each on a parent and tasks of its own"
    )
    width: int = Field(default=24, ge=1, description="most children screened in a round")
    finalists: int = Field(
        default=3, ge=1, description="children tested in a round, and candidates compared at the end"
    )
    compose: bool | None = Field(
        default=None,
        description="also try single sentences of what was written, and merges; None: unless a chat model writes",
    )
    false_accept: float = Field(
        default=0.05, gt=0, lt=1, description="chance that a child no better than its parent passes the test"
    )
    false_reject: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="chance that a child better by `effect` is given up before the pool is used up",
    )
    effect: float = Field(default=0.05, gt=0, lt=1, description="gain worth finding, as a share of the scores' range")
    bound: float | None = Field(
        default=None,
        gt=0,
        description="largest difference expected of two scores on one task; None: the range of accepted texts' scores",
    )
    least: float = Field(default=0.0, ge=0, description="a sentence of the best text stays only if it is worth more")
    temperature: float = Field(default=1.0, ge=0, description="temperature at which tasks are answered")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    repeats: int = Field(default=1, ge=1, description="answers to each task, whose scores are averaged")
    batch: int = Field(default=256, ge=1, description="rollouts made at once; the unit that is recorded")
    reflect: ReflectConfig = Field(default_factory=ReflectConfig, description="how texts are asked for")


class EvolveResult(Record):
    """What a search came to. Scores are on keep tasks that decided nothing; None where none could be scored."""

    best: Candidate
    score: Interval | None = Field(description="of the best text")
    base: Interval | None = Field(description="of the first text it started from")
    gain: Interval | None = Field(description="of the best over the first, task by task")
    worth: tuple[Worth, ...] = Field(default=(), description="what each sentence of the best is worth")
    candidates: tuple[Candidate, ...] = Field(description="the starts, all that were accepted, and the best")
    rollouts: int = Field(description="paid for; failed ones count")
    unscored: int = Field(default=0, description="rollouts without a score: the model, or a reward, failed there")
    reflections: int
    failures: int = Field(description="answers of the writer that were no usable text, and reflections that failed")
    stopped: str = Field(description="why the search ended")
    notes: tuple[str, ...] = ()
    usage: Usage = Usage()


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

    proposer: who writes; by default the model itself. start: texts to start from; a string is given to every module. Events
    go to `run` under "evolve/"; a run that was killed, or is finished, goes on from what stands there.
    Errors: UserError when the environment has no reward, a split is too small, no start can be scored, or the run holds
    another search.
    """
    searched, kept = splits_of(env)
    config = config or EvolveConfig()
    program = program or SingleText()
    scorer = RewardScorer(env, model, program, Sampling(temperature=config.temperature, max_tokens=config.max_tokens))
    starts = [
        Candidate(texts=dict.fromkeys(program.modules, one) if isinstance(one, str) else dict(one)) for one in start
    ]
    writer = proposer or proposer_for(model, config.reflect)
    return search(scorer, writer, (searched, kept), run.scope("evolve"), config, starts)


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
) -> EvolveResult:
    """Search for the texts with the highest scores: what `evolve` does, with a score of one's own.

    tasks: those to search on, and those to choose and score on. show: what the writer sees of a task. Events go to `run`
    as they are; give it a scope. Errors: as `evolve`.
    """
    _begin(run, [scorer.identity, identity_of(proposer), config.digest(), [one.key for one in starts]], config.budget)
    done = run.get("result")
    if done is not None:
        return EvolveResult.model_validate({k: v for k, v in done.payload.items() if k != "candidate"})
    state = Search(scorer, proposer, tasks, run, config, starts, show)
    stopped, stale = f"{config.rounds} rounds were done", 0
    try:
        for number in range(config.rounds):
            if config.target is not None and state.best_mean >= config.target:
                stopped = f"the target {config.target:g} was reached"
                break
            stale = 0 if state.round(number) else stale + 1
            if stale >= config.patience:
                stopped = f"no better text in {stale} rounds"
                break
    except Exhausted as spent:
        stopped = str(spent)
    return state.end(stopped)


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


class Search:
    """The state of one search: what is scored, who is accepted, what may still come. All of it is the replay of events."""

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
        limits = Limits(config.budget - end, config.tokens, config.seconds, reserved=end)
        self.ledger = Ledger(run, scorer, limits, batch=config.batch, repeats=config.repeats)
        self.front = Front(len(self.parts.pool))
        self.accepted: dict[str, Candidate] = {}
        compose = not isinstance(proposer, ChatWriter) if config.compose is None else config.compose
        plan = Plan(config.explore, config.reflections, config.width, compose)
        self.nursery = Nursery(self.ledger, self.front, proposer, self.parts.shown, plan, show)
        for one in starts:
            self._take_in(one)
        if self.best_mean == float("-inf"):
            raise UserError(f"no answer under the first text could be scored ({self.ledger.why}): mend that first")

    @property
    def best_mean(self) -> float:
        """The best candidate's mean on the pool."""
        return self.front.mean(self.front.best())

    def round(self, number: int) -> bool:
        """Do one round; return whether there is a better text than before. Errors: Exhausted, UserError."""
        before, config = self.front.best(), self.config
        made = self.nursery.children(number, self.accepted)
        order = blocks(self.parts.pool, config.block)
        self.run.random(f"round/{number}/order").shuffle(order)
        left, lost, used = race(self.ledger, made, order, config.finalists)
        for one in lost:
            self.nursery.close(one.candidate.key, for_good=False)
            self._tell(one, number, "lost the screening, to other texts or to its parent")
        standard = Standard(config.false_accept, config.false_reject, config.effect, config.bound or self._spread())
        for judged in gate(self.ledger, left, order[used:], standard, f"round/{number}/gate"):
            self.nursery.close(judged.contender.candidate.key)
            self._tell(judged.contender, number, judged.why, judged)
            if judged.accepted:
                self._take_in(judged.contender.candidate)
        return self.front.best() != before

    def end(self, stopped: str) -> EvolveResult:
        """Choose, prune and score the best; write the result."""
        ranked = [self.accepted[key] for key in self.front.ranked()]
        others = [one for one in ranked if one.key not in {start.key for start in self.starts}]
        says = "choosing the best text, trying it without each of its sentences, scoring it on fresh tasks"
        self.run.append("stage/end", "stage", {"name": "end", "says": says, "seconds_expected": None, "total": None})
        self.ledger.limits = Limits(self.config.budget)
        ending = finish(self.ledger, self.starts, others[: self.config.finalists], self.parts, self.config.least)
        result = EvolveResult(
            best=ending.best,
            score=ending.score,
            base=ending.base,
            gain=ending.gain,
            worth=ending.worth,
            candidates=tuple({**self.accepted, ending.best.key: ending.best}.values()),
            rollouts=self.ledger.spent,
            unscored=self.ledger.unscored,
            reflections=self.nursery.reflections,
            failures=self.nursery.failures,
            stopped=stopped,
            notes=(*self.parts.notes, *ending.notes, *self._failures(), *self._same()),
            usage=self.ledger.usage,
        )
        why = "chosen at the end" + (
            ", with sentences removed that did not help" if ending.best.origin == "pruning" else ""
        )
        self._record(ending.best, f"candidate/{ending.best.key}/end", True, why, ending.score)
        self.run.append("result", "result", {"candidate": ending.best, **result.model_dump(mode="json")})
        return result

    # ------------------------------------------------------------------------------------------------------ bookkeeping

    def _take_in(self, one: Candidate) -> None:
        """Score an accepted candidate on the rest of the pool, and let it hold what it is best on."""
        key = one.key
        if key in self.accepted:
            return
        is_start = not one.parents
        try:
            self.ledger.ask([one], self.parts.pool)
        except Exhausted:  # it has earned its place
            if is_start:
                raise UserError("the budget ends before the first text is scored: give a larger one") from None
        self.accepted[key] = one
        self.nursery.close(key)
        # Where it was not paid for it counts as its parent, which it was shown to be better than.
        owed = {cell.key for cell in self.ledger.owed([one], self.parts.pool)}
        scores = [self.ledger.value(one.parents[0] if task in owed else key, task) for task, _ in self.parts.pool]
        self.front.add(key, scores, length(one.texts))
        if is_start:
            self._record(one, f"candidate/{key}", True, "started from")

    def _spread(self) -> float:
        """Return the range of the accepted candidates' scores: those of bad texts may lie anywhere."""
        known = [v for key in self.accepted for v in self.ledger.column(key, self.parts.pool) if v is not None]
        return max(known) - min(known)

    def _failures(self) -> list[str]:
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

    def _tell(self, one: Contender, number: int, why: str, judged: Judged | None = None) -> None:
        key = one.candidate.key
        self._record(one.candidate, f"candidate/{key}/{number}", judged is not None and judged.accepted, why)

    def _record(self, one: Candidate, place: str, accepted: bool, why: str, keep: Interval | None = None) -> None:
        """Write a "candidate" event: with its mean on what of the pool it was scored on."""
        known = [value for value in self.ledger.column(one.key, self.parts.pool) if value is not None]
        found = bootstrap_mean(known, rng=self.run.rng(f"{place}/mean")) if known else None
        payload = {
            "candidate": one,
            "accepted": accepted,
            "why": why,
            "search": found.model_dump(mode="json") if found else {},
            "keep": keep.model_dump(mode="json") if keep else None,
        }
        self.run.append(place, "candidate", payload)
