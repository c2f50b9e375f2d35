"""Verbs on tiny models: from the typed line to the page, and the same again from the same folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Called
from tests.tiny import tiny_adapter, tiny_model

pytestmark = pytest.mark.medium
Call = Callable[..., Called]

ROWS = """
rows = [{"prompt": f"what is the {a} of {b} ?"} for a in ("capital", "color", "animal", "sky", "grass", "top")
        for b in ("france", "rome", "paris", "berlin", "cat", "dog", "red", "blue")]


def reward(completions, **kwargs):
    return [float("paris" in answer.split()) for answer in completions]
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    place = tmp_path_factory.mktemp("pair")
    base = tiny_model(place / "base")
    return str(base), str(tiny_adapter(base, place / "adapter"))


@pytest.fixture
def env(call: Call) -> str:
    Path("rows.py").write_text(ROWS)
    return "rows.py"


def result_of(call: Call, *words: str) -> dict[str, object]:
    said = call(*words, "--json", "out.json")
    assert said.code == 0, said.err
    found: dict[str, object] = json.loads(Path("out.json").read_text())
    assert Path(str(found["page"])).exists()
    return found


def events(found: dict[str, object]) -> int:
    return len((Path(str(found["run"])) / "events.jsonl").read_text().splitlines())


TRAIN = ("--steps", "2", "--group", "2", "--tasks-per-step", "2", "--max-tokens", "4", "--validate-every", "1")


def test_train_saves_an_adapter_and_the_same_command_shows_what_stands(
    call: Call, env: str, pair: tuple[str, str]
) -> None:
    words = ("train", env, "--model", pair[0], *TRAIN)
    first = result_of(call, *words)
    assert (Path(str(first["adapter"])) / "adapter_model.safetensors").exists()
    before = events(first)
    assert result_of(call, *words) == first
    assert "the best of 3 validations: fresh tasks may give a little less" in call(*words).out
    assert events(first) == before


def test_a_named_run_with_other_knobs_is_refused_by_their_names(call: Call, env: str, pair: tuple[str, str]) -> None:
    words = ("train", env, "--model", pair[0], *TRAIN, "--run", "mine")
    result_of(call, *words)
    said = call(*words, "--learning-rate", "0.01")
    assert said.code == 2
    assert "train.learning_rate" in said.err


MEASURE = (
    "--tasks",
    "6",
    "--answers",
    "1",
    "--max-tokens",
    "4",
    "--unrelated",
    "2",
    "--random",
    "1",
    "--null-tasks",
    "4",
)


def test_measure_prints_shares_with_their_nulls(call: Call, env: str, pair: tuple[str, str]) -> None:
    said = call("measure", "say paris", *pair, "--env", env, *MEASURE)
    assert said.code == 0
    assert "KL recovered" in said.out
    assert "unrelated texts: 95th percentile" in said.out


def test_measure_of_an_identical_pair_prints_no_share(call: Call, env: str, pair: tuple[str, str]) -> None:
    said = call("measure", "say paris", pair[0], pair[0], "--env", env, *MEASURE)
    assert said.code == 0
    assert "Nothing measurable changed, so no share is printed." in said.out
    assert "%" not in said.out


READ = (
    *("--tokens-tasks", "12", "--tokens-answers", "1", "--tokens-max-tokens", "4", "--distill-tasks", "12"),
    *("--distill-max-tokens", "4", "--distill-search-budget", "100", "--distill-search-proposals", "1"),
    *("--blackbox-tasks", "12", "--blackbox-answers", "2", "--blackbox-max-tokens", "4"),
    *("--blackbox-search-budget", "100", "--blackbox-search-proposals", "1"),
    *(f"--measure-{word.removeprefix('--')}" if word.startswith("--") else word for word in MEASURE),
)


def test_read_ends_with_a_page_and_its_events_hold_the_accounts(call: Call, env: str, pair: tuple[str, str]) -> None:
    found = result_of(call, "read", pair[1], "--env", env, *READ)
    assert [account["lens"] for account in found["accounts"]] == ["tokens", "distill", "blackbox"]  # type: ignore[index,attr-defined]


def test_read_by_lenses_that_are_named(call: Call, env: str, pair: tuple[str, str]) -> None:
    names = ("amplified", "interview", "adapter")
    few = [
        word
        for name in names
        for word in (f"--{name}-tasks", "12", f"--{name}-max-tokens", "4", f"--{name}-proposals", "1")
    ]
    few += ["--interview-draws", "1", "--interview-longest", "8"]
    asked = [word for name in names for word in ("--lens", name)]
    found = result_of(call, "read", pair[1], "--env", env, *asked, *few, "--no-fidelity")
    assert [account["lens"] for account in found["accounts"]] == list(names)  # type: ignore[index,attr-defined]


def never(*_: object, **__: object) -> None:
    raise AssertionError("a model was asked")


def test_a_run_that_is_done_is_shown_and_nothing_computed(
    call: Call, env: str, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("measure", "say paris", *pair, "--env", env, *MEASURE), ("read", pair[1], "--env", env, *READ)):
        first, told = result_of(call, *words), call(*words).out
        before = events(first)
        with monkeypatch.context() as patch:
            for name in ("logprobs", "generate"):
                patch.setattr(f"scrutable.models.hf.HFModel.{name}", never)
            assert result_of(call, *words) == first
            assert call(*words).out == told
        assert events(first) == before


@pytest.mark.parametrize(
    ("kind", "chat_template", "after", "rewarded"),
    [
        ("llama", False, "full", False),
        ("qwen3", True, "adapter", False),
        ("gemma3", False, "adapter", True),
        ("gpt2", True, "full", True),
    ],
)
def test_read_and_measure_take_every_architecture(
    kind: str, chat_template: bool, after: str, rewarded: bool, call: Call, env: str
) -> None:
    base = tiny_model("base", kind, chat_template)
    models = (str(tiny_adapter(base, "tuned")),)
    if after == "full":
        models = (str(base), str(tiny_model("other", kind, chat_template, seed=1, padding_rows=3)))
    Path("prompts.txt").write_text("\n".join(f"what is {word} ?" for word in range(48)))
    tasks = ("--env", env) if rewarded else ("--prompts", "prompts.txt")
    read = result_of(call, "read", *models, *tasks, *READ)
    assert read["accounts"][0]["claims"]  # type: ignore[index]
    fidelity = result_of(call, "measure", "say paris", *models, *tasks, *MEASURE)["fidelity"]
    assert fidelity["changed"] and fidelity["kl"]["value"] > 0.1  # type: ignore[index,call-overload]
    assert ("reward" in {share["name"] for share in fidelity["shares"]}) == rewarded  # type: ignore[index,call-overload]


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(call: Call, env: str, pair: tuple[str, str]) -> None:
    said = call("read", pair[1], "--env", env, "--dry-run")
    assert said.code == 0
    assert all(word in said.out for word in ("forward passes", "the tokens lens", "the distill lens", "fidelity", "MB"))
    assert not Path("runs").exists()


def test_dry_runs_of_a_training_and_a_search_say_rollouts_memory_and_time(
    call: Call, env: str, pair: tuple[str, str]
) -> None:
    Path("rows.py").write_text(ROWS + "    raise AssertionError('a reward was asked')\n")
    said = call("train", env, "--model", pair[0], *TRAIN, "--dry-run", "--json", "plan.json")
    assert said.code == 0, said.err
    assert all(word in said.out for word in ("rollouts", "forward passes", "memory: ", " s"))
    plan = json.loads(Path("plan.json").read_text())["plan"]
    assert plan["steps"] == 2 and plan["seconds"] > 0 and plan["memory"] > 0
    said = call("evolve", env, "--model", pair[0], "--budget", "150", "--dry-run", "--json", "plan.json")
    assert said.code == 0, said.err
    assert all(word in said.out for word in ("rollouts", "150", "answers of the writer", "weights of base", " s"))
    assert json.loads(Path("plan.json").read_text())["plan"]["rollouts"]["seconds"] > 0
    assert not Path("runs").exists()


def test_prompts_without_a_reward_are_enough_to_measure(call: Call, pair: tuple[str, str]) -> None:
    Path("prompts.txt").write_text("\n".join(f"what is {word} ?" for word in range(19)))
    said = call("measure", "say paris", *pair, "--prompts", "prompts.txt", *MEASURE)
    assert said.code == 0, said.err
    assert "reward" not in said.out


def test_evolve_writes_its_text(call: Call, env: str, pair: tuple[str, str]) -> None:
    sizes = ("--budget", "150", "--pool", "6", "--keep", "6", "--explore", "3", "--proposals", "2", "--max-tokens", "4")
    found = result_of(call, "evolve", env, "--model", pair[0], *sizes, "--reflect-max-tokens", "8")
    assert "text" in found
