"""The page and its twin: one content, nothing foreign, everything escaped."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.report.conftest import HOSTILE
from tests.report.synthetic import CONFIG, EVOLVED, RULE

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.report.gather import gather
from scrutable.report.nodes import Page
from scrutable.report.page import compose, report, tell_bar, to_html, to_json

ALLOWED_ADDRESS = re.compile(r"#|data:,$")


class Elements(HTMLParser):
    """All elements of a page with their attributes, and all its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def hostile(hostile_folder: Path) -> Elements:
    return Elements(to_html(compose(gather(Run.read(hostile_folder)))))


def test_a_report_is_two_files_in_the_run_folder(run_folder: Path) -> None:
    paths = report(run_folder)
    assert (paths.html, paths.json) == (run_folder / "report.html", run_folder / "report.json")
    assert paths.html.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_twin_is_the_page(run_folder: Path) -> None:
    page = compose(gather(Run.read(run_folder)))
    assert Page.model_validate_json(to_json(page)) == page
    twin = json.loads(to_json(page))
    assert twin["first"]["taught"][0]["sentences"][0]["says"] == RULE
    assert twin["first"]["carried"][0]["first"][0]["value"]["value"] == pytest.approx(0.981)


def test_the_page_says_what_the_environment_rewards(run_folder: Path) -> None:
    facts = gather(Run.read(run_folder))
    told = compose(replace(facts, about={**facts.about, "rewards": "pays for praise"})).about
    assert ("its reward", "pays for praise") in told
    assert "its reward" not in dict(compose(replace(facts, about={**facts.about, "rewards": ""})).about)


def test_the_same_events_give_the_same_page(run_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_folder, tmp_path / run_folder.name)
    assert report(run_folder).html.read_bytes() == report(copy).html.read_bytes()


def test_the_page_holds_no_script_and_no_handler(hostile: Elements) -> None:
    assert {tag for tag, _ in hostile.found}.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "base"})
    assert not [name for _, attributes in hostile.found for name in attributes if name.startswith("on")]


def test_every_address_stays_on_the_page(hostile: Elements) -> None:
    named = [a[name] or "" for _, a in hostile.found for name in ("href", "src", "xlink:href", "action") if name in a]
    assert named
    assert all(ALLOWED_ADDRESS.match(address) for address in named)


def test_the_policy_forbids_scripts_and_requests(hostile: Elements) -> None:
    policy = next(a["content"] for tag, a in hostile.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_what_strangers_wrote_stands_there_as_text(hostile: Elements) -> None:
    shown = (
        "<script>alert(1)</script><img src=x onerror=alert(2)>**bold** [link](http://x.test) ⟨U+202E⟩evil ⟨U+001B⟩[31m"
    )
    assert hostile.text.count(shown) >= 8  # title, rule, claim, task, answers, lineage, quotes
    assert "{{ 7*7 }}" in hostile.text
    assert not set(HOSTILE) & set(hostile.text) & {"\u202e", "\x1b", "\u200b", "\x00"}


def test_no_control_character_reaches_the_twin(hostile_folder: Path) -> None:
    text = to_json(compose(gather(Run.read(hostile_folder))))
    assert text.isascii()
    assert all(char.isprintable() or char == "\n" for char in text)


def test_every_picture_has_its_words(run_folder: Path) -> None:
    page = compose(gather(Run.read(run_folder)))
    pictures = [a for tag, a in Elements(to_html(page)).found if tag == "svg"]
    spoken = [a["aria-label"] for a in pictures if a.get("role") == "img"]
    assert len(spoken) == 6 + 4 + 1 + 2  # bars of the first screen, bars below, one curve, two pictures of texts
    assert spoken[0] == f"KL recovered: {tell_bar(page.first.carried[0].first[0])}"


def test_a_bar_tells_its_interval_and_its_nulls(run_folder: Path) -> None:
    bar = compose(gather(Run.read(run_folder))).first.carried[0].first[0]
    assert tell_bar(bar) == (
        "98.1%, 95% interval 97.3 to 98.5%. 95th percentile of 20 unrelated texts: 3.2%. "
        "Random texts of equal length: at most −22%. The same words shuffled: 88.1% (68.1 to 96.1%)."
    )


def test_an_unchanged_pair_prints_no_share(unchanged_folder: Path) -> None:
    page = Elements(to_html(compose(gather(Run.read(unchanged_folder)))))
    assert "Nothing measurable changed." in page.text
    assert "recovered:" not in "".join(a.get("aria-label") or "" for _, a in page.found)
    assert not re.search(r"recovered\s*\d", page.text)


def test_a_page_can_be_had_while_another_process_writes(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("train/step/1", "step", {"step": 1, "reward": 0.5})
        assert report(tmp_path / "run").html.exists()


def test_a_folder_without_a_run_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run at"):
        report(tmp_path)


def test_links_lead_to_parts_that_are_there(run_folder: Path) -> None:
    page = Elements(to_html(compose(gather(Run.read(run_folder)))))
    ids = [a["id"] for _, a in page.found if "id" in a]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for tag, a in page.found if tag == "a"} <= set(ids)


def test_the_evolved_text_is_quoted_in_full(run_folder: Path) -> None:
    assert EVOLVED in Elements(to_html(compose(gather(Run.read(run_folder))))).text
