"""The page of a comparison: how many behaviours, what the runs say alike and alone, how far they are apart, what decided."""

from __future__ import annotations

from collections.abc import Sequence

from scrutable.core.accounts import Interval
from scrutable.core.comparisons import Comparison, Matched, Parting
from scrutable.core.stats import quantile
from scrutable.report.nodes import Cell, First, Grid, Left, Node, Note, Section, Sentence, Sentences, Table
from scrutable.report.words import between, number, percent, plural, shortened

QUESTIONS = ("What did the runs find?", "Do they behave alike?", "Where do they part?")
FIRST_CLAIMS, FIRST_PARTINGS = 4, 4
KINDS = {"text": "texts", "rl": "RL runs"}


def first_of(found: Comparison) -> First:
    """Answer a comparison's three questions."""
    taught = tuple(_says(found, at) for at in range(len(found.clusters)))
    nothing = "Nothing was read of these runs: only the distances tell."
    return First(
        questions=QUESTIONS,
        taught=tuple(one for one in taught if one.sentences),
        taught_note="" if any(one.sentences for one in taught) else nothing,
        carried=(),
        carried_note=_verdict(found),
        grid=grid_of(found),
        left=tuple(_left(found, one) for one in found.partings if one.apart)[:FIRST_PARTINGS],
        left_note="" if len(found.clusters) > 1 else _nowhere(found),
    )


def comparison_sections(found: Comparison) -> tuple[Section, ...]:
    """Return the parts of the page below the first screen."""
    return tuple(one for one in (_members(found), _claims(found), _decided(found)) if one is not None)


def grid_of(found: Comparison) -> Grid:
    """Return the distances as a square, the members of one behaviour side by side."""
    order = [at for group in found.clusters for at in group]
    place = {member: at for at, member in enumerate(order)}
    cells = []
    for pair in found.pairs:
        a, b = place[pair.a], place[pair.b]
        says = f"{number(pair.js.value)} nats an answer ({between(pair.js, 'plain') or 'no interval'})"
        cells += [Cell(row=a, column=b, value=pair.js.value, says=says)]
        cells += [Cell(row=b, column=a, value=pair.js.value, says=says)]
    return Grid(
        title="How far every two are apart",
        says="Jensen–Shannon divergence, nats an answer; a frame around what counts as one behaviour.",
        names=tuple(_name(found, at) for at in order),
        groups=tuple(len(group) for group in found.clusters),
        cells=tuple(cells),
        limit=found.limit,
    )


# ------------------------------------------------------------------------------------------------------ the first screen


def _verdict(found: Comparison) -> str:
    count, all_of = len(found.clusters), len(found.members)
    kinds = [one.kind for one in found.members]
    what = " and ".join(
        plural(kinds.count(kind), one.removesuffix("s"), one) for kind, one in KINDS.items() if kind in kinds
    )
    if count == 1:
        return f"Yes: {what} show one behaviour, up to {number(found.limit)} nats an answer."
    if count == all_of:
        return f"No: each of {what} behaves in its own way."
    return f"In part: {what} fall into {count} behaviours ({percent(found.stable)} of task resamples agree)."


def _says(found: Comparison, at: int) -> Sentences:
    """Return what all members of a behaviour say, what the fewest others say first; without claims, their shortest text."""
    group = set(found.clusters[at])
    said = [claim for claim in found.claims if not claim.idle]
    saying = group & {member for claim in said for member in claim.members}
    mine = [claim for claim in said if saying and saying <= set(claim.members)]
    mine.sort(key=lambda claim: len(set(claim.members) - group))
    sentences = [
        Sentence(says=shortened(claim.says, 420), text=claim.says, where=_wordings(claim), anchor="claims")
        for claim in mine[:FIRST_CLAIMS]
    ]
    texts = [text for member in group if (text := found.members[member].text.strip())]
    what = "all say" if mine else "nothing that all say; the shortest text" if found.claims else "the shortest text"
    if not mine and texts:
        text = min(texts, key=lambda one: (len(one), one))
        sentences = [Sentence(says=shortened(text, 420), text=text)]
    names = shortened(", ".join(found.members[member].name for member in sorted(group)), 90)
    whole = "" if len(found.clusters) == 1 else f"behaviour {at + 1}, "
    return Sentences(
        label=f"{whole}{what} ({names})", sentences=tuple(sentences), more=max(0, len(mine) - FIRST_CLAIMS)
    )


def _wordings(claim: Matched) -> str:
    return "" if len(claim.wordings) < 2 else f"in {len(claim.wordings)} wordings"


def _left(found: Comparison, one: Parting) -> Left:
    shown = "" if one.distance.low is None else f" (shown to be more than {number(one.distance.low)})"
    told = [f"{number(one.distance.value)} nats an answer apart{shown}."]
    for name, says in (("proxy", "reward"), ("true", "true reward")):
        means = [_mean(found, group, name) for group in (one.left, one.right)]
        if None not in means:
            told.append(f"{says} {' and '.join(number(mean) for mean in means if mean is not None)}.")
    told[1:] = [part[:1].upper() + part[1:] for part in told[1:]]
    return Left(label=f"{_named(found, one.left)} | {_named(found, one.right)}", says=" ".join(told))


def _nowhere(found: Comparison) -> str:
    most = max((pair.js.value for pair in found.pairs), default=0.0)
    return (
        f"Nowhere that can be told from idle words: the farthest two are {number(most)} nats an answer apart, "
        f"and {_limit(found)} counts as one behaviour."
    )


# --------------------------------------------------------------------------------------------------------- the sections


def _members(found: Comparison) -> Section:
    rows = [
        (
            _name(found, member),
            str(at),
            *(_spoken(found.members[member].rewards.get(name)) for name in ("proxy", "true")),
            _spoken(found.members[member].from_base),
        )
        for at, group in enumerate(found.clusters, 1)
        for member in group
    ]
    columns = ("run", "behaviour", "reward", "true reward", "from the base, nats")
    texts = [
        (_name(found, member), shortened(found.members[member].text, 400) or "–")
        for group in found.clusters
        for member in group
    ]
    said = Table(caption="Their texts, or what was read of them", columns=("run", "text"), rows=tuple(texts))
    where = f"{plural(found.tasks, 'task')} of the {found.split} split × {plural(found.answers, 'answer')}"
    return Section(
        anchor="members",
        title="What each earns",
        intro=f"On {where}, which decided nothing; intervals are 95%, by resampling tasks.",
        nodes=(Table(caption="By behaviour", columns=columns, rows=tuple(rows)), said),
    )


def _claims(found: Comparison) -> Section | None:
    if not found.claims:
        return None
    common, alone = found.in_common, found.alone
    idle = tuple(claim for claim in found.claims if claim.idle)
    some = tuple(claim for claim in found.claims if claim not in (*common, *alone, *idle))
    parts = (("In common", common), ("Of some", some), ("Alone", alone), ("Idle: they do nothing on their own", idle))
    nodes: list[Node] = [_claim_table(found, caption, claims) for caption, claims in parts if claims]
    intro = "Sentences are matched by what each does to the base's answers on its own, however they are spelled."
    return Section(anchor="claims", title="What they say alike, and alone", intro=intro, nodes=tuple(nodes))


def _claim_table(found: Comparison, caption: str, claims: Sequence[Matched]) -> Table:
    rows = [
        (
            shortened(claim.says, 300),
            _named(found, claim.members),
            _spoken(claim.effect),
            shortened(" · ".join(claim.wordings[1:]), 400) or "–",
        )
        for claim in claims
    ]
    columns = ("claim", "said by", "effect, nats an answer", "other wordings")
    return Table(caption=caption, columns=columns, rows=tuple(rows))


def _decided(found: Comparison) -> Section:
    nodes: list[Node] = [Note(text=_limit_says(found))]
    if found.partings:
        rows = [
            (
                f"{_named(found, one.left)} | {_named(found, one.right)}",
                number(one.distance.value),
                "–" if one.distance.low is None else number(one.distance.low),
                "two behaviours" if one.apart else "one",
            )
            for one in found.partings
        ]
        columns = ("groups", "mean distance", "shown to be above", "verdict")
        nodes.append(Table(caption="The tests, from the top of the tree", columns=columns, rows=tuple(rows)))
    told = [f"{percent(found.stable)} of task resamples give the same behaviours"]
    if found.silhouette is not None:
        told.append(f"mean silhouette width {number(found.silhouette)}")
    nodes.append(Note(text="; ".join(told) + "."))
    if len(found.between) > 1:
        kinds = [
            (" and ".join(KINDS.get(part, part) for part in name.split(" and ")), _spoken(value))
            for name, value in found.between.items()
        ]
        nodes.append(Table(caption="By kind", columns=("between", "mean distance, nats an answer"), rows=tuple(kinds)))
    pairs = [
        (f"{found.members[pair.a].name} | {found.members[pair.b].name}", _spoken(pair.js), _spoken(pair.kl))
        for pair in found.pairs
    ]
    named = ("pair", "Jensen–Shannon", "KL, mean of both ways")
    nodes.append(Table(caption="Every pair, nats an answer", columns=named, rows=tuple(pairs), folded=True))
    nodes += [Note(text=note) for note in found.notes]
    intro = "From the top of the tree, groups are parted where they are shown to be farther apart than one behaviour."
    return Section(anchor="decided", title="How it was decided", intro=intro, nodes=tuple(nodes))


def _limit_says(found: Comparison) -> str:
    told = f"Up to {_limit(found)} counts as one behaviour; a run is exactly 0 from itself."
    if found.idle:
        top = quantile(found.idle, 0.95)
        told += (
            f" {plural(len(found.idle), 'time')} an unrelated text was set beside a run's own: that moved it by "
            f"{number(quantile(found.idle, 0.5))} (median), {number(top)} (95th percentile), {number(max(found.idle))} (most)."
        )
    return told


def _limit(found: Comparison) -> str:
    where = "what idle words do" if found.limit_from == "idle words" else "the stated value"
    return f"{number(found.limit)} nats an answer ({where})"


def _mean(found: Comparison, group: Sequence[int], name: str) -> float | None:
    values = [found.members[at].rewards[name].value for at in group if name in found.members[at].rewards]
    return sum(values) / len(values) if values else None


def _name(found: Comparison, at: int) -> str:
    one = found.members[at]
    return one.name if one.kind == "text" else f"{one.name} (RL)"


def _named(found: Comparison, group: Sequence[int]) -> str:
    if len(group) == len(found.members):
        return "all"
    return shortened(", ".join(found.members[at].name for at in group), 120)


def _spoken(value: Interval | None) -> str:
    if value is None:
        return "–"
    span = between(value, "plain")
    return f"{number(value.value)} ({span})" if span else number(value.value)
