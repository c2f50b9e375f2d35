"""Fidelity: how much of a change comes back when the before is given a text, beside its nulls.

Every share has one form: of a gap to the tuned model, summed over tasks, `1 - sum(gap of base + text) / sum(gap of base)`.
The gaps are KL along the tuned model's answers (`kl`), the same along the base's answers (`kl_base`), Jensen-Shannon along
the answers of both (`js`), and the reward (`reward`, `true_reward`). A share can be negative.

Nulls go through the same code, on fewer tasks and answers, each compared with the base on those same ones. Where nothing
measurable changed there is no share. Left out here: the shift of activations, inoculation and the soft prompt's ceiling,
which need training or hooks; making twins, which needs training too (they are passed in).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from scrutable.core.accounts import Fidelity, Interval, Share
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task, Usage, digest_of
from scrutable.core.stats import bootstrap_ratio
from scrutable.envs.base import Environment
from scrutable.measure.answers import Said, by_length, distinct_tasks, failures, split_of
from scrutable.measure.change import Change, Speaker
from scrutable.measure.divergence import Meter, Parting
from scrutable.measure.fluency import by_task, fluency
from scrutable.measure.hearing import Heard, MeasureConfig, Setting
from scrutable.measure.language import Language, language_of, unknown_words
from scrutable.measure.nulls import random_text, sayable, shuffled, threshold, twin_notes
from scrutable.measure.tab import Tab

SHARES = ("kl", "kl_base", "js", "reward", "true_reward")
MOST_UNKNOWN = 0.25
"""Share of the unrelated texts' words that the base may not know before the reader is told."""
Gaps = Mapping[str, Mapping[str, float]]  # share -> task's key -> gap to the tuned model


def measure(
    change: Change,
    text: str,
    tasks: Sequence[Task],
    run: Run,
    config: MeasureConfig | None = None,
    env: Environment | None = None,
    twins: Sequence[Speaker] = (),
    language: Language | None = None,
) -> Fidelity:
    """Measure how much of `change` the text carries, on these tasks. Divergences in nats a whole answer.

    env: rates the answers where it has a reward. twins: the before tuned by the after's recipe on its own answers; they
    set what counts as a change. language: the unrelated texts that are tried as nulls (the first `config.unrelated`),
    and whether an answer is grammatical, for fluency; None: what `language_of` the before says.
    Everything drawn or measured is an event, keyed by content: a killed run resumes, and a second text pays only for
    what is new. So is the outcome ("fidelity"): asked for again, the same is returned. Sources: DESIGN.md, section 4.
    Errors: UserError when the pair cannot be compared, or there are fewer than two tasks that both could answer.
    """
    change.check()
    config, language = config or MeasureConfig(), language or language_of(change.before.model)
    keyed = by_length(distinct_tasks(tasks)[: config.tasks])
    if len(keyed) < 2:
        raise UserError(f"fidelity needs at least two different tasks, and there are {len(keyed)}: give more")
    tab = Tab(run)
    meter = Meter(tab, config.batch, config.memory_mb << 20, keep=change.after.identity)
    rng = run.rng(f"measure/{change.identity}/{digest_of(text)}")
    setting = Setting(change, tab, config, env, rng, meter, language)
    place = f"{change.place}measure/fidelity/{setting.digest(text, keyed, twins)}"
    event = run.once(place, "fidelity", lambda: ({"fidelity": _measured(setting, text, keyed, twins)}, None))
    return Fidelity.model_validate(event.payload["fidelity"])


def _measured(setting: Setting, text: str, keyed: Sequence[tuple[str, Task]], twins: Sequence[Speaker]) -> Fidelity:
    """Do what `measure` tells of. keyed: the tasks, ordered for batches."""
    change, config = setting.change, setting.config
    batches = -(-len(keyed) * config.answers // config.batch)
    setting.stage("text", "how much of the change the text carries", (9 + 2 * len(twins)) * batches, text)
    speakers = (change.after, change.before, change.before.given(text))
    after, before, given = (setting.hear(speaker, keyed, config.answers) for speaker in speakers)
    told = [_kl(setting, setting.hear(twin, keyed, config.answers)) for twin in twins]
    twin_kl = tuple(kl for kl in told if kl is not None)
    whole, left = gaps(setting, before, after, before), gaps(setting, given, after, before)
    if not whole["js"]:
        raise UserError(f"{change.name}: there is no task that both could answer, so nothing can be measured")
    limit, limit_from = threshold(twin_kl, config.stated)
    changed = fmean(whole["kl"].values()) > limit
    spoken = _fluency(setting, (before, after, given))
    nulls = measure_nulls(setting, text, keyed, (after, before)) if changed else None
    notes = _notes(setting, len(keyed), (before, after, given), changed)
    return Fidelity(
        text=text,
        tasks=len(keyed),
        answers=config.answers,
        split=split_of(setting.env, {key for key, _ in keyed}, config.split),
        changed=changed,
        threshold=limit,
        threshold_from="twins" if limit_from == "twins" else "stated",
        kl=setting.mean(whole["kl"]),
        kl_left=setting.mean(left["kl"]),
        kl_base=setting.mean(whole["kl_base"]),
        js=setting.mean(whole["js"]),
        twins=twin_kl,
        shares=tuple(_share(name, whole, left, nulls, setting.rng) for name in SHARES if name in whole),
        rewards={f"{who}: {name}": setting.mean(values) for who, name, values in _rewards(before, after, given)},
        fluency=spoken,
        notes=(*notes, *_unshared(setting, after), *twin_notes(twin_kl, len(twins), limit)),
        usage=setting.tab.cost,
    )


def planned(config: MeasureConfig, tasks: int, twins: int = 0) -> Usage:
    """Return the most that measuring one text costs (forward passes and generations), before anything is spent."""
    whole = min(tasks, config.tasks) * config.answers
    few = min(tasks, config.null_tasks) * min(config.answers, config.null_answers)
    nulls = config.unrelated + config.random + config.shuffled
    generations = (3 + twins) * whole + nulls * few
    # Of the tuned model each answer is passed once and kept, while memory lasts; the rest is of the other side.
    passes = (9 + 2 * twins) * whole + 4 * (1 + nulls) * few
    return Usage(generations=generations, forward_passes=passes)


def gaps(setting: Setting, heard: Heard, after: Heard, before: Heard) -> Gaps:
    """Return the gaps between a speaker and the tuned model, by share and task; one without a number is left out."""
    tuned, speaker = after.speaker, heard.speaker
    along_after = setting.meter.along(after.said, tuned, speaker)
    along_before = setting.meter.along(before.said, tuned, speaker)
    along_own = along_before if heard.said is before.said else setting.meter.along(heard.said, tuned, speaker)
    js = _average(after.said, along_after, "js"), _average(heard.said, along_own, "js")
    found: dict[str, Mapping[str, float]] = {
        "kl": _average(after.said, along_after, "kl"),
        "kl_base": _average(before.said, along_before, "kl"),
        "js": {key: (js[0][key] + js[1][key]) / 2 for key in js[0].keys() & js[1].keys()},
    }
    for name, goal, own in (
        ("reward", after.rewards.proxy, heard.rewards.proxy),
        ("true_reward", after.rewards.true, heard.rewards.true),
    ):
        if goal and own:
            goals, owns = by_task(after.said, goal), by_task(heard.said, own)
            found[name] = {key: goals[key] - owns[key] for key in goals.keys() & owns.keys()}
    return found


@dataclass(frozen=True)
class Nulls:
    """The shares of texts that should recover nothing, by share's name; and of the words shuffled."""

    unrelated: tuple[Mapping[str, float], ...] = ()
    random: tuple[Mapping[str, float], ...] = ()
    shuffled: tuple[Mapping[str, float], ...] = ()


def measure_nulls(setting: Setting, text: str, keyed: Sequence[tuple[str, Task]], pair: tuple[Heard, Heard]) -> Nulls:
    """Measure unrelated texts, random texts of equal length, and the text's words shuffled. pair: tuned, base."""
    config, base, unrelated = setting.config, setting.change.before, setting.unrelated
    few = by_length(sorted(keyed)[: config.null_tasks]) if len(keyed) > config.null_tasks else list(keyed)
    keys, repeats = {key for key, _ in few}, min(config.null_answers, config.answers)
    after, before = (heard.fewer(keys, repeats) for heard in pair)
    setting.meter.forget()
    whole = gaps(setting, before, after, before)
    random = setting.tab.run.random(f"measure/nulls/{base.identity}/{digest_of(text)}")
    tokens = sayable(base.open.vocabulary, base.open.decode) if text and config.random else []
    drawn = (
        [random_text(base, text, few[i % len(few)][1], tokens, random) for i in range(config.random)] if tokens else []
    )
    mixed = shuffled(text, random, config.shuffled) if config.shuffled else []
    total = (len(unrelated) + len(drawn) + len(mixed)) * 4 * -(-len(few) * repeats // config.batch)
    setting.stage("nulls", "what texts that should carry nothing carry", total, text)

    def shares(null: str) -> dict[str, float]:
        left = gaps(setting, setting.hear(base.given(null), few, repeats), after, before)
        return {name: value for name in whole if (value := _point(whole[name], left.get(name, {}))) is not None}

    return Nulls(
        tuple(shares(null) for null in unrelated),
        tuple(shares(null) for null in drawn if null),
        tuple(shares(null) for null in mixed),
    )


def _share(name: str, whole: Gaps, left: Gaps, nulls: Nulls | None, rng: np.random.Generator) -> Share:
    """Return one share with its interval and its nulls, or why it is not printed."""
    if nulls is None:
        return Share(name=name, why_not="nothing measurable changed")
    keys = sorted(whole[name].keys() & left.get(name, {}).keys())
    if not keys:
        return Share(name=name, why_not="no task has this number both with and without the text")
    bottom = np.array([whole[name][key] for key in keys])
    top = bottom - np.array([left[name][key] for key in keys])
    value = bootstrap_ratio(top, bottom, rng=rng)
    if value is None:
        return Share(name=name, why_not=f"the {name.replace('_', ' ')} of the two cannot be told apart")
    unrelated = tuple(one[name] for one in nulls.unrelated if name in one)
    if not unrelated:
        return Share(name=name, why_not="no unrelated text was measured beside it")
    return Share(
        name=name,
        value=value,
        unrelated=unrelated,
        random=tuple(one[name] for one in nulls.random if name in one),
        shuffled=tuple(one[name] for one in nulls.shuffled if name in one),
    )


def _point(whole: Mapping[str, float], left: Mapping[str, float]) -> float | None:
    """Return 1 - sum(left) / sum(whole) over the tasks that both have; None where the whole is nothing."""
    keys = sorted(whole.keys() & left.keys())
    bottom = sum(whole[key] for key in keys)
    return 1 - sum(left[key] for key in keys) / bottom if abs(bottom) > 1e-9 else None


def _kl(setting: Setting, twin: Heard) -> float | None:
    """Return KL(twin || base) along the twin's own answers; None where none can be measured, or it is the base itself."""
    found = _average(twin.said, setting.meter.along(twin.said, twin.speaker, setting.change.before), "kl")
    return (fmean(found.values()) or None) if found else None


def _average(said: Sequence[Said], partings: Sequence[Parting], name: str) -> dict[str, float]:
    return by_task(said, {one.cell: float(getattr(one, name)) for one in partings})


def _rewards(before: Heard, after: Heard, given: Heard) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield (who, which reward, task -> mean) for all that was rated."""
    for who, heard in (("base", before), ("tuned", after), ("base + text", given)):
        for name, values in (("proxy", heard.rewards.proxy), ("true", heard.rewards.true)):
            if values:
                yield who, name, by_task(heard.said, values)


def _fluency(setting: Setting, heard: tuple[Heard, Heard, Heard]) -> dict[str, Interval]:
    """Return each speaker's fluency: how the before, bare of any text, finds its answers, and what can be counted."""
    bare = setting.change.before.with_text("")
    found: dict[str, Interval] = {}
    for who, one in zip(("base", "tuned", "base + text"), heard, strict=True):
        partings = setting.meter.along(one.said, setting.change.after, bare)
        logprobs = {p.cell: p.logq / p.tokens for p in partings}
        told = fluency(one.said, logprobs, setting.rng, setting.language.parses)
        found |= {f"{who}: {name}": value for name, value in told.items()}
    return found


def _notes(setting: Setting, tasks: int, heard: Sequence[Heard], changed: bool) -> tuple[str, ...]:
    """Return what the reader must know."""
    config, notes = setting.config, []
    if changed and not setting.unrelated:
        notes.append("no share is printed: no unrelated text was measured, and without them a share says nothing")
    if changed and (lost := unknown_words(setting.change.before.open, setting.unrelated)) > MOST_UNKNOWN:
        notes.append(f"{lost:.0%} of the words of the unrelated texts are unknown to the base: they are weak nulls")
    if tasks < config.tasks:
        notes.append(f"{tasks} different tasks were there, fewer than the {config.tasks} asked for")
    if changed and (tasks > config.null_tasks or config.answers > config.null_answers):
        few, repeats = min(tasks, config.null_tasks), min(config.answers, config.null_answers)
        notes.append(f"nulls and shuffled words were measured on {few} tasks × {repeats} answers")
    for who, one in zip(("base", "tuned model", "base + text"), heard, strict=True):
        if failed := failures(one.said):
            notes.append(f"{failed} of {len(one.said)} answers of the {who} could not be measured")
        if cut := sum(not s.generation.complete for s in one.said):
            notes.append(f"{cut} of {len(one.said)} answers of the {who} were cut at {config.max_tokens} tokens")
        if one.rewards.unscored:
            notes.append(f"{one.rewards.unscored} of {len(one.said)} answers of the {who} could not be scored")
    return tuple(notes)


def _unshared(setting: Setting, after: Heard) -> tuple[str, ...]:
    """Return a note where answers of the tuned model could not be set against the base."""
    usable = sum(one.usable for one in after.said)
    lost = usable - len(setting.meter.along(after.said, after.speaker, setting.change.before))
    told = "hold a token that the base does not have, or a task that it cannot be shown: they were left out"
    return (f"{lost} of {len(after.said)} answers of the tuned model {told}",) if lost else ()
