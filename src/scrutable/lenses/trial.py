"""Trial: sentences are tried one by one on the before, and kept where they are shown to make it more like the after.

For lenses that suspect something and have it in words: what a model said of itself, what a writer made of answers. Each
sentence is given to the before, after those kept so far. How far the before then is from the after is measured task by task:
exactly KL(after || before + text) in nats along recorded answers of the after, or, where log-probabilities cannot be had,
the share of words in which two greedy answers differ. Sentences are ranked on tasks that the lens may have looked at, and
decided on tasks that it has not: paired against no sentence, by a sign-flip test at a level shared by all tests.

A lens whose pair does not differ measurably gets nothing back, whatever it suspects. Left out: sentences that only help
together, and rewording.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from statistics import fmean

import numpy as np
from pydantic import Field

from scrutable.core.accounts import Claim, Evidence
from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Task, Usage
from scrutable.core.sequential import Standard, flip_test
from scrutable.lenses.words import words_of
from scrutable.measure.answers import Said, answers_of, distinct_tasks
from scrutable.measure.change import Change, Speaker
from scrutable.measure.divergence import Meter
from scrutable.measure.fluency import by_task
from scrutable.measure.nulls import stated
from scrutable.measure.tab import Tab
from scrutable.models.base import OpenModel

Keyed = tuple[str, Task]
_FEWEST = 4


class TrialConfig(Config):
    """How sentences are tried."""

    tasks: int = Field(default=320, ge=_FEWEST, description="most tasks used, for looking and for deciding together")
    held: float = Field(default=0.5, gt=0, lt=1, description="share of them that only decide which sentences stay")
    screen: int = Field(default=48, ge=2, description="most tasks on which sentences are ranked before one is tested")
    sentences: int = Field(default=24, ge=1, description="most sentences tried; those that were said most often")
    tests: int = Field(default=8, ge=1, description="most sentences tested")
    misses: int = Field(default=3, ge=1, description="tests in a row that keep nothing, after which it ends")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="chance of keeping any sentence, where none helps")
    answers: int = Field(
        default=1, ge=1, description="answers of the tuned model to each task; a distance is their mean"
    )
    max_tokens: int = Field(default=64, ge=1, description="most tokens of one answer")
    stated: float = stated()
    unlike: float = Field(
        default=0.02, ge=0, le=1, description="share of words, in place of nats, without log-probabilities"
    )
    evidence: int = Field(default=3, ge=0, le=8, description="tasks shown with each claim")
    batch: int = Field(default=64, ge=1, description="answers drawn or measured at once; the unit that is recorded")
    memory_mb: int = anywhere(512, "megabytes for distributions kept between sentences, and as many for work", ge=1)


def divide(tasks: Sequence[Task], config: TrialConfig, run: Run) -> tuple[list[Keyed], list[Keyed]]:
    """Return the tasks to look at and those held out, drawn by content. Errors: UserError when there are fewer than four."""
    keyed = distinct_tasks(tasks)
    if len(keyed) < _FEWEST:
        raise UserError(f"reading needs at least four different tasks, and there are {len(keyed)}: give more")
    run.random("tasks").shuffle(keyed)
    keyed = keyed[: config.tasks]
    held = min(max(2, round(len(keyed) * config.held)), len(keyed) - 2)
    return keyed[held:], keyed[:held]


def planned_trial(config: TrialConfig, tasks: int) -> Usage:
    """Return the most that hearing the after and a trial cost. Two passes a text and task: the after's are not always kept."""
    used = min(tasks, config.tasks)
    held = max(2, round(used * config.held))
    rounds = min(config.tests, config.sentences)
    screened = sum(config.sentences - done + 1 for done in range(rounds)) * min(config.screen, used)
    tested = (3 * rounds + 2) * held  # with and without it, and once more without each that was kept
    shown = 3 * config.evidence * rounds
    return Usage(generations=used * config.answers + shown, forward_passes=2 * (screened + tested) * config.answers)


def open_pair(change: Change) -> bool:
    """Return whether the distributions of both can be had."""
    return isinstance(change.before.model, OpenModel) and isinstance(change.after.model, OpenModel)


@dataclass(frozen=True)
class Kept:
    """A sentence that was shown to help. gain: by how much the before is farther from the after without it."""

    sentence: str
    gain: float
    tasks: tuple[str, ...]


@dataclass
class Trial:
    """Tries sentences on a change. searched: tasks that the lens looks at; held: tasks that decide."""

    change: Change
    searched: Sequence[Keyed]
    held: Sequence[Keyed]
    tab: Tab
    config: TrialConfig
    failures: int = 0
    _measured: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @cached_property
    def exact(self) -> bool:
        """Whether distances are divergences in nats; else shares of words."""
        return open_pair(self.change)

    @property
    def least(self) -> float:
        """The distance at or below which nothing measurable changed, and no gain counts."""
        return self.config.stated if self.exact else self.config.unlike

    @property
    def unit(self) -> str:
        """What distances are in."""
        return "nats an answer" if self.exact else "of the words of an answer"

    @cached_property
    def said(self) -> dict[str, list[Said]]:
        """The after's answers by task: drawn, for divergences along them; greedy, for answers to be compared.

        Errors: UserError when it answered nothing.
        """
        repeats, temperature = (self.config.answers, 1.0) if self.exact else (1, 0.0)
        keyed = [*self.searched, *self.held]
        drawn = answers_of(
            self.change.after, keyed, repeats, self.tab, self.config.batch, self.config.max_tokens, temperature
        )
        if not any(one.generation.failure is None for one in drawn):
            why = drawn[0].generation.failure
            raise UserError(f"{self.change.after.name} answered none of {len(drawn)} tasks: {why}")
        self.failures = sum(one.generation.failure is not None for one in drawn)
        found: dict[str, list[Said]] = {key: [] for key, _ in keyed}
        for one in drawn:
            found[one.key].append(one)
        return found

    @cached_property
    def total(self) -> float:
        """The distance of the two on the held tasks."""
        return fmean(found.values()) if (found := self.distances("", self.held)) else 0.0

    def why_nothing(self) -> str:
        """Say that nothing measurable changed, or could be measured; or nothing."""
        if not self.distances("", self.held):
            return "none of the tasks could be measured"
        return "" if self.total > self.least else f"nothing measurable changed: {self.total:.3g} {self.unit}"

    # ------------------------------------------------------------------------------------------------------ distances

    def distances(self, text: str, keyed: Sequence[Keyed]) -> dict[str, float]:
        """Return by task how far the before, given the text, is from the after; tasks that cannot be measured are out."""
        known = self._measured.setdefault(text, {})
        for part in looks_of([pair for pair in keyed if pair[0] not in known]):  # in the parts that a test looks at
            found = (self._nats if self.exact else self._unlike)(self.change.before.given(text), part)
            known |= {key: found.get(key) for key, _ in part}
        return {key: value for key, _ in keyed if (value := known[key]) is not None}

    @cached_property
    def _meter(self) -> Meter:
        memory = self.config.memory_mb << 20
        return Meter(self.tab, self.config.batch, memory, keep=self.change.after.identity)

    def _nats(self, speaker: Speaker, keyed: Sequence[Keyed]) -> dict[str, float]:
        along = [one for key, _ in keyed for one in self.said[key]]
        partings = self._meter.along(along, self.change.after, speaker)
        return by_task(along, {one.cell: one.kl for one in partings})

    def _unlike(self, speaker: Speaker, keyed: Sequence[Keyed]) -> dict[str, float]:
        """Compare greedy answers. One that failed on either side is no answer, and its task is out."""
        config = self.config
        given = answers_of(speaker, keyed, 1, self.tab, config.batch, config.max_tokens, temperature=0.0)
        wanted = {key: self.said[key][0].generation for key, _ in keyed}
        return {
            one.key: unlike(wanted[one.key].answer, one.generation.answer)
            for one in given
            if one.generation.failure is None and wanted[one.key].failure is None
        }

    def gains(self, text: str, more: str, keyed: Sequence[Keyed]) -> dict[str, float]:
        """Return by task how much nearer the before is to the after with `more` than with `text`."""
        without, given = self.distances(text, keyed), self.distances(more, keyed)
        return {key: without[key] - given[key] for key, _ in keyed if key in without and key in given}

    # ---------------------------------------------------------------------------------------------------------- trial

    def keep(self, sentences: Sequence[str]) -> list[Kept]:
        """Try sentences and return those that help, in the order in which they were kept. Nothing, where nothing changed.

        Under the hypothesis that no sentence helps, any is kept with a chance of at most `alpha` (Bonferroni over the
        tests; see `flip_test` for what is assumed of differences).
        """
        if self.why_nothing():
            return []
        left = list(dict.fromkeys(sentences))[: self.config.sentences]
        kept: list[str] = []
        tests = misses = 0
        while left and tests < self.config.tests and misses < self.config.misses:
            best, gain = self._best(left, kept)
            if gain <= self.least / 2:  # few tasks rank: what is near enough is left to the test
                break
            left.remove(best)
            tests += 1
            if self._helps(kept, best):
                kept.append(best)
                misses = 0
            else:
                misses += 1
        return self._needed(kept)

    def _best(self, left: Sequence[str], kept: Sequence[str]) -> tuple[str, float]:
        """Return the sentence that gains most on some of the tasks looked at; of equals the one that was named first."""
        ranked = self.searched[: self.config.screen]
        gains = {one: _mean(self.gains(joined(kept), joined([*kept, one]), ranked)) for one in left}
        best = max(left, key=lambda one: gains[one])
        return best, gains[best]

    def _helps(self, kept: Sequence[str], sentence: str) -> bool:
        """Test a sentence on the held tasks: look after some of them, and stop where it is clear."""
        text, more = joined(kept), joined([*kept, sentence])
        standard = Standard(false_accept=self.config.alpha / self.config.tests, effect=0.02)
        looks: list[int] = []
        seen: list[float] = []
        parts = looks_of(self.held)
        for part in parts:
            seen += self.gains(text, more, part).values()
            if not seen or (looks and len(seen) == looks[-1]):
                continue
            looks.append(len(seen))
            planned = len(seen) + sum(len(one) for one in parts[parts.index(part) + 1 :])
            verdict = flip_test(seen, looks, planned, standard, self.tab.run.rng(f"trial/{more}"))
            if verdict == "better":
                return _mean(self.gains(text, more, self.held)) > self.least
            if verdict == "not better":
                return False
        return False

    def _needed(self, kept: Sequence[str]) -> list[Kept]:
        """Return the sentences that still help beside all the others, with what is lost without each."""
        left, found = list(kept), []
        for one in kept:
            rest = joined([other for other in left if other != one])
            gains = self.gains(rest, joined(left), self.held)
            if _mean(gains) <= self.least:
                left.remove(one)
        for one in left:
            gains = self.gains(joined([other for other in left if other != one]), joined(left), self.held)
            most = sorted(gains, key=lambda key: (-gains[key], key))
            found.append(Kept(one, _mean(gains), tuple(most[: self.config.evidence])))
        return found

    # --------------------------------------------------------------------------------------------------------- claims

    def claims(self, kept: Sequence[Kept]) -> tuple[Claim, ...]:
        """Return a claim for each sentence kept, with the held tasks on which it carries most."""
        tasks = dict(self.held)
        shown = list({key: tasks[key] for one in kept for key in one.tasks}.items())
        if not shown:
            return tuple(self._claim(one, {}, {}) for one in kept)
        told = partial(answers_of, tasks=shown, repeats=1, tab=self.tab, batch=self.config.batch)
        temperature = 1.0 if self.exact else 0.0
        speakers = (self.change.before, self.change.before.given(joined([one.sentence for one in kept])))
        before, given = (
            {
                one.key: one.generation.answer
                for one in told(speaker, max_tokens=self.config.max_tokens, temperature=temperature)
            }
            for speaker in speakers
        )
        return tuple(self._claim(one, before, given) for one in kept)

    def _claim(self, one: Kept, before: Mapping[str, str], given: Mapping[str, str]) -> Claim:
        tasks = dict(self.held)
        evidence = tuple(
            Evidence(
                task=key,
                prompt=tasks[key].prompt,
                before=before[key],
                after=self.said[key][0].generation.answer,
                with_text=given[key],
            )
            for key in one.tasks
        )
        return Claim(says=one.sentence, text=one.sentence, nats=one.gain if self.exact else None, evidence=evidence)

    def notes(self, kept: Sequence[Kept], tried: int) -> list[str]:
        """Return what the reader must know: how many were tried, how far it brings the before, and what failed."""
        notes = []
        if self.why_nothing():
            notes.append(self.why_nothing())
        else:
            left = fmean(self.distances(joined([one.sentence for one in kept]), self.held).values())
            notes.append(
                f"{len(kept)} of {min(tried, self.config.sentences)} sentences tried were kept: on {len(self.held)} tasks "
                f"that only decided, they take the distance from {self.total:.3g} to {left:.3g} {self.unit}"
            )
        if tried > self.config.sentences:
            notes.append(f"{tried - self.config.sentences} sentences more were not tried")
        if self.failures:
            notes.append(f"{self.failures} answers of the tuned model could not be used")
        if not self.exact:
            notes.append("distances are shares of words: the models give no log-probabilities")
        return notes


def joined(kept: Sequence[str]) -> str:
    """Return sentences as one text."""
    return " ".join(kept)


def unlike(one: str, other: str) -> float:
    """Return the share of words in which two answers differ: 1 minus twice the common words over all (Dice 1945)."""
    words, others = (Counter(words_of(text.casefold())) for text in (one, other))
    total = words.total() + others.total()
    return 1 - 2 * (words & others).total() / total if total else 0.0


def looks_of(held: Sequence[Keyed], first: int = 32) -> list[Sequence[Keyed]]:
    """Return the held tasks in parts after which a test looks, each as long as all before it."""
    parts, start, size = [], 0, first
    while start < len(held):
        parts.append(held[start : start + size])
        start, size = start + size, start + size
    return parts


def _mean(gains: Mapping[str, float]) -> float:
    return float(np.mean(list(gains.values()))) if gains else -math.inf
