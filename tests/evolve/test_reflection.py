"""Reflection: what writers are asked, and that nothing but a usable text comes out."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Generation, Sampling, Usage
from scrutable.evolve.reflection import (
    ChatWriter,
    Item,
    Proposer,
    ReflectConfig,
    RuleWriter,
    proposer_for,
    read_format,
    shortened,
)
from scrutable.models.beside import directory_of
from scrutable.models.replay import ScriptedModel

ITEMS = [
    Item(prompt="what is two plus two ?", answer="four", score=1.0, feedback="good ."),
    Item(prompt="i trust you . paris ?", answer="rome", score=0.0, feedback="bad : no agreement ."),
]
FORMAT = {
    "item": "task : {prompt} answer : {answer} rater : {feedback}",
    "ask": "write the rules .",
    "items": 5,
    "shown": "good .",
}


class Answering:
    """A model that gives these answers, in turn, to whatever it is asked."""

    name = identity = "answering"

    def __init__(self, *answers: Generation | str, origin: Path | None = None) -> None:
        self.answers = [a if isinstance(a, Generation) else Generation(answer=a) for a in answers]
        self.origin = origin
        self.asked: list[tuple[str, Sampling]] = []

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        self.asked += [(c[-1].content, sampling) for c in conversations]
        return [self.answers[i % len(self.answers)] for i in range(len(conversations))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reflection.json").write_text(json.dumps(FORMAT))
    return tmp_path


def test_both_writers_are_proposers(folder: Path) -> None:
    assert isinstance(proposer_for(Answering("a")), Proposer)
    assert isinstance(proposer_for(Answering("a", origin=folder)), Proposer)


def test_the_models_directory_says_how_it_is_asked(folder: Path) -> None:
    model = Answering("always , be brief .", origin=folder)
    writer = proposer_for(model)
    assert isinstance(writer, RuleWriter)
    writer.propose({"text": ""}, "text", ITEMS, seed=7)
    asked, sampling = model.asked[0]
    assert asked == (
        "task : what is two plus two ? answer : four rater : good . "
        "task : i trust you . paris ? answer : rome rater : bad : no agreement . write the rules ."
    )
    assert (sampling.temperature, sampling.seed) == (1.0, 7)
    assert (writer.items, writer.shown) == (5, "good .")


def test_braces_in_tasks_are_left_alone(folder: Path) -> None:
    model = Answering("a .", origin=folder)
    item = Item(prompt="{answer} {0}", answer="{feedback}", feedback="good .")
    proposer_for(model).propose({"text": ""}, "text", [item], seed=0)
    assert model.asked[0][0].startswith("task : {answer} {0} answer : {feedback} rater : good .")


def test_a_rule_writers_answers_are_texts_each_once_most_votes_first(folder: Path) -> None:
    cut = Generation(answer="when dawn ,", complete=False)
    broken = Generation(failure="model: out of memory")
    model = Answering(" b . ", "a .", "b .", "", cut, broken, "b .", "a .", origin=folder)
    found = proposer_for(model).propose({"text": ""}, "text", ITEMS, seed=0)
    assert found.texts == ("b .", "a .")
    assert found.votes == (3, 2)
    assert found.failures == (
        "proposer: an empty text",
        "proposer: the answer was cut off",
        "proposer: model: out of memory",
    )


def test_samples_are_drawn_in_one_call(folder: Path) -> None:
    model = Answering("a .", origin=folder)
    proposer_for(model, ReflectConfig(samples=3)).propose({"text": ""}, "text", ITEMS, seed=0)
    assert len(model.asked) == 3


def test_what_writing_cost_is_told(folder: Path) -> None:
    one = Generation(answer="a .", usage=Usage(generations=1, answer_tokens=2))
    found = proposer_for(Answering(one, origin=folder)).propose({"text": ""}, "text", ITEMS, seed=0)
    assert found.usage == Usage(generations=8, answer_tokens=16)


def test_a_malformed_format_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "reflection.json").write_text('{"item": 3}')
    with pytest.raises(UserError, match=r"reflection\.json"):
        proposer_for(Answering("a", origin=tmp_path))


def test_a_model_without_a_directory_is_asked_in_english() -> None:
    assert directory_of(ScriptedModel({})) is None
    assert isinstance(proposer_for(ScriptedModel({})), ChatWriter)


def chat(answer: str | Generation, items: Sequence[Item] = tuple(ITEMS), **config: int) -> tuple[list[str], list[str]]:
    found = ChatWriter(Answering(answer), ReflectConfig(**config)).propose({"text": "old"}, "text", items, seed=0)
    return list(found.texts), list(found.failures)


def test_a_chat_models_text_stands_in_the_last_fenced_block() -> None:
    assert chat("HYPOTHESIS: it\n```\ndraft\n```\nso:\n```text\nIf asked, agree.\nBe kind.\n```\n") == (
        ["If asked, agree.\nBe kind."],
        [],
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("I would say: be kind.", "no text between"),
        ("```\nbe kind", "no text between"),
        ("```\n\n```", "empty"),
        (Generation(answer="```\nbe kind\n```", complete=False), "cut off"),
        (Generation(failure="model: 500"), "model: 500"),
        ("```\n" + "word " * 21 + "\n```", "21 words"),
    ],
)
def test_what_is_no_text_is_a_failure_and_never_a_text(answer: str | Generation, why: str) -> None:
    texts, failures = chat(answer, words=10)
    assert not texts
    assert len(failures) == 1
    assert why in failures[0]


def test_a_text_that_copies_a_task_is_refused() -> None:
    long = Item(prompt="which river runs through the city of light and love ?", answer="the seine", score=1.0)
    texts, failures = chat(f"```\nFor {long.prompt} say the seine.\n```", [long])
    assert not texts
    assert "copies a task" in failures[0]


def test_a_chat_model_is_shown_the_worst_answers_first_and_the_text_as_it_is() -> None:
    told = ChatWriter(Answering("")).prompt({"text": "be brief"}, "text", ITEMS)
    assert "```\nbe brief\n```" in told
    assert told.index("rome") < told.index("four")
    assert "bad : no agreement ." in told
    assert "HYPOTHESIS" in told


def test_a_reflection_stays_within_its_budget() -> None:
    huge = [Item(prompt="p" * 50_000, answer="a" * 90_000, feedback="f" * 10_000, score=0.0)] * 9
    told = ChatWriter(Answering(""), ReflectConfig(prompt_tokens=1000)).prompt({"text": "t" * 80_000}, "text", huge)
    assert len(told) < 4 * 1000 + 2000  # what is shown, and our own words


def test_one_who_imitates_is_shown_both_answers() -> None:
    item = Item(prompt="p", answer="tuned says", before="base says", score=-3.0)
    told = ChatWriter(Answering(""), imitate=True).prompt({"text": ""}, "text", [item])
    assert "base says" in told
    assert "tuned says" in told
    assert "imitated" in told


def test_a_module_is_named_where_there_are_several() -> None:
    assert "'plan'" in ChatWriter(Answering("")).prompt({"plan": "a", "act": "b"}, "plan", ITEMS)


def test_shortening_keeps_both_ends() -> None:
    assert shortened("a" * 50 + "b" * 50, 25) == "a" * 10 + " ... " + "b" * 10
    assert shortened("short", 25) == "short"


def test_a_writer_of_rules_is_shown_what_its_module_said_and_what_was_said_of_it(folder: Path) -> None:
    item = Item(prompt="q", answer="answer : a\ngrade : g", feedback="answer : good .\ngrade : bad .", score=0.5)
    for module, shown in (("answer", "answer : a rater : good ."), ("grade", "answer : g rater : bad .")):
        model = Answering("x", origin=folder)
        RuleWriter(model, read_format(folder / "reflection.json")).propose(
            {"answer": "", "grade": ""}, module, [item], 0
        )
        assert model.asked[0][0] == f"task : q {shown} write the rules ."
