"""Programs: how texts and a task become conversations. One text (the system prompt), or several named modules.

A Program decides where a text goes; a Candidate holds the texts; a Model answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from scrutable.core.records import Generation, Sampling, Task
from scrutable.models.base import Model


@runtime_checkable
class Program(Protocol):
    """A way to answer tasks with a model and named texts."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the texts it takes."""
        ...

    @property
    def identity(self) -> str:
        """What tells this program from one that would ask the model otherwise with the same texts."""
        ...

    def run(
        self, model: Model, texts: Mapping[str, str], tasks: Sequence[Task], sampling: Sampling
    ) -> list[Generation]:
        """Answer each task, in order: one Generation a task, whose usage sums over the modules.

        Contract: what could not be answered has `failure` set; only UserError is raised.
        """
        ...
