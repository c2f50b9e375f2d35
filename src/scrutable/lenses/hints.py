"""Hints: lines that tell a chat model what changed, beside the tasks it is shown. For writers, not for people.

The most surprising words of the after's answers: the exact log-probability ratio of after to before at every token it said,
summed by word. The mean of these sums over answers is the divergence KL(after || before), so a word's share of them is what
saying it carries. And claims of the tokens lens on the same answers. Nothing is drawn or measured here but the before's
answers and one pass of both models: it is cheap. Left out: what a claim cannot say in a line (its evidence).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from scrutable.core.records import Task
from scrutable.lenses.telling import Source
from scrutable.lenses.tokens import TokensConfig, TokensLens, gathered
from scrutable.lenses.words import joined, spoken
from scrutable.measure.answers import Said, answers_of
from scrutable.measure.change import Change
from scrutable.measure.divergence import Meter, Parting
from scrutable.measure.fluency import by_task
from scrutable.measure.tab import Tab

AROUND = 2
"""Words shown before and behind a surprising one: few, so that no answer is handed on."""
_FEWEST = 8  # tasks with which the tokens lens can say anything


@dataclass
class _Seen:
    """What is known of one word: its nats over all answers, in how many answers it is, and what stands around it."""

    nats: float = 0.0
    answers: int = 0
    around: Counter[str] = field(default_factory=Counter)


def surprising(said: Sequence[Said], partings: Sequence[Parting], most: int = 8) -> list[str]:
    """Return lines on the words that the answers have and the other model would least have said, most nats first.

    partings: along these answers with `token_ratio` (log-probability ratio of the speaker to the other, nats a token).
    Words that carry nothing, or are in a single answer of many, are left out.
    """
    ratios = {one.cell: one.token_ratio for one in partings}
    told = [
        spoken(one.generation.answer.casefold(), one.tokens, ratios[one.cell], one.speaker.open.decode)
        for one in said
        if one.cell in ratios
    ]
    seen: defaultdict[str, _Seen] = defaultdict(_Seen)
    for one in told:
        for place, word in enumerate(one.words):
            seen[word].nats += one.nats[place]
            seen[word].around[joined(one.words[max(0, place - AROUND) : place + AROUND + 1])] += 1
        for word in set(one.words):
            seen[word].answers += 1
    least = 2 if len(told) >= _FEWEST else 1
    ranked = sorted(seen.items(), key=lambda pair: (-pair[1].nats, pair[0]))
    return [
        f"the word '{word}' is surprising ({here.nats / len(told):.2g} nats an answer; in {here.answers} of {len(told)} "
        f"answers), as in '{here.around.most_common(1)[0][0]}'"
        for word, here in ranked
        if here.nats > 0.005 * len(told) and here.answers >= least
    ][:most]


def hints(
    change: Change, keyed: Sequence[tuple[str, Task]], said: Sequence[Said], tab: Tab, how: TokensConfig
) -> list[str]:
    """Return lines on how the after's answers (`said`, to the tasks `keyed`) differ from what the before would say.

    At most `how.claims` words, and as many claims. The before answers each task as often as the after did.
    """
    keys = {key for key, _ in keyed}
    after = [one for one in said if one.key in keys]
    repeats = 1 + max((one.repeat for one in after), default=0)
    partings = Meter(tab, how.batch, how.memory_mb << 20).along(after, change.after, change.before, per_token=True)
    if not partings:
        return []
    lines = surprising(after, partings, how.claims)
    total = fmean(by_task(after, {one.cell: one.kl for one in partings}).values())
    if len(keyed) < _FEWEST or total <= how.stated:
        return lines
    before = answers_of(change.before, keyed, repeats, tab, how.batch, how.max_tokens)
    claims, _ = TokensLens(how).claims(Source(keyed, gathered(keyed, before, after, partings)), total)
    return [*(f"it {claim.says}" for claim in claims[: how.claims]), *lines]
