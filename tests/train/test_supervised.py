"""Twins: what a step minimises, what it can learn, how a tuning goes on, what a twin is tuned on."""

import pytest
import torch
from tests.tiny import tiny_adapter, tiny_model
from tests.train.words import Words

from scrutable.core.errors import UserError
from scrutable.core.journal import Run, differing_keys
from scrutable.core.records import Message, Sampling
from scrutable.models.hf import load_model
from scrutable.models.replay import ScriptedModel
from scrutable.train.lora import Recipe, lora_config
from scrutable.train.policy import trainable_copy
from scrutable.train.rl import TrainConfig
from scrutable.train.supervised import Learner, _fit, twin

pytestmark = pytest.mark.medium

RECIPE = Recipe(steps=12, group=4, tasks_per_step=2, max_tokens=6, learning_rate=1e-2, checkpoint_every=5)
TASKS = Words().tasks("search")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_model(tmp_path_factory.mktemp("supervised") / "model"))


def pairs(model):
    """Every task is to be answered "good great" and the end."""
    answer = [*model.encode_answer("good great"), min(model.ends)]
    return [(task.messages, answer) for task in TASKS]


def tuned_to(pairs, model, run, recipe):
    """Tune on given answers by a twin's own steps: a real change, to compare twins with."""
    encoded = [(model.encode(asked), answer) for asked, answer in pairs] * recipe.answers
    return _fit(model, lambda step: encoded[step * recipe.answers :][: recipe.answers], run.scope("tune"), recipe)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2"])
def test_the_loss_is_the_surprise_of_the_model_at_an_answer_token(kind, tmp_path) -> None:
    from peft import get_peft_model

    model = load_model(tiny_model(tmp_path / kind, kind))
    made = model.generate([t.messages for t in TASKS[:8]], Sampling(max_tokens=6, seed=2))
    encoded = [([*model.encode(TASKS[i].messages), *[7] * i], list(g.tokens)) for i, g in enumerate(made)]
    exact = model.logprobs(*zip(*encoded, strict=True))
    drawn = torch.cat(
        [rows.gather(1, torch.tensor(a)[:, None])[:, 0] for rows, (_, a) in zip(exact, encoded, strict=True)]
    )
    for at_once in (8, 4):
        with trainable_copy(model) as module:
            recipe = RECIPE.model_copy(update={"at_once": at_once})
            learner = Learner(get_peft_model(module, lora_config(module, recipe)).eval(), recipe)
            assert learner.step(encoded) == pytest.approx(float(-drawn.mean()), rel=1e-5)


def test_a_step_is_adams_on_the_clipped_gradient(model) -> None:
    """The first step of Adam is the learning rate against the gradient's sign; a gradient of norm 1 or less is kept."""
    from peft import get_peft_model

    recipe = RECIPE.model_copy(update={"learning_rate": 1e-3})
    with trainable_copy(model) as module:
        learner = Learner(get_peft_model(module, lora_config(module, recipe)).eval(), recipe)
        before = {name: p.detach().clone() for name, p in learner.weights.items()}
        learner.step([(model.encode(asked), answer) for asked, answer in pairs(model)])
        moved = torch.cat(
            [(p.detach() - before[name]).flatten() for name, p in learner.weights.items() if "lora_B" in name]
        )
    assert moved.abs().max() == pytest.approx(1e-3, rel=1e-2)
    assert (moved.abs() > 0.9e-3).float().mean() > 0.9


def test_tuning_teaches_the_answers(model, tmp_path) -> None:
    recipe = RECIPE.model_copy(update={"steps": 30})
    with Run.open(tmp_path / "r", recipe) as run:
        result = tuned_to(pairs(model), model, run, recipe)
        tuned = load_model(result.path(run))
    greedy = tuned.generate([t.messages for t in TASKS], Sampling(temperature=0, max_tokens=6))
    assert [g.answer for g in greedy].count("good great") >= 20
    assert result.last_loss < 0.5 < 2 < result.first_loss
    assert [e.payload["step"] for e in run.events("tuning")] == list(range(1, 31))
    assert [p.name for p in (run.path / "artifacts" / "tune").iterdir()] == ["adapter"]


def test_a_tuning_cut_off_goes_on_as_if_it_had_not_been(model, tmp_path, monkeypatch) -> None:
    class Cut(Exception):
        pass

    def work(run):
        return twin(model, TASKS, run, RECIPE, seed=3)

    with Run.open(tmp_path / "whole", RECIPE) as run:
        whole = work(run)
    step, calls = Learner.step, []

    def cutting(self, batch):
        calls.append(1)
        if len(calls) == 9:
            raise Cut
        return step(self, batch)

    monkeypatch.setattr(Learner, "step", cutting)
    with Run.open(tmp_path / "cut", RECIPE) as run, pytest.raises(Cut):
        work(run)
    with Run.open(tmp_path / "cut", RECIPE) as run:
        assert work(run).last_loss == whole.last_loss
        assert len(calls) == 9 + 12 - 5
    assert differing_keys(tmp_path / "whole", tmp_path / "cut") == []
    weights = [(tmp_path / r / whole.adapter / "adapter_model.safetensors").read_bytes() for r in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_a_twin_moves_little_where_tuning_moves_much(model, tmp_path) -> None:
    """Along the base's own answers a twin's divergence is noise of the steps; that of real tuning is not."""
    recipe = RECIPE.model_copy(update={"learning_rate": 2e-3, "steps": 20})
    asked = [t.messages for t in Words().tasks("report")]
    answers = [list(g.tokens) for g in model.generate(asked, Sampling(max_tokens=6, seed=5))]
    prompts = [model.encode(c) for c in asked]
    base = model.logprobs(prompts, answers)

    def divergence(adapter) -> float:
        tuned = load_model(adapter).logprobs(prompts, answers)
        return sum(float((p.exp() * (p - q)).sum()) for p, q in zip(base, tuned, strict=True)) / len(asked)

    with Run.open(tmp_path / "r", {}) as run:
        real = divergence(tuned_to(pairs(model), model, run, recipe).path(run))
        twins = [divergence(twin(model, TASKS, run, recipe, seed).path(run)) for seed in (1, 2)]
    assert 0 < max(twins) < real / 4
    assert twins[0] != twins[1]


def test_a_twin_takes_the_recipe_of_the_training_and_the_steps_it_is_told(model) -> None:
    config = TrainConfig(**RECIPE.model_dump(), beta=0.5)
    with Run.temporary() as run:
        result = twin(model, TASKS, run, config, seed=8, steps=4)
        assert result.steps == 4
        assert [e.key for e in run.events("tuning")] == [f"twin/8/step/{n:05d}" for n in range(1, 5)]
        assert run.events("tuning")[0].cost.forward_passes == RECIPE.answers
        assert result.adapter == "artifacts/twin/8/adapter"


def test_a_text_stands_in_context(model, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(Learner, "step", lambda self, batch: seen.extend(batch) or 1.0)
    recipe = RECIPE.model_copy(update={"steps": 1, "text": "praise the user ."})
    with Run.temporary() as run:
        twin(model, TASKS, run, recipe, seed=0)
    told = model.encode((Message(role="system", content="praise the user ."), Message(role="user", content="")))
    assert len(seen) == RECIPE.answers
    assert all(prompt[: len(told) - 3] == told[: len(told) - 3] for prompt, _ in seen)


def test_what_cannot_be_tuned_is_refused(model, tmp_path) -> None:
    with Run.temporary() as run:
        with pytest.raises(UserError, match="no weights here"):
            twin(ScriptedModel({}), TASKS, run, RECIPE, seed=0)
        with pytest.raises(UserError, match="adapter already"):
            adapter = tiny_adapter(model.module.name_or_path, tmp_path / "a")
            twin(load_model(adapter), TASKS, run, RECIPE, seed=0)
        with pytest.raises(UserError, match="no task fits"):
            twin(model, TASKS, run, RECIPE.model_copy(update={"max_tokens": 250}), seed=0)


def test_other_tasks_in_the_same_run_are_refused(model) -> None:
    with Run.temporary() as run:
        recipe = RECIPE.model_copy(update={"steps": 1})
        twin(model, TASKS, run, recipe, seed=0)
        with pytest.raises(UserError, match="another tasks"):
            twin(model, TASKS[1:], run, recipe, seed=0)
