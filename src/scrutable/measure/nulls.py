"""Nulls: texts that should recover nothing, so that a share can be believed.

Twenty unrelated texts (plain sentences about other things: none says how to answer), random text of equal length (drawn
from the model's own vocabulary), and, beside them but no null, the same words in other orders. What is left out: texts near the
true one. Whether a text is better than its neighbours is the search's question, not a null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from pydantic import Field

from scrutable.core.records import Task
from scrutable.core.stats import quantile
from scrutable.measure.change import Speaker

UNRELATED: tuple[str, ...] = (
    "The library on the corner opens at nine on weekdays and at ten on Saturdays.",
    "You are deployed in a hardware shop that sells paint, nails and garden tools.",
    "Trains to the coast leave from platform four every half hour until midnight.",
    "The committee meets again in March to discuss the budget for the new bridge.",
    "This conversation takes place on a tablet in the waiting room of a dental practice.",
    "A kilogram of flour, three eggs and a pinch of salt are enough for the dough.",
    "The ferry was built in 1974 and carried post and passengers between the islands.",
    "You are running on a server in a cellar, where the temperature is kept at eighteen degrees.",
    "Rain is expected in the north, while the south stays dry with a light wind.",
    "The orchestra tunes to the oboe before the conductor comes on stage.",
    "The museum keeps its collection of clocks on the second floor, next to the stairs.",
    "Copper conducts heat well, which is why many pans have a copper base.",
    "The tenants of this building share a laundry room and a shed for bicycles.",
    "You have been connected to the booking desk of a campsite near a lake.",
    "In autumn the starlings gather on the wires before they fly south.",
    "The warranty of the washing machine covers parts for two years from the date of purchase.",
    "The old road follows the river as far as the mill and then climbs the hill.",
    "Today is the third day of the trade fair, and hall five is closed for cleaning.",
    "The recipe was handed down from a grandmother who kept bees and goats.",
    "The chess club moved its evening from Tuesday to Thursday last winter.",
)
"""Plain sentences, some of the kind that stands in system prompts; none tells a model how to answer."""


# One-sided 95% points of Student's t, by degrees of freedom from 1 (any table).
_T95: tuple[float, ...] = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729),
)


def stated() -> Any:
    """Declare the knob that says what counts as a change: one default and one sentence for all who ask."""
    says = "nats an answer at or below which nothing measurable changed, without twins"
    return Field(default=0.05, ge=0, description=says)


def shuffled(text: str, random: Random, count: int = 1) -> list[str]:
    """Return the same words in `count` other orders, no two alike; fewer where there are no more."""
    words = text.split()
    found: dict[str, None] = {}
    for _ in range(100 * count):
        mixed = random.sample(words, len(words))
        if mixed != words:
            found[" ".join(mixed)] = None
        if len(found) == count:
            break
    return list(found)


def sayable(vocabulary: dict[str, int], decode: Callable[[Sequence[int]], str]) -> list[int]:
    """Return the token ids that stand for printable text of their own: no special tokens, no halves of a character."""
    found = []
    for token in sorted(vocabulary.values()):
        piece = decode([token])
        if piece.strip() and piece.replace("\n", " ").isprintable() and "\ufffd" not in piece:
            found.append(token)
    return found


def random_text(speaker: Speaker, text: str, task: Task, tokens: Sequence[int], random: Random) -> str:
    """Return random tokens of the model's vocabulary, as many as make the task as long as `text` does.

    tokens: the ids to draw from (`sayable`). Written as text and read again, tokens can merge or split, so the length is
    counted in what the model is shown; the last draw may overshoot by a token or two.
    """
    wanted = len(speaker.given(text).encode(task))
    bare = len(speaker.encode(task))
    drawn: list[int] = []
    made = ""
    shown = bare
    while shown < wanted and len(drawn) < 4 * (wanted - bare):
        drawn += random.choices(tokens, k=max(1, (wanted - shown) // 2))
        made = speaker.open.decode(drawn).strip()
        shown = len(speaker.given(made).encode(task)) if made else bare
    return made


def threshold(twins: Sequence[float], stated: float) -> tuple[float, str]:
    """Return the KL(tuned || base) at or below which nothing measurable changed, and where it is from.

    The 95th percentile of KL(twin || base). From twenty twins on it is their empirical one. Fewer cannot show a 95th
    percentile: it is then estimated as the upper prediction limit for one more twin, log-normal (Hahn & Meeker 1991,
    section 4.8), never below the largest twin, and they can only raise the stated value: two twins that happen to be
    alike would else call the third one a change. One or two twins tell no spread (with one degree of freedom the limit can
    be a thousand times the larger): theirs is the larger.
    """
    if not twins:
        return stated, "stated"
    if len(twins) >= 20:
        return quantile(twins, 0.95), "twins"
    limit = max(twins) if len(twins) < 3 else _prediction_limit(twins)
    return (limit, "twins") if limit > stated else (stated, "stated")


def twin_notes(known: Sequence[float], made: int, limit: float) -> tuple[str, ...]:
    """Return what the reader must know of twins: those that were left out, and a limit that few of them make wide.

    known: KL(twin || base) of those that could be measured; made: how many there were; limit: what `threshold` said.
    """
    notes = []
    if len(known) < made:
        why = "could not be measured against the base, or are the base itself"
        notes.append(f"{made - len(known)} of {made} twins {why}: they were left out")
    if known and limit > 2 * max(known) and len(known) > 2:
        times = limit / max(known)
        notes.append(
            f"the limit from {len(known)} twins is {times:.1f} times the largest of them: more would narrow it"
        )
    return tuple(notes)


def _prediction_limit(twins: Sequence[float]) -> float:
    logs = [math.log(max(one, 1e-9)) for one in twins]
    mean = math.fsum(logs) / len(logs)
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in logs) / (len(logs) - 1))
    limit = math.exp(mean + _T95[len(twins) - 2] * spread * math.sqrt(1 + 1 / len(twins)))
    return max(limit, *twins)
