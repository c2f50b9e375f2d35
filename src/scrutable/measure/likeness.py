"""Likeness: how alike two answers are, from 0 to 1, by the words that both have in the same order.

It is the overlap of word pairs (Dice 1945), with a mark before the first word and one behind the last. As a kernel it is
positive semidefinite (a histogram intersection times 1 / (a + b)), so from likenesses alone a distance between
two speakers can be told, which is 0 where they answer alike: `gap_of`, the squared maximum mean discrepancy (Gretton et al.
2012, JMLR 13, eq. 3). Pure functions of texts; nothing is drawn. Left out: meaning; two wordings of one thing are not alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from scrutable.core.stats import Array

BREAK = "⏎"
WORD = re.compile(r"\n+|\w+(?:['’]\w+)*|[^\w\s]")
"""A run of letters and digits, one mark, or a run of line breaks."""

Words = tuple[str, ...]
Pairs = Counter[tuple[str, str]]


def words_of(text: str) -> Words:
    """Return the words of a text. Line breaks are one word, written ⏎."""
    return tuple(BREAK if word.startswith("\n") else word for word in WORD.findall(text))


def pairs_of(words: Words) -> Pairs:
    """Count the pairs of neighbouring words, with "" before the first and behind the last."""
    return Counter(pairwise(("", *words, "")))


def dice(one: Pairs, two: Pairs) -> float:
    """Return how much of two counts is shared, from 0 to 1."""
    if one == two:
        return 1.0
    small, large = (one, two) if len(one) <= len(two) else (two, one)
    shared = sum(min(count, large[pair]) for pair, count in small.items() if pair in large)
    return 2 * shared / (one.total() + two.total())


def likeness(one: str, two: str) -> float:
    """Return how alike two answers are, from 0 to 1: the overlap of their word pairs; case does not count."""
    return dice(heard(one), heard(two))


def heard(answer: str) -> Pairs:
    """Return the word pairs of an answer as likeness counts them."""
    return pairs_of(words_of(answer.casefold()))


def likenesses(answers: Sequence[Pairs]) -> Array:
    """Return the likeness of every two answers, [n, n], symmetric."""
    found = np.ones((len(answers), len(answers)))
    for i, one in enumerate(answers):
        for j in range(i):
            found[i, j] = found[j, i] = dice(one, answers[j])
    return found


def within(likeness: Array) -> float:
    """Return the mean likeness of two different answers of one speaker, from [n, n]. Errors: ValueError for n < 2."""
    count = len(likeness)
    if count < 2:
        raise ValueError("one answer is like no other")
    return float((likeness.sum() - np.trace(likeness)) / (count * (count - 1)))


def gap_of(ours: Array, theirs: Array, between: Array) -> float:
    """Return the squared distance of two speakers on a task, unbiased: 0 on average where they answer alike, at most 2.

    ours [n, n], theirs [m, m], between [n, m]: likenesses of the answers of either and of both; n and m at least 2.
    Not the loss of likeness to the other alone: a speaker who always gives the other's commonest answer is liker to it than
    it is to itself. Errors: ValueError for a single answer.
    """
    return within(ours) + within(theirs) - 2 * float(between.mean())
