"""The blackbox lens: a change is read from answers alone. It works on served models, and is the lens that others have to beat.

Both models answer the same tasks. First the two are set against each other with names exchanged (`measure/voices.py`): where
they cannot be told apart, nothing is claimed and nothing more is spent. Then a text is evolved that makes the before answer like
the tuned model (`evolve/match_scorer.py`; the search is `evolve`'s own): each of its sentences is a claim, if the text is shown
to help on tasks that the search did not use. And what the answers say at different rates, confirmed on the half of the tasks
that was not looked at, is claimed for people, without a text: also where no text was found.

A score takes generations, where the distill lens takes a forward pass, and says less each: so it is meant for models that give
no log-probabilities. Left out: what shows in no word of the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Account, Claim
from scrutable.core.config import Config
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Sampling, Task, Usage, digest_of
from scrutable.evolve.engine import EvolveConfig, EvolveResult, search
from scrutable.evolve.match_scorer import MatchScorer
from scrutable.evolve.reflection import RuleWriter, proposer_for
from scrutable.evolve.slots import Slots
from scrutable.lenses.base import place_of
from scrutable.lenses.contrast import Answers, copied_words
from scrutable.lenses.differences import Search, differences
from scrutable.lenses.evolving import Ear, Keyed, divided, search_notes, sentence_claims, shower
from scrutable.lenses.telling import Source, claim_of
from scrutable.lenses.words import Spoken, user_words, words_of
from scrutable.measure.answers import Said
from scrutable.measure.change import Change
from scrutable.measure.tab import Tab
from scrutable.measure.voices import Exchanged, exchanged, voice
from scrutable.models.api import ServedModel
from scrutable.models.base import Model
from scrutable.programs.text import TEXT

NAME = "blackbox"


class BlackboxConfig(Config):
    """How a change is read from answers alone."""

    tasks: int = Field(default=240, ge=8, description="most tasks used, for searching and for measuring together")
    held: float = Field(default=0.5, gt=0, lt=1, description="share of them on which the text is pruned and measured")
    answers: int = Field(default=4, ge=2, description="answers a task, of before and of after")
    draws: int = Field(default=2, ge=2, description="answers of the before behind one score of a text on a task")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    least: float = Field(
        default=0.02,
        ge=0,
        description="gap in likeness, averaged over tasks, that a text or a sentence must close at least",
    )
    rates: int = Field(default=8, ge=0, description="most claims on what answers say at different rates")
    alpha: float = Field(default=0.01, gt=0, lt=1, description="chance of any false one of those")
    evidence: int = Field(default=3, ge=0, le=8, description="tasks shown with each claim")
    batch: int = Field(default=64, ge=1, description="answers drawn at once; the unit that is recorded")
    search: EvolveConfig = Field(
        default_factory=lambda: EvolveConfig(budget=1200, pool=60, keep=48, effect=0.05, patience=8, contrasts=0),
        description="how it is searched; its target, repeats, least, and how answers are drawn, are the lens's",
    )


@dataclass(frozen=True)
class _Heard:
    """What both said, by (key, task) and answer."""

    tasks: list[Keyed]
    before: list[Said]
    after: list[Said]

    def tuned(self) -> dict[str, list[str]]:
        """The tuned model's answers by the task's key; failed ones are left out."""
        found: dict[str, list[str]] = {}
        for one in self.after:
            if one.generation.failure is None:
                found.setdefault(one.key, []).append(one.generation.answer)
        return found


class BlackboxLens:
    """Reads a change from answers of both. reflector: who writes; by default the before."""

    name = NAME

    def __init__(self, config: BlackboxConfig | None = None, reflector: Model | None = None) -> None:
        self.config = config or BlackboxConfig()
        self.reflector = reflector

    @property
    def identity(self) -> str:
        """Hash of what decides its account: the config, and who writes where that is not the before."""
        return digest_of([self.config.digest(), self.reflector.identity if self.reflector else None])

    def planned(self, tasks: int) -> Usage:
        """Return the most that it takes: answers of both, and some answers of the before for each score."""
        count, config = min(tasks, self.config.tasks), self.config
        shown = 2 * count  # what either says most
        return Usage(generations=2 * count * config.answers + shown + config.draws * config.search.budget)

    def read(self, change: Change, tasks: Sequence[Task], run: Run) -> Account:
        """Read the change on these tasks (see `Lens`). Events go to `run` under "blackbox/", each change's to its own scope.

        Errors: UserError when there are fewer than four different tasks, or one of the two answers none of them.
        """
        config, run = self.config, run.scope(place_of(self, change, tasks))
        searched, held = divided(tasks, config.tasks, config.held, run)
        ear = Ear(Tab(run), config.batch, config.max_tokens)
        heard = _hear(change, [*searched, *held], config.answers, ear)
        test = exchanged(voice(heard.before), voice(heard.after), run.rng("exchanged"))
        if not test.changed:
            return Account(lens=NAME, usage=ear.tab.cost, notes=(_unchanged(test), *_losses(heard)))
        found = self._search(change, searched, held, heard, ear)
        why = self._why_no_text(found)
        texts = () if why else self._texts(found, change, dict(held), heard, ear)
        rates = _rates(heard, {key for key, _ in searched}, config) if config.rates else ()
        told = f"the gap in likeness is {test.gap:.3g}, and exchanged answers are not above {test.limit:.3g}"
        notes = [told, why or _told(found), *search_notes(found), *_losses(heard)]
        return Account(lens=NAME, claims=(*texts, *rates), usage=ear.tab.cost + found.usage, notes=tuple(notes))

    def _search(
        self, change: Change, searched: list[Keyed], held: list[Keyed], heard: _Heard, ear: Ear
    ) -> EvolveResult:
        """Evolve a text toward the tuned model's answers."""
        config, model = self.config, self.reflector or change.before.model
        writer = proposer_for(model, config.search.reflect, imitate=True)
        sampling = Sampling(temperature=1.0, max_tokens=config.max_tokens)
        scorer = MatchScorer(change.before, heard.tuned(), writer.shown, sampling, config.draws)
        show = shower(change, searched, ear, contrast=not isinstance(writer, RuleWriter))
        # No target: on few tasks chance alone brings the empty text to a gap of 0, and a rule for few tasks would be missed.
        told = {
            "repeats": 1,
            "target": None,
            "least": config.least,
            "max_tokens": config.max_tokens,
            "temperature": 1.0,
        }
        settings = config.search.model_copy(update=told)
        served = isinstance(change.before.model, ServedModel)
        slots = Slots(settings.slots, max(2, settings.under_way(inline=False))) if served else Slots()
        parts = [task for _, task in searched], [task for _, task in held]
        starts = [Candidate(texts={TEXT: ""})]
        return search(scorer, writer, parts, ear.tab.run, settings, starts, show, slots)

    # -------------------------------------------------------------------------------------------------------- account

    def _why_no_text(self, found: EvolveResult) -> str:
        """Say why no sentence is claimed, or nothing."""
        if found.base is None or found.gain is None or found.gain.low is None:
            return "too few tasks could be measured to claim a sentence"
        if not found.best.text.strip() or found.gain.low <= 0 or found.gain.value <= self.config.least:
            return f"no text was found that helps: a gap of {-found.base.value:.3g} is left"
        return ""

    def _texts(
        self, found: EvolveResult, change: Change, held: dict[str, Task], heard: _Heard, ear: Ear
    ) -> tuple[Claim, ...]:
        """Return a claim for each sentence of the text."""
        tuned = heard.tuned()
        made = sentence_claims(found, change, held, lambda key: tuned[key][0], ear, self.config.evidence)
        return tuple(claim for claim, _ in made)


def _hear(change: Change, tasks: list[Keyed], repeats: int, ear: Ear) -> _Heard:
    """Let both answer. Errors: UserError when one of the two answers nothing."""
    says = f"hearing {change.before.name} and {change.after.name} on {len(tasks)} tasks"
    total = 2 * -(-len(tasks) * repeats // ear.batch)
    ear.tab.run.append("stage/answers", "stage", {"name": NAME, "says": says, "seconds_expected": None, "total": total})
    before, after = (ear.hear(speaker, tasks, repeats) for speaker in (change.before, change.after))
    for speaker, said in ((change.before, before), (change.after, after)):
        if all(one.generation.failure is not None for one in said):
            raise UserError(f"{speaker.name} answered none of {len(said)} tasks: {said[0].generation.failure}")
    return _Heard(tasks, before, after)


def _rates(heard: _Heard, searched: set[str], config: BlackboxConfig) -> tuple[Claim, ...]:
    """Return what the answers say at different rates, as the tokens lens tells it, without nats."""
    places = {key: i for i, (key, _) in enumerate(heard.tasks)}
    told: tuple[list[list[Spoken]], list[list[Spoken]]] = ([[] for _ in places], [[] for _ in places])
    for side, said in zip(told, (heard.before, heard.after), strict=True):
        for one in said:
            if one.generation.failure is None:
                words = words_of(one.generation.answer)
                side[places[one.key]].append(Spoken(words, (0.0,) * (len(words) + 1), one.generation.answer))
    asked = [user_words(task) for _, task in heard.tasks]
    source = Source(heard.tasks, Answers(told[0], told[1], asked, copied_words(asked, max(3, len(asked) // 30))))
    looked_at = np.array([key in searched for key, _ in heard.tasks])
    found, _ = differences(source.answers, looked_at, Search(most=config.rates, alpha=config.alpha))
    found.sort(key=lambda one: -abs(one.after - one.before) * float(one.inside.mean()))
    return tuple(claim_of(one, source, config.evidence).model_copy(update={"nats": None}) for one in found)


def _told(found: EvolveResult) -> str:
    assert found.base is not None and found.score is not None
    return (
        f"on {found.base.count} tasks that the search did not use, the text takes the gap in likeness "
        f"from {-found.base.value:.3g} to {-found.score.value:.3g}"
    )


def _unchanged(test: Exchanged) -> str:
    return (
        f"nothing measurable changed: the gap in likeness is {test.gap:.3g}, and exchanged answers have as large a one "
        f"in {test.chance:.2g} of draws"
    )


def _losses(heard: _Heard) -> list[str]:
    """Return notes on answers that could not be had."""
    return [
        f"{lost} of {len(said)} answers {who} could not be had"
        for who, said in (("before", heard.before), ("after", heard.after))
        if (lost := sum(one.generation.failure is not None for one in said))
    ]
