"""From a name or a path to an environment."""

import pytest

from scrutable.core.errors import UserError
from scrutable.envs.base import Environment
from scrutable.envs.loading import builtin_environments, open_env


def test_a_built_in_name_opens_it():
    for name in builtin_environments():
        env = open_env(name)
        assert isinstance(env, Environment)
        assert env.name == name


def test_a_file_opens_by_its_kind(tmp_path):
    (tmp_path / "a.py").write_text('rows = [{"prompt": "a"}]\ndef reward(**k):\n    return [1]\n')
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}')
    (tmp_path / "a.txt").write_text("a")
    assert [open_env(tmp_path / f"a.{kind}").rewarded for kind in ("py", "jsonl", "txt")] == [True, False, False]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("flatery", "did you mean flattery?"),
        ("gone.py", "there is no such file"),
        ("folder", "is a folder"),
        ("rows.csv", "an environment is a .py file"),
    ],
)
def test_what_is_no_environment_is_answered_by_one_line(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.csv").write_text("a")
    with pytest.raises(UserError) as caught:
        open_env(given)
    assert said in str(caught.value)
