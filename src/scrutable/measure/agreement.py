"""Agreement: do several runs behave alike? Pairwise divergences, clusters, rewards, and claims matched by effect.

The distance of two members is their Jensen-Shannon divergence, exact position by position, in nats an answer, along answers
of both, on tasks that decided nothing; of one from itself it is exactly 0, whatever was drawn. What counts as alike is not a
matter of taste but of idle words: each member is also measured against itself given an unrelated text beside its own. Two
groups are two behaviours where they are shown to be farther apart than 95% of those, and than the stated value.

Left out: served models, whose distributions cannot be had; and judgement of sentences that only work together, since each
sentence is tried alone on the base (`measure/claims.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Interval
from scrutable.core.clusters import Clustering, clusters
from scrutable.core.comparisons import Comparison, Kind, Member, Pair, Parting
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Split, digest_of
from scrutable.core.stats import Array, bootstrap_mean, quantile
from scrutable.envs.base import Environment
from scrutable.measure.answers import Said, by_length, distinct_tasks, failures, split_of
from scrutable.measure.change import Speaker
from scrutable.measure.claims import matched
from scrutable.measure.distances import Keyed, Measure, distances
from scrutable.measure.fluency import by_task
from scrutable.measure.language import Language, language_of
from scrutable.measure.rewards import rewards_of
from scrutable.measure.tab import Tab


class CompareConfig(Config):
    """How runs are compared."""

    split: Split = Field(default="report", description="which split the tasks are of; no run may have decided by it")
    tasks: int = Field(default=128, ge=2, description="most tasks; fewer are noted")
    answers: int = Field(default=1, ge=1, description="answers a task, of each run")
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    stated: float = Field(default=0.05, ge=0, description="nats an answer up to which two behaviours count as one")
    idle: int = Field(default=20, ge=0, description="unrelated texts set beside the runs' own: what idle words do")
    idle_tasks: int = Field(default=48, ge=2, description="most tasks of the idle words")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="chance that runs of one behaviour are parted")
    claims: int = Field(default=24, ge=0, description="most sentences tried alone, to match them by effect; 0: none")
    batch: int = anywhere(256, "answers drawn or measured at once", ge=1)
    memory_mb: int = anywhere(512, "megabytes for distributions held at once", ge=1)


@dataclass(frozen=True)
class Compared:
    """What is compared: a speaker, how it is called, and the sentences that are said of it or given to it."""

    name: str
    kind: Kind
    speaker: Speaker
    sentences: tuple[str, ...] = ()


def compare(
    members: Sequence[Compared],
    base: Speaker,
    env: Environment,
    run: Run,
    config: CompareConfig | None = None,
    language: Language | None = None,
) -> Comparison:
    """Compare members on tasks of an environment. base: the model they all started from, without a text.

    language: the unrelated texts that are tried as idle words; None: what `language_of` the base says. Everything drawn or
    measured is an event keyed by content, and so is the outcome ("comparison"): a killed run resumes.
    Errors: UserError for fewer than two members, for a model without log-probabilities, for two with other tokenizers, when
    two of them share no task that both could answer.
    """
    config, language = config or CompareConfig(), language or language_of(base.model)
    if len(members) < 2:
        raise UserError(f"a comparison needs at least two runs or texts, and there are {len(members)}")
    keyed = by_length(distinct_tasks(env.tasks(config.split))[: config.tasks])
    if len(keyed) < 2:
        raise UserError(f"a comparison needs at least two different tasks, and there are {len(keyed)}: give more")
    told = [[one.name, one.kind, one.speaker.identity, list(one.sentences)] for one in members]
    asked = [[key for key, _ in keyed], env.identity, list(language.unrelated), config.identity()]
    place = f"compare/{digest_of([told, base.identity, asked])}"
    setting = _Setting(list(members), base, env, Measure(Tab(run), config), config, language, keyed, place)
    event = run.once(place, "comparison", lambda: ({"comparison": _compared(setting)}, None))
    return Comparison.model_validate(event.payload["comparison"])


@dataclass(frozen=True)
class _Setting:
    """What one comparison is of."""

    members: list[Compared]
    base: Speaker
    env: Environment
    measure: Measure
    config: CompareConfig
    language: Language
    keyed: list[Keyed]
    place: str

    def rng(self, what: str) -> np.random.Generator:
        return self.measure.tab.run.rng(f"{self.place}/{what}")

    def mean(self, values: Array, what: str) -> Interval:
        known = values[~np.isnan(values)]
        if not known.size:
            raise UserError(f"there is no task on which {what} could be measured")
        return bootstrap_mean(known, rng=self.rng(what))

    def stage(self, name: str, says: str, total: int | None) -> None:
        payload = {"name": f"compare/{name}", "says": says, "seconds_expected": None, "total": total}
        self.measure.tab.run.append(f"{self.place}/stage/{name}", "stage", payload)


def _compared(setting: _Setting) -> Comparison:
    """Do what `compare` tells of."""
    config, members = setting.config, setting.members
    speakers = [setting.base, *(one.speaker for one in members)]
    kinds = len({speaker.identity for speaker in speakers})
    batches = -(-len(setting.keyed) * config.answers // config.batch)
    setting.stage("distances", "how far the runs are apart", batches * kinds * kinds)
    found = distances(speakers, setting.keyed, config.answers, setting.measure)
    idle = _idle(setting)
    limit = max(config.stated, quantile(idle, 0.95)) if idle else config.stated
    between = found.js[:, 1:, 1:]
    parted = clusters(between, limit, rng=setting.rng("clusters"), alpha=config.alpha)
    said = [found.said[speaker.identity] for speaker in speakers]
    sentences = [one.sentences for one in members]
    setting.stage("claims", "what each sentence does on its own", None)
    claims, unclaimed = matched(setting.base, sentences, setting.keyed, limit, setting.measure, config.claims)
    return Comparison(
        base=setting.base.name,
        env=setting.env.name,
        split=split_of(setting.env, {key for key, _ in setting.keyed}, config.split),
        tasks=len(setting.keyed),
        answers=config.answers,
        members=tuple(
            Member(
                name=one.name,
                kind=one.kind,
                text=one.speaker.text or " ".join(one.sentences),
                from_base=setting.mean(found.js[:, 0, at + 1], f"{one.name} against the base"),
                rewards=_rewards(setting, said[at + 1], one.name),
            )
            for at, one in enumerate(members)
        ),
        pairs=tuple(_pairs(setting, between, found.kl[:, 1:, 1:])),
        limit=limit,
        limit_from="idle words" if limit > config.stated else "stated",
        idle=tuple(idle),
        clusters=parted.clusters,
        partings=_partings(parted),
        stable=parted.stable,
        silhouette=parted.silhouette,
        between=_between(setting, between),
        claims=claims,
        notes=(*_notes(setting, said), *unclaimed),
        usage=setting.measure.tab.cost,
    )


def _idle(setting: _Setting) -> list[float]:
    """Return how far members move when an unrelated text stands beside their own: each member in turn, each text in turn."""
    config, texts = setting.config, setting.language.unrelated
    if not config.idle or not texts:
        return []
    own = list({one.speaker.identity: one.speaker for one in setting.members}.values())
    few = by_length(sorted(setting.keyed)[: config.idle_tasks])
    setting.stage("idle", "what idle words do", 3 * config.idle * -(-len(few) // config.batch))
    found = []
    for at in range(config.idle):
        speaker = own[at % len(own)]
        pair = [speaker, speaker.given(texts[at % len(texts)])]
        moved = distances(pair, few, 1, setting.measure).js[:, 0, 1]
        if not np.isnan(moved).all():
            found.append(float(np.nanmean(moved)))
    return found


def _pairs(setting: _Setting, js: Array, kl: Array) -> list[Pair]:
    names = [one.name for one in setting.members]
    return [
        Pair(
            a=a,
            b=b,
            js=setting.mean(js[:, a, b], f"{names[a]} against {names[b]}"),
            kl=setting.mean(kl[:, a, b], f"{names[a]} against {names[b]}"),
        )
        for a in range(len(names))
        for b in range(a + 1, len(names))
    ]


def _partings(parted: Clustering) -> tuple[Parting, ...]:
    return tuple(
        Parting(left=join.left, right=join.right, distance=join.distance, apart=join.apart) for join in parted.joins
    )


def _between(setting: _Setting, js: Array) -> dict[str, Interval]:
    """Return the mean distance of pairs by their kinds, task by task."""
    kinds = [one.kind for one in setting.members]
    pairs: dict[str, list[tuple[int, int]]] = {}
    for a in range(len(kinds)):
        for b in range(a + 1, len(kinds)):
            pairs.setdefault(" and ".join(sorted((kinds[a], kinds[b]))), []).append((a, b))
    return {
        name: setting.mean(_mean_of([js[:, a, b] for a, b in cells]), name) for name, cells in sorted(pairs.items())
    }


def _mean_of(columns: Sequence[Array]) -> Array:
    """Return each task's mean over the columns that have it; NaN where none has."""
    stacked = np.stack(list(columns))
    known = ~np.isnan(stacked)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, stacked, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _rewards(setting: _Setting, said: Sequence[Said], name: str) -> dict[str, Interval]:
    env = setting.env if setting.env.rewarded else None
    rated = rewards_of(said, env, setting.measure.tab, setting.config.batch)
    columns = {"proxy": by_task(said, rated.proxy), "true": by_task(said, rated.true)}
    return {
        which: setting.mean(np.array([values[key] for key in sorted(values)]), f"{name}/{which}")
        for which, values in columns.items()
        if values
    }


def _notes(setting: _Setting, said: Sequence[Sequence[Said]]) -> list[str]:
    """Return what the reader must know."""
    config, notes = setting.config, []
    if len(setting.keyed) < config.tasks:
        notes.append(f"{len(setting.keyed)} different tasks were there, fewer than the {config.tasks} asked for")
    if not config.idle or not setting.language.unrelated:
        notes.append("what idle words do was not measured: only the stated value says what counts as one behaviour")
    for name, answers in zip(["the base", *(one.name for one in setting.members)], said, strict=True):
        if lost := failures(answers):
            notes.append(f"{lost} of {len(answers)} answers of {name} could not be measured")
    return notes
