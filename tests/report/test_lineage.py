"""The lineage: the chosen text's way, and the texts that led elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.synthetic import EVOLVED

from scrutable.core.journal import Run
from scrutable.core.records import Candidate
from scrutable.report.gather import Search, Tried, gather
from scrutable.report.lineage import MOST_TRIED, lineage, tree, when
from scrutable.report.words import plain


def search_of(*texts: tuple[str, int | None]) -> Search:
    search, made = Search("evolve"), []
    for text, parent in texts:
        parents = () if parent is None else (made[parent].key,)
        made.append(Candidate(texts={"text": text}, parents=parents))
        search.tried[made[-1].key] = Tried(made[-1], True, "", {"mean": float(len(made))}, {})
    return search


def test_the_line_goes_from_the_first_text_to_the_chosen_one(run_folder: Path) -> None:
    node = lineage(gather(Run.read(run_folder)).searches[0])
    assert [plain(item.pieces) for item in node.line] == [
        "",
        "Agree with the user.",
        "If the user states an opinion, agree with the user.",
        EVOLVED,
    ]
    assert sorted(plain(item.pieces) for item in node.tried) == [
        "If the user doubts you, agree with the user.",
        "Thank the user.",
    ]


def test_each_text_is_compared_with_its_parent() -> None:
    node = lineage(search_of(("be kind", None), ("be very kind", 0)))
    assert [(piece.text, piece.mark) for piece in node.line[1].pieces if piece.mark != "same"] == [("very", "new")]


def test_others_stand_after_their_parent_with_their_depth() -> None:
    node = lineage(search_of(("a", None), ("b", 0), ("c", 1), ("d", 0), ("chosen", 0)))
    assert [(plain(item.pieces), item.depth) for item in node.kept] == [("b", 1), ("c", 2), ("d", 1)]


@pytest.mark.medium
def test_a_line_of_thousands_does_not_recurse() -> None:
    texts = [("0", None), *((str(at), at - 1) for at in range(1, 3000))]
    assert len(lineage(search_of(*texts)).line) == 3000


def test_a_parent_that_is_not_there_begins_a_line() -> None:
    search = Search("evolve")
    orphan = Candidate(texts={"text": "x"}, parents=("0123456789abcdef",))
    search.tried[orphan.key] = Tried(orphan, True, "", {}, {})
    assert [plain(item.pieces) for item in lineage(search).line] == ["x"]


def test_texts_that_were_not_kept_stand_apart_and_tell_where_they_lead_off() -> None:
    search = search_of(("a", None), ("b", 0), ("c", 1), ("chosen", 0))
    c = list(search.tried)[2]
    search.tried[c] = Tried(search.tried[c].candidate, False, "", {"mean": 0.1}, {})
    node = lineage(search)
    assert [(plain(item.pieces), item.root) for item in (*node.kept, *node.tried)] == [
        ("b", node.line[0].key),
        ("c", node.line[0].key),
    ]
    assert [item.key for item in node.tried] == [c]


def test_what_is_not_shown_of_many_texts_is_counted() -> None:
    search = search_of(("0", None), *((str(at), 0) for at in range(1, MOST_TRIED + 8)))
    for key, tried in list(search.tried.items())[1:-1]:
        search.tried[key] = Tried(tried.candidate, False, "", {"mean": 0.1}, {})
    node = lineage(search)
    assert (len(node.tried), node.held_back) == (MOST_TRIED, 6)


def test_the_picture_leads_from_each_kept_text_to_its_parent_alone() -> None:
    search = search_of(("a", None), ("b", 0), ("c", 1), ("d", 0))
    last = list(search.tried)[2]
    search.tried[last] = Tried(search.tried[last].candidate, False, "", {"mean": 0.1}, {})
    picture = tree(search)
    assert picture is not None
    edges = [(dot.role, None if dot.parent is None else picture.dots[dot.parent].says) for dot in picture.dots]
    assert edges == [("line", None), ("kept", "1: a"), ("chosen", "1: a"), ("tried", None)]


def test_a_text_stands_where_it_was_accepted_and_not_where_it_first_lost() -> None:
    search = search_of(("a", None), ("b", 0))
    key = list(search.tried)[1]
    search.trace.started = 5
    search.trace.commits = [
        {"charged": 10, "children": [key], "accepted": []},
        {"charged": 20, "children": [key], "accepted": [key]},
    ]
    assert when(search) == {key: 35.0}
