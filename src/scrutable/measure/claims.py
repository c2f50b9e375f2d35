"""Claims in common: sentences of several texts matched by what they do, not by how they are spelled.

Each different sentence is given to the base alone, and measured against the base and against every other one, along the same
answers: to each task the base's, and one of a sentence, of each in turn. Sentences with one effect are one claim; those with
the base's are idle. Left out: sentences that only say something together, and what they do to each other in their text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scrutable.core.clusters import clusters
from scrutable.core.comparisons import Matched
from scrutable.core.records import digest_of
from scrutable.core.stats import bootstrap_mean
from scrutable.measure.answers import Said, answers_of
from scrutable.measure.change import Speaker
from scrutable.measure.distances import Keyed, Measure, along_shared


def matched(
    base: Speaker, said: Sequence[Sequence[str]], tasks: Sequence[Keyed], limit: float, measure: Measure, most: int
) -> tuple[tuple[Matched, ...], tuple[str, ...]]:
    """Return the claims of members by effect, those of most members first, idle ones last; and what the reader must know.

    said: the sentences of each member. limit: the distance up to which two behaviours count as one. most: sentences tried;
    those that most members say come first. Errors: as `along_shared`.
    """
    amounts = Counter(sentence for one in said for sentence in dict.fromkeys(one))
    among = sorted(amounts, key=lambda sentence: (-amounts[sentence], len(sentence), sentence))
    tried, left = among[:most], among[most:]
    notes = [f"{len(left)} of {len(among)} different sentences were not tried alone"] if left and most else []
    silent = sum(not one for one in said)
    if silent and len(said) > silent:
        notes.append(f"{silent} of {len(said)} runs have no sentence that could be tried: their claims are not known")
    if not tried:
        return (), tuple(notes)
    speakers = [base, *(base.given(sentence) for sentence in tried)]
    found = along_shared(speakers, _answers(speakers, tasks, measure), measure)
    rng = measure.tab.run.rng(f"compare/claims/{digest_of([base.identity, tried, [key for key, _ in tasks]])}")
    if np.isnan(found).all(axis=0).any():
        return (), (*notes, "some sentence left no task that could be measured, so claims were not matched")
    claims = []
    for group in clusters(found, limit, rng=rng).clusters:
        own = [tried[at - 1] for at in group if at]
        if not own:
            continue
        effect = np.nanmean([found[:, 0, at] for at in group if at], axis=0)
        claims.append(
            Matched(
                says=own[0],
                wordings=tuple(own),
                members=tuple(at for at, one in enumerate(said) if set(own) & set(one)),
                effect=bootstrap_mean(effect[~np.isnan(effect)], rng=rng),
                idle=0 in group,
            )
        )
    claims.sort(key=lambda claim: (claim.idle, -len(claim.members), -claim.effect.value))
    return tuple(claims), tuple(notes)


def _answers(speakers: Sequence[Speaker], tasks: Sequence[Keyed], measure: Measure) -> list[Said]:
    """Return to each task an answer of the base, and one of a sentence: each sentence answers its share of the tasks."""
    base, *others = speakers
    sizes, tab = measure.sizes, measure.tab
    said = answers_of(base, tasks, 1, tab, sizes.batch, sizes.max_tokens)
    for at, speaker in enumerate(others):
        share = answers_of(speaker, tasks[at :: len(others)], 1, tab, sizes.batch, sizes.max_tokens)
        said += [replace(one, repeat=1) for one in share]
    return sorted(said, key=lambda one: (sum(len(m.content) for m in one.task.messages), *one.cell))
