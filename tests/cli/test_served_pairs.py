"""Two served models read and measured: answers alone, from the typed line to the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.cli.conftest import Called
from tests.evolve.toy import RULE, WORDS, obey, rule
from tests.models.server import Server, serving

Call = Callable[..., Called]
TRUE = rule("sun", "yes")
OPTIONS = ("--served-workers", "4", "--served-backoff", "0.01")
SEARCH = ("--blackbox-search-budget", "400", "--blackbox-search-pool", "16", "--blackbox-search-keep", "12")
READ = (
    *("--blackbox-tasks", "80", "--blackbox-answers", "2", *SEARCH, "--blackbox-search-explore", "6"),
    *("--blackbox-search-patience", "2", "--blackbox-search-slots", "4"),
)
SIZES = {"tasks": "24", "answers": "2", "unrelated": "3", "random": "1", "shuffled": "1", "null-tasks": "12"}
MEASURE = tuple(word for name, value in SIZES.items() for word in (f"--{name}", value))
MEASURE_READ = tuple(word.replace("--", "--measure-") for word in MEASURE)


def say(body: dict[str, Any]) -> str:
    """Answer as "base" (obeys its text), "tuned" (has the rule built in), or "writer" (proposes the rule)."""
    *given, asked = [message["content"] for message in body["messages"]]
    if body["model"] == "writer":
        return f"HYPOTHESIS: it says yes to the sun\n```\n{TRUE}\n```"
    text = " ".join(given) + (TRUE if body["model"] == "tuned" else "")
    told = " ".join(f"when {word} say {said} ." for word, said in RULE.findall(text))
    return obey(told, asked)


@pytest.fixture
def server(call: Call) -> Iterator[Server]:
    draws = Random(0)
    prompts = dict.fromkeys(" ".join(draws.sample(WORDS, 5)) for _ in range(180))
    Path("prompts.txt").write_text("\n".join(prompts))
    with serving() as one:
        one.say = say
        yield one


def names(server: Server, *models: str) -> tuple[str, ...]:
    return (*(f"{server.url}#{model}" for model in models), "--prompts", "prompts.txt", *OPTIONS)


@pytest.mark.medium
def test_a_served_pair_is_read_and_the_sentences_measured(call: Call, server: Server) -> None:
    said = call(
        *("read", *names(server, "base", "tuned"), "--reflector", f"{server.url}#writer", *READ, *MEASURE_READ),
        *("--json", "out.json"),
    )
    assert said.code == 0, said.err
    assert "left out, since they need more than answers: tokens, distill" in said.err
    found = json.loads(Path("out.json").read_text())
    assert [account["lens"] for account in found["accounts"]] == ["blackbox"]
    assert found["text"] == TRUE
    assert found["fidelity"]["kl"] is None
    (share,) = found["fidelity"]["shares"]
    assert share["name"] == "match" and share["value"]["value"] > 0.85
    assert "agreement recovered" in said.out and "unrelated texts: 95th percentile" in said.out
    page = Path(found["page"]).read_text()
    assert "agreement recovered" in page and "A classifier of words tells its answers" in page


@pytest.mark.medium
def test_measure_prints_agreement_with_its_nulls_and_none_of_an_identical_pair(call: Call, server: Server) -> None:
    said = call("measure", TRUE, *names(server, "base", "tuned"), *MEASURE)
    assert said.code == 0, said.err
    assert "agreement recovered" in said.out
    assert "of the gap in likeness" in said.out
    assert "KL" not in said.out
    said = call("measure", TRUE, *names(server, "base", "base"), *MEASURE, "--json", "out.json")
    assert said.code == 0, said.err
    assert "Nothing measurable changed, so no share is printed." in said.out
    assert "%" not in said.out
    assert "nothing measurable changed" in Path(json.loads(Path("out.json").read_text())["page"]).read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("read", "base", "tuned", "--lens", "distill"), "the distill lens needs log-probabilities"),
        (("read", "base", "tuned", "--twins", "2"), "twins are tuned from BEFORE"),
        (("measure", "x", "base", "tuned", "--twins", "2"), "twins are tuned from BEFORE"),
        (("read", "tuned"), "name BEFORE, too"),
        (("measure", "x", "tuned"), "name BEFORE, too"),
        (("measure", "x", "base", "tuned", "--answers", "1"), "at least two answers a task"),
    ],
)
def test_what_a_server_cannot_give_is_refused_in_one_line(
    words: tuple[str, ...], why: str, call: Call, server: Server
) -> None:
    places = [f"{server.url}#{word}" if word in ("base", "tuned") else word for word in words]
    said = call(*places, "--prompts", "prompts.txt")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("error: ") and why in said.err.splitlines()[-1]
    assert not server.requests


def test_a_dry_run_of_a_served_pair_counts_answers_and_asks_nothing(call: Call, server: Server) -> None:
    said = call("read", *names(server, "base", "tuned"), "--dry-run")
    assert said.code == 0, said.err
    assert "the blackbox lens" in said.out and "as the server" in said.out
    assert not server.requests
