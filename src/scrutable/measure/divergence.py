"""Divergences of two speakers along given answers: exact over the whole vocabulary, in nats.

For an answer y drawn at temperature 1 without truncation, the sum over its positions of KL(p_t || q_t) is an unbiased
estimate of the divergence of whole answers, KL(P || Q), when y was drawn from P: the chain rule, with each step's
expectation taken exactly instead of by the token that was drawn. Along answers of somebody else it is a different, but
equally exact, number: how far the two part where that one goes.

Jensen-Shannon is taken position by position, so a position holds at most ln 2. What is left out: whole-answer mixtures,
which have no closed form. Every batch is one "divergence" event, so a kill loses at most a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scrutable.core.errors import ModelFailure
from scrutable.core.records import Task, Usage, digest_of
from scrutable.measure.answers import Said, chunks
from scrutable.measure.change import Speaker
from scrutable.measure.tab import Tab
from scrutable.models.base import Model
from scrutable.models.tokens import TokenMap, check_same_tokens

if TYPE_CHECKING:
    import torch

_LN2 = math.log(2.0)
EVERYONE = "*"
"""For `Meter.keep`: every speaker's distributions are kept, where many are set against each other along the same answers."""
COLUMNS = ("kl", "back", "js", "logp", "logq")
_RULED_OUT = 100.0  # nats that a token counts which only one of the two rules out
_CELLS = 2 << 20  # cells (position x token) worked on at once: bounds the temporaries


@dataclass(frozen=True)
class Parting:
    """How P and Q part along one answer: sums over its tokens, the end-of-answer token among them, in nats."""

    key: str
    repeat: int
    tokens: int
    kl: float  # KL(P || Q)
    back: float  # KL(Q || P)
    js: float  # Jensen-Shannon, position by position
    logp: float  # log P(answer)
    logq: float  # log Q(answer)
    token_kl: tuple[float, ...] = field(default=(), kw_only=True)  # KL(P || Q) a token, where asked for
    token_ratio: tuple[float, ...] = field(
        default=(), kw_only=True
    )  # log P - log Q of each token said, where asked for

    @property
    def cell(self) -> tuple[str, int]:
        """Which answer it is: the task's key and the repeat."""
        return self.key, self.repeat


@dataclass(frozen=True)
class Shown:
    """An answer, and the token ids of prompt and answer as P and as Q would be shown them."""

    said: Said
    prompts: tuple[list[int], list[int]]
    answers: tuple[list[int], list[int]]


class TokenMaps:
    """How the tokens of two models correspond, looked up once for each two."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], TokenMap] = {}

    def __call__(self, a: Model, b: Model) -> TokenMap:
        """Return the map from a to b. Errors: UserError when one cannot be opened, or they have different tokenizers."""
        pair = (a.identity, b.identity)
        if pair not in self._found:
            self._found[pair] = check_same_tokens(Speaker(a).open, Speaker(b).open)
        return self._found[pair]


def shown_to(pair: tuple[Speaker, Speaker], said: Sequence[Said], maps: TokenMaps | None = None) -> list[Shown]:
    """Return the answers as each of the two would be shown them, without those that one of them cannot be."""
    maps = maps or TokenMaps()
    prompts = [
        {key: _prompt(speaker, task) for key, task in {one.key: one.task for one in said}.items()} for speaker in pair
    ]
    ready = []
    for one in said:
        first, second = (side[one.key] for side in prompts)
        mine, theirs = (maps(one.speaker.model, speaker.model).to_b(one.tokens) for speaker in pair)
        if first is not None and second is not None and mine is not None and theirs is not None:
            ready.append(Shown(one, (first, second), (mine, theirs)))
    return ready


def token_divergences(logp_TV: torch.Tensor, logq_TV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return KL(P || Q), KL(Q || P) and Jensen-Shannon of each position: float64 [T] each, nats.

    logp_TV, logq_TV: log-probabilities float32 [T, V]. Summed in float64; minus infinity (a token ruled out) is allowed.
    """
    import torch

    rows = max(1, _CELLS // max(1, logp_TV.shape[-1]))
    parts = []
    for start in range(0, len(logp_TV), rows):
        p, q = logp_TV[start : start + rows], logq_TV[start : start + rows]
        m = torch.logaddexp(p, q) - _LN2
        parts.append(torch.stack([_kl(p, q), _kl(q, p), (_kl(p, m) + _kl(q, m)) / 2]))
    kl, back, js = torch.cat(parts, dim=1) if parts else torch.zeros(3, 0, dtype=torch.float64)
    return kl, back, js


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return sum_v p (log p - log q) of each row. Rounding can make it slightly negative, which it never is."""
    import torch

    terms = torch.where(p > -math.inf, p.exp() * (p - q), 0.0)
    return terms.sum(dim=-1, dtype=torch.float64).clamp(min=0.0)


@dataclass
class Meter:
    """Measures along answers, and remembers one side's distributions for as long as they fit into memory.

    Owns that memory, and nothing else. The same batch is measured against many texts: `keep` names the speaker whose
    distributions are worth keeping, or EVERYONE.
    """

    tab: Tab
    batch: int = 64
    memory: int = 512 << 20  # bytes, for what is kept and as much again for what is worked on
    keep: str = ""
    _kept: dict[tuple[str, str], list[torch.Tensor]] = field(default_factory=dict)
    _held: int = 0
    _spent: Usage = field(default_factory=Usage)
    _maps: TokenMaps = field(default_factory=TokenMaps)

    def along(self, said: Sequence[Said], p: Speaker, q: Speaker, *, per_token: bool = False) -> list[Parting]:
        """Return how `p` and `q` part along the answers, in their order.

        Left out are answers that failed, that hold a token which one of the two does not have, or whose task one of the
        two cannot be shown (its chat template refuses it).
        Errors: UserError when one of the two gives no log-probabilities, or they have different tokenizers.
        """
        found: list[Parting] = []
        for part in chunks([one for one in said if one.usable], self.batch):
            name = digest_of([[one.speaker.model.identity, one.key, one.repeat, one.tokens] for one in part])
            place = f"measure/divergence/{p.identity}/{q.identity}/{name}{'/tokens' if per_token else ''}"
            event = self.tab.once(place, "divergence", partial(self._measured, part, name, (p, q), per_token))
            found += _partings(event.payload)
        return found

    def _measured(
        self, part: Sequence[Said], name: str, pair: tuple[Speaker, Speaker], per_token: bool
    ) -> tuple[dict[str, Any], Usage]:
        """Measure one batch; return the event's payload and cost."""
        start = time.perf_counter()
        p, q = pair
        shared = self._maps(p.model, q.model)
        ready = shown_to(pair, part, self._maps)
        rows: list[list[float]] = []
        token_rows: tuple[list[list[float]], list[list[float]]] = ([], [])
        for piece in self._fitting(ready, len(shared.ids_a)):
            place = f"{name}/{digest_of([one.said.cell for one in piece])}"
            numbers, *by_token = _of_piece(
                piece, self._logprobs(piece, place, 0, p), self._logprobs(piece, place, 1, q), shared
            )
            rows += numbers
            for mine, found in zip(token_rows, by_token, strict=True):
                mine += found
        payload: dict[str, Any] = {
            "p": p.identity,
            "q": q.identity,
            "asked": [[one.said.key, one.said.repeat] for one in ready],
            "tokens": [len(one.said.tokens) for one in ready],
            **{name: [row[column] for row in rows] for column, name in enumerate(COLUMNS)},
        }
        if per_token:
            payload["token_kl"], payload["token_ratio"] = token_rows
        spent, self._spent = self._spent, Usage()
        return payload, spent + Usage(seconds=time.perf_counter() - start)

    def _fitting(self, part: Sequence[Shown], vocabulary: int) -> Iterator[list[Shown]]:
        """Split a batch so that two distributions of each position, and as much again of temporaries, fit the memory."""
        rows = max(1, self.memory // (24 * vocabulary))
        piece: list[Shown] = []
        longest = 0
        for one in part:
            longest = max(longest, len(one.said.tokens))
            if piece and longest * (len(piece) + 1) > rows:
                yield piece
                piece, longest = [], len(one.said.tokens)
            piece.append(one)
        if piece:
            yield piece

    def _logprobs(self, piece: Sequence[Shown], name: str, side: int, speaker: Speaker) -> list[torch.Tensor]:
        """Return log-probabilities [T, V] along each answer, from memory where they are kept."""
        place = (speaker.identity, name)
        if place in self._kept:
            return self._kept[place]
        tokens = sum(len(one.said.tokens) for one in piece)
        self._spent += Usage(forward_passes=len(piece), answer_tokens=tokens)
        found = speaker.open.logprobs([one.prompts[side] for one in piece], [one.answers[side] for one in piece])
        if self.keep in (speaker.identity, EVERYONE):
            self._remember(place, found)
        return found

    def _remember(self, place: tuple[str, str], found: list[torch.Tensor]) -> None:
        """Keep distributions while there is room. Batches come round in a circle, so what came first is kept."""
        size = sum(one.numel() * one.element_size() for one in found)
        if self._held + size <= self.memory:
            self._kept[place] = found
            self._held += size

    def forget(self) -> None:
        """Let all kept distributions go, before other answers are measured."""
        self._kept.clear()
        self._held = 0


def _prompt(speaker: Speaker, task: Task) -> list[int] | None:
    """Return the task's token ids, or None where the speaker cannot be shown it."""
    try:
        return speaker.encode(task)
    except ModelFailure:
        return None


def _of_piece(
    piece: Sequence[Shown], logps: Sequence[torch.Tensor], logqs: Sequence[torch.Tensor], shared: TokenMap
) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """Return of each answer its numbers by COLUMNS, KL(P || Q) of each of its tokens, and log P - log Q of each."""
    import torch

    p, q = _normalised(torch.cat(list(logps)), shared.ids_a), _normalised(torch.cat(list(logqs)), shared.ids_b)
    if p.device.type == "mps":  # which has no float64 to sum in
        p, q = p.cpu(), q.cpu()
    own = torch.tensor([token for one in piece for token in one.answers[0]])
    column = torch.searchsorted(shared.ids_a, own)[:, None]
    drawn = (one.gather(1, column.to(one.device))[:, 0].double().cpu() for one in (p, q))
    parts = torch.stack([*(one.cpu() for one in token_divergences(p, q)), *drawn]).numpy()
    ratios = np.clip(np.nan_to_num(parts[3] - parts[4], nan=0.0), -_RULED_OUT, _RULED_OUT)
    rows, token_rows, ratio_rows, start = [], [], [], 0
    for one in piece:
        here = slice(start, start + len(one.said.tokens))
        mine, start = parts[:, here], here.stop
        rows.append([round(float(value), 6) for value in mine.sum(axis=1)])
        token_rows.append([round(float(value), 5) for value in mine[0]])
        ratio_rows.append([round(float(value), 5) for value in ratios[here]])
    return rows, token_rows, ratio_rows


def _normalised(rows: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return rows [T, V] over the shared tokens alone, in their common order, normalised again where any were left out."""
    import torch

    everything = torch.arange(rows.shape[-1])
    if torch.equal(ids, everything):
        return rows
    chosen = rows.index_select(-1, ids.to(rows.device))
    return chosen if len(ids) == len(everything) else torch.log_softmax(chosen.float(), dim=-1)


def _partings(payload: Mapping[str, Any]) -> list[Parting]:
    """Read a "divergence" event back."""
    columns = [payload[name] for name in ("tokens", *COLUMNS)]
    none: list[tuple[float, ...]] = [()] * len(payload["asked"])
    kls, ratios = (payload.get(name) or none for name in ("token_kl", "token_ratio"))
    return [
        Parting(key, repeat, *(column[i] for column in columns), token_kl=tuple(kl), token_ratio=tuple(ratio))
        for i, ((key, repeat), kl, ratio) in enumerate(zip(payload["asked"], kls, ratios, strict=True))
    ]
