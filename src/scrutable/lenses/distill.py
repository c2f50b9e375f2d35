"""The distill lens: a text is evolved toward the tuned model, and each of its sentences is a claim.

The score of a text on a task is minus the exact divergence KL(tuned || before + text) along an answer of the tuned model:
one forward pass, nothing generated. The writer sees what the tuned model says most on tasks where before + text is furthest
from it, and on some where it is near. The search is `evolve`'s own, so sentences are also tried one by one, joined and removed.

What a claim carries, and whether there is any claim, is measured on tasks that the search did not use. Where
nothing measurable changed, or the text is not shown to help there by more than that, there is no claim. Left out: what no
text can carry.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from scrutable.core.accounts import Account, Claim
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Task, Usage, digest_of
from scrutable.evolve.engine import EvolveConfig, EvolveResult, search
from scrutable.evolve.reflection import ChatWriter, RuleWriter, proposer_for
from scrutable.evolve.scorers import ClosenessScorer
from scrutable.lenses.base import place_of
from scrutable.lenses.evolving import Ear, Keyed, divided, search_notes, sentence_claims, shower
from scrutable.lenses.hints import hints
from scrutable.lenses.tokens import TokensConfig
from scrutable.measure.answers import Said
from scrutable.measure.change import Change
from scrutable.measure.nulls import stated
from scrutable.measure.tab import Tab
from scrutable.models.base import Model
from scrutable.programs.text import TEXT

NAME = "distill"


class DistillConfig(Config):
    """How a text is evolved toward the tuned model."""

    tasks: int = Field(default=400, ge=4, description="most tasks used, for searching and for measuring together")
    held: float = Field(default=0.5, gt=0, lt=1, description="share of them on which the text is pruned and measured")
    answers: int = Field(default=1, ge=1, description="answers of the tuned model to each task; a score is their mean")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    stated: float = stated()
    evidence: int = Field(default=3, ge=0, le=8, description="tasks shown with each claim")
    hints: int = Field(
        default=8,
        ge=0,
        description="most surprising words of the tuned model, and claims of the tokens lens, that a chat model which "
        "writes is told",
    )
    batch: int = Field(default=64, ge=1, description="answers drawn at once; the unit that is recorded")
    search: EvolveConfig = Field(
        default_factory=lambda: EvolveConfig(budget=12000, effect=0.02, patience=16, contrasts=0),
        description="how it is searched; a rollout is one forward pass here, its target, repeats and least are the lens's",
    )
    memory_mb: int = anywhere(512, "megabytes for distributions kept between texts, and as many again for work", ge=1)


class DistillLens:
    """Reads a change as the text that makes the before most like the after. reflector: who writes; by default the before."""

    name = NAME

    def __init__(self, config: DistillConfig | None = None, reflector: Model | None = None) -> None:
        self.config = config or DistillConfig()
        self.reflector = reflector

    @property
    def identity(self) -> str:
        """Hash of what decides its account: the config, and who writes where that is not the before."""
        return digest_of([self.config.digest(), self.reflector.identity if self.reflector else None])

    def planned(self, tasks: int) -> Usage:
        """Return the most that it takes: the answers read, and two forward passes for each score of a text on a task."""
        answers = min(tasks, self.config.tasks) * self.config.answers
        hinted = answers if self.config.hints else 0  # where a chat model writes
        return Usage(generations=answers + hinted, forward_passes=2 * (self.config.search.budget + hinted))

    def read(self, change: Change, tasks: list[Task], run: Run) -> Account:
        """Read the change on these tasks (see `Lens`). Events go to `run` under "distill/", each change's to its own scope.

        Errors: UserError when the pair cannot be compared, there are fewer than four different tasks, or the tuned model
        answers none of them.
        """
        change.check()
        config, run = self.config, run.scope(place_of(self, change, tasks))
        searched, held = divided(tasks, config.tasks, config.held, run)
        says = f"hearing {change.after.name} on {len(searched) + len(held)} tasks"
        run.append("stage/answers", "stage", {"name": NAME, "says": says, "seconds_expected": None, "total": None})
        tab = Tab(run)
        ear = Ear(tab, config.batch, config.max_tokens)
        said = ear.hear(change.after, [*searched, *held], config.answers)
        if not any(one.usable for one in said):
            raise UserError(f"{change.after.name} answered none of {len(said)} tasks: {said[0].generation.failure}")
        writer = self._writer(change, searched, said, tab)
        scorer = ClosenessScorer(change, {one.cell: one for one in said}, writer.shown, config.memory_mb << 20)
        show = shower(change, searched, ear, contrast=not isinstance(writer, RuleWriter))
        settings = config.search.model_copy(
            update={"repeats": config.answers, "target": -config.stated, "least": config.stated}
        )
        parts = [task for _, task in searched], [task for _, task in held]
        found = search(scorer, writer, parts, run, settings, [Candidate(texts={TEXT: ""})], show)
        return self._account(found, change, dict(held), scorer, ear)

    def _writer(
        self, change: Change, searched: Sequence[Keyed], said: Sequence[Said], tab: Tab
    ) -> RuleWriter | ChatWriter:
        """Return who writes; a chat model is told what else is known of the searched tasks' answers."""
        config, model = self.config, self.reflector or change.before.model
        writer = proposer_for(model, config.search.reflect, imitate=True)
        if not config.hints or isinstance(writer, RuleWriter):
            return writer
        how = TokensConfig(
            claims=config.hints,
            max_tokens=config.max_tokens,
            stated=config.stated,
            batch=config.batch,
            memory_mb=config.memory_mb,
        )
        told = hints(change, searched, said, tab, how)
        return proposer_for(model, config.search.reflect, imitate=True, evidence=told)

    # -------------------------------------------------------------------------------------------------------- account

    def _account(
        self, found: EvolveResult, change: Change, held: dict[str, Task], scorer: ClosenessScorer, ear: Ear
    ) -> Account:
        """Turn the search's result into claims."""
        why = self._why_nothing(found)
        claims = () if why else self._claims(found, change, held, scorer, ear)
        notes = [why or self._told(found), *search_notes(found)]
        silent = sum(not one.usable for one in scorer.said.values())
        if silent:
            notes.append(f"{silent} of {len(scorer.said)} answers of the tuned model could not be used")
        return Account(lens=NAME, claims=claims, usage=ear.tab.cost + found.usage, notes=tuple(notes))

    def _why_nothing(self, found: EvolveResult) -> str:
        """Say why there is nothing to claim, or nothing."""
        if found.base is None or found.gain is None or found.gain.low is None:
            return "too few tasks could be measured to claim anything"
        if -found.base.value <= self.config.stated:
            return f"nothing measurable changed: {abs(found.base.value):.3g} nats an answer"
        if not found.best.text.strip() or found.gain.low <= 0 or found.gain.value <= self.config.stated:
            return f"no text was found that helps: {-found.base.value:.3g} nats an answer are left"
        return ""

    def _told(self, found: EvolveResult) -> str:
        assert found.base is not None and found.score is not None
        return (
            f"on {found.base.count} tasks that the search did not use, the text takes the divergence "
            f"from {abs(found.base.value):.3g} to {abs(found.score.value):.3g} nats an answer"
        )

    def _claims(
        self, found: EvolveResult, change: Change, held: dict[str, Task], scorer: ClosenessScorer, ear: Ear
    ) -> tuple[Claim, ...]:
        """Return a claim for each sentence, with the tasks on which it carries most, and what it carries."""
        made = sentence_claims(
            found, change, held, lambda key: scorer.said[key, 0].generation.answer, ear, self.config.evidence
        )
        return tuple(
            claim.model_copy(update={"nats": worth.gain.value if worth.gain else None}) for claim, worth in made
        )
