"""Words: how texts, prompts and answers are cut, the same way as the built-in tokenizer does it."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Cut a text into lower-case words and single marks."""
    return _WORD.findall(text.lower())
