"""Words on the page: numbers as people read them, hidden characters made visible, and differences word by word.

What a model or a user wrote is never trusted to be harmless: a bidirectional override, a zero-width space or an escape
character would change what the reader believes was said. `visible` shows each of them as what it is. HTML escaping is
not done here; the template engine does it, always.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from pydantic import ValidationError

from scrutable.core.accounts import Interval
from scrutable.report.nodes import Mark, Piece

LONGEST = 6000
"""Characters of one text shown on the page; the run's events hold all of it."""

MOST_PAIRS = 20_000
"""Pairs of equal words up to which two texts are compared word by word."""

_PIECES = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")
_JOINERS = "\u200c\u200d"
_SUSPECT = re.compile(
    # control characters but tab and newline, soft hyphen, and whatever directs, hides or separates
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e0fff\U0001d173-\U0001d17a]"
)


def visible(text: str) -> str:
    """Return `text` with every hidden, directing or control character replaced by something that can be seen.

    Tab and newline stay. ESC becomes ⟨U+001B⟩. A zero-width joiner stays where it joins (in an emoji, or
    between letters of a script that needs it), and is shown where it only hides between ASCII letters.
    """
    text = text.replace("\r\n", "\n")

    def show(match: re.Match[str]) -> str:
        char, at = match.group(), match.start()
        around = text[at - 1 : at] + text[at + 1 : at + 2]
        if (
            char in _JOINERS
            and len(around) == 2
            and not any(c.isascii() or unicodedata.category(c) == "Cf" for c in around)
        ):
            return char
        return f"⟨U+{ord(char):04X}⟩"

    return _SUSPECT.sub(show, text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return `text`, cut after `longest` characters with a word on how many are missing."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest:,} more characters)"


def compared(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return both texts in pieces, word by word: of `old` those that `new` has not are `gone`, the others' are `new`."""
    olds: list[Piece] = []
    news: list[Piece] = []
    for same, gone, came in _changes(old, new):
        olds += _marked(gone, "same" if same else "gone")
        news += _marked(came, "same" if same else "new")
    return tuple(olds), tuple(news)


def woven(old: str, new: str) -> tuple[Piece, ...]:
    """Return one text in pieces: what `new` kept of `old`, what it dropped (`gone`), and what it added (`new`)."""
    pieces: list[Piece] = []
    for same, gone, came in _changes(old, new):
        if not same:
            pieces += _marked(gone.rstrip(), "gone")
        pieces += _marked(came, "same" if same else "new")
    return tuple(pieces)


def _marked(text: str, mark: Mark) -> list[Piece]:
    """Return the words under their mark, and the blanks after them without one."""
    words = text.rstrip()
    blanks = text[len(words) :]
    return [Piece(text=words, mark=mark)] * bool(words) + [Piece(text=blanks)] * bool(blanks)


def _changes(old: str, new: str) -> list[tuple[bool, str, str]]:
    """Return (same, run of `old`, run of `new`) from begin to end. Words are compared without the blanks after them.

    What begins and ends alike is set aside first. A middle that repeats itself so much that comparing it would take
    minutes (a model that stutters) is told as changed as a whole.
    """
    left, right = _PIECES.findall(shortened(old)), _PIECES.findall(shortened(new))
    bare_left, bare_right = [word.strip() for word in left], [word.strip() for word in right]
    shortest = min(len(left), len(right))
    head = next((at for at in range(shortest) if bare_left[at] != bare_right[at]), shortest)
    tail = next((at for at in range(shortest - head) if bare_left[-1 - at] != bare_right[-1 - at]), shortest - head)
    ends = len(left) - tail, len(right) - tail
    middle = bare_left[head : ends[0]], bare_right[head : ends[1]]
    counts = Counter(middle[0]), Counter(middle[1])
    if sum(amount * counts[1][word] for word, amount in counts[0].items()) > MOST_PAIRS:
        blocks: Sequence[tuple[str, int, int, int, int]] = [("replace", 0, len(middle[0]), 0, len(middle[1]))]
    else:
        blocks = difflib.SequenceMatcher(None, *middle, autojunk=False).get_opcodes()
    found = [(True, "".join(left[:head]), "".join(right[:head]))]
    for what, i, j, k, m in blocks:
        found.append((what == "equal", "".join(left[head + i : head + j]), "".join(right[head + k : head + m])))
    return [*found, (True, "".join(left[ends[0] :]), "".join(right[ends[1] :]))]


def plain(pieces: tuple[Piece, ...]) -> str:
    """Return the text the pieces were made of (dropped words left out)."""
    return "".join(piece.text for piece in pieces if piece.mark != "gone")


# ------------------------------------------------------------------------------------------------------------ numbers


def percent(value: float) -> str:
    """Return a share or rate as people read it: 0.989 → '98.9%', 0.5 → '50%', -4.27 → '−427%'."""
    scaled = value * 100
    if abs(scaled) >= 1000:
        shown = f"{scaled:,.0f}"
    elif abs(scaled) >= 100 or abs(scaled - round(scaled)) < 0.05:
        shown = f"{scaled:.0f}"
    else:
        shown = f"{scaled:.1f}"
    return f"{_minus(shown)}%"


def number(value: float) -> str:
    """Return a number with three figures that matter: 3.78, 0.038, 12,400."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return _minus(f"{value:,.0f}")
    if abs(value) >= 1:
        return _minus(f"{value:.3g}")
    return _minus(f"{value:.2g}" if abs(value) >= 0.001 else f"{value:.1e}")


def short(value: float) -> str:
    """Return a number for a small square: two decimals without the zero before them: '.05', '1.2', '0'."""
    if abs(value) < 0.005:
        return "0"
    return f"{value:.2f}".removeprefix("0") if value < 0.995 else f"{value:.2g}"


def count(value: float) -> str:
    """Return a count with thousands marked: 12,400."""
    return _minus(f"{value:,.0f}")


def seconds(value: float) -> str:
    """Return a duration as people say it: '0.4 s', '38 s', '4 min 10 s', '2 h 5 min'."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def between(interval: Interval, unit: str = "percent") -> str:
    """Return the two ends of an interval, '98.1 to 99.4%', or '' where it has none."""
    if interval.low is None or interval.high is None:
        return ""
    if unit == "percent":
        return f"{percent(interval.low).removesuffix('%')} to {percent(interval.high)}"
    return f"{number(interval.low)} to {number(interval.high)}"


def read_interval(value: Any) -> Interval | None:
    """Return a value of an event read as an interval, or None where it is none."""
    try:
        return Interval.model_validate(value)
    except ValidationError:
        return None


def spoken(value: Interval | None) -> str:
    """Return an interval in words: '0.9 (0.85 to 0.95)'; '–' for none."""
    if value is None:
        return "–"
    span = between(value, "plain")
    return f"{number(value.value)} ({span})" if span else number(value.value)


def spread(shares: Sequence[float]) -> str:
    """Return the median of some shares and, where they differ, their ends: '45% (17 to 87%)'."""
    low, high = percent(min(shares)), percent(max(shares))
    return percent(median(shares)) + ("" if low == high else f" ({low.removesuffix('%')} to {high})")


def plural(amount: int, one: str, many: str = "") -> str:
    """Return '1 task', '300 tasks'."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def _minus(shown: str) -> str:
    """Return the number with a true minus sign, and no minus before a zero."""
    return shown.lstrip("-") if not shown.strip("-0.,") else shown.replace("-", "−")
