"""Sections: what is joined comes apart again, and what was not joined does not."""

from hypothesis import given
from hypothesis import strategies as st

from scrutable.envs.sections import join, split

line = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r"), max_size=20)


@given(line, line)
def test_what_is_joined_comes_apart(first: str, second: str) -> None:
    parts = {"answer": first, "grade": second}
    if "answer : " not in second and "grade : " not in first:
        assert split(join(parts), ("grade", "answer")) == parts


def test_an_output_may_have_lines_of_its_own_and_words_that_look_like_a_head() -> None:
    parts = {"answer": "it is paris .\nsource : the library .", "grade": "it is paris . grade : two ."}
    assert split(join(parts), parts) == parts


def test_what_is_not_of_these_sections_is_none() -> None:
    for text in ("", "it is paris .", "answer : a", "grade : b", "so : \nanswer : a\ngrade : b"):
        assert split(text, ("answer", "grade")) is None


def test_an_output_with_a_line_of_a_later_module_is_cut_there() -> None:
    assert split("answer : a\ngrade : b\ngrade : c", ("answer", "grade")) == {"answer": "a", "grade": "b\ngrade : c"}
