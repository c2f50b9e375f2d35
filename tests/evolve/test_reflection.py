"""Reflection: which writer a model gets, and what its names are."""

import json
from pathlib import Path

import pytest
from tests.evolve.writing import Answering

from scrutable.core.errors import UserError
from scrutable.evolve import reflection
from scrutable.evolve.reflection import (
    ChatWriter,
    Item,
    Proposal,
    Proposer,
    ReflectConfig,
    RuleWriter,
    proposer_for,
    read_format,
)
from scrutable.models.beside import directory_of
from scrutable.models.replay import ScriptedModel

FORMAT = {"item": "{prompt} {answer} {feedback}", "ask": "write .", "items": 5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reflection.json").write_text(json.dumps(FORMAT))
    return tmp_path


def test_both_writers_are_proposers(folder: Path) -> None:
    assert isinstance(proposer_for(Answering("a")), Proposer)
    assert isinstance(proposer_for(Answering("a", origin=folder)), Proposer)


def test_the_models_directory_says_who_writes(folder: Path) -> None:
    assert isinstance(proposer_for(Answering("a", origin=folder)), RuleWriter)


def test_a_model_without_a_directory_is_asked_in_english() -> None:
    assert directory_of(ScriptedModel({})) is None
    assert isinstance(proposer_for(ScriptedModel({})), ChatWriter)


def test_a_malformed_format_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "reflection.json").write_text('{"item": 3}')
    with pytest.raises(UserError, match=r"reflection\.json"):
        proposer_for(Answering("a", origin=tmp_path))


def test_evidence_reaches_the_chat_writer_and_does_no_harm_to_the_other(folder: Path) -> None:
    asked = proposer_for(Answering("a"), evidence=["says 'acme'"])
    assert isinstance(asked, ChatWriter)
    assert "says 'acme'" in asked.question({"text": ""}, "text", [])
    told = proposer_for(Answering("a", origin=folder), evidence=["says 'acme'"])
    assert reflection.identity_of(told) == reflection.identity_of(proposer_for(Answering("a", origin=folder)))


def test_every_name_is_there() -> None:
    assert all(hasattr(reflection, name) for name in reflection.__all__)


def test_what_was_written_down_before_is_still_a_proposal() -> None:
    """Events of runs hold proposals: those of a reflection without hypotheses are read as such."""
    old = {"texts": ["a"], "votes": [1], "answers": ["a"], "failures": [], "prompt_digest": "", "usage": {}}
    assert Proposal.model_validate(old).hypotheses == ()


@pytest.mark.parametrize("change", [{"samples": 3}, {"items": 7}, {"copied_words": 9}, {"words": 50}])
def test_another_config_is_another_writer(change: dict[str, int], folder: Path) -> None:
    for model in (Answering("a"), Answering("a", origin=folder)):
        one, other = (proposer_for(model, config) for config in (ReflectConfig(), ReflectConfig(**change)))
        assert reflection.identity_of(one) != reflection.identity_of(other)


@pytest.mark.parametrize("change", [{"ask": "rules ?"}, {"item": "{prompt}"}, {"items": 3}, {"after": "so :"}])
def test_another_format_is_another_writer(change: dict[str, object], folder: Path) -> None:
    before = reflection.identity_of(proposer_for(Answering("a", origin=folder)))
    (folder / "reflection.json").write_text(json.dumps({**FORMAT, **change}))
    assert reflection.identity_of(proposer_for(Answering("a", origin=folder))) != before


def test_imitation_and_evidence_make_another_chat_writer() -> None:
    model = Answering("a")
    told = [
        proposer_for(model),
        proposer_for(model, imitate=True),
        proposer_for(model, evidence=["x"]),
        proposer_for(model, evidence=["y"]),
    ]
    assert len({reflection.identity_of(one) for one in told}) == 4


def test_a_writer_of_rules_is_shown_what_its_module_said_and_what_was_said_of_it(folder: Path) -> None:
    item = Item(prompt="q", answer="answer : a\ngrade : g", feedback="answer : good .\ngrade : bad .", score=0.5)
    for module, shown in (("answer", "a good ."), ("grade", "g bad .")):
        model = Answering("x", origin=folder)
        RuleWriter(model, read_format(folder / "reflection.json")).propose(
            {"answer": "", "grade": ""}, module, [item], 0
        )
        assert model.asked[0][0] == f"q {shown} write ."
