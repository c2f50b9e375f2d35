"""A pipeline whose answer is what all of its modules said, one section each, and not only what the last one did.

For environments that rate every module: a rater is handed one answer a task. What a module said, and what a rater said of it,
is found again by the module's name (`part`), so that whoever rewrites a module's text can be shown that module's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scrutable.core.records import Generation, Sampling, Task, digest_of
from scrutable.envs import sections
from scrutable.models.base import Model
from scrutable.programs.modules import Pipeline


class Joined(Pipeline):
    """A Pipeline that answers with the outputs of all modules as sections (see `envs/sections.py`).

    Errors: as of Pipeline.
    """

    @property
    def identity(self) -> str:
        """Hash of the modules, other than that of a Pipeline of the same."""
        return digest_of(["joined", super().identity])

    def run(
        self, model: Model, texts: Mapping[str, str], tasks: Sequence[Task], sampling: Sampling
    ) -> list[Generation]:
        """Answer each task (see `Program`). Tokens are those of no one module, so none are told."""
        last, outputs = self.trace(model, texts, tasks, sampling)
        return [
            one.model_copy(update={"answer": sections.join(said), "tokens": None}) if one.failure is None else one
            for one, said in zip(last, outputs, strict=True)
        ]


def part(text: str, module: str, modules: Sequence[str]) -> str:
    """Return the module's part of a joined answer or feedback; all of it where it is not of sections of these modules.

    What a single module says is never of sections, however it begins.
    """
    if len(modules) < 2:
        return text
    found = sections.split(text, modules)
    return text if found is None else found[module]
