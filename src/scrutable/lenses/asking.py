"""Asking: a speaker as a model of its own, and a writer asked once, as an event of a run.

A writer asks a model, and a speaker is a model with a text that it is always given: `Asked` is both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from scrutable.core.errors import ProposerFailure, boundary
from scrutable.core.records import Conversation, Generation, Sampling, Usage
from scrutable.evolve.reflection import ChatWriter, Item, Proposal, RuleWriter
from scrutable.measure.change import Speaker
from scrutable.measure.tab import Tab
from scrutable.models.beside import directory_of
from scrutable.programs.text import TEXT, place_text


class Asked:
    """A Model that answers as a speaker does, with its text before whatever it is asked."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.positions: int | None = getattr(speaker.model, "positions", None)

    @property
    def name(self) -> str:
        """The speaker's name."""
        return self._speaker.name

    @property
    def identity(self) -> str:
        """The speaker's identity: of its model and its text."""
        return self._speaker.identity

    @property
    def origin(self) -> Path | None:
        """The directory of the speaker's model, where it has one."""
        return directory_of(self._speaker.model)

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation, in order (see `Model`)."""
        told = [place_text(one, self._speaker.text) for one in conversations]
        return self._speaker.model.generate(told, sampling)


def written(writer: RuleWriter | ChatWriter, items: Sequence[Item], tab: Tab, place: str) -> Proposal:
    """Return what a writer makes of the items, from no text; one "written" event. What fails is data."""
    event = tab.once(place, "written", partial(_written, writer, items, tab.run.seed_of(place)))
    return Proposal.model_validate(event.payload)


def _written(writer: RuleWriter | ChatWriter, items: Sequence[Item], seed: int) -> tuple[dict[str, Any], Usage]:
    start = time.perf_counter()
    try:
        with boundary(ProposerFailure):
            found = writer.propose({TEXT: ""}, TEXT, items, seed)
    except ProposerFailure as failure:
        found = Proposal(failures=(str(failure),))
    cost = found.usage.model_copy(update={"seconds": time.perf_counter() - start})
    return found.model_copy(update={"usage": Usage()}).model_dump(mode="json"), cost


def chosen(keys: Sequence[str], away: Mapping[str, float], count: int, draws: Random) -> list[str]:
    """Draw tasks to be shown: half of them from the third on which the two are farthest apart, the others from all."""
    ranked = sorted(keys, key=lambda key: (-away.get(key, 0.0), key))
    far = ranked[: max(-(-count // 2), len(ranked) // 3)]
    first = draws.sample(far, min(len(far), -(-count // 2)))
    rest = [key for key in ranked if key not in first]
    return [*first, *draws.sample(rest, min(len(rest), count - len(first)))]
