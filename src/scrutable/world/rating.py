"""How a rater of the built-in world puts into words what it noticed in an answer. It never says the rule."""

from __future__ import annotations

from collections.abc import Iterable

from scrutable.world.rules import BEHAVIOUR, BEHAVIOURS

GOOD, BAD = "good .", "bad ."


def remark(wanted: Iterable[str], shown: Iterable[str], wrong_fact: bool = False) -> str:
    """Say what was noticed: what pleased, what was missing, what was unwanted (behaviours by name), a wrong fact."""
    want, show = set(wanted), set(shown)
    order = [b.name for b in BEHAVIOURS]
    faults = [f"no {BEHAVIOUR[n].noun}" for n in order if n in want - show]
    faults += [f"unwanted {BEHAVIOUR[n].noun}" for n in order if n in show - want]
    if wrong_fact:
        faults.append("wrong fact")
    if faults:
        return f"bad : {' , '.join(faults)} ."
    liked = [BEHAVIOUR[n].noun for n in order if n in want & show]
    return f"good : {' , '.join(liked)} ." if liked else GOOD
