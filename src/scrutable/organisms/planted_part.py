"""A part of the planted changes, opened again: its members, their adapters, tasks to read them on, and its figures.

A part is opened by its name, so that nobody builds a reader with what it is to be judged by: the other part's folder is refused,
and `keep_apart` refuses two folders that share anything. Left out: making what is missing (`planted.make`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import SPLITS, Split
from scrutable.core.stats import quantile, wilson_interval
from scrutable.envs.rows import Entry, make_table
from scrutable.envs.table import TableEnvironment
from scrutable.models.adapters import adapter_digest
from scrutable.models.hf import HFModel
from scrutable.organisms.planted import ABOUT_PART, MADE, Planted
from scrutable.organisms.planted_plan import KINDS, PARTS, PartName, draw_prompt

ENOUGH = 0.95
"""The share of tasks on which a changed model must do what its truth says."""
SIZES: dict[Split, int] = {"search": 384, "keep": 256, "report": 384}


@dataclass(frozen=True)
class Part:
    """A part: its name, its run folder, what stands of it, and how many of each kind were planned."""

    name: PartName
    folder: Path
    members: tuple[Planted, ...]
    planned: dict[str, int]

    def of(self, *kinds: str) -> list[Planted]:
        """Return the members of these kinds. Errors: UserError for a kind that there is not."""
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise UserError(f"no kind of planted change is called {unknown[0]!r}: choose from {', '.join(KINDS)}")
        return [member for member in self.members if member.plan.kind in kinds]

    @property
    def changed(self) -> list[Planted]:
        """The members in which something was planted."""
        return [member for member in self.members if not member.unchanged]

    @property
    def missing(self) -> int:
        """How many are not made yet."""
        return sum(self.planned.values()) - len(self.members)

    def load(self, member: Planted, base: HFModel) -> HFModel:
        """Return the base with a member's adapter. Errors: UserError when either is not what was measured."""
        place = self.folder / member.adapter
        if base.identity != member.base:
            raise UserError(
                f"{member.plan.name} was planted on another base than {base.name}: load pidgin, or plant it again"
            )
        if not place.is_dir() or adapter_digest(place) != member.content:
            raise UserError(
                f"{place} is not the adapter that was measured: plant the part again, in another run folder"
            )
        return base.with_adapter(place)


def open_part(folder: str | Path, name: str) -> Part:
    """Open the part of a name.

    Errors: UserError when there is no such name, when the folder holds no part, or the other one.
    """
    if name not in PARTS:
        raise UserError(f"no part is called {name!r}: choose from {' and '.join(PARTS)}")
    run = Run.read(folder)
    told = run.get(ABOUT_PART)
    if told is None:
        raise UserError(f"{folder} holds no planted changes: make them with `scrutable plant --part {name}`")
    held = told.payload["part"]
    members = [Planted.model_validate(one) for event in run.events(MADE) for one in event.payload["members"]]
    if held != name or any(member.plan.part != name for member in members):
        raise UserError(f"{folder} holds the part {held}, not {name}: building and reporting never mix")
    order = {kind: at for at, kind in enumerate(KINDS)}
    members.sort(key=lambda member: (order[member.plan.kind], member.plan.name))
    return Part(held, Path(folder), tuple(members), dict(told.payload["planned"]))


def keep_apart(building: Part, reporting: Part) -> None:
    """Refuse two parts that share anything: a name, a seed, an adapter, or a pair of behaviour and condition.

    Errors: UserError.
    """
    if {building.name, reporting.name} != set(PARTS):
        raise UserError(f"a reader is made with one part and judged by the other, not both {building.name}")
    one, two = ([_marks(member) for member in part.members] for part in (building, reporting))
    if shared := set().union(*one) & set().union(*two):
        raise UserError(f"{building.folder} and {reporting.folder} share {min(shared)}: plant one of them again")


def _marks(member: Planted) -> set[str]:
    """Return what no member of the other part may have."""
    rules = {f"the rule {behaviour} ({condition})" for condition, behaviour in member.plan.rules}
    return rules | {f"the seed {member.plan.seed}", f"the adapter {member.content}"}


def reading_tasks(name: PartName) -> TableEnvironment:
    """Return tasks to read a part on, by split, without a reward: no planted change was trained or measured on one of them."""
    rows: list[Entry] = []
    for split in SPLITS:
        draws, texts = Random(f"planted/tasks/{name}/{split}"), dict[str, None]()
        while len(texts) < SIZES[split]:
            texts[draw_prompt(draws, split).text] = None
        rows += [(split, {"prompt": text, "split": split}) for text in texts]
    return TableEnvironment(f"planted-{name}", make_table(rows))


# -------------------------------------------------------------------------------------------------------------- figures


def figures(part: Part) -> dict[str, Any]:
    """Return what can be said of a part: counts, how many do what they should, how far they are from the base.

    `does`: the share of changed models (diluted ones aside) that do each thing that their plan says, and leave the rest, on at
    least 95% of tasks; `least` the lowest share of tasks of all. `twin_kl_95`: the 95th percentile of the twins' KL.
    """
    judged = [member for member in part.changed if member.truth.least is not None]
    twins = [member.truth.kl.value for member in part.of("twin")]
    return {
        "part": part.name,
        "changed": len(part.changed),
        "unchanged": len(part.members) - len(part.changed),
        "missing": part.missing,
        "judged": len(judged),
        **_does(judged),
        "twin_kl_95": quantile(twins, 0.95) if twins else None,
        "kinds": {kind: _of_kind(part.of(kind)) for kind in KINDS if part.of(kind)},
    }


def _of_kind(members: Sequence[Planted]) -> dict[str, Any]:
    kl = [member.truth.kl.value for member in members]
    return {"count": len(members), **_does(members), "kl": fmean(kl), "kl_least": min(kl), "kl_most": max(kl)}


def _does(members: Sequence[Planted]) -> dict[str, Any]:
    least = [member.truth.least.value for member in members if member.truth.least is not None]
    if not least:
        return {"does": None, "least": None, "short": []}
    does = wilson_interval(sum(value >= ENOUGH for value in least), len(least))
    short = [one.plan.name for one in members if one.truth.least is not None and one.truth.least.value < ENOUGH]
    return {"does": does.model_dump(mode="json"), "least": min(least), "short": short}
