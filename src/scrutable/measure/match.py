"""Match: how much of a change a text carries, by sampled answers alone. For models that give no log-probabilities.

The share has the form of the others: `1 - sum(gap of base + text) / sum(gap of base)`, summed over tasks, where a gap is a
squared distance in likeness to the tuned model (`measure/likeness.py`). Plain likeness to it is no such measure: where the
tuned model says one thing two times in three and another once, a text that lets the base say the first always "recovers"
more than all. Beside it stands how often a classifier tells base + text from the tuned model (`measure/apart.py`).

*Nothing measurable changed* where the two are not told apart by exchanging their names (`measure/voices.py`): then no share
is printed. Nor is one without unrelated texts. What a rater says of the answers is compared too. Left out: distributions,
fluency under the before, and twins, which need open models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import ClassVar

import numpy as np

from scrutable.core.accounts import Fidelity, Interval, Match, Share
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task, Usage, digest_of
from scrutable.core.stats import bootstrap_ratio
from scrutable.envs.base import Environment
from scrutable.measure.answers import by_length, distinct_tasks, split_of
from scrutable.measure.apart import Seen, told_apart
from scrutable.measure.change import Change, Speaker
from scrutable.measure.fluency import by_task
from scrutable.measure.hearing import Hearing, MeasureConfig
from scrutable.measure.language import language_of
from scrutable.measure.likeness import dice, likenesses, within
from scrutable.measure.nulls import shuffled
from scrutable.measure.tab import Tab
from scrutable.measure.voices import Exchanged, Voice, exchanged, gaps, voice
from scrutable.models.base import OpenModel

Keyed = tuple[str, Task]
Column = Mapping[str, float]


# ------------------------------------------------------------------------------------------------------------ measure


@dataclass(frozen=True)
class _Setting(Hearing):
    """What a measurement by answers alone stands on."""

    unrelated: tuple[str, ...]
    place: ClassVar[str] = "match"

    def hear(self, speaker: Speaker, tasks: Sequence[Keyed], repeats: int) -> Voice:
        return voice(*self.rated(speaker, tasks, repeats))


def measure(
    change: Change,
    text: str,
    tasks: Sequence[Task],
    run: Run,
    config: MeasureConfig | None = None,
    env: Environment | None = None,
) -> Fidelity:
    """Measure how much of `change` the text carries, by sampled answers (see above and `fidelity.measure`).

    Everything drawn is an event, and so is the outcome ("fidelity"): a killed run resumes. On recorded answers the outcome
    depends on neither the order of tasks nor the size of a batch.
    Errors: UserError when less than two answers a task are asked for, or there are fewer than two tasks that both answered.
    """
    config = config or MeasureConfig()
    keyed = by_length(distinct_tasks(tasks)[: config.tasks])
    if config.answers < 2 or config.null_answers < 2:
        raise UserError(
            "agreement of sampled answers needs at least two answers a task: raise answers and null-answers"
        )
    if len(keyed) < 2:
        raise UserError(f"fidelity needs at least two different tasks, and there are {len(keyed)}: give more")
    unrelated = language_of(change.before.model).unrelated[: config.unrelated]
    rng = run.rng(f"match/{change.identity}/{digest_of(text)}")
    setting = _Setting(change, Tab(run), config, env, rng, unrelated)
    rater = env.identity if env is not None and env.rewarded else None
    told = [change.identity, text, config.identity(), [key for key, _ in keyed], rater, list(unrelated)]
    place = f"{change.place}match/fidelity/{digest_of(told)}"
    event = run.once(place, "fidelity", lambda: ({"fidelity": _measured(setting, text, keyed)}, None))
    return Fidelity.model_validate(event.payload["fidelity"])


def planned(config: MeasureConfig, tasks: int) -> Usage:
    """Return the most that measuring one text costs, before anything is spent."""
    few = min(tasks, config.null_tasks) * min(config.answers, config.null_answers)
    nulls = config.unrelated + config.random + config.shuffled
    return Usage(generations=3 * min(tasks, config.tasks) * config.answers + nulls * few)


def _measured(setting: _Setting, text: str, keyed: Sequence[Keyed]) -> Fidelity:
    change, config = setting.change, setting.config
    batches = -(-len(keyed) * config.answers // config.batch)
    setting.stage("text", "how much of the change the text carries", 3 * batches, text)
    speakers = (change.after, change.before, change.before.given(text))
    after, before, given = (setting.hear(speaker, keyed, config.answers) for speaker in speakers)
    whole, left = _columns(before, after), _columns(given, after)
    if not whole["match"] or not left["match"]:
        raise UserError(f"{change.name}: there is no task that both answered twice, so nothing can be measured")
    test = exchanged(before, after, setting.rng)
    nulls = _Nulls() if not test.changed else _nulls(setting, text, keyed, (after, before))
    return Fidelity(
        text=text,
        tasks=len(keyed),
        answers=config.answers,
        split=split_of(setting.env, {key for key, _ in keyed}, config.split),
        changed=test.changed,
        threshold=test.limit,
        threshold_from="exchanged",
        match=_match(setting, (after, before, given), nulls, test.chance),
        shares=tuple(_share(name, whole, left, nulls, setting) for name in whole) if test.changed else (),
        rewards=_rewards(setting, (before, after, given)),
        notes=_notes(setting, len(keyed), (before, after, given), test),
        usage=setting.tab.cost,
    )


def _columns(heard: Voice, after: Voice) -> dict[str, Column]:
    """Return the gaps to the tuned model by share and task: of likeness, and of the rewards that there are."""
    found: dict[str, Column] = {"match": gaps(heard, after)}
    for name, goal, own in (
        ("reward", after.rewards.proxy, heard.rewards.proxy),
        ("true_reward", after.rewards.true, heard.rewards.true),
    ):
        if goal and own:
            goals, owns = by_task(after.said, goal), by_task(heard.said, own)
            found[name] = {key: goals[key] - owns[key] for key in goals.keys() & owns.keys()}
    return found


@dataclass(frozen=True)
class _Nulls:
    """The shares of texts that should recover nothing, by share's name, and how well they are told apart."""

    unrelated: tuple[Column, ...] = ()
    random: tuple[Column, ...] = ()
    shuffled: tuple[Column, ...] = ()


_TOLD = "told"


def _nulls(setting: _Setting, text: str, keyed: Sequence[Keyed], pair: tuple[Voice, Voice]) -> _Nulls:
    """Measure unrelated texts, random words, and the text's own words in other orders. pair: tuned, base."""
    config, base = setting.config, setting.change.before
    few = by_length(sorted(keyed)[: config.null_tasks]) if len(keyed) > config.null_tasks else list(keyed)
    repeats = min(config.null_answers, config.answers)
    after, before = (one.fewer({key for key, _ in few}, repeats) for one in pair)
    whole = _columns(before, after)
    random = setting.tab.run.random(f"match/nulls/{base.identity}/{digest_of(text)}")
    drawn = [random_words(text, [task for _, task in few], random) for _ in range(config.random)]
    mixed = shuffled(text, random, config.shuffled) if config.shuffled else []
    total = (len(setting.unrelated) + len(drawn) + len(mixed)) * -(-len(few) * repeats // config.batch)
    setting.stage("nulls", "what texts that should carry nothing carry", total, text)

    def shares(null: str, *, apart: bool = True) -> Column:
        own = setting.hear(base.given(null), few, repeats)
        left = _columns(own, after)
        found = {name: value for name in whole if (value := _point(whole[name], left.get(name, {}))) is not None}
        told = told_apart(after.seen, own.seen) if apart else {}
        return {**found, _TOLD: fmean(told.values())} if told else found

    return _Nulls(
        tuple(shares(null) for null in setting.unrelated),
        tuple(shares(null) for null in drawn),
        tuple(shares(null, apart=False) for null in mixed),
    )


def random_words(text: str, tasks: Sequence[Task], random: Random) -> str:
    """Return as many words as the text has, drawn from those of the tasks: a served model's vocabulary is not known."""
    among = sorted({word for task in tasks for word in task.prompt.split()})
    return " ".join(random.choices(among, k=max(1, len(text.split())))) if among else ""


def _point(whole: Column, left: Column) -> float | None:
    keys = sorted(whole.keys() & left.keys())
    bottom = sum(whole[key] for key in keys)
    return 1 - sum(left[key] for key in keys) / bottom if abs(bottom) > 1e-9 else None


def _share(
    name: str, whole: Mapping[str, Column], left: Mapping[str, Column], nulls: _Nulls, setting: _Setting
) -> Share:
    """Return one share with its interval and its nulls, or why it is not printed."""
    keys = sorted(whole[name].keys() & left.get(name, {}).keys())
    if not keys:
        return Share(name=name, why_not="no task has this number both with and without the text")
    bottom = np.array([whole[name][key] for key in keys])
    value = bootstrap_ratio(bottom - np.array([left[name][key] for key in keys]), bottom, rng=setting.rng)
    if value is None:
        what = "answers" if name == "match" else name.replace("_", " ")
        return Share(name=name, why_not=f"the {what} of the two cannot be told apart")
    unrelated, random, mixed = (
        tuple(one[name] for one in kind if name in one) for kind in (nulls.unrelated, nulls.random, nulls.shuffled)
    )
    if not unrelated:
        return Share(name=name, why_not="no unrelated text was measured beside it")
    return Share(name=name, value=value, unrelated=unrelated, random=random, shuffled=mixed)


def _match(setting: _Setting, heard: tuple[Voice, Voice, Voice], nulls: _Nulls, chance: float) -> Match:
    """Return what the share is made of, and how well a classifier tells the speakers apart. heard: tuned, base, base + text."""
    after, before, given = heard
    told: dict[str, Column] = {
        "base": told_apart(after.seen, before.seen),
        "base + text": told_apart(after.seen, given.seen),
        "tuned": told_apart(*_halves(after)),
    }
    alike: dict[str, Column] = {
        "tuned, tuned": _likeness(after, after),
        "base, tuned": _likeness(before, after),
        "base + text, tuned": _likeness(given, after),
    }
    return Match(
        gap=setting.mean(gaps(before, after)),
        left=setting.mean(gaps(given, after)),
        chance=chance,
        likeness={name: setting.mean(values) for name, values in alike.items() if values},
        told={name: setting.mean(values) for name, values in told.items() if values},
        told_unrelated=tuple(one[_TOLD] for one in nulls.unrelated if _TOLD in one),
        told_random=tuple(one[_TOLD] for one in nulls.random if _TOLD in one),
    )


def _halves(one: Voice) -> tuple[Seen, Seen]:
    """Return a voice as two that answer alike: every other answer to each task."""
    tasks = one.seen.tasks
    return Seen({key: told[::2] for key, told in tasks.items()}), Seen({key: told[1::2] for key, told in tasks.items()})


def _likeness(one: Voice, other: Voice) -> dict[str, float]:
    """Return the mean likeness of an answer of either, by task; of a voice with itself, of different answers."""
    found = {}
    for key in sorted(one.pairs.keys() & other.pairs.keys()):
        if one is not other:
            found[key] = fmean(dice(a, b) for a in one.pairs[key] for b in other.pairs[key])
        elif len(one.pairs[key]) > 1:
            found[key] = within(likenesses(one.pairs[key]))
    return found


def _rewards(setting: _Setting, heard: tuple[Voice, Voice, Voice]) -> dict[str, Interval]:
    found = {}
    for who, one in zip(("base", "tuned", "base + text"), heard, strict=True):
        for name, values in (("proxy", one.rewards.proxy), ("true", one.rewards.true)):
            if values:
                found[f"{who}: {name}"] = setting.mean(by_task(one.said, values))
    return found


def _notes(setting: _Setting, tasks: int, heard: Sequence[Voice], test: Exchanged) -> tuple[str, ...]:
    """Return what the reader must know."""
    config, notes = setting.config, ["by sampled answers alone: no log-probabilities can be had of both models"]
    if test.changed and not setting.unrelated:
        notes.append("no share is printed: no unrelated text was measured, and without them a share says nothing")
    if test.changed and config.random and not isinstance(setting.change.before.model, OpenModel):
        notes.append("random texts are words of the tasks: the vocabulary of a served model is not known")
    if tasks < config.tasks:
        notes.append(f"{tasks} different tasks were there, fewer than the {config.tasks} asked for")
    if test.changed and (tasks > config.null_tasks or config.answers > config.null_answers):
        few, repeats = min(tasks, config.null_tasks), min(config.answers, config.null_answers)
        notes.append(f"nulls and shuffled words were measured on {few} tasks × {repeats} answers")
    lines: tuple[tuple[str, Callable[[Voice], int]], ...] = (
        ("failed", lambda one: one.lost),
        (f"were cut at {config.max_tokens} tokens", lambda one: sum(not s.generation.complete for s in one.said)),
        ("could not be scored", lambda one: one.rewards.unscored),
    )
    for who, one in zip(("base", "tuned model", "base + text"), heard, strict=True):
        notes += [f"{lost} of {len(one.said)} answers of the {who} {what}" for what, of in lines if (lost := of(one))]
    return tuple(notes)
