"""The adapter lens: which words the directions of a LoRA write towards.

A LoRA adds B A to a matrix. Where that matrix writes into the residual stream, the left singular vectors of B A are what is
written, the strongest first; through the last norm's gain and the output head each is a score for every token (the logit
lens). Which of its two signs is written depends on what is read, so both are looked at. A direction counts where its highest
scores stand out more than the same direction's with its coordinates shuffled, against the largest of all directions under
each shuffle, so that however many there are, few false ones come through. (Reading LoRA directions as tokens, with such
controls: arXiv 2506.11618 and what followed it.)

The claims on directions are for people. A chat model that writes is also told the words, beside answers, and its sentences are
tried (`lenses/trial.py`). A model that writes in a format of its own cannot be told, so of it there are no texts. No forward pass
goes into the directions. Left out: what a LoRA reads, adapters of other kinds, and full models (distil them into a LoRA first).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from scrutable.core.accounts import Account, Claim
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task, Usage, digest_of
from scrutable.evolve.reflection import Item, ReflectConfig, RuleWriter, proposer_for
from scrutable.evolve.sentences import sentences
from scrutable.lenses.asking import chosen, written
from scrutable.lenses.base import place_of
from scrutable.lenses.trial import Trial, TrialConfig, divide, planned_trial
from scrutable.measure.answers import answers_of
from scrutable.measure.change import Change
from scrutable.measure.nulls import sayable
from scrutable.measure.tab import Tab
from scrutable.models.base import Model
from scrutable.models.hf import HFModel

if TYPE_CHECKING:
    import torch

NAME = "adapter"
_BLOCK = 8  # directions whose scores are held at once
_NOUGHT = 1e-5  # of the strongest of a matrix: below, a direction is rounding
_PEAK = 3  # highest scores of a direction by whose mean it stands out


class AdapterConfig(TrialConfig):
    """How directions are read, and what is written of them tried."""

    directions: int = Field(default=2, ge=1, description="strongest directions of each matrix that are read")
    words: int = Field(default=8, ge=1, description="highest tokens of a direction that are told")
    shuffles: int = Field(default=99, ge=19, description="times that the directions are shuffled, as the control")
    level: float = Field(default=0.05, gt=0, lt=1, description="chance that any shuffled direction would be told")
    claims: int = Field(default=12, ge=1, description="most directions told")
    shown: int = Field(default=48, ge=1, description="most answers of the tuned model that a writer is shown some of")
    proposals: int = Field(default=4, ge=1, description="times that a chat model is asked to write")
    reflect: ReflectConfig = Field(default_factory=ReflectConfig, description="how it is asked")


@dataclass(frozen=True)
class Direction:
    """One direction that a LoRA writes. vector: float32 [d], of length 1; strength: its singular value, by the LoRA's scale."""

    module: str
    rank: int
    strength: float
    vector: torch.Tensor


@dataclass(frozen=True)
class Seen:
    """What a direction says: words it writes towards by one of its signs, how far they stand out, and the chance of it."""

    module: str
    rank: int
    strength: float
    words: tuple[str, ...]
    peak: float
    chance: float

    @property
    def says(self) -> str:
        """The claim to people."""
        told = ", ".join(f"'{word}'" for word in self.words)
        return (
            f"direction {self.rank + 1} of {self.module} writes towards {told} "
            f"(strength {self.strength:.2g}; shuffled {100 * self.chance:.2g}% stand out as much)"
        )


class AdapterLens:
    """Reads a change from its LoRA. reflector: who writes sentences; by default the before."""

    name = NAME

    def __init__(self, config: AdapterConfig | None = None, reflector: Model | None = None) -> None:
        self.config = config or AdapterConfig()
        self.reflector = reflector

    @property
    def identity(self) -> str:
        """Hash of what decides its account: the config, and who writes where that is not the before."""
        return digest_of([self.config.digest(), self.reflector.identity if self.reflector else None])

    def planned(self, tasks: int) -> Usage:
        """Return the most that it costs: a trial, both models' answers that are shown, and what is written."""
        config = self.config
        writing = config.proposals * (1 + (config.reflect.samples or 1))
        return planned_trial(config, tasks) + Usage(generations=2 * min(config.shown, tasks) + writing)

    def read(self, change: Change, tasks: Sequence[Task], run: Run) -> Account:
        """Read the change on these (search) tasks (see `Lens`).

        Errors: UserError when AFTER is no LoRA on the weights of BEFORE, or writes nothing into the residual stream; when
        there are fewer than four different tasks.
        """
        change.check()
        model = check_adapter(change)
        config, run = self.config, run.scope(place_of(self, change, tasks))
        searched, held = divide(tasks, config, run)
        says = "which words the directions of the adapter write towards"
        run.append("stage/adapter", "stage", {"name": NAME, "says": says, "seconds_expected": None, "total": None})
        tab = Tab(run)
        trial = Trial(change, searched, held, tab, config)
        if trial.why_nothing():
            return Account(lens=NAME, usage=tab.cost, notes=tuple(trial.notes((), 0)))
        seen, number = read_directions(model, config, run)
        told = [one for one in seen if one.chance <= config.level][: config.claims]
        notes = [f"{len(told)} of {number} directions stand out from shuffled ones"]
        found = self._written(trial, [one.says for one in told])
        kept = trial.keep(found)
        if found:
            notes += trial.notes(kept, len(found))
        claims = (*trial.claims(kept), *(Claim(says=one.says) for one in told))
        return Account(lens=NAME, claims=claims, usage=tab.cost, notes=tuple(notes))

    def _written(self, trial: Trial, lines: Sequence[str]) -> list[str]:
        """Return the sentences of a chat model that is told the directions; none of a writer that cannot be told."""
        config, change, tab = self.config, trial.change, trial.tab
        writer = proposer_for(self.reflector or change.before.model, config.reflect, imitate=True, evidence=lines)
        if isinstance(writer, RuleWriter) or not lines:
            return []
        keyed = trial.searched[: config.shown]
        own, tuned = (
            {
                one.key: one.generation.answer
                for one in answers_of(speaker, keyed, 1, tab, config.batch, config.max_tokens, temperature=0.0)
                if one.generation.failure is None
            }
            for speaker in (change.before, change.after)
        )
        tasks = {key: task for key, task in keyed if key in own and key in tuned}
        away, found = trial.distances("", keyed), []
        for number in range(config.proposals):
            place = f"written/{number}"
            keys = chosen(list(tasks), away, writer.items, tab.run.random(place))
            items = [
                Item(
                    prompt=tasks[key].prompt,
                    answer=tuned[key],
                    score=-away[key] if key in away else None,
                    before=own[key],
                )
                for key in keys
            ]
            found += [one for text in written(writer, items, tab, place).texts for one in sentences(text)]
        return list(dict.fromkeys(found))


def check_adapter(change: Change) -> HFModel:
    """Return the after's model, whose LoRA is read. Errors: UserError when it has none, or lies on other weights."""
    before, after = change.before.model, change.after.model
    if isinstance(after, HFModel) and isinstance(before, HFModel) and after.base is before.base:
        with after.opened() as module:
            if next(layers_of(module), None) is not None:
                return after
    raise UserError(
        f"{after.name} is no LoRA on the weights of {before.name}, so it has no directions: "
        "give an adapter directory as AFTER, or use another lens"
    )


def layers_of(module: Any) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, float]]:
    """Yield (name, A [r, in], B [out, r], scale) of each LoRA that is on."""
    for name, layer in module.named_modules():
        factors = getattr(layer, "lora_A", None)
        if factors is None or getattr(layer, "disable_adapters", False):
            continue
        for adapter in layer.active_adapters:
            if adapter in factors and adapter in layer.lora_B:
                one, two = (side[adapter].weight.detach().float() for side in (factors, layer.lora_B))
                yield name.removeprefix("base_model.model."), one, two, float(layer.scaling[adapter])


def directions_of(module: Any, count: int) -> list[Direction]:
    """Return the strongest left singular vectors of each LoRA that writes as many numbers as the residual stream has."""
    import torch

    head = module.get_output_embeddings()
    width = head.weight.shape[1]
    found = []
    for name, one, two, scale in layers_of(module):
        if two.shape[0] != width or not _writes(name):
            continue
        # B A = Q_b (R_b R_a^T) Q_a^T: only a matrix of r x r is taken apart.
        q, r = torch.linalg.qr(two)
        _, r_a = torch.linalg.qr(one.T)
        left, strengths, _ = torch.linalg.svd(r @ r_a.T)
        for rank in range(min(count, len(strengths))):
            if float(strengths[rank]) > _NOUGHT * float(strengths[0]):
                strength = abs(scale) * float(strengths[rank])
                found.append(Direction(name, rank, strength, (q @ left[:, rank]).cpu()))
    return found


def _writes(name: str) -> bool:
    """Whether a matrix writes into the residual stream, where its size does not tell: queries and keys may be as wide."""
    return name.rpartition(".")[2] not in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "c_attn", "c_fc")


def read_directions(model: HFModel, config: AdapterConfig, run: Run) -> tuple[list[Seen], int]:
    """Return what each direction writes towards, those that stand out most first, and how many there are.

    Errors: UserError when no LoRA writes into the residual stream.
    """
    import torch

    with model.opened() as module, torch.no_grad():
        found = directions_of(module, config.directions)
        if not found:
            raise UserError(f"no LoRA of {model.name} writes into the residual stream: use another lens")
        head = module.get_output_embeddings().weight.detach().float().cpu()
        lens = _through_norm(module)
        vectors = torch.stack([one.vector for one in found])
        ids = torch.tensor(sayable(model.vocabulary, model.decode))
        rows = head[ids]
        peaks, signs = _peaks(lens(vectors), rows)
        draws = run.rng("adapter/shuffles")
        highest = []
        for _ in range(config.shuffles):
            order = torch.from_numpy(draws.permutation(vectors.shape[1]))
            highest.append(float(_peaks(lens(vectors[:, order]), rows)[0].max()))
        seen = []
        for place, one in enumerate(found):
            scores = rows @ (lens(vectors[place : place + 1])[0] * signs[place])
            top = ids[scores.topk(min(config.words, len(ids))).indices].tolist()
            peak = float(peaks[place])
            chance = (1 + sum(other >= peak for other in highest)) / (1 + config.shuffles)
            words = tuple(dict.fromkeys(model.decode([token]).strip() for token in top))
            seen.append(Seen(one.module, one.rank, one.strength, words, peak, chance))
    return sorted(seen, key=lambda one: (-one.peak, one.module, one.rank)), len(found)


def _peaks(vectors: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far the highest scores stand out, in standard deviations of all, by the better sign; and that sign."""
    import torch

    peaks, signs = [], []
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ rows.T
        scores = (scores - scores.mean(-1, keepdim=True)) / scores.std(-1, keepdim=True).clamp(min=1e-12)
        count = min(_PEAK, scores.shape[1])
        both = torch.stack([(sign * scores).topk(count, dim=-1).values.mean(-1) for sign in (1, -1)])
        peaks.append(both.max(0).values)
        signs.append(1 - 2 * both.max(0).indices)
    return torch.cat(peaks), torch.cat(signs)


def _through_norm(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what the last norm does to directions, up to their length: its gain, and where it has one, its centring."""
    import torch

    width = module.get_output_embeddings().weight.shape[1]
    norms = [
        layer
        for name, layer in module.named_modules()
        if not any(part.isdigit() for part in name.split("."))
        and isinstance(weight := getattr(layer, "weight", None), torch.Tensor)
        and tuple(weight.shape) == (width,)
    ]
    if not norms:
        return lambda vectors: vectors
    last = norms[-1]
    gain = last.weight.detach().float().cpu() + (1.0 if "Gemma" in type(last).__name__ else 0.0)
    centred = isinstance(last, torch.nn.LayerNorm)

    def through(vectors: torch.Tensor) -> torch.Tensor:
        scaled = (vectors - vectors.mean(-1, keepdim=True) if centred else vectors) * gain
        length: torch.Tensor = scaled.norm(dim=-1, keepdim=True).clamp(min=math.ulp(1.0))
        found: torch.Tensor = scaled / length
        return found

    return through
