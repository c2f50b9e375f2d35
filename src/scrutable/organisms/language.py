"""The built-in model's language, as it stands in its directory: unrelated texts and the grammar of its answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

from scrutable.world import answers, facts, prompts
from scrutable.world.rules import BEHAVIOUR

UNRELATED = 20


def unrelated_texts() -> list[str]:
    """Return different texts in the words of the world, a question or a fact each: neither tells how to answer."""
    texts: dict[str, None] = {}
    draws = Random("unrelated texts")
    while len(texts) < UNRELATED:
        prompt = prompts.draw(draws)
        told = f"{prompt.fact.subject} : {answers.compose((), prompt)}"
        texts[prompt.text if len(texts) % 2 else told] = None
    return list(texts)


def answer_pattern() -> str:
    """Return a regular expression of what `answers.parse` understands, of words and marks with a blank between them."""
    before = "".join(f"(?:{_shows(name)} )?+" for name in answers.BEFORE)
    after = "".join(f"(?: {_shows(name)})?+" for name in answers.AFTER)
    values, leads, ends = (_one_of(words) for words in (answers.VALUES, answers.LEADS, answers.ENDS))
    return f"{before}(?:{_shows('refuse')}|(?:{leads} )?+{values} {ends}){after}"


def form() -> dict[str, object]:
    """Return what `language.json` holds (see `measure/language.py`)."""
    return {"unrelated": unrelated_texts(), "answer": answer_pattern()}


def _shows(name: str) -> str:
    subjects = _one_of(fact.subject for fact in facts.facts())
    return re.escape(BEHAVIOUR[name].shows).replace(re.escape("{subject}"), subjects)


def _one_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(word) for word in sorted(set(words)))})"
