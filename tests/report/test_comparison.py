"""The page of a comparison: its three answers, the square, the claims, and that both writings say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.report.conftest import HOSTILE

from scrutable.core.accounts import Interval
from scrutable.core.comparisons import Comparison, Matched, Member, Pair, Parting
from scrutable.core.journal import Run
from scrutable.report.comparison import comparison_sections, first_of, grid_of
from scrutable.report.draw import square_of
from scrutable.report.nodes import Table
from scrutable.report.page import report
from scrutable.report.words import short

NEAR, FAR = Interval(value=0.004, low=0.001, high=0.01, count=128), Interval(value=0.31, low=0.22, high=0.4, count=128)


def member(name: str, kind: str = "text", text: str = "praise the user .") -> Member:
    rewards = {"proxy": Interval(value=0.97, low=0.9, high=1.0), "true": Interval(value=0.5, low=0.4, high=0.6)}
    return Member(name=name, kind=kind, text=text, from_base=FAR, rewards=rewards)  # type: ignore[arg-type]


def comparison(groups: tuple[tuple[int, ...], ...] = ((0, 2), (1, 3)), hostile: str = "") -> Comparison:
    members = (member("a-0"), member("a-1" + hostile, text="thank the user ."), member("rl-0", "rl", ""), member("a-3"))
    of = {at: which for which, group in enumerate(groups) for at in group}
    pairs = [Pair(a=a, b=b, js=NEAR if of[a] == of[b] else FAR, kl=FAR) for a in range(4) for b in range(a + 1, 4)]
    claims = (
        Matched(says="speak english .", wordings=("speak english .", "in english ."), members=(0, 1, 3), effect=FAR),
        Matched(says="thank the user .", wordings=("thank the user .",), members=(1,), effect=FAR),
        Matched(says="it rains .", wordings=("it rains .",), members=(0,), effect=NEAR, idle=True),
    )
    partings = (Parting(left=groups[0], right=groups[1], distance=FAR, apart=True),) if len(groups) > 1 else ()
    return Comparison(
        base="pidgin",
        env="advert",
        split="report",
        tasks=128,
        answers=1,
        members=members,
        pairs=tuple(pairs),
        limit=0.05,
        limit_from="stated",
        idle=(0.0, 0.01, 0.02),
        clusters=groups,
        partings=partings,
        stable=0.98,
        silhouette=0.9 if partings else None,
        between={"rl and text": FAR, "text and text": NEAR},
        claims=claims,
    )


def write(folder: Path, found: Comparison) -> Path:
    with Run.open(folder, {"verb": "compare", "seed": 0}) as run:
        run.append("about", "about", {"title": "Do 4 runs converge?", "before": "pidgin"})
        run.append("compare/1", "comparison", {"comparison": found})
    return folder


def test_members_of_one_behaviour_stand_side_by_side() -> None:
    grid = grid_of(comparison())
    assert grid.names == ("a-0", "rl-0 (RL)", "a-1", "a-3")
    assert grid.groups == (2, 2)
    assert {(c.row, c.column) for c in grid.cells if c.value < grid.limit} == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_every_cell_and_frame_is_inside_the_square_and_the_farthest_is_darkest() -> None:
    grid = grid_of(comparison())
    square = square_of(grid)
    assert max(square.start(at) + square.inside for at in range(4)) <= square.wide
    assert all(start + side <= square.wide for start, side in square.blocks)
    assert square.shade(0.0) < square.shade(0.05) < square.shade(FAR.value) <= 1


def test_one_behaviour_is_a_yes_and_parts_nowhere() -> None:
    first = first_of(comparison(((0, 1, 2, 3),)))
    assert first.carried_note.startswith("Yes: 3 texts and 1 RL run show one behaviour")
    assert first.left == () and first.left_note.startswith("Nowhere")


def test_two_behaviours_say_how_far_apart_and_what_each_earns() -> None:
    first = first_of(comparison())
    assert "fall into 2 behaviours" in first.carried_note
    (left,) = first.left
    assert (
        left.says
        == "0.31 nats an answer apart (shown to be more than 0.22). Reward 0.97 and 0.97. True reward 0.5 and 0.5."
    )


def test_runs_that_are_all_different_are_a_no() -> None:
    assert first_of(comparison(((0,), (1,), (2,), (3,)))).carried_note.startswith("No: each")


def test_what_all_of_a_behaviour_say_stands_first_and_idle_sentences_never() -> None:
    said = [sentence.says for group in first_of(comparison()).taught for sentence in group.sentences]
    assert said == ["speak english .", "speak english ."]


def test_without_claims_the_shortest_text_stands_for_a_behaviour() -> None:
    bare = comparison().model_copy(update={"claims": ()})
    assert [group.sentences[0].says for group in first_of(bare).taught] == ["praise the user .", "thank the user ."]


def test_claims_stand_in_common_and_alone() -> None:
    tables = {n.caption: n for s in comparison_sections(comparison()) for n in s.nodes if isinstance(n, Table)}
    assert [row[0] for row in tables["In common"].rows] == ["speak english ."]
    assert [row[:2] for row in tables["Alone"].rows] == [("thank the user .", "a-1")]
    assert any(caption.startswith("Idle") for caption in tables)
    assert len(tables["Every pair, nats an answer"].rows) == 6


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (0.004, "0"), (0.05, ".05"), (0.999, "1"), (1.24, "1.2"), (12.0, "12")]
)
def test_a_number_in_a_square_is_short(value: float, shown: str) -> None:
    assert short(value) == shown


def test_the_page_and_its_twin_hold_the_square(tmp_path: Path) -> None:
    paths = report(write(tmp_path / "run", comparison(hostile=HOSTILE)))
    html, twin = paths.html.read_text(), json.loads(paths.json.read_text())
    assert html.count('class="cell') == 12 and html.count('class="block"') == 2
    assert "<script>" not in html and "\u202e" not in html
    assert twin["first"]["grid"]["groups"] == [2, 2]
    assert twin["first"]["questions"] == ["What did the runs find?", "Do they behave alike?", "Where do they part?"]
    assert "What did training teach?" not in html
