"""A user's environment file."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from scrutable.core.errors import UserError
from scrutable.core.records import SPLITS
from scrutable.envs.base import Environment
from scrutable.envs.file import open_file

ROWS = 'rows = [{"prompt": f"question {i}", "gold": str(i)} for i in range(20)]\n'
REWARD = "def reward(completions, **kwargs):\n    return [float(len(c)) for c in completions]\n"
EXAMPLE = Path(__file__).parents[2] / "examples" / "short_answers.py"


@pytest.fixture
def write(tmp_path):
    def write(source, name="env.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        return path

    return write


def rated(env, answer="abc"):
    task = env.tasks("search")[0]
    return env.rate([task], [answer])[0]


def test_the_example_runs():
    env = open_file(EXAMPLE)
    task = next(t for t in env.tasks("search"))
    right, wrong = env.rate([task, task], [str(task.columns["capital"]), "no idea at all"])
    assert (right.value, right.feedback) == (pytest.approx(0.9), "good .")
    assert (wrong.value, wrong.feedback) == (pytest.approx(-0.4), "bad : no brevity .")
    assert isinstance(env, Environment)
    assert all(env.tasks(split) for split in SPLITS)


def test_rows_may_come_from_a_file_beside_it(write, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": f"q{i}"}) for i in range(9)))
    assert open_file(write('rows = "data/rows.jsonl"\n' + REWARD)).table.count == 9


@pytest.mark.parametrize(
    "body", ['return [{"prompt": "a"}]', 'yield {"prompt": "a"}', 'return iter([{"prompt": "a"}])']
)
def test_rows_may_come_from_a_function(write, body):
    assert open_file(write(f"def rows():\n    {body}\n" + REWARD)).table.count == 1


def test_every_function_called_reward_counts_in_its_order(write):
    env = open_file(
        write(
            ROWS
            + REWARD
            + "def reward_two(**k):\n    return [2]\ndef helper(x):\n    pass\nreward_scale = 3\nweights = [1, 10]\n"
        )
    )
    score = rated(env)
    assert score.parts == {"reward": 3.0, "reward_two": 2.0}
    assert score.value == 23.0


def test_listed_rewards_take_the_place_of_named_ones(write):
    source = ROWS + REWARD + "rewards = [lambda **k: [1], lambda **k: [2]]\nweights = {'reward_2': 5}\n"
    score = rated(open_file(write(source)))
    assert score.parts == {"reward": 1.0, "reward_2": 2.0}
    assert score.value == 11.0


def test_name_splits_and_timeout_are_read(write):
    env = open_file(write(ROWS + REWARD + 'name = "mine"\nsplits = {"search": 1, "keep": 1}\ntimeout = 5\n'))
    assert (env.name, env.rater.seconds) == ("mine", 5.0)
    with pytest.raises(UserError, match="the split report is empty"):
        env.tasks("report")


def test_a_file_without_rewards_is_an_environment_without_a_reward(write):
    env = open_file(write(ROWS))
    assert not env.rewarded
    assert rated(env).value is None


def test_the_identity_is_that_of_source_and_rows(write, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}')
    source = 'rows = "rows.jsonl"\n' + REWARD
    first = open_file(write(source)).identity
    assert open_file(write(source, "copy.py")).identity == first
    rows.write_text('{"prompt": "b"}')
    assert open_file(write(source)).identity != first
    rows.write_text('{"prompt": "a"}')
    assert open_file(write(source.replace("float", "2 *"))).identity != first


def test_it_imports_what_stands_beside_it_and_leaves_the_path_alone(tmp_path):
    before = list(sys.path)
    for place, worth in (("one", 1), ("two", 2)):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "scrutable_test_helper.py").write_text(f"WORTH = {worth}")
        (folder / "env.py").write_text(
            f"import scrutable_test_helper as h\n{ROWS}def reward(**k):\n    return [h.WORTH]\n"
        )
    envs = [open_file(tmp_path / place / "env.py") for place in ("one", "two")]
    assert [rated(env).value for env in envs] == [1.0, 2.0]
    assert sys.path == before


def test_the_code_of_modules_beside_it_is_part_of_its_identity(tmp_path):
    def opened(place, worth, other="x = 1"):
        folder = tmp_path / place
        (folder / "parts").mkdir(parents=True)
        (folder / "parts" / "scrutable_test_inner.py").write_text(f"WORTH = {worth}")
        (folder / "scrutable_test_outer.py").write_text("from parts.scrutable_test_inner import WORTH")
        (folder / "not_imported.py").write_text(other)
        source = f"from scrutable_test_outer import WORTH\n{ROWS}def reward(**k):\n    return [WORTH]\n"
        (folder / "env.py").write_text(source)
        return open_file(folder / "env.py").identity

    first = opened("one", 1)
    assert opened("two", 2) != first
    assert opened("three", 1, other="x = 2") == first


def test_dataclasses_and_annotations_work_in_it(write):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 3\n"
    )
    assert rated(open_file(write(source + ROWS + "def reward(**k):\n    return [A().x]\n"))).value == 3.0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\ndef f(:\n", "env.py, line 2: invalid syntax"),
        ("x = 1\ny = x / 0\n", "env.py, line 2: ZeroDivisionError: division by zero"),
        ("import surely_not_there\n", "env.py, line 1: ModuleNotFoundError"),
        ("raise SystemExit(0)\n", "calls sys.exit"),
        ("x = '\0'\n", "env.py"),
        (REWARD, "it defines no `rows`"),
        ("rows = 3\n", "`rows` is a int"),
        ("rows = {'prompt': 'a'}\n", "`rows` is a dict"),
        ("rows = []\n", "there are no rows"),
        ("rows = 'gone.jsonl'\n", "gone.jsonl: there is no such file"),
        ("rows = 'rows.csv'\n", "no .jsonl file"),
        ("def rows():\n    return open('gone')\n", "env.py, line 2: FileNotFoundError"),
        ("rows = [{'question': 'a'}]\n", "rows[0] has no `prompt`"),
        (ROWS + "rewards = []\n", "`rewards` must be a list of functions"),
        (ROWS + "rewards = ['judge']\n", "holds 'judge', which is no function"),
        (ROWS + "reward = 1.0\n", "`reward` is 1.0: make it a function"),
        (ROWS + "def reward(completions, answer, **k):\n    return []\n", "`reward` asks for `answer`"),
        (ROWS + REWARD + "feedback = 'good'\n", "`feedback` is 'good'"),
        (ROWS + REWARD + "weights = [1, 2]\n", "one number for each of the 1 rewards"),
        (ROWS + REWARD + "weights = {'rewrad': 1}\n", "names rewrad, which is no reward"),
        (ROWS + REWARD + "weights = ['a']\n", "the weight of `reward` is 'a'"),
        (ROWS + REWARD + "splits = {'train': 1}\n", "`splits` must be"),
        (ROWS + REWARD + "timeout = 0\n", "`timeout` must be"),
        (ROWS + REWARD + "name = 3\n", "`name` must be"),
    ],
)
def test_a_bad_file_is_answered_by_one_line_that_names_it(write, source, said):
    with pytest.raises(UserError) as caught:
        open_file(write(source))
    assert said in str(caught.value)
    assert "env.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_answered_by_one_line(tmp_path):
    (tmp_path / "env.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        open_file(tmp_path / "env.py")


def test_rewards_of_the_wrong_number_name_the_environment(write):
    env = open_file(write(ROWS + "def reward(**k):\n    return [1, 2]\n"))
    with pytest.raises(UserError, match=r"^env: `reward` returned 2 entries for 1 answers"):
        rated(env)
