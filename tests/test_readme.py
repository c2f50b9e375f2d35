"""The README's own code runs."""

import ast
import json
import re
from pathlib import Path

import pytest

import scrutable
from scrutable.envs.file import open_file

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
    scores = env.rate(tasks, ["no idea", str(tasks[1].columns["answer"])])
    assert [s.value for s in scores] == [0.0, 1.0] and scores[0].feedback.startswith("the right answer was")


@pytest.mark.slow
def test_the_first_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[0], str(README), "exec"), {})
    page = json.loads((tmp_path / "runs/flattery/report.json").read_text(encoding="utf-8"))
    (carried,) = page["first"]["carried"]
    assert carried["label"] == page["first"]["taught"][0]["label"] == "read from the weights"
    assert carried["first"][0]["value"]["value"] > 0.5
