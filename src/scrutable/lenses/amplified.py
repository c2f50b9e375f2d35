"""The amplified lens: what changed is exaggerated until it can be read, and put into sentences that are then tried.

Before and after answer in step with logits `l_before + alpha (l_after - l_before)` for several alphas beyond 1 (contrastive
decoding, `models/instep.py`): what the after does now and then it then does most of the time. Asked are tasks, and, where a
chat model writes, openings that ask for nothing, since training shows there too (source: arXiv 2605.25902). A writer is
shown the amplified answers as what a text must bring about; its sentences are tried on the after itself, not on the
exaggeration (`lenses/trial.py`), so what is only an artefact of amplifying is not claimed.

What amplified answers say more than the before's is found word by word (`lenses/differences.py`), told in the notes, and to a
chat model that writes. An identical pair answers as the before does at every alpha, and nothing is claimed. Needs
log-probabilities, no hidden states. Left out: differences that no wording of the writer tells.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

from pydantic import Field

from scrutable.core.accounts import Account
from scrutable.core.errors import ModelFailure
from scrutable.core.journal import Run
from scrutable.core.records import Generation, Message, Task, Usage, digest_of
from scrutable.evolve.reflection import ChatWriter, Item, Proposal, ReflectConfig, RuleWriter, proposer_for
from scrutable.evolve.sentences import sentences
from scrutable.lenses.asking import chosen, written
from scrutable.lenses.base import place_of
from scrutable.lenses.telling import Source
from scrutable.lenses.tokens import TokensConfig, TokensLens, gathered
from scrutable.lenses.trial import Keyed, Trial, TrialConfig, divide, planned_trial
from scrutable.measure.answers import Said, answers_of, by_length, chunks
from scrutable.measure.change import Change
from scrutable.measure.divergence import Meter
from scrutable.measure.tab import Tab
from scrutable.models.base import Model
from scrutable.models.instep import Amplify, amplified_answers

NAME = "amplified"
_FEWEST = 8  # tasks with which differences can be found
_NOTHING = "Hello."
_TOLD = 8  # most differences told of one alpha


class AmplifiedConfig(TrialConfig):
    """How what changed is exaggerated, and what comes of it is tried."""

    alphas: tuple[float, ...] = Field(
        default=(2.0, 4.0), min_length=1, description="how many times the difference of the logits counts; 1 is AFTER"
    )
    temperature: float = Field(default=0.0, ge=0, description="temperature of the amplified answers; 0 is greedy")
    plausible: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="a token that AFTER finds less likely than this share of its likeliest is not said",
    )
    shown: int = Field(default=48, ge=1, description="most tasks that are answered so, among those looked at")
    openings: tuple[str, ...] = Field(
        default=("I", "The", "Here is", "You should"),
        description="beginnings of answers to nothing in particular, where a chat model writes",
    )
    proposals: int = Field(default=2, ge=1, description="times that a writer is asked, for each alpha")
    reflect: ReflectConfig = Field(default_factory=ReflectConfig, description="how the writer is asked")


class AmplifiedLens:
    """Reads a change from its exaggeration. reflector: who writes the sentences; by default the before."""

    name = NAME

    def __init__(self, config: AmplifiedConfig | None = None, reflector: Model | None = None) -> None:
        self.config = config or AmplifiedConfig()
        self.reflector = reflector

    @property
    def identity(self) -> str:
        """Hash of what decides its account: the config, and who writes where that is not the before."""
        return digest_of([self.config.digest(), self.reflector.identity if self.reflector else None])

    def planned(self, tasks: int) -> Usage:
        """Return the most that it costs: a trial, the before's answers, and one answer of both for each alpha."""
        config = self.config
        shown = min(config.shown, tasks) + len(config.openings)
        written = len(config.alphas) * config.proposals * (config.reflect.samples or 8)
        own = Usage(
            generations=shown * (1 + 2 * len(config.alphas)) + written,
            forward_passes=2 * shown * len(config.alphas),
        )
        return own + planned_trial(config, tasks)

    def read(self, change: Change, tasks: Sequence[Task], run: Run) -> Account:
        """Read the change on these (search) tasks (see `Lens`).

        Errors: UserError when the pair cannot be compared, when there are fewer than four different tasks, when AFTER
        answers nothing.
        """
        change.check()
        config, run = self.config, run.scope(place_of(self, change, tasks))
        searched, held = divide(tasks, config, run)
        says = f"exaggerating what changed on {min(len(searched), config.shown)} tasks"
        run.append("stage/amplified", "stage", {"name": NAME, "says": says, "seconds_expected": None, "total": None})
        tab = Tab(run)
        trial = Trial(change, searched, held, tab, config)
        if trial.why_nothing():
            return Account(lens=NAME, usage=tab.cost, notes=tuple(trial.notes((), 0)))
        reading = _Reading(trial, config, self.reflector or change.before.model)
        votes, notes = reading.written()
        ranked = [sentence for sentence, _ in votes.most_common()]
        kept = trial.keep(ranked)
        return Account(
            lens=NAME,
            claims=trial.claims(kept),
            usage=tab.cost,
            notes=(*trial.notes(kept, len(ranked)), *notes),
        )


class _Reading:
    """One reading: answers amplified, differences found in them, sentences written."""

    def __init__(self, trial: Trial, config: AmplifiedConfig, writer: Model) -> None:
        self.trial, self.config, self.model = trial, config, writer
        self.change, self.tab = trial.change, trial.tab
        self.chats = isinstance(proposer_for(writer, config.reflect, imitate=True), ChatWriter)
        told = by_length(trial.searched[: config.shown])
        self.keyed: list[Keyed] = [*told, *(openings(config) if self.chats else ())]
        said = answers_of(self.change.before, self.keyed, 1, self.tab, config.batch, config.max_tokens, temperature=0.0)
        self.before = {one.key: one for one in said if one.generation.failure is None}
        self.away = trial.distances("", trial.searched)

    def written(self) -> tuple[Counter[str], list[str]]:
        """Return sentences with how many texts said them, and what there is to note."""
        votes: Counter[str] = Counter()
        notes: list[str] = []
        failures = 0
        for alpha in self.config.alphas:
            said = self._amplified(alpha)
            lost = sum(not one.usable for one in said)
            lines = self._differences([one for one in said if one.usable])
            notes += [f"amplified {alpha:g} times, it {line}" for line in lines]
            if lost:
                notes.append(f"{lost} of {len(said)} answers amplified {alpha:g} times could not be used")
            for number in range(self.config.proposals):
                found = self._proposed(alpha, number, said, lines)
                failures += len(found.failures)
                for text, count in zip(found.texts, found.votes, strict=True):
                    votes.update(dict.fromkeys(sentences(text), count))
        if failures:
            notes.append(f"answers of the writer that were no usable text: {failures}")
        return votes, notes

    # ------------------------------------------------------------------------------------------------------ amplified

    def _amplified(self, alpha: float) -> list[Said]:
        """Return the amplified answers, as if the after had said them, one event a batch."""
        said: list[Said] = []
        for part in chunks(self.keyed, self.config.batch):
            place = f"amplified/{alpha:g}/{digest_of([key for key, _ in part])}"
            event = self.tab.once(place, "amplified", partial(self._drawn, part, alpha, place))
            drawn = [Generation.model_validate(one) for one in event.payload["answers"]]
            said += [Said(self.change.after, task, key, 0, one) for (key, task), one in zip(part, drawn, strict=True)]
        return said

    def _drawn(self, part: Sequence[Keyed], alpha: float, place: str) -> tuple[dict[str, Any], Usage]:
        import torch

        config, pair = self.config, (self.change.before, self.change.after)
        start = time.perf_counter()
        found: list[Generation] = [Generation(failure="model: the prompt fills the model's positions")] * len(part)
        asked: list[tuple[int, list[int], list[int]]] = []
        limit = config.max_tokens
        for row, (_, task) in enumerate(part):
            try:
                one, two = (speaker.encode(task) for speaker in pair)
            except ModelFailure as failure:
                found[row] = Generation(failure=str(failure))
                continue
            rooms = [
                positions - len(ids)
                for speaker, ids in zip(pair, (one, two), strict=True)
                if (positions := getattr(speaker.model, "positions", None)) is not None
            ]
            if min(rooms, default=1) >= 1:
                asked.append((row, one, two))
                limit = min([limit, *rooms])
        if asked:
            seed = torch.Generator().manual_seed(self.tab.run.seed_of(place))
            uniforms = torch.rand((len(asked), limit), generator=seed, dtype=torch.float64)
            answers = amplified_answers(
                (pair[0].open, pair[1].open),
                ([one for _, one, _ in asked], [two for _, _, two in asked]),
                uniforms,
                Amplify(alpha, limit, config.temperature, config.plausible),
            )
            for (row, _, _), tokens in zip(asked, answers, strict=True):
                found[row] = Generation(answer=pair[1].open.decode(tokens), tokens=tuple(tokens))
        cost = Usage(
            generations=2 * len(asked),
            answer_tokens=2 * sum(len(one.tokens or ()) for one in found),
            seconds=time.perf_counter() - start,
        )
        payload = {
            "alpha": alpha,
            "asked": [key for key, _ in part],
            "answers": [one.model_dump(mode="json", exclude_defaults=True) for one in found],
        }
        return payload, cost

    def _differences(self, said: Sequence[Said]) -> list[str]:
        """Return what amplified answers say more than the before's, or less, in lines."""
        config = self.config
        keyed = [(one.key, one.task) for one in said if one.key in self.before]
        after = [one for one in said if one.key in self.before]
        if len(keyed) < _FEWEST:
            return []
        meter = Meter(self.tab, config.batch, config.memory_mb << 20)
        partings = meter.along(after, self.change.after, self.change.before, per_token=True)
        if not partings:
            return []
        total = fmean(one.kl for one in partings)
        before = [self.before[key] for key, _ in keyed]
        how = TokensConfig(claims=_TOLD, stated=config.stated)
        claims, _ = TokensLens(how).claims(Source(keyed, gathered(keyed, before, after, partings)), total)
        return [claim.says for claim in claims]

    # -------------------------------------------------------------------------------------------------------- written

    def _proposed(self, alpha: float, number: int, said: Sequence[Said], lines: Sequence[str]) -> Proposal:
        """Let the writer see some of the answers: those on tasks where the two are far apart, and others."""
        writer = proposer_for(self.model, self.config.reflect, imitate=True, evidence=[f"it {line}" for line in lines])
        usable = {one.key: one for one in said if one.usable and one.key in self.before}
        if not usable:
            return Proposal()
        place = f"written/{alpha:g}/{number}"
        keys = chosen(list(usable), self.away, writer.items, self.tab.run.random(place))
        return written(writer, [self._item(usable[key], writer) for key in keys], self.tab, place)

    def _item(self, one: Said, writer: RuleWriter | ChatWriter) -> Item:
        away = self.away.get(one.key)
        return Item(
            prompt=one.task.prompt,
            answer=one.generation.answer,
            score=None if away is None else -away,
            feedback=writer.shown,
            before=self.before[one.key].generation.answer,
        )


def openings(config: AmplifiedConfig) -> list[Keyed]:
    """Return tasks that ask for nothing and whose answer has begun."""
    tasks = [
        Task(messages=(Message(role="user", content=_NOTHING), Message(role="assistant", content=opening)))
        for opening in config.openings
    ]
    return [(task.key, task) for task in tasks]
