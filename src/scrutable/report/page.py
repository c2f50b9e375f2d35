"""The page and its JSON twin, from a run folder alone: no model, no network, nothing but records.

Both are written from the same nodes. The page holds no script and asks for nothing; its content security policy forbids
both even if something a model wrote found a way in. Every string passes through `visible` (hidden characters shown) and
the template engine's escaping: there is no way around either in the templates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrutable.core.files import write_atomic
from scrutable.core.journal import Run
from scrutable.report import draw, words
from scrutable.report.first import first_screen
from scrutable.report.gather import Facts, gather
from scrutable.report.nodes import Bar, Bars, Page
from scrutable.report.sections import sections

if TYPE_CHECKING:
    import jinja2

HTML, TWIN = "report.html", "report.json"


@dataclass(frozen=True)
class Paths:
    """Where the page and its twin lie."""

    html: Path
    json: Path


def report(run_folder: str | Path) -> Paths:
    """Write `report.html` and `report.json` into the run folder, from its events; also while another process runs it.

    Errors: UserError when there is no run, or it is damaged.
    """
    run = Run.read(run_folder)
    page = compose(gather(run))
    paths = Paths(run.path / HTML, run.path / TWIN)
    write_atomic(paths.html, to_html(page))
    write_atomic(paths.json, to_json(page))
    return paths


def compose(facts: Facts) -> Page:
    """Return the page of a run as nodes."""
    about = [
        (name, facts.about.get(key))
        for name, key in (("before", "before"), ("after", "after"), ("environment", "env"), ("its reward", "rewards"))
    ]
    return Page(
        title=str(facts.about.get("title") or facts.name),
        about=(
            *((name, words.shortened(str(value), 120)) for name, value in about if value),
            ("run", facts.name),
            *([("began", facts.began)] if facts.began else []),
        ),
        first=first_screen(facts),
        sections=sections(facts),
        made_with=str(facts.about.get("scrutable") or ""),
    )


def to_json(page: Page) -> str:
    """Return the twin: the nodes as JSON in ASCII, so that no hidden character reaches a terminal."""
    return json.dumps(page.model_dump(mode="json"), indent=1, ensure_ascii=True) + "\n"


def to_html(page: Page) -> str:
    """Return the page as one self-contained HTML text."""
    groups = [*page.first.carried, *(n for section in page.sections for n in section.nodes if isinstance(n, Bars))]
    return _environment().get_template("page.html").render(page=page, scale=draw.scale_of(groups))


def tell_bar(bar: Bar) -> str:
    """Return everything a bar shows, in words."""
    if bar.value is None:
        return f"No share: {bar.why_not or 'not measured'}."
    span = words.between(bar.value)
    told = [f"{words.percent(bar.value.value)}" + (f", 95% interval {span}" if span else "")]
    if bar.unrelated_95 is not None:
        told.append(
            f"95th percentile of {words.plural(len(bar.unrelated), 'unrelated text')}: {words.percent(bar.unrelated_95)}"
        )
    if bar.random:
        told.append(f"Random texts of equal length: at most {words.percent(max(bar.random))}")
    if bar.shuffled:
        told.append(f"The same words shuffled: {words.spread(bar.shuffled)}")
    return ". ".join(told) + "."


def _finalize(value: Any) -> Any:
    """Make hidden characters visible in everything that a template prints (markup of the templates is passed on)."""
    if value is None:
        raise ValueError("a template printed nothing: None")
    return words.visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("scrutable.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        percent=words.percent,
        number=words.number,
        short=words.short,
        between=words.between,
        plain=words.plain,
        seconds=words.seconds,
        plural=words.plural,
        count=words.count,
        spoken=words.spoken,
        tell_bar=tell_bar,
    )
    made.globals.update(plot_of=draw.plot_of, scale_of_worths=draw.scale_of_worths, square_of=draw.square_of)
    made.globals.update(
        plot_of_dots=draw.plot_of_dots,
        scale_of_standings=draw.scale_of_standings,
        scale_of_tallies=draw.scale_of_tallies,
        drawn_order=draw.drawn_order,
    )
    return made
