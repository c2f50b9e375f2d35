"""Evolving: what lenses that search for a text have in common, whatever a text is scored by.

The tasks are divided into those searched and those held out; a writer is shown what the tuned model says most; and what the
search found becomes claims, a sentence each, with tasks that show it. Left out: the score, and what counts as a change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scrutable.core.accounts import Claim, Evidence
from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Rollout, Task
from scrutable.evolve.engine import EvolveResult
from scrutable.evolve.finish import Worth
from scrutable.evolve.reflection import Item
from scrutable.evolve.sentences import sentences
from scrutable.evolve.showing import Show
from scrutable.measure.answers import Said, answers_of, distinct_tasks
from scrutable.measure.change import Change, Speaker
from scrutable.measure.tab import Tab
from scrutable.programs.text import TEXT

Keyed = tuple[str, Task]


@dataclass(frozen=True)
class Ear:
    """How answers are drawn for a lens: to which tab, how many at once, of how many tokens at most."""

    tab: Tab
    batch: int
    max_tokens: int

    def hear(self, speaker: Speaker, tasks: Sequence[Keyed], repeats: int = 1, temperature: float = 1.0) -> list[Said]:
        """Draw answers to each task (see `answers_of`)."""
        return answers_of(speaker, tasks, repeats, self.tab, self.batch, self.max_tokens, temperature)


def divided(tasks: Sequence[Task], most: int, held: float, run: Run) -> tuple[list[Keyed], list[Keyed]]:
    """Return the tasks to search on and those held out, drawn by content. held: the share of those held out.

    Errors: UserError when there are fewer than four different tasks.
    """
    keyed = distinct_tasks(tasks)
    if len(keyed) < 4:
        raise UserError(f"reading needs at least four different tasks, and there are {len(keyed)}: give more")
    run.random("tasks").shuffle(keyed)
    keyed = keyed[:most]
    count = min(max(2, round(len(keyed) * held)), len(keyed) - 2)
    return keyed[count:], keyed[:count]


def shower(change: Change, searched: Sequence[Keyed], ear: Ear, *, contrast: bool) -> Show:
    """Return what the writer is shown of a task: what the tuned model says most, marked as good.

    Answers at temperature 1 would show what it says now and then, as the before does, as if it were a rule. contrast:
    the before's own answer is shown beside it, which a chat model can use.
    """

    def most(speaker: Speaker) -> dict[str, str]:
        return {one.key: one.generation.answer for one in ear.hear(speaker, searched, temperature=0.0)}

    tuned, own = most(change.after), most(change.before) if contrast else {}

    def show(task: Task, rollout: Rollout) -> Item:
        score, key = rollout.score, rollout.task
        before = own.get(key, "")
        return Item(prompt=task.prompt, answer=tuned[key], score=score.value, feedback=score.feedback, before=before)

    return show


def sentence_claims(
    found: EvolveResult,
    change: Change,
    held: Mapping[str, Task],
    after: Callable[[str], str],
    ear: Ear,
    most: int,
) -> list[tuple[Claim, Worth]]:
    """Return a claim for each sentence of the best text, with up to `most` tasks on which it carries most, and its worth.

    after: an answer of the tuned model by the task's key.
    """
    unmeasured = [Worth(module=TEXT, sentence=sentence, gain=None) for sentence in sentences(found.best.text)]
    worths = found.worth or unmeasured  # unmeasured where the budget ended before
    shown = {key: held[key] for worth in worths for key in worth.tasks[:most]}
    given = change.before.given(found.best.text)
    before, with_text = (
        {one.key: one.generation.answer for one in ear.hear(speaker, list(shown.items()))}
        for speaker in (change.before, given)
    )
    claims = []
    for worth in worths:
        evidence = tuple(
            Evidence(task=key, prompt=held[key].prompt, before=before[key], after=after(key), with_text=with_text[key])
            for key in worth.tasks[:most]
        )
        claims.append((Claim(says=worth.sentence, text=worth.sentence, evidence=evidence), worth))
    return claims


def search_notes(found: EvolveResult) -> list[str]:
    """Return what the reader must know of a search."""
    notes = [f"the search ended: {found.stopped}", *found.notes]
    if found.failures:
        notes.append(f"answers of the writer that were no usable text: {found.failures}")
    return notes
