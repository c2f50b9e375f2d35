"""Try an environment on a few rows, and say in one line each what is fine and what is wrong.

Answers are dummies (empty, the prompt itself, the row's own columns, some words) unless a model is there to answer: enough to
find what fails, not to judge what a reward rewards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import Field

from scrutable.core.errors import UserError
from scrutable.core.records import SPLITS, Record, Split, Task
from scrutable.envs.base import Environment
from scrutable.envs.loading import open_env
from scrutable.envs.rewards import Function, Graded, Rater
from scrutable.envs.sections import join
from scrutable.envs.table import TableEnvironment

Answer = Callable[[Sequence[Task]], Sequence[str]]
"""What answers tasks in place of the dummies: a model, in whatever way the caller asks it."""

ENOUGH = 300
"""Report tasks below which intervals are wide (the design's least number for a measurement)."""

_TASKS = 6
_PER_TASK = 6
_SLOW = 1.0  # seconds an answer


class Finding(Record):
    """One line about an environment."""

    level: Literal["fine", "warning", "wrong"]
    about: str = Field(description="what was looked at: file, rows, splits, a function's name")
    says: str


def check(env: Environment | str | Path, answer: Answer | None = None) -> list[Finding]:
    """Run an environment on a few rows and say what is wrong.

    env: an environment, or a name or path for `open_env`. answer: gives one answer a task (a model's); else dummies.
    Returns findings in the order of looking; nothing is wrong when none has the level "wrong". Raises no UserError.
    """
    if isinstance(env, str | Path):
        try:
            env = open_env(env)
        except UserError as error:
            return [Finding(level="wrong", about="file", says=str(error))]
    splits, tasks = _splits(env)
    findings = [*_rows(env), *splits]
    if not env.rewarded:
        says = (
            "no function is called `reward` or `reward_...`: fit for `read` and `measure`, not for `train` and `evolve`"
        )
        return [*findings, Finding(level="warning", about="reward", says=says)]
    if not tasks:
        return findings
    try:
        trial, answers = _trial(tasks[:_TASKS], answer, getattr(env, "modules", {}))
        if isinstance(env, TableEnvironment) and env.rater is not None:
            return findings + _functions(env.rater, trial, answers)
        return findings + _as_a_whole(env, trial, answers)
    except UserError as error:
        return [*findings, Finding(level="wrong", about="rewards", says=str(error))]


def _rows(env: Environment) -> list[Finding]:
    """What the rows are made of."""
    if not isinstance(env, TableEnvironment):
        return []
    table = env.table
    form = "lists of messages" if table.conversational else "strings"
    columns = f"columns {', '.join(table.columns)}" if table.columns else "no columns"
    findings = [Finding(level="fine", about="rows", says=f"{table.count} tasks, prompts are {form}, {columns}")]
    if table.duplicates:
        says = (
            f"{table.duplicates} of {table.count + table.duplicates} are the same as an earlier one, and were dropped"
        )
        findings.append(Finding(level="warning", about="rows", says=says))
    return findings


def _splits(env: Environment) -> tuple[list[Finding], list[Task]]:
    """How many tasks each split has; and the tasks, those of different splits in turn."""
    found: dict[Split, Sequence[Task]] = {}
    findings = []
    for split in SPLITS:
        try:
            found[split] = env.tasks(split)
        except UserError as error:
            findings.append(Finding(level="wrong", about="splits", says=str(error)))
    counts = ", ".join(f"{split} {len(tasks)}" for split, tasks in found.items()) or "no tasks"
    findings.insert(0, Finding(level="fine" if found else "wrong", about="splits", says=counts))
    report = len(found.get("report", ()))
    if 0 < report < ENOUGH:
        says = f"{report} report tasks give wide intervals: {ENOUGH} or more are advised"
        findings.append(Finding(level="warning", about="splits", says=says))
    for split, verb in (("search", "evolve"), ("keep", "evolve"), ("report", "measure")):
        if len(found.get(split, ())) == 1:
            says = f"1 {split} task is too few for `{verb}`, which needs 2"
            findings.append(Finding(level="warning", about="splits", says=says))
    lists = [list(tasks) for tasks in found.values()]
    longest = max(map(len, lists), default=0)
    return findings, [tasks[i] for i in range(longest) for tasks in lists if i < len(tasks)]


def _trial(tasks: Sequence[Task], answer: Answer | None, modules: Iterable[str]) -> tuple[list[Task], list[str]]:
    """Pairs of task and answer to try. Where a program of several modules is wanted, each is given the same dummy."""
    if answer is not None:
        answers = list(answer(tasks))
        if len(answers) != len(tasks):
            raise ValueError(f"{len(answers)} answers to {len(tasks)} tasks")
        return list(tasks), answers
    pairs = [(task, dummy) for task in tasks for dummy in islice(_dummies(task), _PER_TASK)]
    names = list(modules)
    return [task for task, _ in pairs], [join(dict.fromkeys(names, dummy)) if names else dummy for _, dummy in pairs]


def _dummies(task: Task) -> list[str]:
    """Different answers that anyone could give, and those that a reward may be looking for."""
    own = [str(value) for value in task.columns.values() if isinstance(value, str | int | float) and str(value)]
    return list(dict.fromkeys(["", *own[:3], "yes", task.prompt, "I do not know. " * 20]))


def _functions(rater: Rater, tasks: list[Task], answers: list[str]) -> list[Finding]:
    """Try each of the user's functions alone, twice, with its time."""
    findings = []
    rater = replace(rater, tallies={}, patient=True)  # what the dummies do is not counted
    for function in rater.functions:
        try:
            began = time.perf_counter()
            first = rater.grade(function, tasks, answers)
            seconds = (time.perf_counter() - began) / len(tasks)
            again = rater.grade(function, tasks, answers)
            same = [value for value, _ in first] == [value for value, _ in again]
        except UserError as error:
            findings.append(Finding(level="wrong", about=function.name, says=str(error)))
            continue
        findings += _one_function(function, first, same, seconds)
        values = [value for value, failure in first if failure is None and value is not None]
        if len(set(values)) == 1 < len(values):
            says = f"said {values[0]!r} of all {len(values)} different answers tried"
            says += ": make sure that some answer can earn another"
            findings.append(Finding(level="warning", about=function.name, says=says))
    if rater.feedback is None:
        says = "there is no `feedback`: a search has only the number to go by"
        findings.append(Finding(level="warning", about="feedback", says=says))
    return findings


def _one_function(function: Function, graded: list[Graded], same: bool, seconds: float) -> list[Finding]:
    """What is to be said of one function."""
    name, total = function.name, len(graded)
    failures = [failure for _, failure in graded if failure is not None]
    values = [value for value, failure in graded if failure is None and value is not None]
    kind = "async" if function.is_async else "sync"
    if len(failures) == total:
        return [Finding(level="wrong", about=name, says=f"failed on all {total} answers ({failures[0]})")]
    numbers = [value for value in values if isinstance(value, float)]
    span = f"values {min(numbers):g} to {max(numbers):g}, " if numbers else f"{len(values)} texts, " if values else ""
    says = f"{kind}, {span}{total - len(failures) - len(values)} of {total} None, {seconds * 1000:.3g} ms an answer"
    findings = [Finding(level="fine", about=name, says=says)]

    def warn(line: str) -> None:
        findings.append(Finding(level="warning", about=name, says=line))

    if failures:
        warn(f"failed on {len(failures)} of {total} answers, which have no score then ({failures[0]})")
    if not values:
        warn("returned None for every answer tried: it scores nothing")
    if not same:
        warn("said something else when asked the same again: scores will be noisy")
    if seconds > _SLOW:
        warn(f"took {seconds:.1f} s an answer: a search asks for thousands")
    return findings


def _as_a_whole(env: Environment, tasks: list[Task], answers: list[str]) -> list[Finding]:
    """Try an environment of another make, of which only the scores are seen: the dummies may all be nonsense to it."""
    began = time.perf_counter()
    scores = env.rate(tasks, answers)
    seconds = (time.perf_counter() - began) / len(tasks)
    if len(scores) != len(tasks):
        return [Finding(level="wrong", about="reward", says=f"{len(scores)} scores for {len(tasks)} answers")]
    graded: list[Graded] = [(s.value, s.failures[0] if s.failures and s.value is None else None) for s in scores]
    same = scores == env.rate(tasks, answers)
    findings = _one_function(Function("reward", env.rate), graded, same, seconds)
    if not any(score.feedback for score in scores):
        findings.append(
            Finding(level="warning", about="feedback", says="there is none: a search has only the number to go by")
        )
    return findings
