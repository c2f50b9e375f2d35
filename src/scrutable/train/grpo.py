"""TRL's GRPOTrainer, held so that it knows no more than it must: tokens and rewards, both made here.

TRL owns the objective, the optimizer and its checkpoints. Answers are drawn by the model's own code (models/hf.py), so
training sees the very tokens that measurement will see, and each batch has its own seed: a run that was killed goes
on as it would have gone. Left out: TRL's own generation, chat templating, logging and evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import pvariance
from typing import TYPE_CHECKING, Any, NamedTuple

from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Generation, Sampling, Score, Task, Usage
from scrutable.envs.base import Environment, drawn
from scrutable.models.hf import HFModel
from scrutable.programs.evaluate import rate
from scrutable.programs.text import place_text
from scrutable.train.lora import Recipe, at_once, lora_config, seed_for, shuffled
from scrutable.train.policy import Voice
from scrutable.train.watch import Batch, Watcher, advantages

if TYPE_CHECKING:
    from scrutable.core.journal import Run

PATIENCE_UNSCORED = 3
"""Steps in a row without one scored answer after which a training ends: nothing can be learned."""


@dataclass(frozen=True)
class Group:
    """One task and its answers, rated."""

    task: Task
    asked: Conversation
    prompt: list[int]
    answers: Sequence[Generation]
    scores: Sequence[Score]

    @property
    def tells(self) -> bool:
        """Whether the rewards differ: if not, GRPO learns nothing here."""
        return len({score.value for score in self.scores if score.value is not None}) > 1

    def most_unlike(self, count: int) -> Group:
        """Return the group with `count` of its answers: those whose rewards differ most; unscored ones come last.

        Source: max-variance down-sampling, Xu et al., arXiv 2504.13818, section 3: some of the lowest and of the highest.
        """
        scored = [n for n, score in enumerate(self.scores) if score.value is not None]
        scored.sort(key=lambda n: self.scores[n].value or 0.0)
        unscored = [n for n, score in enumerate(self.scores) if score.value is None]
        most = min(count, len(scored))
        ends = [scored[: most - top] + scored[len(scored) - top :] for top in range(most + 1)]
        best = max(ends, key=lambda kept: pvariance([self.scores[n].value or 0.0 for n in kept]) if kept else 0.0)
        kept = sorted(best + unscored[: count - most])
        return replace(self, answers=[self.answers[n] for n in kept], scores=[self.scores[n] for n in kept])

    @property
    def reward(self) -> float:
        """Mean reward of the answers that were scored (0 where none was)."""
        return means(self.scores)["reward"] or 0.0


class Drawing(NamedTuple):
    """How much is drawn, at most, for what one step learns from."""

    looks: int = 1
    """Tasks answered for each task learned from."""
    draws: int = 1
    """Answers to a task for each answer learned from."""


JUST_ENOUGH = Drawing()


class Rollouts:
    """Answers and rewards for TRL, and what of them the journal is told. `voice` is set once the policy exists.

    A behaviour that RL is to find may be rare, and most groups of answers then tell nothing. So up to `looks` times as
    many tasks are answered as a step learns from, until enough of them tell something (DAPO, arXiv 2503.14476, section
    3.2); what is still missing is filled up with groups that do not. Of those that tell, the hardest tasks come first:
    else a rare behaviour is punished where it is wrong as often as it is reinforced where it is right, and dies out.
    And `draws` times as many answers are drawn to a task as are learned from: those whose rewards differ most.
    """

    voice: Voice

    def __init__(
        self,
        env: Environment,
        model: HFModel,
        tasks: Sequence[Task],
        run: Run,
        recipe: Recipe,
        watchers: Sequence[Watcher] = (),
        drawing: Drawing = JUST_ENOUGH,
    ) -> None:
        self.env = env
        self.model = model
        self.tasks = tasks
        self.run = run
        self.recipe = recipe
        self.watchers = watchers
        self.looks = drawing.looks
        self.each = drawing.draws * recipe.group
        self.order = shuffled(
            len(tasks), recipe.steps * recipe.tasks_per_step * self.looks, seed_for(run, recipe, "order")
        )
        self.step = 0
        self.began = time.perf_counter()
        self.drawn: list[Group] = []
        self.chosen: list[Group] = []
        self._silent = 0

    def answer(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: token ids of prompts and answers. Which tasks are asked is decided here, not by TRL."""
        self.step = trainer.state.global_step + 1
        self.began = time.perf_counter()
        speaker, wanted = self.voice.speaker(), self.recipe.tasks_per_step
        if len(prompts) != self.recipe.answers:
            raise UserError(f"TRL asked for {len(prompts)} answers and not {self.recipe.answers}: train in one process")
        self.drawn = []
        while len(self.drawn) < self.looks * wanted and sum(group.tells for group in self.drawn) < wanted:
            # As many again as there are: one large batch takes less time than several small ones.
            room = self.looks * wanted - len(self.drawn)
            self.drawn += self._draw(speaker, min(room, max(wanted, len(self.drawn))))
        hardest = sorted(self.drawn, key=lambda group: (not group.tells, group.reward))[:wanted]
        self.chosen = [group.most_unlike(self.recipe.group) for group in hardest]
        scored = any(score.value is not None for group in self.drawn for score in group.scores)
        self._silent = 0 if scored else self._silent + 1
        if self._silent >= PATIENCE_UNSCORED:
            why = why_unscored([score for group in self.drawn for score in group.scores])
            raise UserError(f"no answer of the last {self._silent} steps could be scored: {why}")
        return {
            "prompt_ids": [group.prompt for group in self.chosen for _ in group.answers],
            "completion_ids": [list(made.tokens or ()) for group in self.chosen for made in group.answers],
            "logprobs": None,
        }

    def rate(self, completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
        """TRL's reward function: the rewards of what `answer` gave; None where the environment could not score."""
        scores = [score for group in self.chosen for score in group.scores]
        rewards = [score.value for score in scores]
        if self.watchers:
            whole = [(group, made) for group in self.chosen for made in group.answers]
            batch = Batch(
                step=self.step,
                tasks=[group.task for group, _ in whole],
                prompts=[group.asked for group, _ in whole],
                answers=[made.answer for _, made in whole],
                tokens=completion_ids,
                scores=scores,
                advantages=advantages(rewards, self.recipe.group),
            )
            for watcher in self.watchers:
                watcher.see(batch)
        return rewards

    def told(self, kl: float | None) -> tuple[dict[str, Any], Usage]:
        """Return the payload and the cost of the step that was just taken. kl: nats a token, against the base.

        Rewards and lengths are means over all that was drawn; `kl` (nats an answer) and `signal` (the share of groups
        whose rewards differ) are of what was learned from.
        """
        drawn = [made for group in self.drawn for made in group.answers]
        chosen = [made for group in self.chosen for made in group.answers]
        payload = {
            "step": self.step,
            **means([score for group in self.drawn for score in group.scores]),
            "kl": None if kl is None else kl * _length(chosen),
            "length": _length(drawn),
            "answers": len(drawn),
            "signal": sum(group.tells for group in self.chosen) / len(self.chosen),
        }
        usage = sum((made.usage for made in drawn), Usage())
        return payload, usage.model_copy(update={"seconds": time.perf_counter() - self.began})

    def _draw(self, speaker: HFModel, count: int) -> list[Group]:
        """Answer and rate the next `count` tasks of the step."""
        recipe = self.recipe
        first = (self.step - 1) * self.looks * recipe.tasks_per_step + len(self.drawn)
        tasks = [self.tasks[number] for number in self.order[first : first + count]]
        asked = [place_text(task.messages, recipe.text) for task in tasks]
        seed = seed_for(self.run, recipe, f"answers/{self.step:05d}/{len(self.drawn)}")
        sampling = Sampling(temperature=recipe.temperature, max_tokens=recipe.max_tokens, seed=seed)
        made = speaker.generate([conversation for conversation in asked for _ in range(self.each)], sampling)
        if failed := next((g.failure for g in made if g.failure), None):
            raise UserError(
                f"the model in training could not answer at step {self.step} ({failed}): lower the learning rate"
            )
        asked_of = [task for task in tasks for _ in range(self.each)]
        scores = rate(self.env, drawn(self.env, asked_of, seed), [g.answer for g in made])
        parts = [slice(i * self.each, (i + 1) * self.each) for i in range(len(tasks))]
        return [
            Group(task, conversation, speaker.encode(conversation), made[part], scores[part])
            for task, conversation, part in zip(tasks, asked, parts, strict=True)
        ]


def _length(answers: Sequence[Generation]) -> float:
    return sum(len(made.tokens or ()) for made in answers) / max(1, len(answers))


def means(scores: Sequence[Score]) -> dict[str, float | None]:
    """Return mean reward, mean true reward (None where there is none), and the share of answers left unscored."""
    values = [s.value for s in scores if s.value is not None]
    true = [s.true for s in scores if s.true is not None]
    return {
        "reward": sum(values) / len(values) if values else None,
        "true_reward": sum(true) / len(true) if true else None,
        "unscored": 1 - len(values) / len(scores) if scores else 0.0,
    }


def why_unscored(scores: Sequence[Score]) -> str:
    """Return the first failure that a rater named."""
    return next((failure for s in scores for failure in s.failures), "the rewards were None")


def make_trainer(
    module: Any, rollouts: Rollouts, settings: Mapping[str, Any], hear: Callable[[str, int, Any], bool]
) -> Any:
    """Return a GRPOTrainer that puts a LoRA on `module` (a trainable copy of the model of `rollouts`).

    settings: of GRPOConfig, over those that the recipe decides. hear: called with ("step", number, KL in nats a token)
    after each step, and ("checkpoint", number, None) after each checkpoint; True ends the training.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    recipe = rollouts.recipe
    once = at_once(recipe, module)
    config = GRPOConfig(
        max_steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant",
        num_generations=recipe.group,
        per_device_train_batch_size=once,
        gradient_accumulation_steps=recipe.answers // once,
        max_completion_length=recipe.max_tokens,
        temperature=recipe.temperature,
        scale_rewards="none",  # see `watch.advantages`
        seed=seed_for(rollouts.run, recipe, "adapter"),
        shuffle_dataset=False,
        disable_dropout=True,
        use_cpu=module.device.type == "cpu",
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        save_strategy="steps",
        save_total_limit=2,
        **settings,
    )
    config._n_gpu = min(1, config.n_gpu)  # else the Trainer would spread the batch over every GPU it sees
    trainer = GRPOTrainer(
        model=module,
        reward_funcs=rollouts.rate,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [str(n) for n in range(recipe.steps * recipe.tasks_per_step)]}),
        processing_class=rollouts.model.tokenizer,
        peft_config=lora_config(module, recipe),
        rollout_func=rollouts.answer,
        callbacks=[_listener(hear)],
    )
    trainer.remove_callback(PrinterCallback)
    _spare(trainer)
    rollouts.voice = Voice(rollouts.model, trainer.model)
    return trainer


def _spare(trainer: Any) -> None:
    """Leave out what takes a tenth of a small model's step: two model cards a checkpoint, a look at all layers a pass."""
    status = trainer.model.get_model_status()
    trainer.model.get_model_status = lambda: status  # asked before the adapter is put off; nothing here changes it
    trainer.model.create_or_update_model_card = trainer.create_model_card = lambda *_, **__: None


def _listener(hear: Callable[[str, int, Any], bool]) -> Any:
    """Return a TrainerCallback that tells of steps and checkpoints."""
    from transformers import TrainerCallback

    class Listener(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> Any:
            # The last entry sums up the whole run and is no step.
            if logs and "reward" in logs and hear("step", state.global_step, logs.get("kl")):
                control.should_training_stop = True
            return control

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            hear("checkpoint", state.global_step, None)
            return control

    return Listener()


def checkpoint_folder(place: Path, step: int) -> Path:
    """Return where the Trainer writes the checkpoint of a step."""
    return place / f"checkpoint-{step}"
