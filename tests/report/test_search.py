"""A search on the page, from the events of a real one: nothing is lost between the engine and the reader."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.evolve.late import journaled
from tests.report.conftest import HOSTILE
from tests.report.searched import COPIES, GARBLED, REFUSED, Copier, Failing, write_searched
from tests.report.test_page import Elements

from scrutable.core.journal import Run
from scrutable.evolve.engine import EvolveResult
from scrutable.report.gather import Facts, gather
from scrutable.report.nodes import Curve, Dots, Lineage, Node, Note, Page, Standings, Table, Tallies, Worths
from scrutable.report.page import compose, to_html, to_json

NEW = ("proposal", "slices", "schedule")


@dataclass
class Searched:
    """A run, what it came to, and its page."""

    folder: Path
    result: EvolveResult
    scorer: Failing
    writer: Copier
    facts: Facts
    page: Page

    def nodes(self, anchor: str) -> tuple[Node, ...]:
        """Return the nodes of a section."""
        return next(section.nodes for section in self.page.sections if section.anchor == anchor)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    folder = tmp_path_factory.mktemp("runs") / "searched"
    result, scorer, writer = write_searched(folder)
    facts = gather(Run.read(folder))
    yield Searched(folder, result, scorer, writer, facts, compose(facts))


def one(nodes: tuple[Node, ...], kind: type[Node]) -> Node:  # type: ignore[valid-type]
    return next(node for node in nodes if isinstance(node, kind))  # type: ignore[arg-type]


@pytest.mark.medium
def test_every_failure_is_on_the_page(searched: Searched) -> None:
    table = one(searched.nodes("failures"), Table)
    assert isinstance(table, Table)
    told = {why.removeprefix("proposer: "): int(often.replace(",", "")) for _, why, often in table.rows}
    assert searched.scorer.lost and searched.scorer.refused and searched.writer.copied
    assert told == {GARBLED: searched.scorer.lost, REFUSED: searched.scorer.refused, COPIES: searched.writer.copied}
    assert searched.result.unscored == searched.scorer.lost


def test_the_tree_has_every_text_and_its_edges_lead_to_parents(searched: Searched) -> None:
    picture = one(searched.nodes("texts"), Dots)
    assert isinstance(picture, Dots)
    search = searched.facts.searches[0]
    assert len(picture.dots) == len(search.tried)
    roles = Counter(dot.role for dot in picture.dots)
    assert roles["chosen"] == 1
    assert roles["chosen"] + roles["line"] + roles["kept"] == len(searched.result.candidates)
    byline = {dot.says: dot for dot in picture.dots}
    (chosen,) = (dot for dot in picture.dots if dot.role == "chosen")
    assert chosen.parent is not None
    assert byline[picture.dots[chosen.parent].says].role == "line"


def test_texts_lead_off_the_line_where_they_came_from_it(searched: Searched) -> None:
    node = one(searched.nodes("texts"), Lineage)
    assert isinstance(node, Lineage)
    line = {item.key for item in node.line}
    assert {item.root for item in (*node.kept, *node.tried)} <= line
    assert all(item.root == item.parent for item in (*node.kept, *node.tried) if item.depth == 1)
    assert len(node.line) + len(node.kept) == len(searched.result.candidates)
    assert not any(item.accepted for item in node.tried)


def test_the_first_screen_tells_the_text_and_its_score_on_fresh_tasks(searched: Searched) -> None:
    first = searched.page.first
    assert first.questions[0] == "Which text earns the reward?"
    assert " ".join(part.says for part in first.taught[0].sentences) == searched.result.best.text
    assert first.standings is not None
    assert first.standings.rows[0].after == searched.result.score
    assert first.standings.rows[0].gain == searched.result.gain


def test_slices_stand_with_their_intervals(searched: Searched) -> None:
    rows = one(searched.nodes("slices"), Standings)
    assert isinstance(rows, Standings)
    assert rows.rows[0].before == searched.result.base
    assert all(row.before is None for row in rows.rows if row.sorted)


def test_the_front_is_the_last_commits(searched: Searched) -> None:
    run = Run.read(searched.folder)
    front = run.events("proposal")[-1].payload["front"]
    tallies = one(searched.nodes("front"), Tallies)
    assert isinstance(tallies, Tallies)
    assert sorted(row.value for row in tallies.rows) == sorted(front.values())


def test_true_reward_stands_beside_the_proxy_where_it_differs(searched: Searched) -> None:
    picture = one(searched.nodes("front"), Dots)
    assert isinstance(picture, Dots)
    assert any(dot.role == "true" for dot in picture.dots)


def test_the_curve_of_the_best_follows_the_commits(searched: Searched) -> None:
    curve = next(node for node in searched.nodes("course") if isinstance(node, Curve))
    commits = [event.payload for event in Run.read(searched.folder).events("proposal")]
    best = next(line for line in curve.lines if not line.marks)
    assert {y for _, y in best.points[1:]} >= {commit["worth"] for commit in commits}
    assert [x for x, _ in best.points] == sorted(x for x, _ in best.points)
    assert curve.lines[-1].points[-1][0] == searched.result.rollouts


def test_the_mean_of_calls_under_way_is_their_time_over_the_whole(searched: Searched) -> None:
    curve = next(
        node for node in searched.nodes("course") if isinstance(node, Curve) and node.title == "Calls under way"
    )
    calls = [call for call in searched.facts.searches[0].trace.calls if call.kind == "rollouts"]
    whole = max(call.ended for call in searched.facts.searches[0].trace.calls)
    drawn = next(line for line in curve.lines if line.name == "rollouts")
    expected = sum(call.ended - call.began for call in calls) / whole
    assert sum(y for _, y in drawn.points) / len(drawn.points) == pytest.approx(expected, rel=1e-3)


def test_uses_sum_to_all_rollouts(searched: Searched) -> None:
    nodes = searched.nodes("cost")
    tallies = one(nodes, Tallies)
    assert isinstance(tallies, Tallies)
    assert sum(row.value for row in tallies.rows) == searched.result.rollouts


def test_the_share_that_no_writer_saw_is_counted_from_what_it_was_shown(searched: Searched) -> None:
    run = Run.read(searched.folder)
    shown = {tuple(pair) for event in run.events("proposal") for pair in event.payload["shown"]}
    paid = journaled(run)
    assert shown <= {cell[:2] for cell in paid}
    note = next(n for n in searched.nodes("cost") if isinstance(n, Note) and n.text.startswith("A writer saw"))
    assert f"A writer saw {len(shown)} answers of {len(paid)}" in note.text


def test_each_sentence_has_its_worth(searched: Searched) -> None:
    node = one(searched.nodes("worth-evolve"), Worths)
    assert isinstance(node, Worths)
    assert [row.sentence for row in node.rows] == [worth.sentence for worth in searched.result.worth]


def test_the_twin_is_the_page(searched: Searched) -> None:
    assert Page.model_validate_json(to_json(searched.page)) == searched.page


def test_what_a_writer_wrote_stands_there_as_text(tmp_path: Path) -> None:
    write_searched(tmp_path / "run", HOSTILE)
    found = Elements(to_html(compose(gather(Run.read(tmp_path / "run")))))
    assert {tag for tag, _ in found.found}.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "base"})
    assert not [name for _, attributes in found.found for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in found.text
    assert not set(HOSTILE) & set(found.text) & {"\u202e", "\x1b", "\u200b", "\x00"}
    ids = [a["id"] for _, a in found.found if "id" in a]
    assert len(ids) == len(set(ids))


def without(folder: Path, place: Path, keep: re.Pattern[str]) -> Page:
    """Return the page of a copy of the run that has only the events whose kind fits."""
    place.mkdir()
    (place / "config.json").write_bytes((folder / "config.json").read_bytes())
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if keep.fullmatch(json.loads(line)["kind"])]
    (place / "events.jsonl").write_text("".join(kept), encoding="utf-8")
    return compose(gather(Run.read(place)))


@pytest.mark.parametrize(
    ("keep", "anchors"),
    [
        ("(?!proposal|slices).*", {"texts", "front", "course", "worth-evolve", "failures", "cost", "reproduce"}),
        ("(?!result|slices|proposal).*", {"texts", "front", "course", "failures", "cost", "reproduce"}),
        ("candidate|about", {"texts", "cost", "reproduce"}),
    ],
)
def test_a_run_that_says_less_still_has_a_page(
    searched: Searched, tmp_path: Path, keep: str, anchors: set[str]
) -> None:
    page = without(searched.folder, tmp_path / "old", re.compile(keep))
    assert {section.anchor for section in page.sections} == anchors
    assert to_html(page).startswith("<!doctype html>")


@pytest.mark.medium
def test_a_run_killed_at_any_event_has_a_page(searched: Searched, tmp_path: Path) -> None:
    lines = (searched.folder / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    place = tmp_path / "killed"
    place.mkdir()
    (place / "config.json").write_bytes((searched.folder / "config.json").read_bytes())
    for upto in range(0, len(lines), max(1, len(lines) // 25)):
        (place / "events.jsonl").write_text("".join(lines[:upto]), encoding="utf-8")
        assert to_html(compose(gather(Run.read(place)))).startswith("<!doctype html>")
