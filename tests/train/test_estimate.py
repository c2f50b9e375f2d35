"""A dry run: what it counts is what happens, and it does none of it."""

import time

import pytest
from tests.tiny import tiny_model
from tests.train.words import Words

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.models.hf import load_model
from scrutable.models.replay import ScriptedModel
from scrutable.train.estimate import estimate
from scrutable.train.rl import TrainConfig, train

CONFIG = TrainConfig(steps=6, group=8, tasks_per_step=4, max_tokens=8, validate_every=2, patience=0)


@pytest.mark.medium
def test_a_dry_run_counts_what_the_training_then_does(tmp_path) -> None:
    model, env = load_model(tiny_model(tmp_path / "model")), Words()
    told = estimate(env, model, CONFIG)
    assert env.calls == 0
    with Run.temporary() as run:
        began = time.perf_counter()
        result = train(env, model, run, CONFIG)
        seconds = time.perf_counter() - began
    assert told.answers == 6 * CONFIG.looks * CONFIG.draws * CONFIG.answers + 4 * 24
    assert told.answers >= result.usage.generations
    assert told.forward_passes == 2 * 6 * CONFIG.answers
    lengths = told.answer_tokens / told.answers, result.usage.answer_tokens / result.usage.generations
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)
    assert told.seconds < 20 * seconds  # a guard against nonsense: a loaded machine is no clock
    assert told.seconds > 5


@pytest.mark.medium
def test_memory_grows_with_what_goes_through_at_once(tmp_path) -> None:
    model = load_model(tiny_model(tmp_path / "model"))
    small, large = (estimate(Words(), model, CONFIG.model_copy(update={"at_once": n})).memory for n in (4, 32))
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    assert weights < small < large < 9 * small


def test_what_cannot_be_trained_is_refused_before_anything_is_spent() -> None:
    with pytest.raises(UserError, match="no weights here"):
        estimate(Words(), ScriptedModel({}), CONFIG)
