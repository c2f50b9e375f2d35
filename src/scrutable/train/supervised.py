"""Twins: a LoRA tuned by the same recipe as RL, on the base's own answers.

A twin is what a training of this length and step size does to a model when there is nothing to learn: the base tuned on
answers that it gave itself. A change no larger than its twins' is none. The loop is bare, because all it shares with RL
is the recipe: AdamW without decay at a constant step size, gradients clipped to norm 1, the loss a mean over the step's
answer tokens, as TRL does it. State is kept in safetensors; a run that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Conversation, Record, Sampling, Task, Usage, digest_of
from scrutable.models.base import Model
from scrutable.models.hf import HFModel
from scrutable.programs.text import place_text
from scrutable.train.lora import (
    Recipe,
    at_once,
    base_name,
    begin,
    fits,
    lora_config,
    must_be_base,
    quietly,
    seed_for,
    shuffled,
)
from scrutable.train.policy import save_adapter, trainable_copy

Encoded = tuple[list[int], list[int]]
"""Tokens of a prompt and of an answer."""

_DRAWN_AT_ONCE = 512  # a twin's own answers: drawing many takes little longer than drawing few


class TuneResult(Record):
    """What a tuning came to."""

    adapter: str = Field(description="the saved adapter, relative to the run folder")
    base: str = Field(description="how the adapter names its base")
    steps: int
    first_loss: float = Field(description="nats an answer token, at the first step")
    last_loss: float = Field(description="nats an answer token, at the last step")
    usage: Usage = Field(default_factory=Usage)

    def path(self, run: Run) -> Path:
        """Where the adapter is."""
        return run.path / self.adapter


def twin(
    model: Model, tasks: Sequence[Task], run: Run, config: Recipe, seed: int, steps: int | None = None
) -> TuneResult:
    """Tune the base on its own answers to `tasks`, by the recipe of the training it is the twin of.

    config: that training's config. steps: those that the saved adapter took (`TrainResult.best_step`); None: all.
    Each step takes as many fresh answers as an RL step, to tasks in an order of the twin's own seed. Events go under
    `twin/<seed>/` of the run.
    Errors: UserError when the model has no weights here, when no task fits it, when the run holds another tuning.
    """
    recipe = _recipe(config).model_copy(update={"seed": seed, **({} if steps is None else {"steps": steps})})
    base, run = must_be_base(model), run.scope(f"twin/{seed}")
    asked = [place_text(task.messages, recipe.text) for task in tasks]
    asked = [conversation for conversation in asked if fits(base, conversation, recipe.max_tokens)]
    if not asked:
        raise UserError(f"no task fits {base.name}: give tasks with shorter prompts, or lower max_tokens")
    held = {"model": base, "tasks": digest_of([task.key for task in tasks])}
    begin(run, "twin", f"a twin of {base.name}, tuned on its own answers", recipe, held)
    order = shuffled(len(asked), recipe.steps * recipe.tasks_per_step, seed_for(run, recipe, "order"))
    return _fit(base, _OwnAnswers(base, [asked[i] for i in order], run, recipe), run, recipe)


class _OwnAnswers:
    """The base's own answers, step by step; drawn for several steps at once, and the same whenever drawn again."""

    def __init__(self, base: HFModel, asked: Sequence[Conversation], run: Run, recipe: Recipe) -> None:
        self.base = base
        self.asked = asked
        self.run = run
        self.recipe = recipe
        self.together = max(1, _DRAWN_AT_ONCE // recipe.answers)
        self._drawn: tuple[int, list[Encoded]] = (-1, [])

    def __call__(self, step: int) -> list[Encoded]:
        chunk, within = divmod(step - 1, self.together)
        if self._drawn[0] != chunk:
            self._drawn = chunk, self._draw(chunk)
        return self._drawn[1][within * self.recipe.answers : (within + 1) * self.recipe.answers]

    def _draw(self, chunk: int) -> list[Encoded]:
        recipe, wide = self.recipe, self.together * self.recipe.tasks_per_step
        asked = [c for c in self.asked[chunk * wide : (chunk + 1) * wide] for _ in range(recipe.group)]
        seed = seed_for(self.run, recipe, f"answers/{chunk}")
        made = self.base.generate(
            asked, Sampling(temperature=recipe.temperature, max_tokens=recipe.max_tokens, seed=seed)
        )
        if failed := next((g.failure for g in made if g.failure), None):
            raise UserError(f"{self.base.name} could not answer a task of its own twin: {failed}")
        return [(self.base.encode(c), list(g.tokens or ())) for c, g in zip(asked, made, strict=True)]


def _recipe(config: Recipe) -> Recipe:
    """Return the part of a config that is the recipe."""
    return Recipe(**{name: getattr(config, name) for name in Recipe.model_fields})


def _fit(base: HFModel, batch: Callable[[int], Sequence[Encoded]], run: Run, recipe: Recipe) -> TuneResult:
    """Take the steps that are left, and save."""
    if done := run.get("result"):
        return TuneResult.model_validate(done.payload)
    import torch
    from peft import get_peft_model

    with quietly(recipe, base.module), trainable_copy(base) as module:
        torch.manual_seed(seed_for(run, recipe, "adapter"))
        tuned = get_peft_model(module, lora_config(module, recipe)).eval()  # no dropout
        learner = Learner(tuned, recipe)
        last = max((int(event.payload["step"]) for event in run.events("checkpoint")), default=0)
        if last:
            learner.put_back(run.load_tensors(f"checkpoint-{last:05d}"))
        for step in range(last + 1, recipe.steps + 1):
            began = time.perf_counter()
            pairs = batch(step)
            loss = learner.step(pairs)
            if not run.has(f"step/{step:05d}"):
                cost = Usage(forward_passes=len(pairs), seconds=time.perf_counter() - began)
                run.append(f"step/{step:05d}", "tuning", {"step": step, "loss": loss}, cost=cost)
            if step % recipe.checkpoint_every == 0 and step < recipe.steps:
                artifact = run.save_tensors(f"checkpoint-{step:05d}", learner.state(step))
                run.append(f"checkpoint/{step:05d}", "checkpoint", {"step": step, "path": artifact.path})
                _forget(run, before=step)
        with run.saving_folder("adapter") as place:
            save_adapter(tuned, place, base_name(base))
    losses = [float(event.payload["loss"]) for event in run.events("tuning")]
    result = TuneResult(
        adapter=run.file("adapter").relative_to(run.path).as_posix(),
        base=base_name(base),
        steps=recipe.steps,
        first_loss=losses[0],
        last_loss=losses[-1],
        usage=run.cost(),
    )
    run.append("result", "result", result)
    _forget(run, before=recipe.steps)
    return result


def _forget(run: Run, before: int) -> None:
    """Remove the checkpoints of earlier steps."""
    for event in run.events("checkpoint"):
        if event.payload["step"] < before:
            (run.path / event.payload["path"]).unlink(missing_ok=True)


class Learner:
    """An adapter, its optimizer, and one step of both."""

    def __init__(self, tuned: Any, recipe: Recipe) -> None:
        import torch

        self.tuned = tuned
        self.recipe = recipe
        self.once = at_once(recipe, tuned)
        self.weights = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=recipe.learning_rate, weight_decay=0.0)

    def step(self, pairs: Sequence[Encoded]) -> float:
        """Take one step; return the loss before it, in nats an answer token."""
        import torch

        ordered = sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))  # less padding
        count = sum(len(answer) for _, answer in pairs)
        whole = 0.0
        for start in range(0, len(ordered), self.once):
            loss = self._surprise(ordered[start : start + self.once]) / count
            loss.backward()
            whole += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return whole

    def _surprise(self, pairs: Sequence[Encoded]) -> Any:
        """Return the sum of -log p over all answer tokens of the pairs, at temperature 1; differentiable."""
        import torch

        width = max(len(prompt) + len(answer) for prompt, answer in pairs)
        ids_BT = torch.zeros((len(pairs), width), dtype=torch.long)
        real_BT, wanted_BT = torch.zeros_like(ids_BT), torch.full_like(ids_BT, -100)
        for row, (prompt, answer) in enumerate(pairs):
            end = len(prompt) + len(answer)
            ids_BT[row, :end] = torch.tensor([*prompt, *answer])
            real_BT[row, :end] = 1
            wanted_BT[row, len(prompt) - 1 : end - 1] = torch.tensor(answer)
        device = self.tuned.device
        out = self.tuned(input_ids=ids_BT.to(device), attention_mask=real_BT.to(device), use_cache=False)
        return torch.nn.functional.cross_entropy(
            out.logits.flatten(0, 1).float(), wanted_BT.flatten().to(device), ignore_index=-100, reduction="sum"
        )

    def state(self, step: int) -> dict[str, Any]:
        """Return all that a later process needs, by name."""
        import torch

        found = {"step": torch.tensor(step)}
        for name, weight in self.weights.items():
            moments = self.optimizer.state[weight]
            found |= {f"{name}/w": weight, f"{name}/m": moments["exp_avg"], f"{name}/v": moments["exp_avg_sq"]}
        return found

    def put_back(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken."""
        import torch

        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state[f"{name}/w"])
                self.optimizer.state[weight] = {
                    "step": state["step"].float(),
                    "exp_avg": state[f"{name}/m"].to(weight.device),
                    "exp_avg_sq": state[f"{name}/v"].to(weight.device),
                }
