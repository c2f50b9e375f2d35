"""scrutable: read what training teaches a language model, in sentences, and measure how much of it they carry.

This is the package's face. A name is looked up in `_FACE` when it is first asked for, so that `import scrutable` costs
milliseconds and torch is imported only by what needs it. Nothing inside the package imports the face: the floors begin
below it, and only the user stands here.
"""

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

# name -> the module that defines it
_FACE: dict[str, str] = {
    "Change": "scrutable.measure.change",
    "DistillConfig": "scrutable.lenses.distill",
    "DistillLens": "scrutable.lenses.distill",
    "EvolveConfig": "scrutable.evolve.engine",
    "MeasureConfig": "scrutable.measure.hearing",
    "Run": "scrutable.core.journal",
    "Speaker": "scrutable.measure.change",
    "Task": "scrutable.core.records",
    "TokensLens": "scrutable.lenses.tokens",
    "TrainConfig": "scrutable.train.rl",
    "UserError": "scrutable.core.errors",
    "evaluate": "scrutable.programs.evaluate",
    "evolve": "scrutable.evolve.engine",
    "list_runs": "scrutable.core.journal",
    "load_model": "scrutable.models.hf",
    "load_pair": "scrutable.models.loading",
    "measure": "scrutable.measure.fidelity",
    "open_env": "scrutable.envs.loading",
    "open_model": "scrutable.models.loading",
    "read": "scrutable.lenses.reading",
    "report": "scrutable.report.page",
    "train": "scrutable.train.rl",
}

__all__ = ["__version__", *sorted(_FACE)]  # noqa: PLE0604 (made from the table)


class _Face(ModuleType):
    """The package, on which a name of the face stays what the table says.

    Importing `scrutable.train.rl` binds the subpackage `train` to the name `train` of its parent; the verb has that name
    here. The subpackage is reached by `from scrutable.train import ...`, as ever.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _FACE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __getattr__(name: str) -> object:
    """Import the module that defines `name`, and remember the value (PEP 562)."""
    module = _FACE.get(name)
    if module is None:
        raise AttributeError(f"module 'scrutable' has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All names of the face, imported or not."""
    return sorted({*globals(), *_FACE})
