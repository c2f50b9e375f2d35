"""Sections: how the outputs of several modules stand in one answer, and the remarks on them in one feedback.

One line a module, `name : output`, so that a rater, which is handed one answer, can rate all of them, and whoever rewrites
one module's text can be shown that module's part. An output may have several lines; the first line that begins with a
module's name opens its section, so an output that holds such a line of a later module is cut there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping


def join(parts: Mapping[str, str]) -> str:
    """Return the parts as one text, in their order."""
    return "\n".join(f"{name} : {text}" for name, text in parts.items())


def split(text: str, names: Iterable[str]) -> dict[str, str] | None:
    """Return the parts of a joined text by name, in its order.

    names: of all modules, in any order. None where the text does not consist of a section for each of them.
    """
    heads = [re.search(rf"^{re.escape(name)} : ", text, re.MULTILINE) for name in names]
    found = sorted((head for head in heads if head is not None), key=lambda head: head.start())
    if not found or len(found) < len(heads) or found[0].start() > 0:
        return None
    ends = [head.start() - 1 for head in found[1:]] + [len(text)]
    return {head[0].removesuffix(" : "): text[head.end() : end] for head, end in zip(found, ends, strict=True)}
