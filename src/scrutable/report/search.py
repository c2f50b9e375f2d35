"""A search on the page: how its texts came about, how good the chosen one is and where, who is best at what, how it went.

The page draws what the events say; it estimates nothing. What an older run's events do not say is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrutable.core.accounts import Interval
from scrutable.report.course import course_section
from scrutable.report.gather import Facts, Search
from scrutable.report.lineage import line_of, lineage, named, tree
from scrutable.report.nodes import (
    Curve,
    Dot,
    Dots,
    Line,
    Node,
    Note,
    Role,
    Section,
    Standing,
    Standings,
    Table,
    Tallies,
    Tally,
)
from scrutable.report.words import number, plural, read_interval, shortened, spoken

MOST_HOLDERS = 12
"""Candidates of the front that are named."""
MOST_BESTS = 30
"""Texts in the table of those that were the best for a while."""


def texts_section(facts: Facts) -> Section | None:
    """Return how the texts of all searches came about."""
    nodes: list[Node] = []
    for search in facts.searches:
        picture = tree(search)
        nodes += [picture] if picture else []
        nodes.append(lineage(search))
        told = [plural(len(search.tried), "text") + " tried", plural(search.reflections, "reflection")]
        if search.rollouts:
            told.append(f"{plural(search.rollouts, 'answer')} scored")
        if search.unscored:
            told.append(f"{search.unscored:,} of them could not be scored, and count as nothing (not as 0)")
        nodes.append(Note(text="; ".join(told) + "."))
        nodes += [Note(text=line) for line in _outcome(facts.results.get(search.scope, {}))]
    if not nodes:
        return None
    intro = (
        "From the first text to the chosen one, with what led off each. Words that a text added are underlined, words it "
        "dropped struck out."
    )
    return Section(anchor="texts", title="How the texts came about", intro=intro, nodes=tuple(nodes))


def search_sections(facts: Facts) -> list[Section]:
    """Return the further parts of each search that was made for its own sake (a lens may search, too)."""
    found: list[Section] = []
    own = own_searches(facts)
    for at, search in enumerate(own):
        called = f" ({search.scope})" if len(own) > 1 else ""
        for made in (_slices(search), _front(search), course_section(facts, search)):
            if made is not None:
                anchor = made.anchor if at == 0 else f"{made.anchor}-{at + 1}"
                found.append(made.model_copy(update={"anchor": anchor, "title": made.title + called}))
    return found


def own_searches(facts: Facts) -> list[Search]:
    """Return the searches that are no lens's."""
    return [search for search in facts.searches if search.scope.split("/")[-1] in ("", "evolve")]


def _outcome(result: Mapping[str, Any]) -> list[str]:
    """Return what a search says of its end: its scores on tasks that decided nothing, and why it stopped."""
    lines = []
    base, score, gain = (read_interval(result.get(name)) for name in ("base", "score", "gain"))
    if base is not None and score is not None:
        told = f"On tasks that decided nothing the score went from {number(base.value)} to {spoken(score)}"
        lines.append(f"{told}: a gain of {spoken(gain)}." if gain is not None else f"{told}.")
    if isinstance(result.get("stopped"), str):
        lines.append(f"It ended because {result['stopped']}.")
    notes = result.get("notes")
    lines += [f"{line}." for line in notes if isinstance(line, str)] if isinstance(notes, list) else []
    return lines


# ------------------------------------------------------------------------------------------------------------- slices


def _slices(search: Search) -> Section | None:
    rows = standings(search)
    if rows is None:
        return None
    nodes: list[Node] = [rows]
    slices = search.trace.slices
    found = [one for one in slices.get("slices") or () if isinstance(one, Mapping)]
    true = [one for one in found if isinstance(one.get("true_base"), int | float)]
    if any(
        one.get("true_base") != _value(one.get("base")) or one.get("true_best") != _value(one.get("best"))
        for one in true
    ):
        cells = [(str(one.get("says")), number(one["true_base"]), _number(one.get("true_best"))) for one in true]
        nodes.append(Table(caption="True reward", columns=("tasks", "first text", "chosen text"), rows=tuple(cells)))
    remarks = [one for one in slices.get("remarks") or () if isinstance(one, Mapping)]
    if remarks:
        said = [(shortened(str(one.get("says")), 200), str(one.get("base")), str(one.get("best"))) for one in remarks]
        columns = ("what the rater said", "of the first text", "of the chosen text")
        nodes.append(Table(caption="Answers, by what was said of them", columns=columns, rows=tuple(said)))
    tried, decided = slices.get("tried"), slices.get("decided")
    if not any(one.get("by") == "words" for one in found) and isinstance(tried, int):
        nodes.append(
            Note(
                text=f"None of {tried:,} runs of words in the tasks tells them apart by more than chance, on {decided} tasks."
            )
        )
    intro = (
        "On tasks that decided nothing, with 95% intervals. Words that tell tasks apart were looked for on other tasks. Of "
        "tasks sorted by what was said of the first text, only the chosen text’s score is shown: the first one’s is what they "
        "were sorted by."
    )
    return Section(anchor="slices", title="How good the text is, and where", intro=intro, nodes=tuple(nodes))


def standings(search: Search, most: int = 12) -> Standings | None:
    """Return the first text and the chosen one on each slice, or None where the run does not say."""
    rows = []
    for one in search.trace.slices.get("slices") or ():
        if not isinstance(one, Mapping):
            continue
        before, after, gain = (read_interval(one.get(name)) for name in ("base", "best", "gain"))
        tasks = one.get("tasks")
        says = f"{_told(before)} → {_told(after)}" if before or after else "no task of it was scored"
        rows.append(
            Standing(
                name=shortened(str(one.get("says", "")), 120),
                tasks=tasks if isinstance(tasks, int) else 0,
                before=before,
                after=after,
                gain=gain,
                says=says,
                sorted=one.get("by") == "remark",
            )
        )
    return Standings(label="the first text and the chosen one", rows=tuple(rows[:most])) if rows else None


# -------------------------------------------------------------------------------------------------------------- front


def _front(search: Search) -> Section | None:
    nodes: list[Node] = []
    fronts = [commit["front"] for commit in search.trace.commits if isinstance(commit.get("front"), Mapping)]
    if fronts:
        nodes += [_holders(search, fronts[-1]), _sizes(search)]
    picture = _lengths(search, fronts[-1] if fronts else {})
    nodes += [picture] if picture else []
    if not nodes:
        return None
    told = (
        "A text is on the front when it has the best score on some tasks, and no better or shorter text has it on all of "
        "the same. New texts are written from these, in proportion to the tasks that they hold."
    )
    title = "Which text is best at what" if fronts else "Reward and length of the texts"
    return Section(anchor="front", title=title, intro=told if fronts else "", nodes=tuple(nodes))


def _holders(search: Search, front: Mapping[str, Any]) -> Tallies:
    """Return how many tasks each text of the last front holds."""
    best = line_of(search)[-1:]
    held = sorted(
        ((key, float(count)) for key, count in front.items() if isinstance(count, int)), key=lambda one: -one[1]
    )
    rows = [
        Tally(name=named(search, key), value=count, marked=key in best, text=True) for key, count in held[:MOST_HOLDERS]
    ]
    more = f", the first {MOST_HOLDERS} of {len(held)}" if len(held) > MOST_HOLDERS else ""
    return Tallies(label=f"Tasks that each text of the last front holds{more}", unit="task", rows=tuple(rows))


def _sizes(search: Search) -> Curve:
    sizes, accepted, seen = [], [], set[str]()
    for at, commit in enumerate(search.trace.commits, start=1):
        seen.update(str(key) for key in commit.get("accepted") or ())
        front = commit.get("front")
        sizes.append((float(at), float(len(front)) if isinstance(front, Mapping) else 0.0))
        accepted.append((float(at), float(len(seen))))
    return Curve(
        title="Size of the front",
        says=f"After {plural(len(sizes), 'proposal')}: {plural(int(accepted[-1][1]), 'new text')} kept, "
        f"{plural(int(sizes[-1][1]), 'text')} on the front (of two that hold the same, the better or shorter one).",
        x_label="proposals",
        lines=(
            Line(name="kept so far", style="other", points=tuple(accepted)),
            Line(name="on the front", style="chosen", points=tuple(sizes)),
        ),
    )


def _lengths(search: Search, front: Mapping[str, Any]) -> Dots | None:
    """Return reward against length of all accepted texts, and the true reward where it is another."""
    best, dots, trues = line_of(search)[-1:], list[Dot](), list[Dot]()
    for key, tried in search.tried.items():
        means = search.trace.means.get(key)
        if not tried.accepted or means is None or not means.count:
            continue
        role: Role = "chosen" if key in best else "front" if key in front else "kept"
        words, value, true = float(len(tried.candidate.text.split())), means.mean(), means.mean_true()
        says = f"{plural(int(words), 'word')}, {number(value)} on {plural(means.count, 'answer')}: {named(search, key)}"
        dots.append(Dot(x=words, y=value, role=role, says=says))
        if true is not None and abs(true - value) > 1e-9:
            trues.append(Dot(x=words, y=true, role="true", says=f"true reward {number(true)}: {named(search, key)}"))
    if len(dots) < 2:
        return None
    legend: list[tuple[Role, str]] = [("chosen", "chosen"), ("front", "on the front"), ("kept", "kept")]
    return Dots(
        title="Reward and length",
        says="All accepted texts, each at its mean over all answers that were scored under it: not all on the same tasks.",
        x_label="words",
        y_label="score",
        dots=(*dots, *trues),
        legend=(*legend, *((("true", "true reward"),) if trues else ())),
    )


def _told(value: Interval | None) -> str:
    return "–" if value is None else number(value.value)


def _value(value: Any) -> Any:
    return value.get("value") if isinstance(value, Mapping) else None


def _number(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else "–"
