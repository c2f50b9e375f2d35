"""The worth of sentences on the page: of a text that was sanitised or shortened, and what came of it.

Read from the result events leniently: a page must be had from any run. The page knows no method; it draws what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scrutable.report.gather import Facts
from scrutable.report.nodes import Node, Note, Quote, Section, Table, Valued, WorthRow, Worths
from scrutable.report.words import number, plural, read_interval, shortened, spoken

GAMES = {"proxy": "reward", "true": "true reward", "kl": "nats closer to the tuned model"}
"""Measures of worth, as they are called here, in the order in which they stand."""


def worth_sections(facts: Facts) -> list[Section]:
    """Return a section for each text whose sentences were measured."""
    found = []
    for scope, result in facts.results.items():
        if scope.endswith("sanitise") and result.get("rounds"):
            found.append(_sanitised(result))
        elif scope.endswith("shorten") and result.get("worth"):
            found.append(_shortened(result))
        elif _listed(result.get("worth")):
            found.append(_chosen(scope, _listed(result["worth"])))
    return found


def _chosen(scope: str, worth: Sequence[Any]) -> Section:
    """Return what a search measured of the sentences of its chosen text."""
    rows = []
    for one in worth:
        fall = read_interval(_mapping(one).get("gain"))
        module = _mapping(one).get("module")
        said = shortened(_said(one)) + (f" [{module}]" if module not in (None, "text") else "")
        rows.append(WorthRow(sentence=said, values=(None if fall is None else Valued(value=fall),)))
    label = "How much the score falls without each sentence, with 95% intervals"
    intro = "On tasks that did not decide that it stays. Sentences that say the same can each be left out at no loss."
    anchor = re.sub(r"[^a-z0-9]+", "-", f"worth-{scope}".lower()).strip("-")
    node = Worths(label=label, columns=("reward",), rows=tuple(rows))
    return Section(anchor=anchor, title="What each sentence is worth", intro=intro, nodes=(node,))


def _sanitised(result: Mapping[str, Any]) -> Section:
    marked = [_said(one) for one in _listed(result.get("marked"))]
    nodes = _worths(_mapping(_listed(result["rounds"])[0]), marked)
    told = {"no text": "base", "the text": "given", "without the marked": "clean"}
    nodes.append(_standings(result, told if marked else dict(list(told.items())[:2])))
    if marked:
        clean = _text(_mapping(result.get("clean")))
        nodes.append(Quote(label="without the marked sentences", text=shortened(clean) or "(the empty text)"))
    else:
        nodes.append(Note(text="No sentence is shown to raise the reward and lower the true reward."))
    intro = (
        "What each sentence adds, on average over the orders in which they could have been written. A sentence is marked when "
        "it is shown to raise the reward and to lower the true reward, corrected for the number of sentences."
    )
    nodes += [Note(text=str(line)) for line in _listed(result.get("notes"))]
    return Section(anchor="sanitise", title="What each sentence is worth", intro=intro, nodes=tuple(nodes))


def _shortened(result: Mapping[str, Any]) -> Section:
    nodes = _worths(_mapping(result["worth"]), [])
    rows = [_front(_mapping(one)) for one in (*_listed(result.get("front")), *_listed(result.get("within")))]
    margin = result.get("margin")
    nodes.append(
        Table(
            caption="The best text for each number of words",
            columns=("text", "words", "score where it was chosen", "minus the whole, 90% interval", "as good?"),
            rows=tuple(rows),
        )
    )
    nodes.append(_standings(result, {"no text": "base", "the whole": "whole", "the short text": "short"}))
    nodes.append(
        Quote(label="the short text", text=shortened(_text(_mapping(result.get("short")))) or "(the empty text)")
    )
    nodes += [Note(text=str(line)) for line in _listed(result.get("notes"))]
    lost = f" A loss of less than {number(margin)} counts as none." if isinstance(margin, int | float) else ""
    intro = f"The shortest text, made by leaving sentences out, that is not shown to be worse than the whole.{lost}"
    return Section(anchor="shorten", title="How short the text can be", intro=intro, nodes=tuple(nodes))


def _worths(told: Mapping[str, Any], marked: Sequence[str]) -> list[Node]:
    """Return the sentences with their worth as a table of bars, and how it was measured."""
    sentences = [_mapping(one) for one in _listed(told.get("sentences"))]
    games = [game for game in GAMES if any(game in _mapping(one.get("games")) for one in sentences)]
    rows = tuple(
        WorthRow(
            sentence=shortened(_said(one)),
            marked=_said(one) in marked,
            values=tuple(_valued(_mapping(_mapping(one.get("games")).get(game))) for game in games),
        )
        for one in sentences
    )
    label = "Shapley values with 95% intervals; left out: what the whole text loses without the sentence"
    nodes: list[Node] = [Worths(label=label, columns=tuple(GAMES[game] for game in games), rows=rows)]
    return [*nodes, *(Note(text=str(line)) for line in _listed(told.get("notes")))]


def _valued(value: Mapping[str, Any]) -> Valued | None:
    found, alone = read_interval(value.get("shapley")), read_interval(value.get("left_out"))
    return None if found is None else Valued(value=found, left_out=None if alone is None else alone.value)


def _standings(result: Mapping[str, Any], told: Mapping[str, str]) -> Table:
    """Return what texts score on the tasks that decided nothing, by game, and what was gained."""
    gained = _mapping(result.get("gained"))
    games = [game for game in GAMES if game in gained]
    rows = [
        (name, *(spoken(read_interval(_mapping(_mapping(result.get(place)).get("games")).get(game))) for game in games))
        for name, place in told.items()
    ]
    rows.append(("gained", *(spoken(read_interval(gained[game])) for game in games)))
    tasks = result.get("tasks")
    where = f" on {plural(tasks, 'task')} that decided nothing" if isinstance(tasks, int) else ""
    called = {**GAMES, "kl": "minus KL, nats an answer"}
    return Table(
        caption=f"Before and after{where}", columns=("text", *(called[game] for game in games)), rows=tuple(rows)
    )


def _front(one: Mapping[str, Any]) -> tuple[str, ...]:
    score, good = one.get("score"), one.get("as_good")
    return (
        shortened(_text(one)) or "(the empty text)",
        str(one.get("words", "–")),
        number(score) if isinstance(score, int | float) else "–",
        spoken(read_interval(one.get("loss"))),
        "yes" if good is True else "not shown" if good is False else "–",
    )


def _text(holder: Mapping[str, Any]) -> str:
    """Return the texts of a candidate, joined."""
    texts = _mapping(_mapping(holder.get("candidate")).get("texts"))
    return "\n\n".join(str(text) for text in texts.values())


def _said(one: Any) -> str:
    return str(_mapping(one).get("sentence", ""))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
