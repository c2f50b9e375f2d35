"""Prompts without a reward."""

import pytest

from scrutable.core.errors import UserError
from scrutable.core.records import Score
from scrutable.envs.prompts import open_prompts


def everything(env):
    return {t.prompt for tasks in env.table.tasks.values() for t in tasks}


def test_a_text_file_holds_one_prompt_a_line(tmp_path):
    path = tmp_path / "asked.txt"
    path.write_bytes("\ufeffone\r\n\r\n  two\u2028still two\nthree".encode())
    env = open_prompts(path)
    assert everything(env) == {"one", "  two\u2028still two", "three"}
    assert env.name == "asked"


def test_a_jsonl_file_holds_one_object_a_line(tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text('{"prompt": "one", "split": "keep"}\n\n{"prompt": "two", "split": "report"}\n')
    env = open_prompts(path)
    assert [t.prompt for t in env.tasks("keep")] == ["one"]
    with pytest.raises(UserError, match=r"the split search is empty \(search 0, keep 1, report 1\)"):
        env.tasks("search")


def test_nothing_is_scored_and_nothing_failed(tmp_path):
    path = tmp_path / "asked.txt"
    path.write_text("one")
    env = open_prompts(path)
    assert not env.rewarded
    assert env.rate(env.tasks("search"), ["an answer"]) == [Score(value=None)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": "b"', "a.jsonl, line 2: this is no JSON"),
        ("a.jsonl", '{"prompt": "a"}\n\n{"messages": []}', "line 3 has no `prompt` (it has `messages`)"),
        ("a.jsonl", '"hello"', "line 1 is a str"),
        ("a.jsonl", "[" * 100_000, "nested too deeply"),
        ("a.jsonl", "", "there are no rows"),
        ("a.txt", "\n \n", "there are no rows"),
        ("a.csv", "a", "come from a .jsonl file"),
    ],
)
def test_bad_prompts_are_answered_by_one_line_that_names_the_file(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        open_prompts(path)
    assert said in str(caught.value)
    assert name in str(caught.value)


def test_a_missing_file_is_answered_by_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        open_prompts(tmp_path / "gone.jsonl")


def test_too_few_prompts_in_a_txt_are_said_as_what_can_be_mended(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("one")
    with pytest.raises(UserError) as caught:
        open_prompts(path).tasks("report")
    assert str(caught.value) == f"{path}: 3 different prompts are needed at least, and it has 1"
