"""Scripted and recorded models."""

from pathlib import Path

import pytest

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Message, Sampling
from scrutable.models.base import Model
from scrutable.models.replay import RecordedModel, ScriptedModel

DRAWN = Sampling()


def ask(content: str) -> Conversation:
    return (Message(role="user", content=content),)


def test_they_are_models(tmp_path: Path) -> None:
    scripted = ScriptedModel({})
    assert isinstance(scripted, Model)
    assert isinstance(RecordedModel(tmp_path / "r.jsonl", scripted), Model)


def test_a_mapping_answers_the_last_user_message() -> None:
    model = ScriptedModel({"b": "yes"})
    asked = (*ask("a"), Message(role="assistant", content="?"), *ask("b"))
    assert model.generate([asked], DRAWN)[0].answer == "yes"


def test_a_function_sees_the_whole_conversation() -> None:
    model = ScriptedModel(lambda conversation: str(len(conversation)))
    assert model.generate([(*ask("a"), *ask("b"))], DRAWN)[0].answer == "2"


def test_a_script_that_fails_fails_alone() -> None:
    made = ScriptedModel({"a": "yes"}).generate([ask("x"), ask("a")], DRAWN)
    assert [g.failure is None for g in made] == [False, True]


def test_two_scripts_have_two_identities() -> None:
    assert ScriptedModel({"a": "b"}).identity != ScriptedModel({"a": "c"}).identity


class Counting:
    """A model that never answers the same twice."""

    name, identity = "counting", "counted"

    def __init__(self) -> None:
        self.asked = 0
        self.inner = ScriptedModel(lambda c: f"answer {self.asked}")

    def generate(self, conversations, sampling):
        out = []
        for conversation in conversations:
            self.asked += 1
            out += self.inner.generate([conversation], sampling)
        return out


def test_a_recording_replays_without_the_model(tmp_path: Path) -> None:
    file, model = tmp_path / "deep" / "r.jsonl", Counting()
    asked = [ask("a"), ask("b"), ask("a")]
    made = RecordedModel(file, model).generate(asked, DRAWN)
    assert [g.answer for g in made] == ["answer 1", "answer 2", "answer 3"]
    replayed = RecordedModel(file)
    assert replayed.generate(asked, DRAWN) == made
    assert (replayed.name, replayed.identity) == ("counting", "counted")


def test_what_is_recorded_is_not_asked_again(tmp_path: Path) -> None:
    model = Counting()
    for _ in range(3):
        RecordedModel(tmp_path / "r.jsonl", model).generate([ask("a"), ask("b")], DRAWN)
    assert model.asked == 2


def test_other_sampling_is_another_answer(tmp_path: Path) -> None:
    recorded = RecordedModel(tmp_path / "r.jsonl", Counting())
    first = recorded.generate([ask("a")], DRAWN)
    assert recorded.generate([ask("a")], Sampling(seed=1)) != first


def test_an_unseen_prompt_is_refused(tmp_path: Path) -> None:
    RecordedModel(tmp_path / "r.jsonl", Counting()).generate([ask("a")], DRAWN)
    with pytest.raises(UserError, match="no answer to 'b'"):
        RecordedModel(tmp_path / "r.jsonl").generate([ask("b")], DRAWN)


def test_failures_are_not_recorded(tmp_path: Path) -> None:
    RecordedModel(tmp_path / "r.jsonl", ScriptedModel({})).generate([ask("a")], DRAWN)
    made = RecordedModel(tmp_path / "r.jsonl", ScriptedModel({"a": "yes"})).generate([ask("a")], DRAWN)
    assert made[0].answer == "yes"


def test_a_missing_or_damaged_recording_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="record it first"):
        RecordedModel(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"key": 1}\n')
    with pytest.raises(UserError, match="record it again"):
        RecordedModel(tmp_path / "bad.jsonl")
