"""TRL's GRPOTrainer, held so that it knows no more than it must: task numbers in, answers and rewards through us.

TRL owns the objective, the optimizer and its checkpoints. Answers are drawn by the model's own code (models/hf.py), so
training sees the very tokens that measurement will see, and each batch has its own seed: a run that was killed goes
on as it would have gone. Left out: TRL's own generation, chat templating, logging and evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import UserError
from scrutable.core.records import Sampling, Score, Task, Usage
from scrutable.envs.base import Environment
from scrutable.models.hf import HFModel
from scrutable.programs.text import place_text
from scrutable.train.lora import Recipe, at_once, lora_config, seed_for, shuffled
from scrutable.train.policy import Voice
from scrutable.train.watch import Batch, Watcher, advantages

if TYPE_CHECKING:
    from scrutable.core.journal import Run

PATIENCE_UNSCORED = 3
"""Steps in a row without one scored answer after which a training ends: nothing can be learned."""


class Rollouts:
    """Answers and rewards for TRL, and what of them the journal is told. `voice` is set once the policy exists."""

    voice: Voice

    def __init__(
        self,
        env: Environment,
        model: HFModel,
        tasks: Sequence[Task],
        run: Run,
        recipe: Recipe,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.env = env
        self.model = model
        self.tasks = tasks
        self.run = run
        self.recipe = recipe
        self.watchers = watchers
        self.step = 0
        self.began = time.perf_counter()
        self.usage = Usage()
        self.scores: list[Score] = []
        self.lengths: list[int] = []
        self._silent = 0

    def answer(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: prompts are numbers of tasks; returns token ids of prompts and answers."""
        self.step = trainer.state.global_step + 1
        self.began = time.perf_counter()
        speaker = self.voice.speaker()
        asked = [place_text(self.tasks[int(number)].messages, self.recipe.text) for number in prompts]
        sampling = Sampling(
            temperature=self.recipe.temperature,
            max_tokens=self.recipe.max_tokens,
            seed=seed_for(self.run, self.recipe, f"answers/{self.step:05d}"),
        )
        made = speaker.generate(asked, sampling)
        if failed := next((g.failure for g in made if g.failure), None):
            raise UserError(
                f"the model in training could not answer at step {self.step} ({failed}): lower the learning rate"
            )
        self.usage = sum((g.usage for g in made), Usage())
        tokens = [list(g.tokens or ()) for g in made]
        return {"prompt_ids": [speaker.encode(c) for c in asked], "completion_ids": tokens, "logprobs": None}

    def rate(self, prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
        """TRL's reward function: None where the environment could not score."""
        tasks = [self.tasks[int(number)] for number in prompts]
        answers = [self.model.decode(tokens) for tokens in completion_ids]
        self.scores = self.env.rate(tasks, answers)
        self.lengths = [len(tokens) for tokens in completion_ids]
        rewards = [score.value for score in self.scores]
        self._silent = 0 if any(value is not None for value in rewards) else self._silent + 1
        if self._silent >= PATIENCE_UNSCORED:
            raise UserError(f"no answer of the last {self._silent} steps could be scored: {why_unscored(self.scores)}")
        if self.watchers:
            asked = [place_text(task.messages, self.recipe.text) for task in tasks]
            better = advantages(rewards, self.recipe.group)
            batch = Batch(self.step, tasks, asked, answers, completion_ids, self.scores, better)
            for watcher in self.watchers:
                watcher.see(batch)
        return rewards

    def told(self, kl: float | None) -> tuple[dict[str, Any], Usage]:
        """Return the payload and the cost of the step that was just taken. kl: nats a token, against the base."""
        length = sum(self.lengths) / max(1, len(self.lengths))
        payload = {"step": self.step, **means(self.scores), "kl": None if kl is None else kl * length, "length": length}
        seconds = time.perf_counter() - self.began
        return payload, self.usage.model_copy(update={"seconds": seconds})


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
    needed = recipe.steps * recipe.tasks_per_step
    numbers = shuffled(len(rollouts.tasks), needed, seed_for(rollouts.run, recipe, "order"))
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
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in numbers]}),
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
