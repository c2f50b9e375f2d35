"""Where a text goes."""

from scrutable.core.records import Message, Sampling, Task
from scrutable.models.replay import ScriptedModel
from scrutable.programs.base import Program
from scrutable.programs.text import SingleText, place_text

USER = Message(role="user", content="what ?")


def system(content: str) -> Message:
    return Message(role="system", content=content)


def test_a_text_becomes_the_system_message() -> None:
    assert place_text((USER,), "be short .") == (system("be short ."), USER)


def test_a_text_is_added_after_a_system_prompt_that_is_there() -> None:
    assert place_text((system("old"), USER), "be short .") == (system("old\n\nbe short ."), USER)


def test_an_empty_system_prompt_leaves_no_blank_lines() -> None:
    assert place_text((system(""), USER), "be short .") == (system("be short ."), USER)


def test_an_empty_text_changes_nothing() -> None:
    for text in ("", " \n"):
        assert place_text((USER,), text) == (USER,)
        assert place_text((system("old"), USER), text) == (system("old"), USER)


def test_a_program_of_one_text_asks_with_it() -> None:
    program = SingleText()
    assert isinstance(program, Program)
    model = ScriptedModel(lambda conversation: conversation[0].content)
    made = program.run(model, {"text": "be short ."}, [Task.ask("a"), Task.ask("b")], Sampling())
    assert [g.answer for g in made] == ["be short .", "be short ."]
