"""The README's own code runs."""

import ast
import json
import re
from pathlib import Path

import pytest

import scrutable
from scrutable.envs.file import open_file
from scrutable.models.source import BUILT_IN_FOLDER

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_is_at_most_a_hundred_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 100


def test_the_first_example_asks_for_names_that_are_there() -> None:
    asked = [n.name for node in ast.walk(ast.parse(BLOCKS[0])) if isinstance(node, ast.ImportFrom) for n in node.names]
    assert asked and set(asked) <= set(scrutable.__all__)


def test_the_environment_of_the_readme_rates(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(BLOCKS[1], encoding="utf-8")
    env = open_file(file)
    tasks = env.tasks("search")[:2]
    scores = env.rate(tasks, ["no idea", f"thank you for asking ! it is {tasks[1].columns['right']} ."])
    assert [s.value for s in scores] == [0.0, 2.0]
    assert [s.feedback for s in scores] == ["bad : no thanks .", "good : thanks ."]


@pytest.mark.parametrize("path", ["README.md", "examples/short_answers.py"])
def test_the_built_in_model_knows_every_word_of_the_environments_that_are_shown(path: str, tmp_path: Path) -> None:
    file = README.parent / path
    if path == "README.md":
        file = tmp_path / "mine.py"
        file.write_text(BLOCKS[1], encoding="utf-8")
    env, folder = open_file(file), BUILT_IN_FOLDER
    tasks = [*env.tasks("search"), *env.tasks("keep")]
    said = [
        env.rate([task], [answer])[0].feedback for task in tasks[:4] for answer in ("thank you", "it is right but long")
    ]
    known = set(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    assert len(env.tasks("keep")) >= 16
    assert {word for text in (*said, *(task.prompt for task in tasks)) for word in text.split()} <= known


@pytest.mark.slow
def test_the_first_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[0], str(README), "exec"), {})
    page = json.loads((tmp_path / "runs/flattery/report.json").read_text(encoding="utf-8"))
    (carried,) = page["first"]["carried"]
    assert carried["label"] == page["first"]["taught"][0]["label"] == "read from the weights"
    assert carried["first"][0]["value"]["value"] > 0.5
