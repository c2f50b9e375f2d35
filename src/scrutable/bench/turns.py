"""Turns: an environment that wants a program of several modules, as one on which a single model can be trained.

RL here answers one prompt at a time, so a program is taken apart: each task is asked once for every module, as that module is
asked it, and pays what the rater said of that module alone (`Score.parts`). What earlier modules said is given, by whoever
says it. So RL is told more than a search is (a mark for each module, not one for all), and tells the modules apart by the
form of the prompt, where a search has a text for each. One set of weights serves all modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from scrutable.core.records import Sampling, Score, Split, Task, digest_of
from scrutable.envs import sections
from scrutable.envs.base import Environment
from scrutable.models.base import Model
from scrutable.programs.joined import Joined
from scrutable.programs.modules import Module

_SPLITS: tuple[Split, ...] = ("search", "keep")


@dataclass(frozen=True)
class Turns:
    """The first modules of the program of `env`, as single turns: as many as come after what `speaker` can say, and one.

    modules: of the program, in order, with their templates. known: how many modules `speaker` answers for; the turns are
    theirs and that of the next one. Sampling: of the speaker's answers.
    """

    env: Environment
    modules: Mapping[str, str]
    speaker: Model
    known: int
    sampling: Sampling

    rewarded = True

    @property
    def name(self) -> str:
        """The environment's name, with how many of its modules are asked."""
        return f"{self.env.name} ({self.known + 1} of {len(self.modules)} modules in turn)"

    @property
    def identity(self) -> str:
        """Hash of the environment and of what is asked."""
        told = [self.speaker.identity if self.known else "", self.sampling.digest()]
        return digest_of(["turns", self.env.identity, dict(self.modules), self.known, told])

    @cached_property
    def _tasks(self) -> dict[Split, list[Task]]:
        return {split: [turn for task in self._answered(split) for turn in self._turns(*task)] for split in _SPLITS}

    def _answered(self, split: Split) -> list[tuple[Task, dict[str, str]]]:
        """Return each task with what the speaker's modules say; a task that it could not answer is left out."""
        tasks = self.env.tasks(split)
        if not self.known:
            return [(task, {}) for task in tasks]
        names = list(self.modules)[: self.known]
        first = Joined([Module(name, self.modules[name]) for name in names])
        last, said = first.trace(self.speaker, dict.fromkeys(names, ""), tasks, self.sampling)
        return [(task, one) for task, made, one in zip(tasks, last, said, strict=True) if made.failure is None]

    def _turns(self, task: Task, said: Mapping[str, str]) -> list[Task]:
        asked = Joined([Module(name, template) for name, template in self.modules.items()])
        names = list(self.modules)[: self.known + 1]
        return [
            Task(
                messages=asked.conversation(task, name, said, ""),
                columns={"of": task.model_dump(mode="json"), "module": name, "said": dict(said)},
            )
            for name in names
        ]

    def tasks(self, split: Split) -> Sequence[Task]:
        """The turns of a split's tasks."""
        return self._tasks[split]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        """Score each turn by what the environment says of its module, with the other modules as given, or silent."""
        of = [Task.model_validate(task.columns["of"]) for task in tasks]
        scores = self.env.rate(of, [self._joined(task, answer) for task, answer in zip(tasks, answers, strict=True)])
        return [
            Score(value=score.parts.get(str(task.columns["module"])), failures=score.failures)
            for task, score in zip(tasks, scores, strict=True)
        ]

    def _joined(self, task: Task, answer: str) -> str:
        said = task.columns["said"]
        assert isinstance(said, dict)
        known = {name: str(said.get(name, "")) for name in self.modules}
        return sections.join({**known, str(task.columns["module"]): answer})
