"""Cells against a plain dict with the same keys."""

from hypothesis import given
from hypothesis import strategies as st

from scrutable.evolve.cells import CellKey, Cells

PLACES = st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 1))
VALUES = st.sampled_from([None, 0.0, 1.0])


@given(st.lists(st.tuples(st.booleans(), st.lists(st.tuples(PLACES, VALUES), max_size=6)), max_size=6))
def test_set_one_by_one_or_several_at_once_they_hold_what_a_dict_holds(
    steps: list[tuple[bool, list[tuple[CellKey, float | None]]]],
) -> None:
    cells, known = Cells[float | None](), dict[CellKey, float | None]()
    for together, values in steps:
        known.update(values)
        if together:
            cells.update(values)
        else:
            for place, value in values:
                cells[place] = value
        assert len(cells) == len(known)
    assert {place: cells[place] for place in known if place in cells} == known
    for place in [(c, t, r) for c in "ab" for t in "xyz" for r in range(2)]:
        assert (place in cells) == (place in known)
        assert cells.get(place, -1.0) == known.get(place, -1.0)
