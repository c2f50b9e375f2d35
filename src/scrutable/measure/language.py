"""Language: what is known of the language that a model speaks, for the nulls and for fluency.

A model with a language of its own has a `language.json` beside its weights:

    unrelated   texts in it that say nothing of how to answer, tried as nulls
    answer      a regular expression of its grammatical answers, cut into lower-case words and marks, a blank between them

Of any other model it is plain English, without a grammar. Left out: guessing a language from what a model says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scrutable.core.errors import UserError
from scrutable.measure.nulls import UNRELATED
from scrutable.models.base import Model, OpenModel
from scrutable.models.beside import file_of

FORMAT = "language.json"
_CUT = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Language:
    """Texts that say nothing of how to answer, and whether an answer is grammatical (None: not known)."""

    unrelated: tuple[str, ...] = UNRELATED
    parses: Callable[[str], bool] | None = None


def language_of(model: Model) -> Language:
    """Return the language of the file beside the model's weights, or plain English.

    Errors: UserError when the file is malformed.
    """
    file = file_of(model, FORMAT)
    return Language() if file is None else read_language(file)


def read_language(file: Path) -> Language:
    """Read a `language.json`. Errors: UserError when it is malformed."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        unrelated, answer = given["unrelated"], re.compile(given["answer"])
        if not unrelated or not all(isinstance(text, str) and text.strip() for text in unrelated):
            raise ValueError("'unrelated' must be texts")
    except (OSError, ValueError, KeyError, TypeError, re.error) as error:
        raise UserError(f"{file} is no language ({type(error).__name__}: {error}): mend it or remove it") from error
    return Language(tuple(unrelated), partial(_matches, answer))


def unknown_words(model: OpenModel, texts: Sequence[str]) -> float:
    """Return the share of the texts' words that the model's tokenizer does not know: they do not come back from it."""
    words = lost = 0
    for text in texts:
        back = set(_CUT.findall(model.decode(model.encode_answer(text)).lower()))
        said = [word for word in _CUT.findall(text.lower()) if word.isalnum()]
        words, lost = words + len(said), lost + sum(word not in back for word in said)
    return lost / words if words else 0.0


def _matches(answer: re.Pattern[str], said: str) -> bool:
    return answer.fullmatch(" ".join(_CUT.findall(said.lower()))) is not None
