"""Copies: is text of a task taken over into a candidate? A check of runs of words, for every writer.

A text that holds a task's words scores well on that task and says nothing about others. A run of `words` words of a shown
prompt or answer, or a whole shorter prompt of at least five words, is a copy; case and marks do not count. No copy is

- what the texts so far say already: whoever wrote it there meant it;
- what more than half of at least three prompts say: their common form ("answer with one letter"), not a task;
- what the answers to two different tasks say: a way of answering, which a text may well have to name.

Left out: paraphrase, numbers taken over alone, and what a rater's feedback quotes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set

SHORTEST = 5
"""A whole prompt of fewer words than this may stand in a text: "what is it" is no task's own."""
# Scripts written without blanks: each sign counts as a word.
_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SIGNS}]|(?:(?![{_SIGNS}])\w)+")

Run = tuple[str, ...]


def copies(
    texts: Iterable[str], tasks: Sequence[tuple[str, Sequence[str]]], own: Sequence[str], words: int
) -> dict[str, str]:
    """Return which of the texts copy a task, each with the words it copies.

    tasks: each task's prompt, and what was answered to it. own: texts whose words are allowed. words: how long a run is.
    """
    said = {text: _words(text) for text in texts}
    lengths = range(SHORTEST, words + 1)
    # Tasks may be a million characters long, and texts are short: only the texts' runs are looked for.
    wanted = {run for told in said.values() for length in lengths for run in _runs(told, length)}
    if not wanted:
        return {}
    first = {run[0] for run in wanted}
    wanted -= {run for text in own for length in lengths for run in _runs(_words(text), length, first)}
    asked: defaultdict[Run, set[str]] = defaultdict(set)
    answered: defaultdict[Run, set[str]] = defaultdict(set)
    for prompt, answers in tasks:
        told = _words(prompt)
        for run in _runs(told, len(told) if SHORTEST <= len(told) < words else words, first):
            if run in wanted:
                asked[run].add(prompt)
        for run in (run for answer in answers for run in _runs(_words(answer), words, first)):
            if run in wanted:
                answered[run].add(prompt)
    number = len({prompt for prompt, _ in tasks})
    common = {run for run, prompts in asked.items() if number >= 3 and len(prompts) > number / 2}
    taken = (asked.keys() - common) | {run for run, prompts in answered.items() if len(prompts) == 1}
    found = {text: _first(told, lengths, taken) for text, told in said.items()}
    return {text: " ".join(run) for text, run in found.items() if run is not None}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: Sequence[str], length: int, first: Set[str] | None = None) -> Iterator[Run]:
    """Return the runs of that length; with `first`, of those that begin with one of these words."""
    places = range(len(words) - length + 1)
    return (tuple(words[i : i + length]) for i in places if first is None or words[i] in first)


def _first(words: Sequence[str], lengths: range, taken: set[Run]) -> Run | None:
    return next((run for length in lengths for run in _runs(words, length) if run in taken), None)
