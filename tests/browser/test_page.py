"""The page in a real browser, at the widths people have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.browser.chromium import Chromium, found
from tests.report.conftest import HOSTILE
from tests.report.searched import write_searched
from tests.report.synthetic import write_run

from scrutable.report.page import report

pytestmark = pytest.mark.browser
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    if found() is None:
        pytest.fail("no chromium here; `make browser` installs it")
    with Chromium() as made:
        yield made


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("runs")
    long = HOSTILE + "w" * 300 + " https://x.test/" + "y" * 200
    runs = {
        "plain": write_run(place / "plain"),
        "hostile": write_run(place / "hostile", hostile=long),
        "same": write_run(place / "same", changed=False),
    }
    write_searched(place / "searched", long)
    runs["searched"] = place / "searched"
    return {name: report(folder).html.as_uri() for name, folder in runs.items()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["plain", "hostile", "same", "searched"])
def test_nothing_scrolls_sideways(browser: Chromium, pages: dict[str, str], name: str, width: int) -> None:
    browser.open(pages[name], width)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    wide, there = browser.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= there
    over = "[...document.querySelectorAll('body *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
    over += "['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX) && e.clientWidth > 1).length"
    assert browser.evaluate(over) == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_asks_for_nothing(browser: Chromium, pages: dict[str, str], width: int) -> None:
    browser.open(pages["hostile"], width)
    assert browser.requests() == [pages["hostile"]]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_foreign_script_runs(browser: Chromium, pages: dict[str, str], width: int) -> None:
    browser.open(pages["hostile"], width)
    browser.settle()
    told = [event["method"] for event in browser.events]
    assert "Page.javascriptDialogOpening" not in told
    assert browser.evaluate("document.scripts.length + document.images.length") == 0


def test_a_script_that_got_in_would_be_stopped(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["plain"], 1280)
    browser.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">');"
        "document.body.appendChild(Object.assign(document.createElement('script'), {textContent: 'window.ran = 2'}));"
    )
    browser.settle()
    assert browser.evaluate("window.ran === undefined") is True


@pytest.mark.parametrize("width", WIDTHS)
def test_what_strangers_wrote_is_read_as_text(browser: Chromium, pages: dict[str, str], width: int) -> None:
    browser.open(pages["hostile"], width)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    text = browser.evaluate("document.body.innerText")
    shown = (
        "<script>alert(1)</script><img src=x onerror=alert(2)>**bold** [link](http://x.test) ⟨U+202E⟩evil ⟨U+001B⟩[31m"
    )
    for where in (".sentence", ".asked", ".exhibit dd", ".descent .words", "h1"):
        part = browser.evaluate(f"[...document.querySelectorAll('{where}')].map(e => e.innerText).join('\\n')")
        assert shown in part, where
    assert not set(text) & {"\u202e", "\x1b", "\u200b", "\x00"}


def test_three_questions_are_answered_without_scrolling(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["plain"], 1280, 800)
    ends = browser.evaluate(
        "[...document.querySelectorAll('.first > section')].map(e => e.getBoundingClientRect().bottom)"
    )
    assert len(ends) == 3
    assert max(ends) <= 800


def test_evidence_is_one_click_away_without_scripts(browser: Chromium, pages: dict[str, str]) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages["plain"], 1280)
        document = browser.send("DOM.getDocument", depth=0)["root"]["nodeId"]
        node = browser.send("DOM.querySelector", nodeId=document, selector=".claim summary")["nodeId"]
        browser.send("DOM.scrollIntoViewIfNeeded", nodeId=node)
        left, top, *_ = browser.send("DOM.getContentQuads", nodeId=node)["quads"][0]
        for kind in ("mousePressed", "mouseReleased"):
            browser.send("Input.dispatchMouseEvent", type=kind, x=left + 8, y=top + 8, button="left", clickCount=1)
        browser.settle()
        shown = browser.send("DOM.querySelector", nodeId=document, selector=".claim details[open] .exhibit")["nodeId"]
        assert browser.send("DOM.getBoxModel", nodeId=shown)["model"]["height"] > 50
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("name", ["plain", "searched"])
@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(browser: Chromium, pages: dict[str, str], dark: bool, name: str) -> None:
    browser.open(pages[name], 1280, dark=dark)
    script = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
    assert browser.evaluate(script) == []
