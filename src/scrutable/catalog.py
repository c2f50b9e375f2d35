"""The catalog: names to things. What a user types (a model, an environment, a lens) becomes what the library works with.

Nothing is loaded before it is asked for. Outsiders need no entry here: the library takes their objects as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.envs.base import Environment
from scrutable.envs.loading import builtin_environments, open_env
from scrutable.measure.change import Speaker
from scrutable.models.loading import load_pair, open_model

if TYPE_CHECKING:
    from scrutable.lenses.base import Lens
    from scrutable.train.rl import TrainConfig

__all__ = [
    "ANSWERS_ONLY",
    "LENSES",
    "READ",
    "Twins",
    "builtin_environments",
    "check_lens",
    "load_pair",
    "open_env",
    "open_lens",
    "open_model",
    "recipe_of",
    "twins_of",
]

# name -> where it is; a lens takes its config as the first argument
LENSES: Mapping[str, str] = {
    "tokens": "scrutable.lenses.tokens:TokensLens",
    "distill": "scrutable.lenses.distill:DistillLens",
    "blackbox": "scrutable.lenses.blackbox:BlackboxLens",
    "amplified": "scrutable.lenses.amplified:AmplifiedLens",
    "interview": "scrutable.lenses.interview:InterviewLens",
    "adapter": "scrutable.lenses.adapter:AdapterLens",
}
READ = ("tokens", "distill", "blackbox")
"""The lenses that read where none is named. Not every pair can be read by the others: they are asked for by name."""

ANSWERS_ONLY = frozenset({"blackbox", "interview"})
"""Lenses that need no more of a model than its answers, so that they read served models too."""


def check_lens(name: str) -> None:
    """Refuse a name that is no lens. Errors: UserError that says which there are."""
    if name not in LENSES:
        close = difflib.get_close_matches(name, LENSES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"no lens is called {name!r}{hint} (there are {', '.join(LENSES)})")


def open_lens(name: str, config: Config | None = None, **given: Any) -> Lens:
    """Return a lens by its name. config: of the lens's own kind. given: what else it takes (a reflector, for distill).

    Errors: UserError when there is none of that name.
    """
    check_lens(name)
    kind = _named(LENSES[name])
    made: Lens = kind(**given) if config is None else kind(config, **given)
    return made


Twins = Callable[[Speaker, Environment, Run], list[Speaker]]
"""Makes the twins of a before, on the tasks of an environment, in a run."""


def twins_of(adapter: str, amount: int) -> Twins:
    """Return what makes twins of an adapter: the before tuned on its own answers, by the recipe that made the adapter.

    The recipe is read from the run that holds the adapter. Errors: UserError when twins are wanted and there is no such run.
    """
    if amount == 0:
        return lambda before, env, run: []
    config, steps = recipe_of(adapter)

    def make(before: Speaker, env: Environment, run: Run) -> list[Speaker]:
        from scrutable.models.hf import HFModel
        from scrutable.train.supervised import twin

        base, made = before.model, []
        assert isinstance(base, HFModel)
        for number in range(amount):
            result = twin(base, list(env.tasks("search")), run, config, 1000 * (number + 1) + config.seed, steps)
            made.append(Speaker(base.with_adapter(result.path(run))))
        return made

    return make


def recipe_of(adapter: str) -> tuple[TrainConfig, int]:
    """Return the recipe that made an adapter, and the step it is from, as its run tells it.

    Errors: UserError when the adapter lies in no run of `scrutable train`.
    """
    from scrutable.train.rl import TrainConfig

    for place in Path(adapter).resolve().parents:
        if (place / "config.json").is_file() and (place / "events.jsonl").is_file():
            run = Run.read(place)
            result = run.get("train/result")
            if result is not None and isinstance(run.config.get("train"), Mapping):
                return TrainConfig.model_validate(run.config["train"]), int(result.payload["best_step"])
    raise UserError(
        f"twins need the recipe that made {adapter}: name an adapter in a run of `scrutable train`, or leave out --twins"
    )


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
