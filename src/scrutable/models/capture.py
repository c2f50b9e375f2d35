"""Capture: what stands at named places of a model along recorded answers, and how that differs between two models.

A passage (a prompt and an answer) is passed through once, teacher-forced. Shorter ones are padded on the right, where nothing
that is read can see it: so what is found depends on neither the batch nor the order. A pass ends at the last place that is
wanted: layers above, norm and head are not computed. Gradients, which need them, are those of weight * log P(answer | prompt),
in nats: what should be added to make the answer likelier (minus the gradient of its cross-entropy). Left out: averages over
tokens and sums over gradients; they are for who reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from scrutable.core.errors import UserError
from scrutable.core.records import digest_of
from scrutable.models.adapters import features
from scrutable.models.base import Model
from scrutable.models.batches import in_batches
from scrutable.models.hf import HFModel
from scrutable.models.passages import ANSWER, Batch, Passage, Span, States
from scrutable.models.places import Place, Stack

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Capture:
    """Reads places of one model. Errors: UserError (one line) when the model has no such places, or cannot be opened at all."""

    source: Model
    places: tuple[str, ...]
    span: Span = ANSWER

    def __post_init__(self) -> None:
        for place in self._named.values():
            self.stack.target(place)
        if self._gradients and _is_quantised(self.model.module, self.stack):
            raise UserError(
                f"{self.model.name} has quantised weights, through which no gradient is had: load it without quantising"
            )

    @cached_property
    def model(self) -> HFModel:
        """The model. Errors: UserError for a served one."""
        return must_be_here(self.source)

    @cached_property
    def stack(self) -> Stack:
        """The model's layers."""
        return Stack.of(self.model.module, self.model.name)

    @cached_property
    def _named(self) -> dict[str, Place]:
        if not self.places:
            raise UserError("nothing is to be read: name at least one place, such as residual.0")
        return {name: Place.named(name) for name in self.places}

    @property
    def _gradients(self) -> bool:
        return any(place.gradient for place in self._named.values())

    @property
    def identity(self) -> str:
        """Hash of what decides the numbers of a passage."""
        return digest_of(["capture", self.model.identity, sorted(self.places), [self.span.first, self.span.stop]])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all places, in float32, with where it comes from."""
        return 16 + 4 * sum(self.stack.size(place) for place in self._named.values())

    @property
    def passes(self) -> int:
        """How many sequences a passage passes through a model."""
        return 1

    def rows(self, passage: Passage) -> int:
        """Return how many rows a passage gives."""
        return len(self.span.over(passage))

    def told(self, passage: Passage) -> list[Any]:
        """Return what decides a passage's numbers, as JSON values."""
        of = [passage.task, passage.answer, list(passage.prompt), list(passage.tokens)]
        return [*of, passage.weight] if self._gradients else of

    def read(self, passages: Sequence[Passage]) -> States:
        """Pass the passages through; return their rows. They must fit into memory together (else `models/shards.py`).

        Errors: UserError when a passage does not fit the model's positions, or a place carries no numbers for each token.
        """
        import torch

        spans = [self.span.over(one) for one in passages]
        for one in passages:
            self.model.must_fit(one.prompt, one.tokens)
        ends = torch.tensor([len(span) for span in spans]).cumsum(0).tolist() if spans else [0]
        wanted = [row for row, span in enumerate(spans) if len(span)]
        whole = [(*one.prompt, *one.tokens) for one in passages]
        if not self._gradients:  # what comes after the last position that is kept changes nothing
            whole = [ids[: len(one.prompt) + s.stop] for ids, one, s in zip(whole, passages, spans, strict=True)]
        longest = max((len(ids) for ids in whole), default=0)
        at: dict[str, torch.Tensor] = {}

        def work(rows: list[int]) -> None:
            batch = Batch([whole[row] for row in rows], [passages[row] for row in rows], [spans[row] for row in rows])
            into = torch.cat([torch.arange(ends[row] - len(spans[row]), ends[row]) for row in rows])
            with self.model.opened() as module:
                for name, found in self._pass(module, batch).items():
                    if name not in at:
                        at[name] = found.new_empty((ends[-1], found.shape[-1]))
                    at[name].index_copy_(0, into.to(found.device), found)

        in_batches(wanted, whole, self.model.at_once(longest if self._gradients else 0), work)
        for name, place in self._named.items():
            at.setdefault(name, torch.empty((0, self.stack.size(place)), device=self.model.device))
        lengths = torch.tensor([len(span) for span in spans], dtype=torch.long)
        which = torch.arange(len(spans)).repeat_interleave(lengths)
        position = torch.tensor([t for span in spans for t in span], dtype=torch.long)
        return States(
            tuple((one.task, one.answer) for one in passages), which, position, {n: at[n] for n in self.places}
        )

    def _pass(self, module: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Pass one batch; return place -> rows [N, width]."""
        import torch

        ids = batch.ids(module.device)
        seen = _Seen(self._named, batch.kept(module.device), ids.shape, self.model.name)
        kept = batch.logits if "logits_to_keep" in inspect.signature(module.forward).parameters else 0
        last = {"logits_to_keep": kept} if self._gradients and kept else {}
        with ExitStack() as hooks, torch.set_grad_enabled(self._gradients):
            if self._gradients:
                lowest = min(place.layer for place in self._named.values() if place.gradient)
                begin = self.stack.attach(Place("embedding", lowest), lambda h: h.detach().requires_grad_())
                hooks.callback(begin.remove)
            for name, place in self._named.items():
                hooks.callback(self.stack.attach(place, partial(seen.look, name)).remove)
            try:
                # The mask holds nothing back: without one, some models warn of padding where an answer has its end token.
                out = module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **last)
            except _Enough:
                return seen.found
            seen.must_be_whole()
            return seen.found | self._backward(batch, out.logits, seen)

    def _backward(self, batch: Batch, logits: torch.Tensor, seen: _Seen) -> dict[str, torch.Tensor]:
        """Return the gradients of the sum of weight * log P(answer) at the places that want one."""
        import torch

        rows, columns, tokens, weights = batch.answers(logits.device)
        chosen = logits[rows, columns - (max(map(len, batch.whole)) - logits.shape[1]), : self.model.size]
        logprobs = _wide(chosen).log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        try:
            found = torch.autograd.grad((weights.to(logprobs) * logprobs).sum(), list(seen.nodes.values()))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            raise UserError(
                f"{self.model.name} gives no gradients at {', '.join(seen.nodes)} ({str(error).splitlines()[0]}): "
                "load it without quantising"
            ) from error
        return {name: seen.chosen(gradient) for name, gradient in zip(seen.nodes, found, strict=True)}


@dataclass(frozen=True)
class Difference:
    """Reads the same places of two models along the same answers: what stands in the after, minus what in the before.

    Two views of one model with an adapter on and off take turns, once a reading; two models of the same shape do as well.
    Errors: UserError (one line) when the two are not of the same shape.
    """

    before: Capture
    after: Capture

    @classmethod
    def of(cls, before: Model, after: Model, places: Sequence[str], span: Span = ANSWER) -> Difference:
        """Return the reader of these places in both."""
        return cls(Capture(before, tuple(places), span), Capture(after, tuple(places), span))

    def __post_init__(self) -> None:
        if self.before.places != self.after.places or self.before.span != self.after.span:
            raise ValueError("the two captures of a difference read different things")
        one, two = self.before.stack, self.after.stack
        fix = "compare models of one shape, such as a base and what was trained from it"
        if len(one.layers) != len(two.layers):
            told = f"{len(one.layers)} layers, {two.model} has {len(two.layers)}"
            raise UserError(f"{one.model} has {told}: {fix}")
        for name in ("embedding", *self.before.places):
            mine, theirs = (stack.size(Place.named(name)) for stack in (one, two))
            if mine != theirs:
                raise UserError(f"{one.model} is {mine} wide at {name}, {two.model} {theirs}: {fix}")

    @property
    def identity(self) -> str:
        """Hash of what decides the numbers of a pair of passages."""
        return digest_of(["difference", self.before.identity, self.after.identity])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all places."""
        return self.after.row_bytes

    @property
    def passes(self) -> int:
        """How many sequences a pair passes through a model."""
        return 2

    def rows(self, pair: tuple[Passage, Passage]) -> int:
        """Return how many rows a pair gives."""
        return self.after.rows(pair[1])

    def told(self, pair: tuple[Passage, Passage]) -> list[Any]:
        """Return what decides a pair's numbers, as JSON values."""
        return [self.before.told(pair[0]), self.after.told(pair[1])]

    def read(self, pairs: Sequence[tuple[Passage, Passage]]) -> States:
        """Pass each answer through both models, as each is shown it; return the differences, on the after's device.

        Errors: UserError as of `Capture.read`, and when positions are wanted that only one of two prompts has.
        """
        import torch

        one, two = (
            side.read(list(shown)) for side, shown in zip((self.before, self.after), _sides(pairs), strict=True)
        )
        if not (torch.equal(one.which, two.which) and torch.equal(one.position, two.position)):
            raise UserError(
                "the two models are shown prompts of different lengths, so that their tokens do not correspond: "
                "read the answers' tokens alone"
            )
        return States(two.cells, two.which, two.position, {n: h.sub_(one.at[n].to(h)) for n, h in two.at.items()})


def must_be_here(model: Model) -> HFModel:
    """Return the model as one whose layers are here. Errors: UserError for a served one."""
    if not isinstance(model, HFModel):
        raise UserError(f"{model.name} has no layers here to read: give a model directory or a hub name")
    return model


# ---------------------------------------------------------------------------------------------------- one forward pass


class _Enough(Exception):
    """Ends a forward pass."""


class _Seen:
    """What one pass has shown so far: rows of states, and the nodes at which gradients are wanted."""

    def __init__(self, places: Mapping[str, Place], kept: torch.Tensor, shape: Sequence[int], model: str) -> None:
        self.places = places
        self.kept = kept
        self.tokens = shape[0] * shape[1]
        self.model = model
        self.found: dict[str, torch.Tensor] = {}
        self.nodes: dict[str, torch.Tensor] = {}

    def look(self, name: str, h: torch.Tensor) -> torch.Tensor | None:
        """Take what passes a place, and end the pass when nothing more is wanted.

        A gradient's node is a view that goes on to this place alone: what other modules make of the same tensor is theirs.
        """
        if h.is_quantized or not h.is_floating_point() or h.numel() != self.tokens * h.shape[-1]:
            raise UserError(f"{self.model} has no row of plain numbers for each token at {name}: read another place")
        if self.places[name].gradient:
            self.nodes[name] = h.view_as(h)
            return self.nodes[name]
        self.found[name] = self.chosen(h.detach())
        if len(self.found) == len(self.places):
            raise _Enough
        return None

    def chosen(self, h: torch.Tensor) -> torch.Tensor:
        """Return the rows that are kept."""
        return _wide(h.reshape(self.tokens, -1).index_select(0, self.kept))

    def must_be_whole(self) -> None:
        """Refuse places that the pass did not come by."""
        missed = self.places.keys() - self.found.keys() - self.nodes.keys()
        if missed:
            raise UserError(f"{self.model} did not pass {min(missed)} on these tokens: read another place")


def _wide(h: torch.Tensor) -> torch.Tensor:
    """Return numbers of half precision as float32: differences and sums are taken of them."""
    return h if h.itemsize >= 4 else h.float()


def _is_quantised(module: Any, stack: Stack) -> bool:
    """Whether weights of the layers are said to be quantised, or held in anything but plain numbers.

    Some such modules give no gradient without a word, while the stream beside them does: what is found would be wrong.
    """
    if getattr(module.config, "quantization_config", None) is not None:
        return True
    plain = all(p.is_floating_point() and not p.is_quantized for p in stack.layers.parameters())
    weights = (getattr(inner, "weight", None) for inner in stack.layers.modules() if features(inner) is not None)
    return not plain or any(callable(weight) for weight in weights)  # torch's own quantised layers pack theirs


def _sides(pairs: Sequence[tuple[Passage, Passage]]) -> tuple[list[Passage], list[Passage]]:
    return [before for before, _ in pairs], [after for _, after in pairs]
