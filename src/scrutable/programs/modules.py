"""A program of several named modules, run one after the other; each has its own text and sees what came before.

A module's template says what it is asked: `{input}` is the task's last user message, and `{name}` the output of the
earlier module `name`. Nothing else in braces is touched, so tasks and outputs may hold braces of their own. The last
module's output is the answer. Left out: branches, loops and tools; whoever needs them brings a Program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Generation, Message, Sampling, Task, Usage, digest_of
from scrutable.models.base import Model
from scrutable.programs.text import place_text

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Module:
    """One step: the name of its text, and the template of what it is asked."""

    name: str
    template: str = "{input}"


class Pipeline:
    """A Program of modules in sequence.

    Errors: UserError when there is no module, a name occurs twice, or a template names what does not come before it.
    """

    def __init__(self, modules: Sequence[Module]) -> None:
        if not modules:
            raise UserError("a pipeline needs at least one module")
        known = {"input"}
        for module in modules:
            if module.name in known:
                raise UserError(f"the module name {module.name!r} is taken: give each module its own (not 'input')")
            for field in _FIELD.findall(module.template):
                if field not in known:
                    raise UserError(
                        f"module {module.name!r} asks for {{{field}}}, which does not come before it: "
                        f"use one of {sorted(known)}"
                    )
            known.add(module.name)
        self._modules = tuple(modules)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules' names, in order."""
        return tuple(module.name for module in self._modules)

    @property
    def identity(self) -> str:
        """Hash of the modules' names and templates, in order."""
        return digest_of([[module.name, module.template] for module in self._modules])

    def run(
        self, model: Model, texts: Mapping[str, str], tasks: Sequence[Task], sampling: Sampling
    ) -> list[Generation]:
        """Answer each task (see `Program`); a task whose module failed goes no further, and its failure says which."""
        return self.trace(model, texts, tasks, sampling)[0]

    def trace(
        self, model: Model, texts: Mapping[str, str], tasks: Sequence[Task], sampling: Sampling
    ) -> tuple[list[Generation], list[dict[str, str]]]:
        """Return what `run` does, and for each task the outputs by module, in order, as far as it came."""
        outputs: list[dict[str, str]] = [{} for _ in tasks]
        spent = [Usage()] * len(tasks)
        last: list[Generation] = [Generation()] * len(tasks)
        going = list(range(len(tasks)))
        for step, module in enumerate(self._modules):
            asked = [self.conversation(tasks[i], module.name, outputs[i], texts[module.name]) for i in going]
            # Another seed each step: the same draws twice would tie the modules' answers together.
            drawn = sampling.model_copy(update={"seed": sampling.seed + step})
            for i, generation in zip(going, self.speaker(module.name, model).generate(asked, drawn), strict=True):
                spent[i] += generation.usage
                outputs[i][module.name] = generation.answer
                failure = generation.failure and f"module {module.name}: {generation.failure}"
                last[i] = generation.model_copy(update={"failure": failure})
            going = [i for i in going if last[i].failure is None]
            if not going:
                break
        whole = [generation.model_copy(update={"usage": usage}) for generation, usage in zip(last, spent, strict=True)]
        return whole, outputs

    def speaker(self, module: str, model: Model) -> Model:
        """Return who answers for a module: the model that the program is run with, unless a program has others."""
        return model

    def conversation(self, task: Task, module: str, outputs: Mapping[str, str], text: str) -> Conversation:
        """Return what a module is asked of a task under its text, given the outputs of the modules before it."""
        template = next(one.template for one in self._modules if one.name == module)
        known = {"input": task.prompt, **outputs}
        asked = _FIELD.sub(lambda found: known.get(found[1], found[0]), template)
        held = task.messages[:1] if task.messages[0].role == "system" else ()
        return place_text((*held, Message(role="user", content=asked)), text)
