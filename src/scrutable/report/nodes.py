"""Nodes: what a page is made of. The HTML and the JSON twin are both written from these, so they cannot disagree.

A node holds what is said, never how it looks. `kind` tells programs what they read. Shares are fractions (0.98 is 98%),
divergences nats a whole answer, durations seconds.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.records import Record

Mark = Literal["same", "gone", "new"]


class Piece(Record):
    """A run of words and whether it is the same as in the text it is compared with."""

    text: str
    mark: Mark = "same"


class Sentence(Record):
    """One thing training taught. `text` is what was given to the model, where it can be given."""

    says: str
    text: str | None = None
    before: float | None = None
    after: float | None = None
    where: str = Field(default="", description="the tasks on which the rates hold, where the sentence does not say it")
    anchor: str = Field(default="", description="id of the claim further down")

    @property
    def length(self) -> int:
        """Characters to set: decides the size of the type, and nothing else."""
        return len(self.says)


class Sentences(Record):
    """What one reading found."""

    kind: Literal["sentences"] = "sentences"
    label: str = Field(description="where they come from: 'read from the weights'")
    lens: str = ""
    sentences: tuple[Sentence, ...] = ()
    more: int = Field(default=0, description="claims that stand only further down")


class Bar(Record):
    """A share with its interval, and its nulls on the same scale."""

    kind: Literal["bar"] = "bar"
    name: str
    explains: str
    value: Interval | None = None
    unrelated: tuple[float, ...] = ()
    unrelated_95: float | None = Field(default=None, description="95th percentile of the unrelated texts")
    random: tuple[float, ...] = ()
    shuffled: tuple[float, ...] = ()
    why_not: str = ""
    above_nulls: bool | None = Field(default=None, description="is the interval above the unrelated texts' percentile?")


class Bars(Record):
    """The shares that one text recovers. `first` are those of the first screen."""

    kind: Literal["bars"] = "bars"
    label: str
    text: str = ""
    says: str = Field(description="the outcome in one sentence")
    changed: bool = True
    first: tuple[Bar, ...] = ()
    rest: tuple[Bar, ...] = ()


class Left(Record):
    """What the text of one reading leaves out."""

    kind: Literal["left"] = "left"
    label: str
    says: str
    share: float | None = Field(default=None, description="share of the divergence left over")


class Note(Record):
    """A plain paragraph."""

    kind: Literal["note"] = "note"
    text: str


class Quote(Record):
    """Somebody's words, shown as written."""

    kind: Literal["quote"] = "quote"
    label: str = ""
    text: str


class Table(Record):
    """A table of short texts; the first column names the row."""

    kind: Literal["table"] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = Field(default=False, description="shown one click away")


class Valued(Record):
    """What a sentence is worth in one measure."""

    value: Interval
    left_out: float | None = Field(default=None, description="what the whole text loses without it")


class WorthRow(Record):
    """One sentence; `values` in the order of the columns, None where it could not be measured."""

    sentence: str
    marked: bool = Field(default=False, description="it raises the proxy reward and lowers the true one")
    values: tuple[Valued | None, ...]


class Worths(Record):
    """What the sentences of a text are worth, each measure on a scale of its own."""

    kind: Literal["worths"] = "worths"
    label: str
    columns: tuple[str, ...]
    rows: tuple[WorthRow, ...]


class Line(Record):
    """One line of a curve. `points` are (x, y)."""

    name: str
    style: Literal["proxy", "true", "other", "chosen"]
    points: tuple[tuple[float, float], ...]
    marks: bool = Field(
        default=False, description="each point was measured apart (a validation), not joined by a trend"
    )


class Curve(Record):
    """A picture of numbers over steps."""

    kind: Literal["curve"] = "curve"
    title: str
    says: str = Field(description="what is seen, in words")
    x_label: str
    lines: tuple[Line, ...]
    dots: str = Field(default="", description="what the marks are")


class Exhibit(Record):
    """One task answered before, after, and by the before given the text."""

    prompt: str
    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    with_text: tuple[Piece, ...] | None = Field(default=None, description="marked where it differs from the after")
    note: str = ""


class ClaimNode(Record):
    """A claim with its slice, its rates and its evidence."""

    kind: Literal["claim"] = "claim"
    anchor: str
    says: str
    text: str | None = None
    where: str = ""
    before: float | None = None
    after: float | None = None
    outside: float | None = None
    nats: float | None = None
    exhibits: tuple[Exhibit, ...] = ()
    held_back: int = Field(default=0, description="evidence that is in the events but not on the page")


class LineageText(Record):
    """One text on its way: what it changed of its parent, and what became of it."""

    key: str
    parent: str | None = None
    parents: tuple[str, ...] = ()
    origin: str = ""
    pieces: tuple[Piece, ...]
    accepted: bool = True
    why: str = ""
    search: str = ""
    keep: str = ""
    depth: int = 0
    root: str | None = Field(default=None, description="key of the text of the line from which it leads off, if of one")


class Lineage(Record):
    """The tree of texts. Its trunk is the line from the first text to the chosen one; the rest leads off it."""

    kind: Literal["lineage"] = "lineage"
    label: str
    line: tuple[LineageText, ...]
    kept: tuple[LineageText, ...] = Field(default=(), description="accepted ones off the line, each after its parent")
    tried: tuple[LineageText, ...] = Field(default=(), description="those that were not kept")
    held_back: int = Field(default=0, description="texts that are in the events but not here")


Role = Literal["chosen", "line", "front", "kept", "tried", "true"]


class Dot(Record):
    """One text in a picture. parent: the place of the dot it came from, among the dots."""

    x: float
    y: float
    role: Role
    says: str
    parent: int | None = None


class Dots(Record):
    """Texts by two numbers, with lines from parent to child where there are any."""

    kind: Literal["dots"] = "dots"
    title: str
    says: str = Field(description="what is seen, in words")
    x_label: str
    y_label: str
    dots: tuple[Dot, ...]
    legend: tuple[tuple[Role, str], ...] = ()


class Standing(Record):
    """Two texts on the same tasks."""

    name: str
    tasks: int
    before: Interval | None = None
    after: Interval | None = None
    gain: Interval | None = None
    says: str = ""
    sorted: bool = Field(default=False, description="its tasks were sorted out by the first text's answers")


class Standings(Record):
    """The first text and the chosen one beside each other, on kinds of tasks; one scale for all."""

    kind: Literal["standings"] = "standings"
    label: str
    rows: tuple[Standing, ...]


class Tally(Record):
    """An amount with its name; it is part of `of` where that is told."""

    name: str
    value: float
    of: float | None = None
    marked: bool = False
    text: bool = Field(default=False, description="the name is a text that a model wrote")


class Tallies(Record):
    """Amounts beside each other, as bars on one scale."""

    kind: Literal["tallies"] = "tallies"
    label: str
    unit: str
    rows: tuple[Tally, ...]


class Cell(Record):
    """One square of a grid."""

    row: int
    column: int
    value: float
    says: str = Field(description="what it is, with its interval")


class Grid(Record):
    """Distances of every two of several runs, as a square; rows and columns in the order of `names`."""

    kind: Literal["grid"] = "grid"
    title: str
    says: str = Field(description="what is seen, in words")
    names: tuple[str, ...]
    groups: tuple[int, ...] = Field(description="how many rows belong together, from the top: one number a behaviour")
    cells: tuple[Cell, ...] = Field(description="those off the diagonal")
    limit: float = Field(description="up to this two count as one behaviour")


class Commands(Record):
    """Lines to type."""

    kind: Literal["commands"] = "commands"
    lines: tuple[str, ...]


Node = Note | Quote | Table | Worths | Curve | ClaimNode | Lineage | Commands | Bars | Grid | Dots | Standings | Tallies


class Section(Record):
    """A part of the page under one heading."""

    anchor: str
    title: str
    intro: str = ""
    nodes: tuple[Node, ...] = ()


QUESTIONS = ("What did training teach?", "How much of it do these sentences carry?", "What is left?")


class First(Record):
    """The first screen: three questions and their answers."""

    questions: tuple[str, str, str] = QUESTIONS
    taught: tuple[Sentences, ...]
    taught_note: str = Field(default="", description="what to say when there is no sentence, and why")
    next_step: str = Field(default="", description="what to type to learn more, where nothing has been read")
    carried: tuple[Bars, ...]
    carried_note: str = ""
    grid: Grid | None = Field(default=None, description="of a comparison: how far the runs are apart")
    standings: Standings | None = Field(default=None, description="of a search: the first text and the chosen one")
    left: tuple[Left, ...]
    left_note: str = ""


class Page(Record):
    """The whole page."""

    format: int = Field(default=1, description="raised when the meaning of a field changes")
    title: str
    about: tuple[tuple[str, str], ...] = Field(default=(), description="name and value: models, environment, date")
    first: First
    sections: tuple[Section, ...] = ()
    made_with: str = ""
