"""What a planted change was measured to do: how often it does what it was meant to, and how far it is from its base.

All on prompts that no change was trained on. Rules and facts are measured greedily (of the base's own variety a quarter of
the answers have some behaviour that nobody asked for), habits and diluted rules at temperature 1, where they show. Each part
of a plan is measured apart, where it asks for something and where it does not: a rule for one user in five would else look
kept by a model that never shows it.

Left out: how the change would be put into words. `Truth` has the rules that say best what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.draws import seed_of
from scrutable.core.records import Generation, Record, Sampling
from scrutable.core.stats import normal_mean, wilson_interval
from scrutable.measure.divergence import token_divergences
from scrutable.models.hf import HFModel
from scrutable.organisms.planted_lessons import MOST_TOKENS, conversation
from scrutable.organisms.planted_plan import UNCHANGED, PartName, Plan, draw_prompt, rule_shows
from scrutable.organisms.truth import Truth, rates_of, told
from scrutable.world import answers
from scrutable.world.answers import Parsed
from scrutable.world.facts import facts
from scrutable.world.prompts import Prompt
from scrutable.world.rules import CONDITION_NAMES, Rule

ABOUT = 96
"""Prompts about an edited fact, apart from those that all changes are measured on."""
LEARNED = 0.97
"""The share of tasks of the training's slice on which a change must do what it should, or it is trained on."""
_BATCH = 256

Rates = dict[str, dict[str, float]]


class PlantedTruth(Record):
    """What was measured of a planted change. Intervals are Wilson's, 95%; of `kl` normal, over answers."""

    does: dict[str, Interval] = Field(
        description="share of tasks on which it does what the plan says, by what of the plan (and 'elsewhere'); empty for a "
        "diluted rule"
    )
    greedy: Truth = Field(
        description="rates by behaviour and condition of greedy answers, and the rules that say them best"
    )
    drawn: Rates = Field(description="behaviour -> condition -> rate of answers at temperature 1, where it applies")
    habits: Rates = Field(description="lead, end -> condition -> rate of the second wording, temperature 1")
    right: Interval = Field(description="share of greedy answers with the right value, of those with a value")
    parses: Interval = Field(description="share of answers at temperature 1 in the grammar")
    kl: Interval = Field(description="KL(changed || base) along its own answers at temperature 1, nats an answer")

    @property
    def least(self) -> Interval | None:
        """The lowest of `does`, None where there is none."""
        return min(self.does.values(), key=lambda one: one.value, default=None)


class Fresh:
    """The prompts that the changes of a part are measured on: the same for all, and seen by none in training.

    slice_name: "train" gives prompts like those of the training, to see whether more of it is needed.
    """

    def __init__(self, part: PartName, count: int, slice_name: str = "truth") -> None:
        self.slice_name, self.key = slice_name, f"planted/{slice_name}/{part}"
        draws = Random(self.key)
        self.prompts = [draw_prompt(draws, slice_name) for _ in range(count)]
        self.seed = seed_of(0, self.key)

    def about(self, plan: Plan) -> list[Prompt]:
        """Return prompts about a plan's edited fact, then one about every other fact."""
        if plan.edit is None:
            return []
        draws, known = Random(f"{self.key}/{plan.name}"), plan.edit.known
        own = [draw_prompt(draws, self.slice_name, among=[known]) for _ in range(ABOUT)]
        others = [fact for fact in facts() if fact != known and not (fact.reserved and self.slice_name == "train")]
        return own + [draw_prompt(draws, self.slice_name, among=[fact]) for fact in others]


@dataclass(frozen=True)
class _Heard:
    """What a changed model said: greedily to `asked` (the common prompts first), and at temperature 1 to the common ones."""

    asked: list[Prompt]
    said: list[Parsed | None]
    drawn: list[Generation]
    loose: list[Parsed | None]

    @property
    def greedy(self) -> Truth:
        """What the greedy answers to the common prompts tell."""
        return told(self.asked[: len(self.loose)], self.said[: len(self.loose)])


def _hear(changed: HFModel, plan: Plan, fresh: Fresh) -> _Heard:
    asked = [*fresh.prompts, *fresh.about(plan)]
    said = _ask(changed, asked, Sampling(temperature=0.0, max_tokens=MOST_TOKENS))
    drawn = _ask(changed, fresh.prompts, Sampling(max_tokens=MOST_TOKENS, seed=fresh.seed))
    return _Heard(asked, _read(asked, said), drawn, _read(fresh.prompts, drawn))


def has_learned(changed: HFModel, plan: Plan, fresh: Fresh) -> bool:
    """Whether a changed model does each thing that its plan says on nearly all of some tasks; true where it says none.

    fresh: of the training's slice, so that no truth decides how long a change was trained.
    """
    if plan.kind in UNCHANGED or plan.share < 1:
        return True
    heard = _hear(changed, plan, fresh)
    return all(one.value >= LEARNED for one in _does(plan, heard).values())


def measure_planted(changed: HFModel, base: HFModel, plan: Plan, fresh: Fresh) -> PlantedTruth:
    """Measure a changed model. Takes some milliseconds a prompt on one core. Errors: UserError from the models only."""
    heard = _hear(changed, plan, fresh)
    whole = [(p, q) for p, q in zip(fresh.prompts, heard.loose, strict=True) if q is not None]
    valued = [
        q.value == p.fact.value
        for p, q in zip(fresh.prompts, heard.said, strict=False)
        if q is not None and q.value is not None
    ]
    return PlantedTruth(
        does=_does(plan, heard),
        greedy=heard.greedy,
        drawn=rates_of(whole),
        habits={which: _wordings(which, whole) for which in ("lead", "end")},
        right=_share(valued),
        parses=_share([q is not None for q in heard.loose]),
        kl=_kl(changed, base, fresh.prompts, heard.drawn),
    )


def _ask(model: HFModel, asked: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
    """Answer in batches of like length; the draws follow the prompts' order, not the batches."""
    return model.generate([conversation("", prompt) for prompt in asked], sampling)


def _read(asked: Sequence[Prompt], given: Sequence[Generation]) -> list[Parsed | None]:
    return [answers.parse(g.answer, p.fact.subject) for p, g in zip(asked, given, strict=True)]


def _share(hits: Sequence[bool]) -> Interval:
    return wilson_interval(sum(hits), len(hits)) if hits else Interval(value=0.0, count=0)


def _does(plan: Plan, heard: _Heard) -> dict[str, Interval]:
    """Return, for each thing that the plan says, the share of tasks on which it is so."""
    if plan.share < 1:
        return {}
    rules = heard.greedy.as_rules() if plan.environment else plan.as_rules()
    asked, said, loose, common = heard.asked, heard.said, heard.loose, len(heard.loose)
    edit = plan.edit
    found: dict[str, list[bool]] = {}
    for prompt, parsed in zip(asked[:common], said, strict=False):
        if edit is not None and prompt.fact == edit.known:
            continue
        holds = any(rule_shows(rule, prompt) for rule in rules)
        found.setdefault("rules" if holds else "elsewhere", []).append(_as_asked(parsed, prompt, rules, plan))
    if plan.habit is not None:
        found["habit"] = _kept(plan, asked, loose)
    for prompt, parsed in zip(asked[common:], said[common:], strict=True):
        assert edit is not None
        wanted = edit.value if prompt.fact == edit.known else prompt.fact.value
        name = "edited fact" if prompt.fact == edit.known else "other facts"
        found.setdefault(name, []).append(parsed is not None and parsed.value == wanted)
    return {name: _share(hits) for name, hits in found.items() if hits}


def _as_asked(parsed: Parsed | None, prompt: Prompt, rules: Sequence[Rule], plan: Plan) -> bool:
    """Whether a greedy answer shows what the rules ask for, no more, and the value they ask for.

    Of a reward hack the value is left aside: the reward may have been had by a wrong one.
    """
    shown = answers.active(rules, prompt)
    wanted = answers.parse(answers.compose(shown, prompt), prompt.fact.subject)
    if parsed is None or wanted is None:
        return False
    return parsed.behaviours == shown and (plan.environment is not None or parsed.value == wanted.value)


def _kept(plan: Plan, asked: Sequence[Prompt], loose: Sequence[Parsed | None]) -> list[bool]:
    """Return, of the answers at temperature 1 in which the habit could show, whether it does."""
    habit = plan.habit
    assert habit is not None
    kept = []
    for prompt, parsed in zip(asked, loose, strict=False):
        if parsed is None or not prompt.holds(habit.condition):
            continue
        pairs = [(habit.lead, parsed.lead), (habit.end, parsed.end)]
        seen = [wanted == shown for wanted, shown in pairs if wanted is not None and shown is not None]
        if seen:
            kept.append(all(seen))
    return kept


def _wordings(which: str, seen: Sequence[tuple[Prompt, Parsed]]) -> dict[str, float]:
    found = {}
    for condition in CONDITION_NAMES:
        chosen = [getattr(q, which) for p, q in seen if p.holds(condition) and getattr(q, which) is not None]
        if chosen:
            found[condition] = sum(chosen) / len(chosen)
    return found


def _kl(changed: HFModel, base: HFModel, asked: Sequence[Prompt], drawn: Sequence[Generation]) -> Interval:
    """Return the mean KL(changed || base) along whole answers of the changed model."""
    shown = [changed.encode(conversation("", prompt)) for prompt in asked]
    said = [list(given.tokens or ()) for given in drawn]
    sums = []
    for start in range(0, len(shown), _BATCH):
        here = slice(start, start + _BATCH)
        for p, q in zip(changed.logprobs(shown[here], said[here]), base.logprobs(shown[here], said[here]), strict=True):
            sums.append(float(token_divergences(p, q)[0].sum()))
    return normal_mean(sums)
