"""Geometry of the pictures, nothing else: where on a scale a number stands, and the path of a line.

Bars are drawn in percent of their width, so that one picture fits every screen and its strokes stay sharp. What lies
outside a bar's scale is drawn as an arrow at the edge, and its number is told in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scrutable.report.nodes import Bar, Bars, Curve, Dot, Dots, Grid, Line, Standings, Tallies, Worths

LOWEST, HIGHEST = -0.25, 1.25
_OVER = 0.02  # of a step: by so much a point may stand over the frame


@dataclass(frozen=True)
class Scale:
    """A stretch of shares, drawn over the whole width."""

    low: float = -0.1
    high: float = 1.05

    def at(self, value: float) -> float:
        """Return the place of `value` in percent of the width, held inside."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 3)

    def width(self, start: float, end: float) -> float:
        """Return the width between two values in percent."""
        return round(abs(self.at(end) - self.at(start)), 3)

    def below(self, values: Iterable[float]) -> int:
        """Count the values under the scale."""
        return sum(value < self.low for value in values)

    def above(self, values: Iterable[float]) -> int:
        """Count the values over the scale."""
        return sum(value > self.high for value in values)


def scale_of(groups: Iterable[Bars]) -> Scale:
    """Return one scale for all bars of the page, so that they can be compared: 0 to 100%, and some room where needed."""
    values = [value for bars in groups for bar in (*bars.first, *bars.rest) for value in _values(bar)]
    finite = [value for value in values if math.isfinite(value)]
    low = min([-0.1, *(value - 0.03 for value in finite)])
    high = max([1.05, *(value + 0.03 for value in finite)])
    return Scale(max(low, LOWEST), min(high, HIGHEST))


def scale_of_worths(worths: Worths, column: int) -> Scale:
    """Return one scale for all sentences in one measure: from its lowest end to its highest, 0 always inside."""
    found = [row.values[column] for row in worths.rows]
    ends = [end for one in found if one for end in (one.value.value, one.value.low, one.value.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = 0.04 * (high - low) or 1.0
    return Scale(low - room, high + room)


def _values(bar: Bar) -> tuple[float, ...]:
    ends = [] if bar.value is None else [bar.value.value, bar.value.low, bar.value.high]
    return tuple(value for value in (*ends, *bar.unrelated, *bar.random, *bar.shuffled) if value is not None)


@dataclass(frozen=True)
class Plot:
    """The frame of a curve: its limits, and what stands on its axes."""

    x: tuple[float, float]
    y: tuple[float, float]
    ticks: tuple[float, ...]

    def across(self, x: float) -> float:
        """Return the place of `x` in percent from the left."""
        return round(100 * (x - self.x[0]) / (self.x[1] - self.x[0]), 2)

    def down(self, y: float) -> float:
        """Return the place of `y` in percent from the top."""
        return round(100 - 100 * (y - self.y[0]) / (self.y[1] - self.y[0]), 2)

    def path(self, line: Line) -> str:
        """Return the SVG path of a line in a box of 100 × 100."""
        return " ".join(f"{'L' if at else 'M'}{self.across(x)} {self.down(y)}" for at, (x, y) in enumerate(line.points))

    def label_at(self, curve: Curve, line: Line) -> float:
        """Return where the label of a line stands (percent from the top): at its end, moved off its neighbours."""
        ends = sorted((self.down(other.points[-1][1]), at) for at, other in enumerate(curve.lines) if not other.marks)
        places: dict[int, float] = {}
        lowest = -math.inf
        for end, at in ends:
            lowest = max(end, lowest + 9)
            places[at] = lowest
        over = max(0.0, lowest - 97)
        return round(places[curve.lines.index(line)] - over, 2)


def scale_of_standings(standings: Standings) -> Scale:
    """Return one scale for all rows: from zero (or the lowest) to the highest, with some room."""
    told = [one for row in standings.rows for one in (row.before, row.after) if one is not None]
    ends = [end for one in told for end in (one.value, one.low, one.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = 0.03 * (high - low) or 1.0
    return Scale(low - room, high + room)


def scale_of_tallies(tallies: Tallies) -> Scale:
    """Return one scale for all bars, from zero to the longest."""
    return Scale(0.0, max([1e-9, *(row.value for row in tallies.rows)]))


def plot_of_dots(picture: Dots) -> Plot:
    """Return the frame of a picture of texts."""
    return _plot([dot.x for dot in picture.dots], [dot.y for dot in picture.dots])


_LAST = ("tried", "true", "kept", "front", "line", "chosen")


def drawn_order(picture: Dots) -> list[Dot]:
    """Return the dots in the order in which they are drawn: what matters most last, so that nothing covers it."""
    return sorted(picture.dots, key=lambda dot: _LAST.index(dot.role))


def plot_of(curve: Curve) -> Plot:
    """Return the frame of a curve."""
    points = [point for line in curve.lines for point in line.points]
    return _plot([x for x, _ in points], [y for _, y in points])


def _plot(xs: Sequence[float], ys: Sequence[float]) -> Plot:
    """Return the frame: from zero (or the lowest) to the highest, with three to six round ticks."""
    low, high = min(0.0, *ys), max(*ys, min(0.0, *ys) + 1e-9)
    step = _round_step((high - low) / 4)
    if high > 1 and all(y == round(y) for y in ys):  # counts
        step = max(1.0, float(math.ceil(step)))
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - _OVER) * step
    count = round((high - low) / step)
    ticks = tuple(round(low + step * at, 10) for at in range(count + 1))
    left, right = min(xs), max(xs)
    return Plot((left, right if right > left else left + 1), (low, high), ticks)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * 0.999)


@dataclass(frozen=True)
class Square:
    """The frame of a grid: where its cells stand, in units of its view box, and how dark they are."""

    count: int
    most: float
    groups: tuple[int, ...]
    cell: float = 36.0
    edge: float = 9.0  # where the numbers of rows and columns stand
    margin: float = 18.0
    gap: float = 1.0

    @property
    def wide(self) -> float:
        """The side of the whole."""
        return self.margin + self.cell * self.count + self.gap

    @property
    def shown(self) -> int:
        """Its width on a wide screen, in pixels; on a narrow one it is as wide as there is room."""
        return round(min(1.4 * self.wide, 470))

    @property
    def inside(self) -> float:
        """The side of a cell as drawn."""
        return self.cell - 2 * self.gap

    @property
    def told(self) -> bool:
        """Is there room for the numbers?"""
        return self.count <= 16

    @property
    def blocks(self) -> list[tuple[float, float]]:
        """Where each group begins, and its side."""
        found, at = [], 0
        for size in self.groups:
            found.append((self.margin + self.cell * at, self.cell * size))
            at += size
        return found

    def start(self, at: int) -> float:
        """Return where a row or column begins."""
        return self.margin + self.cell * at + self.gap

    def middle(self, at: int) -> float:
        """Return the middle of a row or column."""
        return self.margin + self.cell * (at + 0.5)

    def shade(self, value: float) -> float:
        """Return how dark a cell is: from nearly nothing at 0 to nearly full at the largest distance."""
        return round(0.08 + 0.84 * math.sqrt(max(0.0, value) / self.most), 3) if self.most > 0 else 0.08


def square_of(grid: Grid) -> Square:
    """Return the frame of a grid; the largest distance, and no less than twice the limit, is darkest."""
    most = max([2 * grid.limit, *(cell.value for cell in grid.cells)])
    return Square(len(grid.names), most, grid.groups)
