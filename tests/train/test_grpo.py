"""What TRL is given and what it makes of it: tokens, log-probabilities, advantages."""

from collections.abc import Sequence
from itertools import combinations
from statistics import pvariance
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import tiny_model
from tests.train.words import Words

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Score, Task
from scrutable.models.hf import HFModel, load_model
from scrutable.train.grpo import Drawing, Group, Rollouts, make_trainer, means
from scrutable.train.lora import Recipe, quietly, shuffled
from scrutable.train.policy import Voice, trainable_copy
from scrutable.train.watch import Batch, advantages

pytestmark = pytest.mark.medium

RECIPE = Recipe(steps=2, group=4, tasks_per_step=2, max_tokens=6, learning_rate=5e-3)


class Picky(Words):
    """Leaves answers unscored: every third, the whole second task, or all."""

    def __init__(self, everything: bool = False) -> None:
        super().__init__()
        self.everything = everything

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        scores = super().rate(tasks, answers)
        silent = [self.everything or i % 3 == 0 or i >= RECIPE.group for i in range(len(scores))]
        return [Score(failures=("reward: no",)) if s else score for s, score in zip(silent, scores, strict=True)]


class Uneven(Words):
    """Prompts of very different lengths, so that every batch is padded."""

    def tasks(self, split: str) -> list[Task]:
        return [Task.ask("what " + "is the sky " * n + "?") for n in (0, 5, 1, 7)]


def one_batch(model: HFModel, env: Words, tmp_path, watchers=(), looks: int = 1, draws: int = 1):
    """Let TRL generate and score the first batch; return what it made of it, and the rollouts."""
    with (
        Run.open(tmp_path / "run", {}) as run,
        quietly(RECIPE, model.module),
        trainable_copy(model) as module,
    ):
        rollouts = Rollouts(env, model, env.tasks("search"), run, RECIPE, watchers, Drawing(looks, draws))
        settings = {"beta": 0.1, "output_dir": str(tmp_path / "trl")}
        trainer = make_trainer(module, rollouts, settings, lambda *_: False)
        return trainer._generate_and_score_completions([{"prompt": "0"}] * RECIPE.answers), rollouts


@pytest.mark.parametrize("chat_template", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2"])
def test_trl_sees_the_tokens_and_log_probabilities_of_the_model(kind, chat_template, tmp_path) -> None:
    model = load_model(tiny_model(tmp_path / "model", kind, chat_template))
    out, rollouts = one_batch(model, Uneven(), tmp_path)
    prompts = [model.encode(group.task.messages) for group in rollouts.chosen for _ in range(RECIPE.group)]
    assert len({len(p) for p in prompts}) > 1
    seen = [row[mask.bool()].tolist() for row, mask in zip(out["prompt_ids"], out["prompt_mask"], strict=True)]
    assert seen == prompts
    answers = [
        row[mask.bool()].tolist() for row, mask in zip(out["completion_ids"], out["completion_mask"], strict=True)
    ]
    exact = model.logprobs(prompts, answers)
    for row, answer in enumerate(answers):
        ours = exact[row].gather(1, exact[row].new_tensor(answer).long()[:, None])[:, 0]
        assert out["ref_per_token_logps"][row, : len(answer)].tolist() == pytest.approx(ours.tolist(), abs=1e-4)


def test_trl_leaves_unscored_answers_out_as_our_own_advantages_do(tmp_path) -> None:
    model = load_model(tiny_model(tmp_path / "model"))
    out, rollouts = one_batch(model, Picky(), tmp_path)
    rewards = [s.value for group in rollouts.chosen for s in group.scores]
    assert rewards.count(None) == 6
    assert any(out["advantages"])
    assert out["advantages"].tolist() == pytest.approx(advantages(rewards, RECIPE.group), abs=1e-5)
    assert [a for a, r in zip(out["advantages"].tolist(), rewards, strict=True) if r is None] == [0.0] * 6


def test_a_watcher_sees_the_batch_as_the_optimizer_gets_it(tmp_path) -> None:
    seen: list[Batch] = []

    class Notes:
        def see(self, batch: Batch) -> None:
            seen.append(batch)

    model = load_model(tiny_model(tmp_path / "model"))
    out, rollouts = one_batch(model, Words(), tmp_path, [Notes()])
    (batch,) = seen
    assert batch.step == 1
    assert [t.key for t in batch.tasks] == [g.task.key for g in rollouts.chosen for _ in range(RECIPE.group)]
    assert [model.decode(tokens) for tokens in batch.tokens] == list(batch.answers)
    assert list(batch.advantages) == pytest.approx(out["advantages"].tolist(), abs=1e-5)


class Short(Words):
    """Gives one score too few: those of the second task would be taken for the first's."""

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        return super().rate(tasks, answers)[1:]


class Raising(Words):
    """Breaks."""

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        raise KeyError("gone")


@pytest.mark.parametrize("env", [Short(), Raising()])
def test_a_rater_that_breaks_leaves_the_batch_unscored(env, tmp_path) -> None:
    _, rollouts = one_batch(load_model(tiny_model(tmp_path / "model")), env, tmp_path)
    scores = [score for group in rollouts.drawn for score in group.scores]
    assert len(scores) == RECIPE.answers
    assert all(score.value is None and score.failures[0].startswith("reward: ") for score in scores)


class Rare(Words):
    """Tells something of one task in four only."""

    def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
        self.calls += 1
        told = [t.key for t in self.tasks("search")][::4]
        return [Score(value=float(len(a)) if t.key in told else 1.0) for t, a in zip(tasks, answers, strict=True)]


def test_further_tasks_are_looked_at_until_enough_tell_something(tmp_path) -> None:
    model, env = load_model(tiny_model(tmp_path / "model")), Rare()
    out, rollouts = one_batch(model, env, tmp_path, looks=12)
    telling = [group.tells for group in rollouts.drawn]
    assert len(telling) in (4, 8, 16, 24)
    assert sum(telling) >= RECIPE.tasks_per_step == len(rollouts.chosen)
    assert sum(telling[: (len(telling) + 1) // 2 if len(telling) < 24 else 16]) < RECIPE.tasks_per_step
    assert all(group.tells for group in rollouts.chosen)
    assert out["advantages"].abs().view(-1, RECIPE.group).sum(1).min() > 0
    payload, cost = rollouts.told(0.5)
    assert payload["signal"] == 1.0
    assert payload["answers"] == cost.generations == len(rollouts.drawn) * RECIPE.group
    scores = [s for group in rollouts.drawn for s in group.scores]
    assert (
        payload["reward"] == means(scores)["reward"] != means([s for g in rollouts.chosen for s in g.scores])["reward"]
    )


def test_of_the_tasks_that_tell_the_hardest_are_learned_from(tmp_path) -> None:
    class Uneven(Words):
        """The later a task comes, the higher are its rewards; every other task tells nothing."""

        def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
            place = [t.key for t in self.tasks("search")]
            at = [place.index(t.key) for t in tasks]
            return [Score(value=i + (len(a) / 100 if i % 2 else 0)) for i, a in zip(at, answers, strict=True)]

    model, env = load_model(tiny_model(tmp_path / "model")), Uneven()
    _, rollouts = one_batch(model, env, tmp_path, looks=2)
    place = [t.key for t in env.tasks("search")]
    drawn = [place.index(g.task.key) for g in rollouts.drawn]
    telling = sorted(n for n in drawn if n % 2)
    assert [place.index(g.task.key) for g in rollouts.chosen][: len(telling)] == telling[: RECIPE.tasks_per_step]
    assert telling


def group_of(rewards: Sequence[float | None]) -> Group:
    answers = [Generation(answer=str(n)) for n in range(len(rewards))]
    scores = [Score(failures=("reward: no",)) if r is None else Score(value=r) for r in rewards]
    return Group(Task.ask("why ?"), (), [1], answers, scores)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5]), min_size=2, max_size=9), st.integers(2, 9))
def test_the_answers_kept_differ_most_of_all_that_could_be(rewards: list[float], count: int) -> None:
    count = min(count, len(rewards))
    kept = group_of(rewards).most_unlike(count)
    assert len(kept.answers) == len(kept.scores) == count
    assert [rewards[int(a.answer)] for a in kept.answers] == [s.value for s in kept.scores]
    assert len({a.answer for a in kept.answers}) == count
    most = max(pvariance(some) for some in combinations(rewards, count))
    assert pvariance([s.value or 0.0 for s in kept.scores]) == pytest.approx(most)


def test_one_success_of_many_stays_and_unscored_answers_are_kept_last() -> None:
    assert [a.answer for a in group_of([0, 0, 0, 0, 1, 0]).most_unlike(3).answers] == ["0", "1", "4"]
    assert [a.answer for a in group_of([None, 0, None, 1, 0]).most_unlike(3).answers] == ["1", "3", "4"]
    assert [a.answer for a in group_of([None, 0, None, 1]).most_unlike(3).answers] == ["0", "1", "3"]
    assert [a.answer for a in group_of([None, None, None]).most_unlike(2).answers] == ["0", "1"]


def test_more_answers_are_drawn_to_a_task_than_are_learned_from(tmp_path) -> None:
    model, env = load_model(tiny_model(tmp_path / "model")), Words()
    out, rollouts = one_batch(model, env, tmp_path, draws=3)
    assert {len(g.answers) for g in rollouts.drawn} == {3 * RECIPE.group}
    assert {len(g.answers) for g in rollouts.chosen} == {RECIPE.group}
    assert rollouts.told(None)[0]["answers"] == 3 * RECIPE.answers
    rewards = [s.value for group in rollouts.chosen for s in group.scores]
    assert out["advantages"].tolist() == pytest.approx(advantages(rewards, RECIPE.group), abs=1e-5)


def test_what_is_missing_is_filled_up_after_the_last_look(tmp_path) -> None:
    class Same(Words):
        def rate(self, tasks, answers):
            self.calls += 1
            return [Score(value=1.0) for _ in answers]

    env = Same()
    out, rollouts = one_batch(load_model(tiny_model(tmp_path / "model")), env, tmp_path, looks=3)
    assert env.calls == 3
    assert len(rollouts.chosen) == RECIPE.tasks_per_step
    assert not any(out["advantages"])
    assert rollouts.told(None)[0]["signal"] == 0.0


def test_no_task_is_looked_at_twice_before_all_were(tmp_path) -> None:
    model, env = load_model(tiny_model(tmp_path / "model")), Words(count=12)
    with Run.temporary() as run:
        rollouts = Rollouts(env, model, env.tasks("search"), run, RECIPE, drawing=Drawing(looks=3))
    assert len(set(rollouts.order[:12])) == 12 == len(rollouts.order)


def test_three_steps_without_a_score_end_the_training_with_the_reason(tmp_path) -> None:
    model, env = load_model(tiny_model(tmp_path / "model")), Picky(everything=True)
    with Run.temporary() as run:
        rollouts = Rollouts(env, model, env.tasks("search"), run, RECIPE.model_copy(update={"steps": 3}))
        rollouts.voice = Still(model)
        for step in range(2):
            rollouts.answer(["0"] * RECIPE.answers, Trainer(step))
            assert rollouts.rate([]) == [None] * RECIPE.answers
        with pytest.raises(UserError, match="reward: no"):
            rollouts.answer(["0"] * RECIPE.answers, Trainer(2))


class Still:
    """A voice that is not in training."""

    def __init__(self, model: HFModel) -> None:
        self.model = model

    def speaker(self) -> HFModel:
        return self.model


class Trainer:
    """What `Rollouts` asks of TRL's trainer."""

    def __init__(self, step: int) -> None:
        self.state = SimpleNamespace(global_step=step)


def test_a_voice_speaks_as_the_adapter_does(tmp_path) -> None:
    import torch
    from peft import get_peft_model

    from scrutable.core.records import Sampling
    from scrutable.train.lora import lora_config

    for kind in ("llama", "gpt2"):
        model = load_model(tiny_model(tmp_path / kind, kind))
        with trainable_copy(model) as module:
            tuned = get_peft_model(module, lora_config(module, RECIPE))
            voice = Voice(model, tuned)
            torch.manual_seed(0)  # the two sum in another order, so a token at the edge of its share may differ
            with torch.no_grad():
                for name, p in tuned.named_parameters():
                    if "lora_B" in name:
                        p.normal_(std=0.3)
            (tmp_path / f"{kind}-adapter").mkdir()
            voice.save(tmp_path / f"{kind}-adapter")
            asked = [task.messages for task in Words().tasks("keep")]
            spoken = voice.speaker().generate(asked, Sampling(max_tokens=6, seed=3))
        before = model.generate(asked, Sampling(max_tokens=6, seed=3))
        after = load_model(tmp_path / f"{kind}-adapter").generate(asked, Sampling(max_tokens=6, seed=3))
        assert [g.tokens for g in spoken] == [g.tokens for g in after]
        assert [g.tokens for g in spoken] != [g.tokens for g in before]


def test_means_leave_out_what_was_not_scored() -> None:
    assert means([Score(value=1.0), Score(), Score(value=0.0, true=0.5), Score(value=None)]) == {
        "reward": 0.5,
        "true_reward": 0.5,
        "unscored": 0.5,
    }
    assert means([Score()])["reward"] is None


def test_every_task_comes_before_any_comes_again() -> None:
    order = shuffled(5, 12, seed=1)
    assert len(order) == 12
    assert set(order[:5]) == set(order[5:10]) == set(range(5))
    assert order == shuffled(5, 12, seed=1) != shuffled(5, 12, seed=2)
