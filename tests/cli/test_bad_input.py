"""Bad input, through the command line: one line on stderr that says what to do, exit code 2, and nothing lost.

And what is gone on with: a reward or a server that fails now and then, a torn journal. It is counted and shown.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Called
from tests.models.server import Step, serving
from tests.tiny import tiny_adapter, tiny_model

from scrutable.core.journal import Run
from scrutable.core.records import Rollout

Call = Callable[..., Called]
KEY = "sk-very-secret-123456"

ROWS = """
rows = [{"prompt": f"what is the {a} of {b} ?"} for a in ("capital", "color", "animal", "sky", "grass", "top")
        for b in ("france", "rome", "paris", "berlin", "cat", "dog", "red", "blue")]
"""
REWARD = """
def reward(completions, **kwargs):
    return [float("paris" in answer.split()) for answer in completions]
"""
# Raises on some tasks, gives NaN on others, and hangs on one.
SOME_FAIL = """
import time
timeout = 0.4

def reward(completions, prompts, **kwargs):
    if any("france" in prompt for prompt in prompts):
        raise ValueError("the judge is confused")
    if any("top of rome" in prompt for prompt in prompts):
        time.sleep(30)
    return [float("nan") if "paris" in p else float("a" in c.split()) for c, p in zip(completions, prompts)]
"""


def is_guilty(prompt: str) -> bool:
    """Whether SOME_FAIL fails on the task."""
    return any(place in prompt for place in ("france", "paris", "top of rome"))


@pytest.fixture(autouse=True)
def first_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, what is tested here happens in the first seconds, whose progress is held back."""
    monkeypatch.setattr("scrutable.cli.live.HELD_SECONDS", 600.0)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def files() -> dict[str, bytes]:
    """Everything in the working folder, but for who holds a run."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.name != "lock"}


def refused(call: Call, *words: str, says: str) -> None:
    """Check that these words are answered by one line, and that nothing that stood there changed."""
    before = files()
    said = call(*words)
    assert (said.code, said.out) == (2, ""), said
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1, said.err
    assert said.err.endswith("\n")
    assert says in said.err
    after = files()
    assert {path: after.get(path) for path in before} == before


def env(source: str, name: str = "mine.py") -> str:
    Path(name).write_text(source)
    return name


def on_tasks(verb: str, tasks: str) -> tuple[str, ...]:
    """A verb on an environment. Models are named that are not there: environments come first."""
    models = ("./before", "./after")
    return {
        "train": ("train", tasks),
        "evolve": ("evolve", tasks),
        "read": ("read", *models, "--env", tasks),
        "measure": ("measure", "say paris", *models, "--env", tasks),
    }[verb]


ON_TASKS = ("train", "evolve", "read", "measure")

# ------------------------------------------------------------------------------------------------- files of the user

BAD_FILES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "mine.py: there is no such file"),
    "no Python": (b"x = 1\ndef f(:\n", "mine.py, line 2: invalid syntax: mend the file"),
    "raises": (b"x = 1\ny = x / 0\n", "mine.py, line 2: ZeroDivisionError: division by zero: mend the file"),
    "empty": (b"", "mine.py: it defines no `rows`: a list of dicts with a `prompt`"),
    "no rows": (b"rows = []\n", "there are no rows: give at least one"),
    "a row without a prompt": (b"rows = [{'prompt': 'a'}, {'question': 'b'}]\n", "rows[1] has no `prompt`"),
    "an empty prompt": (b"rows = [{'prompt': ' '}]\n", "rows[0]: the prompt is empty: write one, or remove the row"),
    "not UTF-8": (b"rows = [{'prompt': 'caf\xe9'}]\n", "mine.py is not UTF-8 text (byte 23): save it as UTF-8"),
}


@pytest.mark.parametrize("verb", ON_TASKS)
@pytest.mark.parametrize("what", BAD_FILES)
def test_an_environment_file_that_is_missing_or_malformed(call: Call, verb: str, what: str) -> None:
    source, says = BAD_FILES[what]
    if source is not None:
        Path("mine.py").write_bytes(source)
    refused(call, *on_tasks(verb, "mine.py"), says=says)
    assert not Path("runs").exists()


@pytest.mark.parametrize("what", BAD_FILES)
def test_env_check_shows_what_is_wrong_and_ends_with_one_line(call: Call, what: str) -> None:
    source, says = BAD_FILES[what]
    if source is not None:
        Path("mine.py").write_bytes(source)
    said = call("env", "check", "mine.py")
    assert said.code == 2
    assert says in said.out
    assert said.err == "error: mine.py: 1 thing is wrong; mend and check again\n"


@pytest.mark.parametrize("verb", ON_TASKS)
def test_an_unknown_environment(call: Call, verb: str) -> None:
    refused(call, *on_tasks(verb, "flatery"), says="no environment is called 'flatery'; did you mean flattery?")


BAD_PROMPTS: dict[str, tuple[bytes | None, str]] = {
    "missing.txt": (None, "missing.txt: there is no such file"),
    "empty.txt": (b"", "empty.txt: there are no rows: give at least one"),
    "blank.txt": (b" \n\t\n", "blank.txt: there are no rows: give at least one"),
    "latin.txt": (b"caf\xe9\n", "latin.txt is not UTF-8 text (byte 3): save it as UTF-8"),
    "bad.jsonl": (b'{"prompt": "a"}\n{"prompt": "b"\n', "bad.jsonl, line 2: this is no JSON"),
    "other.jsonl": (b'{"prompt": "a"}\n{"question": "b"}\n', "other.jsonl: line 2 has no `prompt` (it has `question`)"),
    "latin.jsonl": (b'{"prompt": "caf\xe9"}\n', "latin.jsonl is not UTF-8 text (byte 15): save it as UTF-8"),
    "rows.csv": (b"prompt\na\n", "rows.csv: an environment is a .py file, or prompts in a .jsonl or .txt file"),
}


@pytest.mark.parametrize("verb", ["read", "measure"])
@pytest.mark.parametrize("name", BAD_PROMPTS)
def test_prompts_that_cannot_be_read(call: Call, verb: str, name: str) -> None:
    source, says = BAD_PROMPTS[name]
    if source is not None:
        Path(name).write_bytes(source)
    words = [word if word != "--env" else "--prompts" for word in on_tasks(verb, name)]
    refused(call, *words, says=says)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "text.txt: there is no such file"),
        (b"", "text.txt holds no text: give the sentences"),
        (b" \n", "text.txt holds no text: give the sentences"),
        (b"caf\xe9", "text.txt is not UTF-8 text (byte 3): save it as UTF-8"),
    ],
)
def test_a_text_file_that_is_missing_empty_or_no_text(call: Call, source: bytes | None, says: str) -> None:
    if source is not None:
        Path("text.txt").write_bytes(source)
    refused(call, "measure", "@text.txt", "./before", "./after", "--env", "flattery", says=says)


@pytest.mark.parametrize(
    ("source", "errors", "says"),
    [
        (b"", "strict", "stdin holds no text: give the sentences"),
        (b"caf\xe9", "strict", "stdin is not UTF-8 text"),
        (b"caf\xe9", "surrogateescape", "stdin is not UTF-8 text"),
    ],
)
def test_stdin_that_is_empty_or_no_text(
    call: Call, monkeypatch: pytest.MonkeyPatch, source: bytes, errors: str, says: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(source), encoding="utf-8", errors=errors))
    refused(call, "measure", "-", "./before", "./after", "--env", "flattery", says=says)


def test_an_empty_text_is_nothing_to_measure(call: Call) -> None:
    refused(call, "measure", " ", "./before", "./after", "--env", "flattery", says="TEXT holds no text")


@pytest.mark.parametrize(
    ("verb", "filled", "says"),
    [
        ("train", "search, report", "the split keep is empty (search "),
        ("train", "keep, report", "the split search is empty (search 0"),
        ("evolve", "search, report", "the split keep is empty (search "),
        ("evolve", "keep, report", "the split search is empty (search 0"),
        ("read", "keep, report", "the split search is empty (search 0"),
        ("read", "search, keep", "or leave out the measuring with --no-fidelity"),
        ("measure", "search, keep", 'add rows, mark some with `"split": "report"`, or give it a share in `splits`'),
    ],
)
def test_an_empty_split_is_told_before_anything_is_done(call: Call, verb: str, filled: str, says: str) -> None:
    shares = f"splits = {dict.fromkeys(filled.split(', '), 1)}\n"
    refused(call, *on_tasks(verb, env(ROWS + REWARD + shares)), says=says)
    assert not Path("runs").exists()


@pytest.mark.parametrize("verb", ["train", "evolve"])
def test_an_environment_without_a_reward(call: Call, verb: str) -> None:
    refused(call, *on_tasks(verb, env(ROWS)), says="has no reward")
    assert not Path("runs").exists()


# ------------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("trian",), "no such command 'trian'"),
        (("train",), "missing argument 'ENV' (see scrutable train --help)"),
        (("train", "flattery", "--stpes", "3"), "no such option '--stpes'"),
        (("train", "flattery", "--steps", "three"), "invalid value for '--steps': 'three'"),
        (("train", "flattery", "--steps", "0"), "invalid value for '--steps': 0 is not in the range x>=1"),
        (("train", "flattery", "--seed", "one"), "invalid value for '--seed': 'one'"),
        (("train", "flattery", "--chat-options", "{"), "invalid value for '--chat-options': '{' is no JSON"),
        (("train", "flattery", "--chat-options", "[1]"), "--chat-options: Input should be a valid dictionary"),
        (("measure", "x", "./a", "--env", "flattery", "--split", "test"), "is not one of 'search', 'keep', 'report'"),
        (("measure", "x", "./a", "--env", "flattery", "--twins", "99"), "invalid value for '--twins': 99"),
        (("measure", "x", "./a", "./b", "./c", "--env", "flattery"), "name two models, BEFORE and AFTER"),
        (("measure", "x", "./a"), "say where the tasks are from: one of --env NAME_OR_FILE and --prompts FILE"),
        (("read", "./a", "--env", "flattery", "--lens", "tokns"), "no lens is called 'tokns'; did you mean tokens?"),
        (("measure", "caf\udce9", "./a", "--env", "flattery"), "is not UTF-8 text: write it in UTF-8"),
        (("env", "chekc", "flattery"), "no such command 'chekc'"),
        (("pidgin", "card", "--answers", "1"), "invalid value for '--answers': 1 is not in the range"),
    ],
)
def test_an_option_or_a_value_that_there_is_not(call: Call, words: tuple[str, ...], says: str) -> None:
    refused(call, *words, says=says)
    assert not Path("runs").exists()


WITH_JSON = (
    ("train", "flattery"),
    ("evolve", "flattery"),
    ("measure", "x", "./a", "--env", "flattery"),
    ("read", "./a", "--env", "flattery"),
    ("report", "mine"),
    ("runs",),
    ("env", "check", "flattery"),
    ("pidgin", "card"),
)


@pytest.mark.parametrize("words", WITH_JSON, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("results", "--json: results cannot be written (it is a folder): name another file"),
        ("results/kept.txt/out.json", "kept.txt is no folder): name another file"),
        ("", "--json: '' cannot be written"),
    ],
)
def test_a_json_file_that_cannot_be_written_is_told_first(
    call: Call, words: tuple[str, ...], place: str, says: str
) -> None:
    Path("results").mkdir()
    Path("results/kept.txt").write_text("mine")
    refused(call, *words, "--json", place, says=says)
    assert not Path("runs").exists()


# ------------------------------------------------------------------------------------------------------------- models


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models: base and its adapter; other (of the same shape) and its adapter; foreign (other words)."""
    place = tmp_path_factory.mktemp("models")
    tiny_adapter(tiny_model(place / "base"), place / "adapter")
    tiny_adapter(tiny_model(place / "other", seed=9), place / "other-adapter")
    tiny_model(place / "foreign", words=[f"word{n}" for n in range(60)])
    return place


def broken(made: Path, what: str) -> tuple[str, str]:
    """Make a model directory that is broken in some way; return it and what is said of it."""
    place = Path("model")
    if what == "missing":
        return "./model", "model: give a transformers or PEFT directory, a hub name (owner/name), or 'pidgin'"
    if what == "no hub model":
        return "nobody/nothing", "'nobody/nothing' is neither a directory here nor a hub model that can be had now"
    if what == "served":
        return "served:big", "served:big answers on a server, and its weights are needed here"
    if what == "a file":
        place.write_text("weights")
        return "./model", "model is a file: name the directory"
    if what == "empty":
        place.mkdir()
        return "./model", "model holds neither config.json nor adapter_config.json: give a"
    shutil.copytree(made / "base", place)
    weights = place / "model.safetensors"
    if what == "no weights":
        weights.unlink()
        return "./model", "model holds no weights: expected model.safetensors"
    if what == "no tokenizer":
        (place / "tokenizer.json").unlink()
        return "./model", "model holds no tokenizer: save it there with tokenizer.save_pretrained"
    if what == "pickled":
        weights.rename(place / "pytorch_model.bin")
        return "./model", "holds only pickled weights, which can run code when loaded: save the model again"
    if what == "torn weights":
        weights.write_bytes(weights.read_bytes()[:5000])
        return "./model", "model cannot be loaded (SafetensorError"
    if what == "torn config":
        (place / "config.json").write_text("{")
        return "./model", "config.json cannot be read as JSON: write the model's directory again"
    assert what == "torn tokenizer"
    (place / "tokenizer.json").write_text("{")
    return "./model", "the tokenizer in model cannot be loaded"


BROKEN = ("missing", "no hub model", "served", "a file", "empty", "no weights", "no tokenizer", "pickled")


def with_model(verb: str, made: Path, model: str) -> tuple[str, ...]:
    """A verb that is given a model."""
    return {
        "train": ("train", "flattery", "--model", model),
        "evolve": ("evolve", "flattery", "--model", str(made / "base"), "--reflector", model),
        "read": ("read", str(made / "base"), model, "--env", "flattery"),
        "measure": ("measure", "x", model, str(made / "adapter"), "--env", "flattery"),
        "card": ("pidgin", "card", "--measure", "--model", model),
    }[verb]


@pytest.mark.medium
@pytest.mark.parametrize("verb", ["train", "evolve", "read", "measure", "card"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_model_that_is_not_whole(call: Call, made: Path, verb: str, what: str) -> None:
    model, says = broken(made, what)
    if verb in ("evolve", "read", "measure") and what == "served":  # there it may be on a server
        says = "no server is known for big: set OPENAI_BASE_URL"
    refused(call, *with_model(verb, made, model), says=says)
    assert not Path("runs").exists()


@pytest.mark.medium
@pytest.mark.parametrize("what", ["torn weights", "torn config", "torn tokenizer"])
def test_a_model_that_is_damaged(call: Call, made: Path, what: str) -> None:
    model, says = broken(made, what)
    refused(call, *with_model("train", made, model), says=says)
    assert not Path("runs").exists()


@pytest.mark.medium
@pytest.mark.parametrize("verb", ["read", "measure"])
@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("base", "other-adapter", "not on"),
        ("base", "foreign", "have different tokenizers"),
        ("base", "pickled-adapter", "holds only pickled weights"),
        ("base", "torn-adapter", "is damaged: fetch or save the adapter again"),
        (None, "base", "is a full model: name the model it was trained from as BEFORE, too"),
    ],
)
def test_a_pair_that_cannot_be_compared(
    call: Call, made: Path, verb: str, before: str | None, after: str, says: str
) -> None:
    if after.endswith("ed-adapter") or after == "torn-adapter":
        tensors = Path(shutil.copytree(made / "adapter", after)) / "adapter_model.safetensors"
        tensors.write_bytes(b"\xff" * 64)
        if after.startswith("pickled"):
            tensors.rename(tensors.with_suffix(".bin"))
    models = [name if Path(name).exists() else str(made / name) for name in (before, after) if name]
    head = ("measure", "say paris") if verb == "measure" else ("read",)
    refused(call, *head, *models, "--env", env(ROWS + REWARD), says=says)
    assert not Path("runs").exists()


@pytest.mark.medium
def test_a_dry_run_refuses_what_the_reading_would(call: Call, made: Path) -> None:
    models = (str(made / "base"), str(made / "foreign"))
    refused(call, "read", *models, "--env", "flattery", "--dry-run", says="have different tokenizers")


@pytest.mark.medium
def test_an_adapter_is_not_trained_further(call: Call, made: Path) -> None:
    words = ("train", env(ROWS + REWARD), "--model", str(made / "adapter"))
    refused(call, *words, says="adapter is an adapter already: train its base")
    assert not Path("runs").exists()


@pytest.mark.medium
def test_twins_of_an_adapter_from_elsewhere(call: Call, made: Path) -> None:
    words = ("measure", "x", str(made / "adapter"), "--env", "flattery", "--twins", "2")
    refused(call, *words, says="name an adapter in a run of `scrutable train`, or leave out --twins")
    assert not Path("runs").exists()


@pytest.mark.medium
def test_a_card_of_another_kind_of_model(call: Call, made: Path) -> None:
    refused(
        call, "pidgin", "card", "--measure", "--model", str(made / "base"), says="does not have the built-in model's"
    )


def test_a_card_that_is_not_there_or_damaged(call: Call) -> None:
    refused(call, "pidgin", "card", "--model", "nowhere", says="there is no directory nowhere")
    Path("built").mkdir()
    refused(call, "pidgin", "card", "--model", "built", says="built has no card: give --measure to measure it")
    Path("built/card.json").write_text('{"seen": 1}')
    refused(call, "pidgin", "card", "--model", "built", says="the card in built is damaged: give --measure")


# ------------------------------------------------------------------------------------------------------------ rewards

TRAIN = ("--steps", "2", "--group", "2", "--tasks-per-step", "2", "--max-tokens", "4", "--validate-every", "1")
EVOLVE = ("--budget", "150", "--pool", "22", "--keep", "6", "--explore", "10", "--proposals", "2", "--max-tokens", "4")
EVOLVE += ("--reflect-max-tokens", "8")
MEASURE = ("--tasks", "20", "--answers", "1", "--max-tokens", "4", "--unrelated", "1", "--random", "0")


def on_rewards(verb: str, made: Path, tasks: str) -> tuple[str, ...]:
    """A small run of a verb that asks for rewards."""
    base = str(made / "base")
    return {
        "train": ("train", tasks, "--model", base, *TRAIN),
        "evolve": ("evolve", tasks, "--model", base, *EVOLVE),
        "measure": ("measure", "say paris", base, str(made / "adapter"), "--env", tasks, *MEASURE),
    }[verb]


HOPELESS = {
    "a number": ("return 1.0", "`reward` returned 1.0: return a list with one entry an answer"),
    "nothing": ("return None", "`reward` returned None: return a list with one entry an answer"),
    "too few": ("return [1.0]", "`reward` returned 1 entries for"),
    "words": ("return ['good' for _ in completions]", "it returned 'good', which is no number"),
    "NaN": ("return [float('nan') for _ in completions]", "it returned nan, which is no finite number"),
    "raises": ("raise KeyError('gold')", "every call of `reward` fails: it failed on all"),
    "hangs": ("import time; time.sleep(30)", "no answer within"),
}


@pytest.mark.medium
@pytest.mark.parametrize("verb", ["train", "evolve", "measure"])
@pytest.mark.parametrize("what", HOPELESS)
def test_a_reward_that_can_never_work(call: Call, made: Path, verb: str, what: str) -> None:
    body, says = HOPELESS[what]
    source = f"timeout = 0.1\ndef reward(completions, **kwargs):\n    {body}\n"
    refused(call, *on_rewards(verb, made, env(ROWS + source)), says=says)


@pytest.mark.medium
@pytest.mark.parametrize("verb", ["train", "evolve"])
def test_what_came_to_nothing_goes_on_when_the_reward_is_mended(call: Call, made: Path, verb: str) -> None:
    words = on_rewards(verb, made, env(ROWS + "def reward(completions, **kwargs):\n    return 1.0\n"))
    refused(call, *words, says="return a list with one entry an answer")
    env(ROWS + REWARD)
    said = call(*words)
    assert said.code == 0, said.err
    assert len(list(Path("runs").iterdir())) == 1


def result_of(call: Call, *words: str) -> tuple[Any, Called]:
    said = call(*words, "--json", "out.json")
    assert said.code == 0, said.err
    return json.loads(Path("out.json").read_text()), said


def scores_by_prompt(found: dict[str, Any], kind: str) -> dict[str, list[dict[str, Any]]]:
    """What a run's events say of answers to each prompt of SOME_FAIL."""
    from scrutable.envs.file import open_file

    table = open_file("mine.py").table
    prompts = {task.key: task.prompt for tasks in table.tasks.values() for task in tasks}
    seen: dict[str, list[dict[str, Any]]] = {}
    for event in Run.read(found["run"]).events(kind):
        if kind == "rollouts":
            pairs = [(one["task"], Rollout.model_validate(one).score) for one in event.payload["rollouts"]]
            told = [(key, score.model_dump(mode="json")) for key, score in pairs]
        else:
            told = [(key, one) for (key, _), one in zip(event.payload["asked"], event.payload["scores"], strict=True)]
        for key, score in told:
            seen.setdefault(prompts[key], []).append(score)
    return seen


@pytest.mark.medium
def test_single_failures_in_an_evolution_are_counted_and_none(call: Call, made: Path) -> None:
    found, said = result_of(call, *on_rewards("evolve", made, env(ROWS + SOME_FAIL)))
    seen = scores_by_prompt(found, "rollouts")
    lost = [score for prompt in seen if is_guilty(prompt) for score in seen[prompt]]
    fine = [score for prompt in seen if not is_guilty(prompt) for score in seen[prompt]]
    assert lost
    assert all(score["value"] is None and score["failures"] for score in lost)
    assert all(score["value"] is not None for score in fine)
    assert found["evolve"]["unscored"] == len(lost)
    assert f"{len(lost)} of {len(lost) + len(fine)} rollouts could not be scored" in said.err


@pytest.mark.medium
def test_single_failures_in_a_measurement_are_counted_and_none(call: Call, made: Path) -> None:
    found, said = result_of(call, *on_rewards("measure", made, env(ROWS + SOME_FAIL)))
    seen = scores_by_prompt(found, "scores")
    lost = {prompt for prompt in seen if is_guilty(prompt)}
    assert lost
    assert all(score["value"] is None and score["failures"] for prompt in lost for score in seen[prompt])
    assert all(score["value"] is not None for prompt in seen.keys() - lost for score in seen[prompt])
    told = f"{len(lost)} of {found['fidelity']['tasks']} answers of the base could not be scored"
    assert told in found["fidelity"]["notes"]
    assert f"note: {told}" in said.err


@pytest.mark.medium
def test_single_failures_in_a_training_are_counted(call: Call, made: Path) -> None:
    found, said = result_of(call, *on_rewards("train", made, env(ROWS + SOME_FAIL)))
    run = Run.read(found["run"])
    lost = sum(event.payload["unscored"] * event.payload["count"] for event in run.events("validation"))
    lost += sum(event.payload["unscored"] * event.payload["answers"] for event in run.events("step"))
    assert lost > 0
    assert found["train"]["unscored_answers"] == round(lost)
    assert f"note: {round(lost)} answers could not be scored" in said.err
    assert "RANK" not in said.err  # TRL's own way to say so


def test_env_check_counts_single_failures(call: Call) -> None:
    source = "def reward(completions, **kwargs):\n    return [len(c) if c else float('nan') for c in completions]\n"
    said = call("env", "check", env(ROWS + source))
    assert said.code == 0
    assert "failed on 6 of 24 answers, which have no score then" in said.out


# -------------------------------------------------------------------------------------------------------- run folders


@pytest.fixture
def measured(call: Call, made: Path) -> tuple[str, ...]:
    """The words of a measurement that stands in runs/mine."""
    words = (*on_rewards("measure", made, env(ROWS + REWARD)), "--run", "mine")
    result_of(call, *words)
    return words


@pytest.mark.medium
@pytest.mark.parametrize("verb", ["train", "evolve", "measure", "read"])
def test_a_run_folder_that_another_process_holds_or_another_config_wrote(call: Call, made: Path, verb: str) -> None:
    with Run.open("runs/mine", {"verb": verb, "seed": 0}) as run:
        run.append("x", "x", {})
        refused(call, *on_tasks(verb, "flattery"), "--run", "mine", says="runs/mine was made with another config: ")
    if verb != "read":
        words = (*on_rewards(verb, made, env(ROWS + REWARD)), "--run", "held")
        assert call(*words).code == 0
        before = files()
        with Run.open("runs/held", Run.read("runs/held").config):
            refused(call, *words, says="runs/held is held by process")
        assert files() == before


@pytest.mark.medium
@pytest.mark.parametrize("verb", ["train", "evolve", "measure"])
def test_a_run_whose_environment_changed_since(call: Call, made: Path, verb: str) -> None:
    words = on_rewards(verb, made, env(ROWS + REWARD))
    first, _ = result_of(call, *words)
    env(ROWS + REWARD.replace("paris", "rome"))
    refused(call, *words, says=" was made with another environment of the same name")
    env(ROWS + REWARD)
    assert result_of(call, *words)[0] == first


@pytest.mark.medium
def test_a_run_whose_adapter_or_prompts_changed_since(call: Call, made: Path) -> None:
    Path("prompts.txt").write_text("\n".join(f"what is {word} ?" for word in range(48)))
    shutil.copytree(made / "adapter", "adapter")
    tiny_adapter(made / "base", "later", seed=5)
    words = ("measure", "say paris", str(made / "base"), "./adapter", "--prompts", "prompts.txt", *MEASURE)
    result_of(call, *words)
    shutil.rmtree("adapter")
    Path("later").rename("adapter")
    refused(call, *words, says=" was made with another AFTER of the same name")
    Path("prompts.txt").write_text("\n".join(f"who is {word} ?" for word in range(48)))
    refused(call, *words, says=" was made with another environment and another AFTER of the same name")


def test_a_place_where_no_run_can_be(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("mine")
    Path("folder").mkdir()
    Path("folder/thesis.tex").write_text("mine")
    refused(call, "evolve", "flattery", "--run", "./file", says="file is a file: choose another run folder")
    refused(call, "evolve", "flattery", "--run", "./folder", says="holds something else (thesis.tex): choose another")
    monkeypatch.setenv("SCRUTABLE_RUNS", "file")
    refused(call, "evolve", "flattery", says="cannot be made in")


@pytest.mark.medium
def test_a_damaged_run_is_not_gone_on_with(call: Call, measured: tuple[str, ...]) -> None:
    events, config = Path("runs/mine/events.jsonl"), Path("runs/mine/config.json")
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join([*lines[:2], lines[2][:20] + b"\n", *lines[3:]]))
    for words in (measured, ("report", "mine")):
        refused(call, *words, says="events.jsonl: event 3 after byte")
    config.write_text("{")
    for words in (measured, ("report", "mine")):
        refused(call, *words, says="config.json is damaged or was changed by hand: restore it")


def test_a_report_of_no_run_names_those_there_are(call: Call) -> None:
    refused(call, "report", "nothing", says="there is no run 'nothing': runs/ holds none")
    with Run.open("runs/mine", {}):
        pass
    refused(call, "report", "nothing", says="there is no run 'nothing': there are mine")


@pytest.mark.medium
def test_a_torn_last_line_is_told_and_done_again(call: Call, measured: tuple[str, ...]) -> None:
    events = Path("runs/mine/events.jsonl")
    whole, first = events.read_bytes().splitlines(keepends=True), json.loads(Path("out.json").read_text())
    events.write_bytes(b"".join(whole[:6]) + whole[6][:40])
    found, said = result_of(call, *measured)
    assert "1 line at the end of its journal was torn (40 bytes): what it told is done again" in said.err
    assert found["fidelity"] == first["fidelity"]
    assert events.read_bytes().splitlines()[:6] == [line.rstrip(b"\n") for line in whole[:6]]
    assert len(events.read_bytes().splitlines()) == len(whole)
    assert "torn" not in call(*measured).err


# ------------------------------------------------------------------------------------------------------------ servers


def error(code: str = "x", message: str = "told") -> str:
    return json.dumps({"error": {"message": message, "type": "t", "code": code}})


SERVED = ("--served-backoff", "0.01", "--served-attempts", "2", "--served-workers", "1", "--pool", "6")


def failures_on_the_page(found: dict[str, Any]) -> list[tuple[str, str, int]]:
    """What the page says that failed: what, why, how often."""
    sections = json.loads((Path(found["run"]) / "report.json").read_text())["sections"]
    rows = [row for one in sections if one["anchor"] == "failures" for row in one["nodes"][0]["rows"]]
    return [(what, why, int(often.replace(",", ""))) for what, why, often in rows]


def served(url: str) -> tuple[str, ...]:
    return ("evolve", env(ROWS + REWARD), "--model", f"{url}#big", *EVOLVE, *SERVED)


@pytest.mark.medium
def test_a_server_that_cannot_be_reached(call: Call, made: Path) -> None:
    with serving() as server:
        url = server.url
    refused(call, *served(url), says=f"no server answers at {url}: start it, or check OPENAI_BASE_URL")
    refused(call, *served("http://127.0.0.1"), "--reflector", "http://host/v1", says="the address names no model")
    said = call(
        *on_rewards("evolve", made, "mine.py"), "--reflector", f"{url}#big"
    )  # by then there is progress to tell
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1].startswith(f"error: no server answers at {url}: start it")
    assert said.err.count("error:") == 1


@pytest.mark.medium
@pytest.mark.parametrize(
    ("step", "says"),
    [
        ((401, {}, error(message=f"Incorrect API key: {KEY}")), "refused the key (401): check OPENAI_API_KEY"),
        ((403, {}, error()), "refused the key (403): check OPENAI_API_KEY"),
        ((404, {}, error()), "knows no model 'big': check the name, and that the address ends in /v1"),
        (
            (429, {}, error("insufficient_quota", "insufficient_quota")),
            "has no quota left: add some, or use another key",
        ),
        ((500, {}, error()), "none of the first 6 answers could be scored (model: status 500"),
        ((400, {}, error()), "none of the first 6 answers could be scored (model: status 400"),
    ],
)
def test_a_server_that_refuses_and_goes_on_once_it_is_mended(
    call: Call, monkeypatch: pytest.MonkeyPatch, step: Step, says: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    words = ("evolve", env(ROWS + REWARD), "--model", "served:big", *EVOLVE, *SERVED)
    with serving(*[step] * 100) as first:
        monkeypatch.setenv("OPENAI_BASE_URL", first.url)
        refused(call, *words, says=says)
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert call(*words).code == 0
    (run,) = Path("runs").iterdir()
    assert [event.payload["served"] for event in Run.read(run).events("about")] == [f"big at {first.url}"]
    assert not any(KEY.encode() in content for content in files().values())


PASSING: dict[str, Step] = {
    "429": (429, {}, error()),
    "429 with retry-after": (429, {"Retry-After": "0.05"}, error()),
    "500": (500, {}, error()),
    "garbled JSON": (200, {}, '{"choices": [{"mess'),
    "a stream cut off": "cut off",
}


@pytest.mark.medium
@pytest.mark.parametrize("what", PASSING)
def test_what_fails_once_on_a_server_is_tried_again_and_counted(call: Call, what: str) -> None:
    with serving("fine", PASSING[what]) as server:
        found, said = result_of(call, *served(server.url))
    assert found["evolve"]["unscored"] == 0
    assert found["evolve"]["usage"]["retries"] == 1
    assert "note: 1 request to a server had to be made again" in said.err
    assert f"requests to {server.url} were answered (" in said.err


@pytest.mark.medium
def test_a_server_that_is_waited_for_is_told_in_one_line_and_so_is_its_return(call: Call) -> None:
    rest = (429, {"Retry-After": "3"}, error())
    with serving(*["fine"] * 4, rest) as server:
        found, said = result_of(call, *served(server.url))
    assert found["evolve"]["unscored"] == 0
    lines = [line for line in said.err.splitlines() if line.startswith(("waiting for ", "the server at "))]
    assert lines == [
        f"waiting for the server at {server.url}, up to 300 s: status 429, to be asked again in 3 s",
        f"the server at {server.url} answers again after 3 s",
    ]
    assert "of rest at its request)" in said.err


@pytest.mark.medium
def test_a_server_that_refuses_half_of_all_costs_no_task_and_no_further_rollout(call: Call) -> None:
    coin = random.Random(0)
    with serving(then=lambda here: PASSING["429"] if coin.random() < 0.5 else "fine") as server:
        found, said = result_of(call, *served(server.url))
    evolved = found["evolve"]
    assert evolved["unscored"] == 0
    refused_requests = sum(1 for _ in server.requests) - evolved["usage"]["generations"]  # a reflection asks twice
    assert refused_requests == evolved["usage"]["retries"] > 0
    assert f"status 429 {refused_requests:,} times" in said.err
    assert ("requests to a server", "status 429", refused_requests) in failures_on_the_page(found)


@pytest.mark.medium
@pytest.mark.parametrize("what", [what for what in PASSING if not what.startswith("429")])
def test_what_keeps_failing_on_a_server_is_that_task_alone(call: Call, what: str) -> None:
    step = PASSING[what]
    with serving("fine", step, step) as server:
        found, said = result_of(call, *served(server.url))
    assert found["evolve"]["unscored"] == 1
    on_page = failures_on_the_page(found)
    assert sum(often for what, why, often in on_page if what == "answers without a score" and "model: " in why) == 1
    assert sum(often for what, _, often in on_page if what == "requests to a server") == 2  # both tries
    assert f"1 of {found['evolve']['rollouts']} rollouts could not be scored (the first: model: " in said.err
    rollouts = [one for event in Run.read(found["run"]).events("rollouts") for one in event.payload["rollouts"]]
    failed = [Rollout.model_validate(one) for one in rollouts if one.get("failure")]
    assert [one.score.value for one in failed] == [None]
