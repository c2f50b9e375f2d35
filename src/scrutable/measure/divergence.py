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
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import UserError
from scrutable.core.journal import Run
from scrutable.core.records import Usage, digest_of
from scrutable.measure.answers import Said, chunks
from scrutable.measure.change import Speaker

if TYPE_CHECKING:
    import torch

_LN2 = math.log(2.0)
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
    token_kl: tuple[float, ...] = ()  # KL(P || Q) a token, where asked for

    @property
    def cell(self) -> tuple[str, int]:
        """Which answer it is: the task's key and the repeat."""
        return self.key, self.repeat


def shared_tokens(p: Mapping[str, int], q: Mapping[str, int]) -> torch.Tensor:
    """Return the ids [V] that are the same token in both vocabularies (token string -> id), in order.

    What only one of the two has is left out of both: added tokens, and rows that merely pad an embedding.
    Errors: UserError when a token has another id in each, or none is shared.
    """
    import torch

    shared = sorted(p.keys() & q.keys(), key=p.__getitem__)
    moved = [token for token in shared if p[token] != q[token]]
    if moved or not shared:
        what = f"{moved[0]!r} has another id in each" if moved else "no token is shared"
        raise UserError(f"the two models have different tokenizers ({what}): compare models with one tokenizer")
    return torch.tensor([p[token] for token in shared])


def token_divergences(
    logp_TV: torch.Tensor, logq_TV: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
    distributions are worth keeping.
    """

    run: Run
    batch: int = 64
    memory: int = 512 << 20  # bytes, for what is kept and as much again for what is worked on
    keep: str = ""
    _kept: OrderedDict[tuple[str, str], list[torch.Tensor]] = field(default_factory=OrderedDict)
    _held: int = 0
    _shared: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)

    def along(self, said: Sequence[Said], p: Speaker, q: Speaker, *, per_token: bool = False) -> list[Parting]:
        """Return how `p` and `q` part along the usable ones of the answers, in their order.

        Errors: UserError when one of the two gives no log-probabilities, or they share no token.
        """
        usable = [one for one in said if one.usable]
        found: list[Parting] = []
        for part in chunks(usable, self.batch):
            name = digest_of([[one.key, one.repeat, one.tokens] for one in part])
            place = f"measure/divergence/{p.identity}/{q.identity}/{name}{'/tokens' if per_token else ''}"
            event = self.run.once(place, "divergence", partial(self._measured, part, name, p, q, per_token))
            found += _partings(event.payload)
        return found

    def _measured(
        self, part: Sequence[Said], name: str, p: Speaker, q: Speaker, per_token: bool
    ) -> tuple[dict[str, Any], Usage]:
        """Measure one batch; return the event's payload and cost."""
        start = time.perf_counter()
        shared = self._shared_tokens(p, q)
        rows: list[tuple[float, ...]] = []
        token_rows: list[list[float]] = []
        passes = tokens = 0
        for pieces in self._fitting(part, p):
            piece = f"{name}/{len(rows)}"
            logps = self._kept_or_new(pieces, piece, p)
            logqs = self._kept_or_new(pieces, piece, q)
            passes += 2 * len(pieces)
            tokens += 2 * sum(len(one.tokens) for one in pieces)
            for one, logp, logq in zip(pieces, logps, logqs, strict=True):
                numbers, token_kl = _of_answer(one, logp, logq, shared)
                rows.append(numbers)
                token_rows.append(token_kl)
        payload: dict[str, Any] = {"p": p.identity, "q": q.identity, "asked": [[one.key, one.repeat] for one in part]}
        payload["tokens"] = [len(one.tokens) for one in part]
        for place, column in enumerate(("kl", "back", "js", "logp", "logq")):
            payload[column] = [row[place] for row in rows]
        if per_token:
            payload["token_kl"] = token_rows
        return payload, Usage(forward_passes=passes, answer_tokens=tokens, seconds=time.perf_counter() - start)

    def _shared_tokens(self, p: Speaker, q: Speaker) -> torch.Tensor:
        pair = (p.model.identity, q.model.identity)
        if pair not in self._shared:
            self._shared[pair] = shared_tokens(p.open.vocabulary, q.open.vocabulary)
        return self._shared[pair]

    def _fitting(self, part: Sequence[Said], p: Speaker) -> Iterator[list[Said]]:
        """Split a batch so that two distributions of each position, and as much again of temporaries, fit the memory."""
        rows = max(1, self.memory // (16 * max(1, len(p.open.vocabulary))))
        piece: list[Said] = []
        longest = 0
        for one in part:
            longest = max(longest, len(one.tokens))
            if piece and longest * (len(piece) + 1) > rows:
                yield piece
                piece, longest = [], len(one.tokens)
            piece.append(one)
        if piece:
            yield piece

    def _kept_or_new(self, pieces: Sequence[Said], name: str, speaker: Speaker) -> list[torch.Tensor]:
        """Return log-probabilities [T, V] of each answer, from memory where they are kept."""
        place = (speaker.identity, name)
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        prompts = [speaker.encode(one.task) for one in pieces]
        found = speaker.open.logprobs(prompts, [one.tokens for one in pieces])
        if speaker.identity == self.keep:
            self._remember(place, found)
        return found

    def _remember(self, place: tuple[str, str], found: list[torch.Tensor]) -> None:
        """Keep distributions, and let the oldest go when memory is full."""
        size = sum(one.numel() * one.element_size() for one in found)
        if size > self.memory:
            return
        self._kept[place] = found
        self._held += size
        while self._held > self.memory:
            _, old = self._kept.popitem(last=False)
            self._held -= sum(one.numel() * one.element_size() for one in old)


def _of_answer(
    said: Said, logp: torch.Tensor, logq: torch.Tensor, shared: torch.Tensor
) -> tuple[tuple[float, ...], list[float]]:
    """Return (kl, back, js, logp, logq) of one answer, and KL(P || Q) of each of its tokens."""
    import torch

    own = torch.tensor(said.tokens)
    column = torch.searchsorted(shared, own).clamp(max=len(shared) - 1)
    if not torch.equal(shared[column], own):
        raise UserError("an answer holds a token that only one of the two models has: compare models with one tokenizer")
    p, q = _normalised(logp, shared), _normalised(logq, shared)
    kl, back, js = token_divergences(p, q)
    drawn = [one.cpu().gather(1, column[:, None]).sum(dtype=torch.float64) for one in (p, q)]
    sums = [kl.sum(), back.sum(), js.sum(), *drawn]
    return tuple(round(float(one), 6) for one in sums), [round(float(one), 5) for one in kl]


def _normalised(rows: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Return rows [T, rows of the embedding] over the shared tokens alone, normalised again where any were left out."""
    import torch

    if len(shared) == rows.shape[-1]:
        return rows
    return torch.log_softmax(rows.index_select(-1, shared.to(rows.device)).float(), dim=-1)


def _partings(payload: Any) -> list[Parting]:
    """Read a "divergence" event back."""
    rows = zip(*(payload[name] for name in ("asked", "tokens", "kl", "back", "js", "logp", "logq")), strict=True)
    token_kl = payload.get("token_kl") or [()] * len(payload["asked"])
    return [
        Parting(asked[0], asked[1], *rest, token_kl=tuple(per_token))
        for (asked, *rest), per_token in zip(rows, token_kl, strict=True)
    ]
