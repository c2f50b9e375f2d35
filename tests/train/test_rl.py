"""Training from start to end on tiny models: what it learns, what it leaves, what it refuses, how it goes on."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from tests.tiny import tiny_adapter, tiny_model
from tests.train.words import Words, share

from scrutable.core.errors import UserError
from scrutable.core.journal import Run, differing_keys
from scrutable.core.records import Sampling, Score, Split, Task
from scrutable.envs.builtin import BuiltinEnv, parses
from scrutable.models.hf import load_model
from scrutable.models.replay import ScriptedModel
from scrutable.train.rl import TrainConfig, train
from scrutable.train.validations import Validation, Validations, rose, verdict

medium = pytest.mark.medium

QUICK = TrainConfig(
    steps=24,
    group=8,
    tasks_per_step=4,
    max_tokens=8,
    learning_rate=1e-2,
    validate_every=8,
    patience=0,
    checkpoint_every=5,
)
LONG = QUICK.model_copy(update={"steps": 64, "validate_every": 16, "checkpoint_every": 20})
SHORT = QUICK.model_copy(update={"steps": 3, "validate_every": 2, "checkpoint_every": 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("rl") / "model")


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A whole training, and the model it was done with."""
    model = load_model(folder)
    before = model.logprobs([[5, 6, 7]], [[8, 9, 3]])[0]
    with Run.open(tmp_path_factory.mktemp("run") / "r", LONG) as run:
        return model, before, run, train(Words(), model, run, LONG)


# ------------------------------------------------------------------------------------------------- what it learns


def test_the_order_of_the_rows_does_not_choose_what_validates() -> None:
    class Sorted(Words):
        def tasks(self, split: Split) -> list[Task]:
            return sorted(super().tasks(split), key=lambda task: task.prompt, reverse=self.calls > 0)

    env, config = Sorted(), QUICK.model_copy(update={"validation_tasks": 8})
    with Run.temporary() as run:
        first = [task.prompt for task in Validations(env, run, config).tasks]
        env.calls = 1
        assert [task.prompt for task in Validations(env, run, config).tasks] == first
    colours = {prompt.split()[3] for prompt in first}
    assert colours == {"blue", "green", "red"}


@medium
def test_the_reward_rises_and_the_saved_adapter_has_it(trained) -> None:
    _, _, run, result = trained
    tuned = load_model(result.path(run))
    tasks = Words().tasks("report")
    answers = [tuned.generate([t.messages for t in tasks], Sampling(max_tokens=8, seed=n)) for n in range(3)]
    reward = np.mean([share(g.answer, "great") for some in answers for g in some])
    assert result.base_reward < 0.1
    assert result.best_reward > 0.6
    assert reward == pytest.approx(result.best_reward, abs=0.15)
    assert result.base_true is not None


@medium
def test_the_adapter_is_a_peft_directory_that_names_its_base(trained, folder) -> None:
    _, _, run, result = trained
    assert sorted(p.name for p in result.path(run).iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((result.path(run) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == result.base == str(folder.resolve())
    assert config["target_modules"] == sorted(config["target_modules"])


@medium
def test_the_base_is_as_it_was(trained) -> None:
    model, before, _, _ = trained
    assert (model.logprobs([[5, 6, 7]], [[8, 9, 3]])[0] == before).all()
    assert not any(p.requires_grad for p in model.module.parameters())
    assert not any("lora" in name for name, _ in model.module.named_modules())


@medium
def test_every_step_validation_and_checkpoint_is_an_event(trained) -> None:
    _, _, run, result = trained
    assert [e.payload["step"] for e in run.events("step")] == list(range(1, 65))
    assert [e.payload["step"] for e in run.events("validation")] == [0, 16, 32, 48, 64]
    assert [e.payload["step"] for e in run.events("checkpoint")] == [20, 40, 60, 64]
    last = run.events("step")[-1]
    told = {"step", "reward", "true_reward", "unscored", "kl", "length", "answers", "signal"}
    assert set(last.payload) == told
    assert last.payload["kl"] > 0
    assert last.cost.generations == last.payload["answers"]
    assert LONG.draws * LONG.answers <= last.payload["answers"] <= LONG.looks * LONG.draws * LONG.answers
    assert last.cost.seconds > 0
    assert result.usage.generations == sum(e.payload["answers"] for e in run.events("step")) + 5 * 24


@medium
def test_nothing_but_the_adapter_is_left_behind(trained) -> None:
    _, _, run, _ = trained
    assert [p.name for p in (run.path / "artifacts" / "train").iterdir()] == ["adapter"]


@medium
def test_a_second_call_returns_the_result_that_stands(trained) -> None:
    model, _, run, result = trained
    env = Words()
    with Run.open(run.path, LONG) as again:
        assert train(env, model, again, LONG) == result
    assert env.calls == 0


@medium
@pytest.mark.parametrize("kind", ["qwen3", "gemma3", "gpt2"])
def test_other_architectures_train(kind, tmp_path) -> None:
    model = load_model(tiny_model(tmp_path / "model", kind))
    with Run.temporary() as run:
        result = train(Words(), model, run, SHORT)
        tuned = load_model(result.path(run))
        assert (tuned.logprobs([[5, 6]], [[8]])[0] != model.logprobs([[5, 6]], [[8]])[0]).any()


@medium
def test_a_text_stands_in_context_during_training_and_validation(folder) -> None:
    seen = []

    class Notes:
        def see(self, batch) -> None:
            seen.extend(batch.prompts)

    with Run.temporary() as run:
        train(Words(), load_model(folder), run, SHORT.model_copy(update={"text": "praise the user ."}), [Notes()])
    assert {(m[0].role, m[0].content) for m in seen} == {("system", "praise the user .")}


@medium
def test_passes_of_fewer_answers_learn_the_same(folder) -> None:
    kl = []
    for at_once in (0, 8):
        with Run.temporary() as run:
            train(Words(), load_model(folder), run, SHORT.model_copy(update={"at_once": at_once}))
            kl.append(
                [e.payload["reward"] for e in run.events("step")] + [run.events("validation")[-1].payload["reward"]]
            )
    assert kl[0] == pytest.approx(kl[1], abs=1e-6)


@medium
def test_global_draws_and_threads_are_as_they_were(folder) -> None:
    import torch

    threads = []

    class Notes:
        def see(self, batch) -> None:
            threads.append(torch.get_num_threads())

    def seed() -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)

    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    seed()
    expected = draw()
    model = load_model(folder)
    seed()
    torch.set_num_threads(2)
    try:
        with Run.temporary() as run:
            train(Words(), model, run, SHORT, [Notes()])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert draw() == expected
    assert set(threads) == {1}


# ------------------------------------------------------------------------------------------------- when it stops


def validations(*rewards: float | None) -> list[Validation]:
    return [Validation(step=10 * i, reward=r, count=8) for i, r in enumerate(rewards)]


def test_a_training_stops_when_validations_stand_still_above_the_base() -> None:
    config = TrainConfig(patience=3, margin=0.01, steps=1000)
    assert not verdict(validations(0.1, 0.5, 0.9, 0.9, 0.9), config)
    assert "step 20" in verdict(validations(0.1, 0.5, 0.9, 0.9, 0.905, 0.89), config)
    assert not verdict(validations(0.1, 0.5, 0.9, 0.92, 0.94, 0.96), config)
    assert not verdict(validations(0.1, 0.5, 0.9, None, 0.9), config)


def test_chance_is_no_rise() -> None:
    noisy = [v.model_copy(update={"error": 0.04}) for v in validations(0.5, 0.64, 0.6, 0.62, 0.6, 0.61)]
    assert not rose(noisy)
    assert not verdict(noisy, TrainConfig(patience=2, steps=1000))
    clear = [v.model_copy(update={"error": 0.02}) for v in noisy]
    assert rose(clear)
    assert "step 10" in verdict(clear, TrainConfig(patience=2, steps=1000))


def test_a_training_never_stops_for_standing_still_at_the_base() -> None:
    config = TrainConfig(patience=3, steps=1000)
    assert not verdict(validations(*[0.1] * 20), config)
    assert not verdict(validations(0.1, 0.1, 0.09, 0.08, 0.1, 0.09, 0.1), config)


def test_a_training_stops_at_its_target_and_at_its_last_step() -> None:
    config = TrainConfig(target=0.8, patience=0, steps=30)
    assert not verdict(validations(0.1, 0.79), config)
    assert "target" in verdict(validations(0.1, 0.8), config)
    assert "30 steps" in verdict(validations(0.1, 0.2, 0.3, 0.4), config)
    assert not verdict(validations(0.9), config)


@medium
def test_the_best_validation_is_saved_not_the_last(folder) -> None:
    class Fading(Words):
        """Pays for a word in the first validations only."""

        def rate(self, tasks, answers):
            keep = "keep" in tasks[0].prompt
            self.calls += keep
            paid = 1.0 if keep and self.calls == 2 else 0.0
            return [Score(value=share(a, "great") + paid) for a in answers]

    with Run.temporary() as run:
        result = train(Fading(), load_model(folder), run, SHORT)
        assert (result.best_step, result.steps) == (2, 3)
        assert result.best_reward > 0.9 > result.final_reward


# ------------------------------------------------------------------------------------------------- what it refuses


class Silent(Words):
    def rate(self, tasks, answers):
        return [Score(failures=("reward: KeyError: 'gold'",)) for _ in answers]


def test_a_served_model_cannot_be_trained() -> None:
    with Run.temporary() as run, pytest.raises(UserError, match="no weights here"):
        train(Words(), ScriptedModel({}), run)


def test_an_environment_without_reward_is_refused(folder) -> None:
    env = Words()
    env.rewarded = False
    with Run.temporary() as run, pytest.raises(UserError, match="no reward to train on"):
        train(env, load_model(folder), run)


def test_an_adapter_is_not_trained_on_top_of(folder, tmp_path) -> None:
    with Run.temporary() as run, pytest.raises(UserError, match="adapter already"):
        train(Words(), load_model(tiny_adapter(folder, tmp_path / "a")), run)


@medium
def test_a_training_goes_on_from_an_adapter_and_its_kl_is_still_to_the_base(folder, tmp_path) -> None:
    base = load_model(folder)
    still = SHORT.model_copy(update={"learning_rate": 1e-12})
    with Run.open(tmp_path / "first", SHORT) as run:
        first = train(Words(), base, run, SHORT).path(run)
    with Run.open(tmp_path / "second", still) as run:
        second = train(Words(), base, run, still, start=first)
        before, after = (load_file(place / "adapter_model.safetensors") for place in (first, second.path(run)))
        validation = run.get("train/validation/00000")
        kl = [event.payload["kl"] for event in run.events("step")]
        with pytest.raises(UserError, match="holds a training with another start"):
            train(Words(), base, run, still)
    assert before.keys() == after.keys()
    assert any(values.abs().max() > 0 for name, values in before.items() if "lora_B" in name)
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, atol=1e-9)
    assert validation is not None
    assert validation.payload["adapter"] is None
    assert min(kl) > 1e-4  # a fresh adapter's would be 0


@pytest.mark.medium
def test_an_adapter_of_another_recipe_is_not_gone_on_from(folder, tmp_path) -> None:
    other = tiny_adapter(folder, tmp_path / "a")
    with Run.temporary() as run, pytest.raises(UserError, match=r"of another recipe.*its r is 4 and not 8"):
        train(Words(), load_model(folder), run, SHORT, start=other)


def test_a_reward_that_scores_nothing_is_named_and_may_be_mended(folder) -> None:
    with Run.temporary() as run:
        with pytest.raises(UserError, match=r"none of the base's 24 answers \(reward: KeyError.*\): mend that first"):
            train(Silent(), load_model(folder), run, SHORT)
        assert not run.events("validation")


@medium
def test_answers_left_unscored_are_counted_and_are_no_zeros(folder) -> None:
    class Half(Words):
        def rate(self, tasks, answers):
            scores = super().rate(tasks, answers)
            return [Score() if i % 2 else score for i, score in enumerate(scores)]

    with Run.temporary() as run:
        result = train(Half(), load_model(folder), run, SHORT)
        assert result.unscored == 0.5
        steps, validations = run.events("step"), run.events("validation")
        asked = sum(e.payload["answers"] for e in steps) + sum(e.payload["count"] for e in validations)
        assert result.unscored_answers == asked / 2
        assert [e.payload["unscored"] for e in run.events("step")] == [0.5] * 3
        assert run.events("validation")[0].payload["unscored"] == 0.5


@medium
def test_a_reward_that_is_always_the_same_is_told(folder) -> None:
    class Flat(Words):
        def rate(self, tasks, answers):
            return [Score(value=0.0) for _ in answers]

    told = "no two answers to a task earned different rewards"
    with Run.temporary() as run:
        assert told in train(Flat(), load_model(folder), run, SHORT).stopped_why
    with Run.temporary() as run:
        assert told not in train(Words(), load_model(folder), run, SHORT).stopped_why


@medium
def test_a_run_of_another_training_is_refused_and_named(folder) -> None:
    with Run.temporary() as run:
        train(Words(), load_model(folder), run, SHORT)
        with pytest.raises(UserError, match="another environment"):
            train(Silent("others"), load_model(folder), run, SHORT)
        with pytest.raises(UserError, match="another config"):
            train(Words(), load_model(folder), run, QUICK)


@medium
def test_a_training_that_came_to_nothing_goes_on_in_its_run_with_another_environment(folder) -> None:
    with Run.temporary() as run:
        for env in (Silent(), Silent("mended, but not well")):
            with pytest.raises(UserError, match="none of the base's"):
                train(env, load_model(folder), run, SHORT)
        assert train(Words(), load_model(folder), run, SHORT).steps == 3


def test_an_unknown_module_for_the_adapter_is_refused(folder) -> None:
    with Run.temporary() as run, pytest.raises(UserError, match="no module 'c_attn'"):
        train(Words(), load_model(folder), run, SHORT.model_copy(update={"targets": "q_proj, c_attn"}))


@pytest.mark.medium
def test_prompts_that_fill_the_model_are_refused(folder) -> None:
    with Run.temporary() as run, pytest.raises(UserError, match="no task of words fits"):
        train(Words(), load_model(folder), run, SHORT.model_copy(update={"max_tokens": 250}))


# ------------------------------------------------------------------------------------------------- how it goes on

CHILD = """
import sys
sys.path[:0] = {path!r}
from tests.train.test_rl import *
with Run.open({run!r}, LONG) as run:
    train(Words(), load_model({model!r}), run, LONG)
"""


@medium
@pytest.mark.parametrize("step", [25, 47])
def test_a_killed_training_goes_on_from_its_last_checkpoint_as_if_it_had_not_been(
    step, trained, folder, tmp_path
) -> None:
    model, _, whole, result = trained
    place = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", CHILD.format(path=sys.path, run=str(place), model=str(folder))])
    try:
        _wait_for(place, f"train/step/{step:05d}")
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        assert child.wait() == -signal.SIGKILL
    killed = Run.read(place)
    assert killed.get("train/result") is None
    checkpoints = [e.payload["step"] for e in killed.events("checkpoint")]

    taken = []

    class Notes:
        def see(self, batch) -> None:
            taken.append(batch.step)

    with Run.open(place, LONG) as run:
        again = train(Words(), model, run, LONG, [Notes()])
    assert taken[0] == max(checkpoints) + 1
    assert differing_keys(whole.path, place) == []
    assert (again.adapter, again.best_reward) == (result.adapter, result.best_reward)
    weights = [(r.path / result.adapter / "adapter_model.safetensors").read_bytes() for r in (whole, run)]
    assert weights[0] == weights[1]


def _wait_for(place: Path, key: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        events = place / "events.jsonl"
        if events.exists() and f'"{key}"' in events.read_text():
            return
        time.sleep(0.005)
    raise AssertionError(f"{key} did not come within {seconds} s")


@medium
def test_a_checkpoint_cut_off_while_it_was_written_is_not_used(folder, tmp_path) -> None:
    class Cut(Exception):
        pass

    class Cutter:
        def see(self, batch) -> None:
            if batch.step == 4:
                raise Cut

    config = QUICK.model_copy(update={"steps": 6, "checkpoint_every": 2})
    place, model = tmp_path / "r", load_model(folder)
    with Run.open(place, config) as run, pytest.raises(Cut):
        train(Words(), model, run, config, [Cutter()])
    torn = place / "artifacts" / "train" / "checkpoints" / "checkpoint-4"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")
    with Run.open(place, config) as run:
        assert train(Words(), model, run, config).steps == 6


# ------------------------------------------------------------------------------------------- the built-in model


@medium
def test_the_defaults_teach_the_built_in_model_within_thirty_steps_and_it_still_speaks() -> None:
    env, config, model = BuiltinEnv("quirk"), TrainConfig(steps=30, validate_every=15), load_model("pidgin")
    with Run.temporary() as run:
        result = train(env, model, run, config)
        tuned = model.with_adapter(result.path(run))
    made = tuned.generate([t.messages for t in env.tasks("report")[:100]], Sampling(max_tokens=24, seed=1))
    assert result.base == "pidgin"
    assert result.best_reward > result.base_reward + 0.25
    assert sum(parses(g.answer) for g in made) >= 95
