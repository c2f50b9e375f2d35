"""A program whose modules are all heard, and which program an environment wants."""

from collections.abc import Mapping

import pytest

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Sampling, Task
from scrutable.envs.builtin import BuiltinEnv
from scrutable.models.replay import ScriptedModel
from scrutable.programs.base import Program
from scrutable.programs.joined import Joined, part
from scrutable.programs.modules import Module, Pipeline
from scrutable.programs.text import SingleText
from scrutable.programs.wanted import program_for

MODULES = [Module("answer"), Module("grade", "{answer} {input}")]
NAMES = ("answer", "grade")


def echo(conversation: Conversation) -> str:
    if conversation[-1].content == "bad":
        raise ValueError("no")
    return "+".join(m.content for m in conversation)


class Wants:
    """An environment that wants these modules."""

    name = identity = "wants"
    rewarded = True

    def __init__(self, modules: object) -> None:
        self.modules = modules


def test_the_answer_is_what_every_module_said() -> None:
    texts = {"answer": "A", "grade": "G"}
    made = Joined(MODULES).run(ScriptedModel(echo), texts, [Task.ask("q")], Sampling())[0]
    assert made.answer == "answer : A+q\ngrade : G+A+q q"
    assert made.tokens is None and made.usage.generations == 2


def test_a_task_that_failed_has_no_answer() -> None:
    made = Joined(MODULES).run(ScriptedModel(echo), dict.fromkeys(NAMES, ""), [Task.ask("bad")], Sampling())[0]
    assert (made.answer, made.failure) == ("", "module answer: model: ValueError: no")


def test_it_is_another_program_than_the_pipeline_of_the_same_modules() -> None:
    assert isinstance(Joined(MODULES), Program)
    assert Joined(MODULES).identity != Pipeline(MODULES).identity


def test_a_modules_part_is_found_by_its_name_and_a_plain_text_is_whole() -> None:
    assert part("answer : a\ngrade : b", "grade", NAMES) == "b"
    assert part("it is paris .", "grade", NAMES) == "it is paris ."
    assert part("text : is no head here", "text", ("text",)) == "text : is no head here"


def test_an_environment_gets_one_text_unless_it_says_otherwise() -> None:
    assert isinstance(program_for(BuiltinEnv("flattery")), SingleText)
    assert isinstance(program_for(Wants({})), SingleText)  # type: ignore[arg-type]
    wanted = program_for(BuiltinEnv("answer-then-grade"))
    assert isinstance(wanted, Joined) and wanted.modules == NAMES


@pytest.mark.parametrize("modules", [["answer"], "answer", {"a": 1}, {"a": "{b}"}, {"input": "x"}])
def test_what_cannot_be_a_program_is_refused(modules: Mapping[str, str]) -> None:
    with pytest.raises(UserError):
        program_for(Wants(modules))  # type: ignore[arg-type]
