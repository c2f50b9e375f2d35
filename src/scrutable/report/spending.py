"""What a search took and what failed on the way: every failure is here, with its reason and how often it came."""

from __future__ import annotations

from collections import Counter

from scrutable.report.gather import Facts, Search
from scrutable.report.nodes import Node, Note, Section, Table, Tallies, Tally
from scrutable.report.search import own_searches
from scrutable.report.training import filled
from scrutable.report.words import count, percent, plural, seconds, shortened

MOST_REASONS = 40
"""Reasons told one by one; the rest is summed."""
USES = {
    "start": "the first texts",
    "shown": "answers that a writer could be shown",
    "screening": "screening children",
    "test": "testing children against their parent",
    "begun": "proposals that were begun, and not ended",
    "end": "the end: choosing, pruning, the final score",
}


def failures_section(facts: Facts) -> Section | None:
    """Return all that failed and was gone on with, by reason."""
    rows: list[tuple[str, str, str]] = []
    for search in facts.searches:
        trace = search.trace
        untold = trace.retries - trace.troubles.total()
        retried = trace.troubles + Counter({"no reason told": untold} if untold > 0 else {})
        rows += _rows(trace.unscored, "answers without a score", search, facts)
        rows += _rows(trace.partly, "answers scored by the other rewards", search, facts)
        rows += _rows(trace.unwritten, "answers of the writer without a usable text", search, facts)
        rows += _rows(retried, "requests to a server", search, facts)
    if facts.unread:
        rows.append(("events", "written in a form that this version cannot read", count(facts.unread)))
    if not rows:
        return None
    table = Table(caption="By reason", columns=("what", "why", "how often"), rows=tuple(rows))
    intro = "All of it was gone on with. An answer without a score counts as nothing, and never as 0."
    return Section(anchor="failures", title="What failed", intro=intro, nodes=(table,))


def _rows(reasons: Counter[str], what: str, search: Search, facts: Facts) -> list[tuple[str, str, str]]:
    where = f" ({search.scope})" if len(facts.searches) > 1 else ""
    ranked = reasons.most_common()
    rows = [(what + where, shortened(why, 200), count(amount)) for why, amount in ranked[:MOST_REASONS]]
    rest = ranked[MOST_REASONS:]
    if rest:
        rows.append((what + where, f"{len(rest):,} other reasons", count(sum(amount for _, amount in rest))))
    return rows


def spending(facts: Facts) -> list[Node]:
    """Return what each search spent: by stage and kind of call, by use of the rollouts, and how many a writer saw."""
    nodes: list[Node] = []
    for search in own_searches(facts):
        nodes += [*_by_stage(search), *_by_use(search)]
    return nodes


def _by_stage(search: Search) -> list[Node]:
    named = {"search": "the search", "end": "the end"}
    rows = []
    for (stage, kind), part in sorted(search.trace.parts.items(), key=lambda item: (item[0][0] == "end", item[0][1])):
        usage = part.usage
        amounts = (part.calls, part.rollouts, usage.prompt_tokens, usage.answer_tokens)
        rows.append(
            (
                f"{named[stage]}: {kind}",
                *(count(amount) if amount else "–" for amount in amounts),
                seconds(usage.seconds) if usage.seconds else "–",
                f"{usage.money:,.4f}" if usage.money else "–",
                count(usage.retries) if usage.retries else "–",
            )
        )
    columns = (
        "stage",
        "calls",
        "rollouts",
        "tokens read",
        "tokens written",
        "time of calls",
        "US dollars",
        "made again",
    )
    return [filled(f"The search, by stage{_of(search)}", columns, rows)] if rows else []


def _of(search: Search) -> str:
    return "" if search.scope == "evolve" else f" ({search.scope})"


def _by_use(search: Search) -> list[Node]:
    """Return what the rollouts were for, where the events tell it, and what share of them a writer saw."""
    trace = search.trace
    told = [commit["uses"] for commit in trace.commits if isinstance(commit.get("uses"), dict)]
    if not told:
        return []
    uses: Counter[str] = Counter()
    for one in told:
        uses.update({str(use): amount for use, amount in one.items() if isinstance(amount, int)})
    ended = sum(part.rollouts for (stage, _), part in trace.parts.items() if stage == "end")
    begun = trace.rollouts - ended - trace.started - uses.total()
    amounts = {"start": trace.started, **uses, "begun": max(0, begun), "end": ended}
    rows = [
        Tally(name=says, value=amounts.get(use, 0), of=trace.rollouts) for use, says in USES.items() if amounts.get(use)
    ]
    rows += [Tally(name=use, value=amount, of=trace.rollouts) for use, amount in uses.items() if use not in USES]
    seen = {tuple(pair) for commit in trace.commits for pair in commit.get("shown") or () if isinstance(pair, list)}
    unseen = 1 - len(seen) / trace.rollouts if trace.rollouts else 0.0
    note = (
        f"A writer saw {plural(len(seen), 'answer')} of {trace.rollouts:,}; {percent(unseen)} of the rollouts were seen by none. "
        "A rollout that served two uses is told under the first."
    )
    return [
        Tallies(label=f"What the rollouts were for{_of(search)}", unit="rollout", rows=tuple(rows)),
        Note(text=note),
    ]
