"""Answers: what a speaker says to tasks, drawn without truncation (at temperature 1 unless said), journaled batch by batch.

The batch is the unit that is recorded and seeded: its seed comes from the run and the batch's content, so a killed
measurement draws the rest as if it had not been. Answers are kept with their token ids, for divergences along them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from scrutable.core.errors import UserError
from scrutable.core.records import SPLITS, Generation, Sampling, Split, Task, Usage, digest_of
from scrutable.envs.base import Environment
from scrutable.measure.change import Speaker
from scrutable.measure.tab import Tab

T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """One answer of a speaker to one task. `key` is the task's; `repeat` counts the answers to one task from 0."""

    speaker: Speaker
    task: Task
    key: str
    repeat: int
    generation: Generation

    @property
    def cell(self) -> tuple[str, int]:
        """Which answer it is: the task's key and the repeat."""
        return self.key, self.repeat

    @property
    def tokens(self) -> tuple[int, ...]:
        """The speaker's own token ids, with the end-of-answer token where it was reached. Empty where it failed."""
        return self.generation.tokens or ()

    @property
    def usable(self) -> bool:
        """False when the model could not answer, or answered with no token at all."""
        return self.generation.failure is None and bool(self.tokens)


def distinct_tasks(tasks: Sequence[Task]) -> list[tuple[str, Task]]:
    """Return (key, task) once for each content, the keys' order: which tasks lie first depends on their content alone."""
    return sorted({task.key: task for task in tasks}.items())


def by_length(keyed: Sequence[tuple[str, Task]]) -> list[tuple[str, Task]]:
    """Order (key, task) by the length of what is asked, so that a batch holds tasks of like length (less padding)."""
    return sorted(keyed, key=lambda pair: (sum(len(m.content) for m in pair[1].messages), pair[0]))


def split_of(env: Environment | None, keys: set[str], given: Split) -> Split | Literal["all"]:
    """Return the split that the tasks are of, "all" where of several; the given one where the environment has them not."""
    if env is None:
        return given
    touched = []
    for split in SPLITS:
        try:
            there = {task.key for task in env.tasks(split)}
        except UserError:
            continue
        if keys <= there:
            return split
        if keys & there:
            touched.append(split)
    return "all" if len(touched) > 1 else given


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in runs of `size`; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def answers_of(
    speaker: Speaker,
    tasks: Sequence[tuple[str, Task]],
    repeats: int,
    tab: Tab,
    batch: int,
    max_tokens: int,
    temperature: float = 1.0,
) -> list[Said]:
    """Draw `repeats` answers to each (key, task), one "answers" event a batch. Returns them in the tasks' order.

    Errors: UserError of the model (an unreachable server, a refused key). One that could not be drawn has `failure`.
    """
    cells = [(key, task, repeat) for key, task in tasks for repeat in range(repeats)]
    said: list[Said] = []
    for part in chunks(cells, batch):
        asked = [[key, repeat] for key, _, repeat in part]
        place = f"measure/answers/{speaker.identity}/{digest_of([asked, max_tokens, temperature])}"
        sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=tab.run.seed_of(place))
        event = tab.once(place, "answers", partial(_drawn, speaker, part, asked, sampling))
        found = [Generation.model_validate(given) for given in event.payload["answers"]]
        said += [Said(speaker, task, key, repeat, one) for (key, task, repeat), one in zip(part, found, strict=True)]
    return said


def _drawn(
    speaker: Speaker, part: Sequence[tuple[str, Task, int]], asked: list[list[Any]], sampling: Sampling
) -> tuple[dict[str, Any], Usage]:
    """Draw one batch; return the event's payload and cost. What an answer cost is the event's, and no part of the answer."""
    drawn = speaker.answer([task for _, task, _ in part], sampling)
    without = {"usage": Usage(), "reasoning": ""}  # long, and no part of what is measured
    bare = [one.model_copy(update=without).model_dump(mode="json", exclude_defaults=True) for one in drawn]
    payload = {"speaker": speaker.identity, "name": speaker.name, "asked": asked, "answers": bare}
    return payload, sum((one.usage for one in drawn), Usage())


def within(said: Sequence[Said], keys: set[str], repeats: int) -> list[Said]:
    """Return the answers to the tasks of `keys`, the first `repeats` to each."""
    return [one for one in said if one.key in keys and one.repeat < repeats]


def failures(said: Sequence[Said]) -> int:
    """Return how many of the answers cannot be measured."""
    return sum(not one.usable for one in said)
