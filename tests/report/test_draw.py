"""Geometry: what stands where, and that nothing leaves its frame."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from scrutable.core.accounts import Interval
from scrutable.report.draw import HIGHEST, LOWEST, drawn_order, plot_of, scale_of, scale_of_standings
from scrutable.report.nodes import Bar, Bars, Curve, Dot, Dots, Line, Standing, Standings


def group(*values: float, unrelated: tuple[float, ...] = ()) -> Bars:
    made = tuple(Bar(name="kl", explains="", value=Interval(value=value), unrelated=unrelated) for value in values)
    return Bars(label="x", says="", first=made)


def test_zero_and_one_are_always_on_the_scale() -> None:
    scale = scale_of([group(0.5)])
    assert 0 < scale.at(0) < scale.at(1) < 100


def test_a_scale_grows_for_what_lies_outside_and_stops() -> None:
    assert scale_of([group(-0.2)]).low < -0.2
    assert scale_of([group(-50.0, 9.0)]).low == LOWEST
    assert scale_of([group(-50.0, 9.0)]).high == HIGHEST


def test_all_bars_share_one_scale() -> None:
    scale = scale_of([group(0.9), group(-0.2)])
    assert scale.low < -0.2


def test_what_lies_below_the_scale_is_counted() -> None:
    assert scale_of([group(0.9)]).below((-3.0, -0.2, 0.1)) == 2


@given(st.floats(-1e6, 1e6))
def test_no_place_is_outside_the_picture(value: float) -> None:
    assert 0 <= scale_of([group(0.9)]).at(value) <= 100


points = st.lists(st.tuples(st.integers(0, 5000), st.floats(-100, 100)), min_size=1, max_size=40)


@given(points)
def test_every_point_of_a_curve_is_inside_the_frame(given_points: list[tuple[int, float]]) -> None:
    drawn = tuple((float(x), y) for x, y in given_points)
    plot = plot_of(Curve(title="", says="", x_label="", lines=(Line(name="a", style="proxy", points=drawn),)))
    assert all(-0.01 <= plot.across(x) <= 100.01 and -0.01 <= plot.down(y) <= 100.01 for x, y in drawn)
    assert 2 <= len(plot.ticks) <= 8


def test_labels_of_lines_that_end_together_do_not_cover_each_other() -> None:
    lines = tuple(Line(name=str(at), style="other", points=((0.0, 0.0), (1.0, 1.0 + at / 1000))) for at in range(3))
    curve = Curve(title="", says="", x_label="", lines=lines)
    places = sorted(plot_of(curve).label_at(curve, line) for line in lines)
    assert all(b - a >= 8.9 for a, b in itertools.pairwise(places))


def test_counts_have_whole_ticks() -> None:
    curve = Curve(title="", says="", x_label="", lines=(Line(name="n", style="other", points=((0, 0), (1, 10))),))
    assert plot_of(curve).ticks == (0, 3, 6, 9, 12)


def test_a_hair_over_a_tick_needs_no_further_one() -> None:
    curve = Curve(title="", says="", x_label="", lines=(Line(name="n", style="other", points=((0, 0), (1, 1.003))),))
    assert plot_of(curve).ticks[-1] == 1.0


def test_what_matters_most_is_drawn_last() -> None:
    dots = tuple(Dot(x=0, y=0, role=role, says=role) for role in ("chosen", "tried", "line", "kept"))
    picture = Dots(title="", says="", x_label="", y_label="", dots=dots)
    assert [dot.role for dot in drawn_order(picture)] == ["tried", "kept", "line", "chosen"]


def test_standings_share_one_scale_with_zero_inside() -> None:
    rows = tuple(Standing(name="", tasks=1, after=Interval(value=v, low=v - 0.1, high=v + 0.1)) for v in (-0.5, 2.0))
    scale = scale_of_standings(Standings(label="", rows=rows))
    assert scale.low < -0.6 and scale.high > 2.1
    assert 0 < scale.at(0) < 100
