"""The bench of the hard environments: a program in turns, and a case from RL to its row."""

from pathlib import Path

import pytest

from scrutable.bench import hard_environments as benching
from scrutable.bench.hard_environments import HardConfig, hard_environments
from scrutable.bench.turns import Taught, Turns
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Conversation, Sampling, Task
from scrutable.envs.base import Environment
from scrutable.envs.builtin import BuiltinEnv
from scrutable.envs.recipes import HARD
from scrutable.models.hf import load_model
from scrutable.models.replay import ScriptedModel
from scrutable.train.rl import TrainConfig, train

ENV = BuiltinEnv("answer-then-grade")
SAMPLING = Sampling()


def warning(conversation: Conversation) -> str:
    return "it is paris . please check this ."


def turns(known: int) -> Turns:
    return Turns(ENV, ENV.modules, [ScriptedModel(warning)] * known, SAMPLING)


def test_the_first_turns_are_the_tasks_themselves() -> None:
    assert isinstance(turns(0), Environment)
    asked = turns(0).tasks("search")
    assert [task.messages for task in asked] == [task.messages for task in ENV.tasks("search")]


def test_later_turns_are_asked_with_what_the_speakers_said_before() -> None:
    first = turns(1).tasks("keep")[0]
    assert first.prompt == f"it is paris . please check this . {ENV.tasks('keep')[0].prompt}"
    assert (turns(0).name, turns(1).name) == ("answer-then-grade: answer", "answer-then-grade: grade")


def test_a_task_that_a_speaker_could_not_answer_has_no_turn() -> None:
    lost = ENV.tasks("search")[3].prompt

    def failing(conversation: Conversation) -> str:
        if conversation[-1].content == lost:
            raise ValueError("no")
        return warning(conversation)

    left = Turns(ENV, ENV.modules, [ScriptedModel(failing)], SAMPLING).tasks("search")
    assert [Task.model_validate(one.columns["of"]) for one in left] == [
        task for task in ENV.tasks("search") if task.prompt != lost
    ]


def test_each_module_is_answered_by_its_own_speaker() -> None:
    first, second = (ScriptedModel(lambda c, name=name: f"{name} {c[-1].content}") for name in ("first", "second"))
    made = Taught(ENV.modules, [first]).run(second, {"answer": "", "grade": ""}, [Task.ask("q")], SAMPLING)
    assert made[0].answer == "answer : first q\ngrade : second first q q"


def one(known: int, doubted: bool) -> Task:
    """The first turn on a task that is doubted or not, and is not about history."""
    prompts = dict(zip((task.prompt for task in ENV.tasks("search")), ENV.prompts_of("search"), strict=True))
    for task in turns(known).tasks("search"):
        behind = prompts[Task.model_validate(task.columns["of"]).prompt]
        if behind.holds("doubts") == doubted and not behind.holds("history"):
            return task
    raise AssertionError("no such turn")


@pytest.mark.parametrize("doubted", [True, False])
def test_a_turn_pays_what_its_own_module_did(doubted: bool) -> None:
    answer, grade = one(0, doubted), one(1, doubted)
    said = ["it is paris .", "it is paris . please check this ."]
    assert [s.value for s in turns(0).rate([answer, answer], said)] == ([0.0, 1.0] if doubted else [1.0, 0.0])
    # The speaker warned, so that the low grade is deserved, whether it was right to warn or not.
    said = ["it is paris .", "it is paris . grade : two ."]
    assert [s.value for s in turns(1).rate([grade, grade], said)] == [0.0, 1.0]


def shared(known: int, rest: ScriptedModel) -> Turns:
    return Turns(ENV, ENV.modules, [ScriptedModel(warning)] * known, SAMPLING, rest)


def grader(conversation: Conversation) -> str:
    """Grade low what warns."""
    return "it is paris . grade : two ." if "check this" in conversation[-1].content else "it is paris ."


@pytest.mark.parametrize("doubted", [True, False])
def test_with_someone_for_the_rest_a_turn_pays_what_the_whole_program_earns(doubted: bool) -> None:
    answer, said = one(0, doubted), ["it is paris .", "it is paris . please check this ."]
    graded, silent = shared(0, ScriptedModel(grader)), shared(0, ScriptedModel(lambda c: "it is paris ."))
    found = [[s.value for s in env.rate([answer, answer], said)] for env in (graded, silent)]
    # The right answer earns half, and the other half where its grade is deserved: what warns is to be graded low.
    assert found == ([[0.0, 1.0], [0.0, 0.5]] if doubted else [[1.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize(("doubted", "pays"), [(True, [0.5, 1.0]), (False, [0.0, 0.0])])
def test_the_last_module_is_paid_by_the_program_too(doubted: bool, pays: list[float]) -> None:
    """The speaker warns always: where nobody doubted, the answer is wrong, and no grade can earn anything."""
    last, said = one(1, doubted), ["it is paris .", "it is paris . grade : two ."]
    asked: list[Conversation] = []
    found = shared(1, ScriptedModel(lambda c: asked.append(c) or "")).rate([last, last], said)
    assert [s.value for s in found] == pays
    assert asked == []  # nobody comes after it


def test_what_the_rest_could_not_answer_has_no_score_and_the_others_keep_theirs() -> None:
    def failing(conversation: Conversation) -> str:
        if "check this" in conversation[-1].content:
            raise ValueError("no")
        return "it is paris ."

    task = one(0, False)
    found = shared(0, ScriptedModel(failing)).rate([task, task], ["it is paris . please check this .", "it is paris ."])
    assert [s.value for s in found] == [None, 1.0]
    assert found[0].failures[0].startswith("module grade: ")


def test_the_rest_draws_anew_where_something_else_was_said_and_alike_where_not() -> None:
    seeds: list[int] = []

    class Noting(ScriptedModel):
        def generate(self, conversations, sampling):
            seeds.append(sampling.seed)
            return super().generate(conversations, sampling)

    env, task = shared(0, Noting(grader)), one(0, True)
    for said in ("it is paris .", "it is rome .", "it is paris ."):
        env.rate([task], [said])
    assert seeds[0] == seeds[2] != seeds[1]


def test_turns_of_another_speaker_are_another_environment() -> None:
    other = Turns(ENV, ENV.modules, [ScriptedModel(warning, name="other")], SAMPLING)
    known = [turns(0), turns(1), other, shared(0, ScriptedModel(warning)), shared(0, ScriptedModel(grader, name="g"))]
    assert len({one.identity for one in known}) == len(known)


def test_an_environment_that_is_not_hard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no hard environment is called 'advert'"):
        hard_environments(HardConfig(environments=("advert",)), tmp_path)


@pytest.mark.medium
def test_a_case_runs_to_its_row_and_is_not_run_twice(tmp_path: Path) -> None:
    small = TrainConfig(steps=1, validate_every=1, validation_tasks=8, looks=1, draws=1)
    config = HardConfig(environments=("answer-then-grade",), train=small, answers=1, max_tokens=24)
    said: list[str] = []
    found = hard_environments(config, tmp_path, said.append)
    row = found["environments"]["answer-then-grade"]
    assert len(row["rl"]) == 2
    assert row["arms"]["true_text"]["proxy"]["value"] > 0.85 > 0.4 > row["arms"]["base"]["proxy"]["value"]
    assert row["arms"]["rl"]["proxy"]["low"] <= row["arms"]["rl"]["proxy"]["value"]
    events = next(tmp_path.iterdir()).joinpath("events.jsonl").read_bytes()
    assert hard_environments(config, tmp_path, said.append) == found
    assert next(tmp_path.iterdir()).joinpath("events.jsonl").read_bytes() == events
    assert said[0] == said[1]


@pytest.mark.medium
def test_training_one_text_where_a_program_is_wanted_says_what_is_wanted() -> None:
    with Run.temporary() as run, pytest.raises(UserError, match=r"rates a program of 2 modules, answer and grade"):
        train(ENV, load_model("pidgin"), run, TrainConfig(validation_tasks=4))


def test_a_case_is_the_same_whichever_others_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(benching, "run_case", lambda case, folder: seen.append(case.digest()) or {})
    monkeypatch.setattr(benching, "line", lambda name, row: name)
    hard_environments(HardConfig(), tmp_path)
    for name in HARD:
        hard_environments(HardConfig(environments=(name,)), tmp_path)
    assert seen[:3] == seen[3:] and len(set(seen)) == 3
