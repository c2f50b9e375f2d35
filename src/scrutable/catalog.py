"""The catalog: names to things. What a user types (a model, an environment, a lens) becomes what the library works with.

Nothing is loaded before it is asked for. Outsiders need no entry here: the library takes their objects as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import UserError
from scrutable.envs.loading import builtin_environments, open_env
from scrutable.measure.nulls import UNRELATED
from scrutable.models.loading import load_pair, open_model

if TYPE_CHECKING:
    from scrutable.lenses.base import Lens
    from scrutable.models.base import OpenModel

__all__ = [
    "LENSES",
    "Language",
    "builtin_environments",
    "language_of",
    "load_pair",
    "open_env",
    "open_lens",
    "open_model",
]

# name -> (the lens, its config); a lens takes its config as the first argument
LENSES: Mapping[str, tuple[str, str]] = {
    "tokens": ("scrutable.lenses.tokens:TokensLens", "scrutable.lenses.tokens:TokensConfig"),
    "distill": ("scrutable.lenses.distill:DistillLens", "scrutable.lenses.distill:DistillConfig"),
}


def open_lens(name: str, config: Any = None, **given: Any) -> Lens:
    """Return a lens by its name. given: what else the lens takes (a proposer, for distill).

    Errors: UserError when there is none of that name.
    """
    if name not in LENSES:
        close = difflib.get_close_matches(name, LENSES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"no lens is called {name!r}{hint} (there are {', '.join(LENSES)})")
    made: Lens = _named(LENSES[name][0])(config, **given)
    return made


@dataclass(frozen=True)
class Language:
    """What is known of the language a model speaks: texts that say nothing of how to answer, and a grammar."""

    unrelated: tuple[str, ...] = UNRELATED
    parses: Callable[[str], bool] | None = None


def language_of(model: OpenModel) -> Language:
    """Return plain English, or for a model of the built-in vocabulary the built-in world's own language."""
    from scrutable.organisms import lessons

    words = set(lessons.vocabulary())
    if not words <= model.vocabulary.keys() or len(model.vocabulary) > 2 * len(words):
        return Language()
    from random import Random

    from scrutable.world import answers, prompts

    texts: dict[str, None] = {}
    draws = Random("unrelated texts")
    while len(texts) < len(UNRELATED):  # a question, or a fact of the world: neither tells how to answer
        prompt = prompts.draw(draws)
        told = f"{prompt.fact.subject} : {answers.compose((), prompt)}"
        texts[prompt.text if len(texts) % 2 else told] = None
    return Language(tuple(texts), lambda answer: answers.parse(answer) is not None)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
