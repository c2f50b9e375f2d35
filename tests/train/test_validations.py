"""The budget of rollouts of a training: each answer counts once, and none is drawn beyond it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.tiny import tiny_model
from tests.train.words import Words

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Score, Task
from scrutable.models.hf import load_model
from scrutable.train.estimate import estimate
from scrutable.train.rl import TrainConfig, train
from scrutable.train.validations import Validation, Validations

CONFIG = TrainConfig(
    steps=50,
    group=2,
    tasks_per_step=2,
    draws=3,
    looks=2,
    max_tokens=4,
    validate_every=2,
    validation_tasks=5,
    patience=0,
)


class Counting(Words):
    """Counts the answers that it rates."""

    rated = 0

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        self.rated += len(answers)
        return super().rate(tasks, answers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("validations") / "model")


@pytest.mark.medium
@pytest.mark.parametrize("rollouts", [34, 58, 90])
def test_no_answer_is_drawn_beyond_the_budget_and_each_is_counted(folder, rollouts: int) -> None:
    env, config = Counting(), CONFIG.model_copy(update={"rollouts": rollouts})
    with Run.temporary() as run:
        found = train(env, load_model(folder), run, config)
    assert found.rollouts == env.rated <= rollouts
    assert rollouts - env.rated < config.most + 5  # else another step would have fitted
    assert found.steps < config.steps
    assert "another step of up to 24 answers does not fit" in found.stopped_why


def test_a_budget_without_room_for_a_step_is_refused_before_anything_is_drawn(folder) -> None:
    env = Counting()
    with Run.temporary() as run, pytest.raises(UserError, match=r"33 rollouts leave no room .*: give 34"):
        train(env, load_model(folder), run, CONFIG.model_copy(update={"rollouts": 33}))
    assert env.rated == 0


def test_steps_told_after_the_one_that_is_gone_on_from_are_not_spent_yet() -> None:
    with Run.temporary() as run:
        for step, answers in ((1, 12), (2, 24), (3, 12)):
            run.append(f"step/{step:05d}", "step", {"step": step, "answers": answers})
        run.append("validation/00000", "validation", Validation(step=0, reward=0.5, count=5))
        validate = Validations(Words(), run, CONFIG.model_copy(update={"rollouts": 70}))
        assert [validate.spent(step) for step in (0, 1, 2, 3)] == [5, 17, 41, 53]
        assert [validate.room(step) for step in (0, 1, 2, 3)] == [True, True, True, False]


def test_an_estimate_is_of_no_more_steps_than_the_budget_has_room_for(folder) -> None:
    model = load_model(folder)
    told = estimate(Words(), model, CONFIG.model_copy(update={"rollouts": 90}))
    assert told.steps == 3
    assert estimate(Words(), model, CONFIG).steps == 50
