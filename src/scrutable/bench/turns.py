"""Turns: an environment that wants a program of several modules, as one on which weights can be trained for each module.

RL here answers one prompt at a time, so a program is taken apart as it is for texts: each module gets weights of its own, and
learns them on turns of its own. A turn is what the module is asked of a task, given what the modules before it say, which have
learned theirs. What it pays is one of two things. With someone to answer for the modules after it, the program's own reward,
which all modules share: RL is told what a search is told. Without, what the rater said of this module alone (`Score.parts`),
which is more than a search is told. Answers to one turn differ in this module alone, so a group compares nothing else.

One set of weights for all modules, trained on the turns of all, was tried: it learned the second module's turns, stood still
there, and was ended before it found anything for the first. Left out: a second round, in which a module learns again what the
later ones have learned to do with its output.
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


class Taught(Joined):
    """A Joined program whose modules each have a model of their own: the first as many as there are speakers.

    modules: names and templates, in order. The model that it is run with answers for the modules beyond the speakers.
    """

    def __init__(self, modules: Mapping[str, str], speakers: Sequence[Model]) -> None:
        super().__init__([Module(name, template) for name, template in modules.items()])
        self._speakers = dict(zip(modules, speakers, strict=False))

    @property
    def identity(self) -> str:
        """Hash of the modules and of who answers for them."""
        return digest_of(["taught", super().identity, {name: one.identity for name, one in self._speakers.items()}])

    def speaker(self, module: str, model: Model) -> Model:
        """Return who answers for a module."""
        return self._speakers.get(module, model)


@dataclass(frozen=True)
class Turns:
    """One module of the program that `env` wants, as an environment: the one that comes after those of the speakers.

    modules: of the program, in order, with their templates. speakers: who answers for those before. sampling: of them and of
    rest. rest: who answers for the modules after it, so that all share the program's reward; None: those are silent, and the
    module is paid its own mark.
    """

    env: Environment
    modules: Mapping[str, str]
    speakers: Sequence[Model]
    sampling: Sampling
    rest: Model | None = None

    rewarded = True

    @property
    def module(self) -> str:
        """The module whose turns these are."""
        return list(self.modules)[len(self.speakers)]

    @property
    def name(self) -> str:
        """The environment's name, and the module's."""
        return f"{self.env.name}: {self.module}"

    @property
    def identity(self) -> str:
        """Hash of the environment and of what is asked."""
        told = [",".join(one.identity for one in self.speakers), self.sampling.digest()]
        told += [self.rest.identity] if self.rest is not None else []
        return digest_of(["turns", self.env.identity, dict(self.modules), len(self.speakers), told])

    @cached_property
    def _tasks(self) -> dict[Split, list[Task]]:
        return {split: self._turns(self.env.tasks(split)) for split in _SPLITS}

    def _turns(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the module's turn of each task; a task that a speaker could not answer is left out."""
        said: list[dict[str, str]] = [{} for _ in tasks]
        if self.speakers:
            names = list(self.modules)[: len(self.speakers)]
            first = Taught({name: self.modules[name] for name in names}, self.speakers)
            made, said = first.trace(self.speakers[0], dict.fromkeys(names, ""), tasks, self.sampling)
            tasks = [task for task, one in zip(tasks, made, strict=True) if one.failure is None]
            said = [outputs for outputs, one in zip(said, made, strict=True) if one.failure is None]
        asked = Taught(self.modules, self.speakers)
        return [
            Task(
                messages=asked.conversation(task, self.module, outputs, ""),
                columns={"of": task.model_dump(mode="json"), "module": self.module, "said": dict(outputs)},
            )
            for task, outputs in zip(tasks, said, strict=True)
        ]

    def tasks(self, split: Split) -> Sequence[Task]:
        """The turns of a split's tasks."""
        return self._tasks[split]

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        """Score each turn by the program's reward, or by what the environment says of its module (see `rest`)."""
        of = [Task.model_validate(task.columns["of"]) for task in tasks]
        outputs = [self._outputs(task, answer) for task, answer in zip(tasks, answers, strict=True)]
        if self.rest is None:
            scores = self.env.rate(of, self._joined(outputs))
            return [Score(value=score.parts.get(self.module), failures=score.failures) for score in scores]
        lost = self._continue(self.rest, of, outputs)
        answered = [n for n in range(len(of)) if n not in lost]
        found = [Score(failures=(lost.get(n, ""),)) for n in range(len(of))]
        joined = self._joined([outputs[n] for n in answered])
        for n, score in zip(answered, self.env.rate([of[n] for n in answered], joined), strict=True):
            found[n] = Score(value=score.value, true=score.true, failures=score.failures)
        return found

    def _outputs(self, task: Task, answer: str) -> dict[str, str]:
        said = task.columns["said"]
        assert isinstance(said, dict)
        return {**{name: str(one) for name, one in said.items()}, self.module: answer}

    def _joined(self, outputs: Sequence[Mapping[str, str]]) -> list[str]:
        return [sections.join({name: one.get(name, "") for name in self.modules}) for one in outputs]

    def _continue(self, rest: Model, tasks: Sequence[Task], outputs: Sequence[dict[str, str]]) -> dict[int, str]:
        """Add to `outputs` what the modules after this one say; return of which tasks one could not, and why.

        The draws follow from what was said: else every step of a training would be answered by the same luck.
        """
        program, lost = Taught(self.modules, self.speakers), dict[int, str]()
        for module in list(self.modules)[len(self.speakers) + 1 :]:
            going = [n for n in range(len(tasks)) if n not in lost]
            asked = [program.conversation(tasks[n], module, outputs[n], "") for n in going]
            drawn = digest_of([self.sampling.seed, module, [outputs[n] for n in going]])
            sampling = self.sampling.model_copy(update={"seed": int(drawn[:7], 16)})
            for n, made in zip(going, rest.generate(asked, sampling), strict=True):
                outputs[n][module] = made.answer
                if made.failure is not None:
                    lost[n] = f"module {module}: {made.failure}"
        return lost
