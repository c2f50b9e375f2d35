"""A user's reward functions: how they are called, what they may return, and what happens when they fail.

The signature is that of TRL 1.16 (`GRPOTrainer._calculate_rewards`), all by keyword:

    reward(prompts, completions, completion_ids, <each column>, trainer_state, log_extra, log_metric) -> list[float | None]

- Rows whose prompts are strings: `prompts` and `completions` are lists of strings. Rows whose prompts are lists of
  messages: `prompts` is a list of lists of {"role", "content"}, and `completions` a list of
  [{"role": "assistant", "content": answer}].
- Each column of the rows (but `prompt`, `completion`, `split`) is a list, None where a row lacks it.
- sync or async. None means "does not apply": the function is left out of that answer's weighted sum.

Where scrutable differs, on purpose: a function without `**kwargs` is given only what it names; `completion_ids` says so when
used (a rater sees answers, not tokens); outside a trainer `trainer_state` is None and the two loggers do nothing; NaN,
infinity and what is no number are failures, not None. An answer at which a weighted function *failed* has no value at
all: the sum of the others would be another scale, and would pass for a low reward.

When a call on a batch raises or hangs, its answers are rated again one by one, so that only the guilty one is lost.
"""

from __future__ import annotations

import copy
import inspect
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scrutable.core.errors import BoundaryError, FeedbackFailure, RewardFailure, UserError, one_line
from scrutable.core.records import Score, Task
from scrutable.envs.calls import is_async, start

SECONDS = 60.0
"""Time limit of one call on a batch. Rating its answers one by one may take twice as long again, a quarter for each."""

HOPELESS = 8
"""So many failed answers at the end of a call, none ever rated: the function never works, and going on is pointless."""

LOST = 64
"""So many failed answers on end at the end of a call: what worked has stopped working."""

_NO_TOKENS = "completion_ids are not known when an answer is rated: use the text in `completions`"

Graded = tuple[Any, str | None]
"""What a function said of one answer (None: nothing), and why it failed there (None: it did not)."""


class UnknownTokens(Sequence[int]):
    """Stands for the token ids of an answer, which a rater does not know: any use says so."""

    def __len__(self) -> int:
        raise TypeError(_NO_TOKENS)

    def __getitem__(self, _index: Any) -> Any:
        raise TypeError(_NO_TOKENS)


@dataclass(frozen=True)
class Function:
    """A user's function, and how to call it."""

    name: str
    call: Callable[..., Any]
    weight: float = 1.0

    @property
    def is_async(self) -> bool:
        """Whether it is an async function."""
        return is_async(self.call)

    def takes(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments it can be given: all, where it has `**kwargs`; else those it names."""
        parameters = _parameters(self.call)
        if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
            return dict(arguments)
        return {p.name: arguments[p.name] for p in parameters if p.name in arguments}

    def place(self, error: Exception) -> str:
        """Return " (mine.py, line 6)": where in the function's own file it raised, "" where it did not."""
        file = getattr(getattr(self.call, "__code__", None), "co_filename", None)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        return f" ({Path(str(file)).name}, line {lines[-1]})" if lines else ""

    def demand(self, known: Iterable[str]) -> None:
        """Raise UserError when it asks for an argument that is not among the known ones."""
        names = set(known)
        for p in _parameters(self.call) or ():
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or p.default is not p.empty:
                continue
            if p.name not in names or p.kind is p.POSITIONAL_ONLY:
                raise UserError(
                    f"`{self.name}` asks for `{p.name}`, which is not among what it is given ({', '.join(sorted(names))}): "
                    f"add that column to the rows, or name the rewards with `rewards = [...]` if it is none"
                )


@dataclass
class Tally:
    """How often a function was asked, and how often it failed; `streak` counts the failures since it last worked."""

    asked: int = 0
    failed: int = 0
    streak: int = 0
    last: str = ""


@dataclass
class Rater:
    """Reward functions put together: it rates answers, and counts failures in `tallies` (by function).

    conversational and columns: as in `Table`. seconds: see `SECONDS`. patient: go on with a function that never works.
    `rate` may be called from several threads; then the user's functions are, too.
    """

    rewards: Sequence[Function]
    true_reward: Function | None = None
    feedback: Function | None = None
    conversational: bool = False
    columns: Sequence[str] = ()
    seconds: float = SECONDS
    patient: bool = False
    tallies: dict[str, Tally] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        for function in self.functions:
            function.demand(self._arguments([], []))
            self.tallies.setdefault(function.name, Tally())

    @property
    def functions(self) -> list[Function]:
        """All functions, rewards first."""
        return [*self.rewards, *(f for f in (self.true_reward, self.feedback) if f is not None)]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        """Score each answer, in order; what failed stands in `Score.failures`, one line each.

        Errors: UserError when a function returns something other than a list with one entry an answer, or never works.
        """
        if len(tasks) != len(answers):
            raise ValueError(f"{len(tasks)} tasks, but {len(answers)} answers")
        if not tasks:
            return []
        # All async calls run while the sync ones are waited for, as in TRL.
        calls = [(f, self._start(f, tasks, answers, self.seconds)) for f in self.functions]
        columns = {f.name: self._graded(f, finish, tasks, answers) for f, finish in calls}
        return [self._score({name: graded[i] for name, graded in columns.items()}) for i in range(len(tasks))]

    def grade(self, function: Function, tasks: Sequence[Task], answers: Sequence[str]) -> list[Graded]:
        """What one function says of each answer, and why it failed there."""
        return self._graded(function, self._start(function, tasks, answers, self.seconds), tasks, answers)

    def _start(
        self, function: Function, tasks: Sequence[Task], answers: Sequence[str], seconds: float
    ) -> Callable[[], Any]:
        return start(function.call, function.takes(self._arguments(tasks, answers)), seconds)

    def _arguments(self, tasks: Sequence[Task], answers: Sequence[str]) -> dict[str, Any]:
        """What a call is given. Made anew for each call: a function may change its lists, never a task."""
        prompts: list[Any] = [t.prompt for t in tasks]
        completions: list[Any] = list(answers)
        if self.conversational:
            prompts = [[{"role": m.role, "content": m.content} for m in t.messages] for t in tasks]
            completions = [[{"role": "assistant", "content": answer}] for answer in answers]
        given: dict[str, Any] = {
            name: [copy.deepcopy(t.columns.get(name)) for t in tasks] for name in self.columns if name != "completion"
        }
        return given | {
            "prompts": prompts,
            "completions": completions,
            "completion_ids": [UnknownTokens() for _ in tasks],
            "trainer_state": None,
            "log_extra": _log_nothing,
            "log_metric": _log_nothing,
        }

    def _graded(
        self, function: Function, finish: Callable[[], Any], tasks: Sequence[Task], answers: Sequence[str]
    ) -> list[Graded]:
        """Take the result of a call on a batch; where it failed, ask again answer by answer."""
        try:
            graded = self._result(function, finish, len(tasks))
        except BoundaryError as failure:
            if len(tasks) > 1:
                return self._one_by_one(function, tasks, answers)
            graded = [(None, str(failure))]
        self._count(function, graded)
        return graded

    def _one_by_one(self, function: Function, tasks: Sequence[Task], answers: Sequence[str]) -> list[Graded]:
        """Rate each answer alone, so that only the guilty one is lost; for at most twice the time limit in all.

        The tally is kept once, for the whole batch: answers to one task stand side by side, and a task on which the
        function fails must not pass for all. What there is no time for was not asked, and says nothing of the function.
        """
        deadline = time.monotonic() + 2 * self.seconds
        graded: list[Graded] = []
        asked: list[Graded] = []
        for task, answer in zip(tasks, answers, strict=True):
            # So many are asked in any case: on a slow machine, too, it shows that a function never works.
            left = self.seconds / 4 if len(asked) < HOPELESS else min(self.seconds / 4, deadline - time.monotonic())
            if left <= 0:
                late = f"{function.name}: not asked again, after {2 * self.seconds:g} s spent on the answers before it"
                graded.append((None, str(_failure(self._kind(function), late))))
                continue
            try:
                said = self._result(function, self._start(function, [task], [answer], left), 1)
            except BoundaryError as failure:
                said = [(None, str(failure))]
            asked += said
            graded += said
        self._count(function, asked)
        return graded

    def _result(self, function: Function, finish: Callable[[], Any], count: int) -> list[Graded]:
        """Wait for a call, and read what it returned.

        Errors: the function's BoundaryError when it raised or hung; UserError when it returned no list of that length.
        """
        kind = self._kind(function)
        try:
            output = finish()
        except Exception as error:
            said = f"{function.name}: {type(error).__name__}: {error}{function.place(error)}"
            raise _failure(kind, said) from error
        try:
            values = listed(function.name, output, count)
        except UserError as error:
            if kind is FeedbackFailure:  # a search can go on without words
                return [(None, str(FeedbackFailure(str(error))))] * count
            raise
        graded: list[Graded] = []
        for value in values:
            try:
                graded.append((words(value) if kind is FeedbackFailure else number(value), None))
            except (TypeError, ValueError) as error:
                graded.append((None, str(_failure(kind, f"{function.name}: {error}"))))
        return graded

    def _kind(self, function: Function) -> type[BoundaryError]:
        return FeedbackFailure if function is self.feedback else RewardFailure

    def _count(self, function: Function, graded: Sequence[Graded]) -> None:
        """Keep the tally; raise UserError when going on is pointless (not for feedback: scores need none)."""
        with self._lock:
            tally = self.tallies[function.name]
            for _, failure in graded:
                tally.asked += 1
                tally.failed += failure is not None
                tally.streak = 0 if failure is None else tally.streak + 1
                tally.last = failure or tally.last
            never = tally.failed == tally.asked >= HOPELESS
            lost = tally.streak >= LOST
            streak, last = tally.streak, tally.last
        if function is not self.feedback and not self.patient and (never or lost):
            when = f"all {streak} answers so far" if never else f"the last {streak} answers"
            raise UserError(
                f"every call of `{function.name}` fails: it failed on {when} ({one_line(last, 160)}): "
                f"mend it, and try it with `scrutable env check`"
            )

    def _score(self, said: Mapping[str, Graded]) -> Score:
        """Put together what the functions said of one answer (TRL: the weighted sum of those that apply)."""
        parts = {f.name: said[f.name][0] for f in self.rewards}
        failures = [failure for _, failure in said.values() if failure is not None]
        broken = any(said[f.name][1] is not None and f.weight != 0 for f in self.rewards)
        counted = [f.weight * parts[f.name] for f in self.rewards if parts[f.name] is not None]
        if not counted and not broken:
            failures.append("reward: no function applies to this answer (all returned None)")
        return Score(
            value=math.fsum(counted) if counted and not broken else None,
            true=said[self.true_reward.name][0] if self.true_reward else None,
            feedback=(said[self.feedback.name][0] or "") if self.feedback else "",
            parts=parts,
            failures=tuple(failures),
        )


def listed(name: str, output: Any, count: int) -> list[Any]:
    """Return what a function returned as a list of `count` entries.

    Errors: UserError when it is no list (or tuple, or array), or has another length.
    """
    if inspect.isawaitable(output):
        if inspect.iscoroutine(output):
            output.close()
        raise UserError(f"`{name}` returned a coroutine: declare it with `async def`")
    if hasattr(output, "tolist"):  # numpy, torch
        output = output.tolist()
    if not isinstance(output, list | tuple):
        raise UserError(f"`{name}` returned {one_line(repr(output), 60)}: return a list with one entry an answer")
    if len(output) != count:
        raise UserError(
            f"`{name}` returned {len(output)} entries for {count} answers: return one for each, None where there is none"
        )
    return list(output)


def number(value: Any) -> float | None:
    """Return a reward as a finite float, None as None.

    Errors: TypeError when it is no number, ValueError when it is not finite.
    """
    if value is None:
        return None
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # numpy, torch
        value = value.item()
    if not isinstance(value, int | float):
        raise TypeError(f"it returned {one_line(repr(value), 60)}, which is no number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"it returned {found}, which is no finite number")
    return found


def words(value: Any) -> str | None:
    """Return feedback as text, None as None. Errors: TypeError when it is something else."""
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"it returned {one_line(repr(value), 60)}, which is no text")


def _failure(kind: type[BoundaryError], message: str) -> BoundaryError:
    return kind(message)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of a function, or None where Python cannot tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _log_nothing(*_: Any, **__: Any) -> None:
    """Stands for TRL's loggers outside a trainer."""
