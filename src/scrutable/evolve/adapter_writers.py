"""Who writes where an adapter of gepa evaluates: a writer of ours, a function, or the adapter's own way to propose.

What an adapter shows of a rollout is recorded as the rollout's feedback: JSON, records by component (`AdapterScorer`).
Here it becomes what a writer is shown of the component that is to be rewritten, or the reflective dataset that a proposer of
gepa expects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from scrutable.core.errors import ModelFailure, ProposerFailure, UserError, boundary
from scrutable.core.records import Conversation, Generation, Sampling, Usage, digest_of
from scrutable.evolve.instances import plain, text_of
from scrutable.evolve.reflection import (
    ChatWriter,
    Item,
    Proposal,
    Proposer,
    ReflectConfig,
    identity_of,
    proposer_for,
)
from scrutable.models.base import Model

T = TypeVar("T")
Shown = dict[str, list[dict[str, Any]]]
"""Component -> records, as `make_reflective_dataset` gives them, made JSON."""
Writer = Proposer | Model | Callable[[str], str]
Proposing = Callable[[dict[str, str], Mapping[str, Sequence[Mapping[str, Any]]], list[str]], Mapping[str, str]]
"""gepa's interface of proposers: (texts, reflective dataset, components) -> new texts by component."""

INPUTS, OUTPUTS, FEEDBACK = "Inputs", "Generated Outputs", "Feedback"


def writer_for(adapter: Any, writer: Writer | None, config: ReflectConfig | None = None) -> Proposer:
    """Return who writes: what was given, shown what the adapter shows, or the adapter's own way to propose.

    Errors: UserError when nothing was given and the adapter has none.
    """
    if isinstance(writer, DatasetWriter):
        return writer
    if writer is None:
        own = getattr(adapter, "propose_new_texts", None)
        if not callable(own):
            raise UserError(
                f"{type(adapter).__name__} proposes no texts of its own: give a writer (a model, or a function that answers)"
            )
        return DatasetWriter(own, items=config.items if config and config.items else 3)
    if isinstance(writer, Proposer):
        return ShownWriter(writer)
    if isinstance(writer, Model):
        return ShownWriter(proposer_for(writer, config))
    return ShownWriter(ChatWriter(FunctionModel(writer), config))


def records_of(item: Item, module: str) -> list[dict[str, Any]]:
    """Return the records that an adapter shows of an item's rollout for one component; none where it shows nothing."""
    try:
        found = json.loads(item.feedback)
    except ValueError:
        return []
    records = found.get(module, []) if isinstance(found, dict) else []
    return [record for record in records if isinstance(record, dict)]


def items_of(item: Item, module: str) -> list[Item]:
    """Return what a writer is shown of a rollout: one item a record. What stands beside the usual three is feedback too."""
    made = []
    for record in records_of(item, module):
        rest = {key: value for key, value in record.items() if key not in (INPUTS, OUTPUTS, FEEDBACK)}
        said = [text_of(record.get(FEEDBACK, "")), text_of(rest)]
        made.append(
            Item(
                prompt=text_of(record.get(INPUTS, "")),
                answer=text_of(record.get(OUTPUTS, "")),
                score=item.score,
                feedback="\n".join(one for one in said if one),
            )
        )
    return made


class ShownWriter:
    """A writer that is shown what an adapter shows of the component to be rewritten, and of no other."""

    def __init__(self, inner: Proposer) -> None:
        self.inner = inner
        self.items = inner.items
        self.most: Usage | None = getattr(inner, "most", None)
        self.identity = digest_of(["shown by an adapter", identity_of(inner)])

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Ask the writer (see `Proposer`). Errors: ProposerFailure where the adapter shows nothing."""
        shown = _some([one for i in items for one in items_of(i, module)], module)
        # Its places are those of the records, of which an item may have several or none.
        return self.inner.propose(texts, module, shown, seed).model_copy(update={"shown": None})


class DatasetWriter:
    """A proposer of gepa's interface as a writer: it is given the reflective dataset of the component. Its texts are final.

    items: how many rollouts it wants to be shown. identity: what decides its texts; by default the function's name.
    """

    def __init__(self, proposing: Proposing, *, items: int = 3, identity: str | None = None) -> None:
        self._proposing = proposing
        self.items = items
        named = getattr(proposing, "__qualname__", type(proposing).__qualname__)
        self.identity = digest_of(["proposes from a dataset", identity or named, items])

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        """Ask it once (see `Proposer`). Errors: ProposerFailure where the adapter shows nothing, or it gives no text."""
        records = _some([record for item in items for record in records_of(item, module)], module)
        with boundary(ProposerFailure):
            given = self._proposing(dict(texts), {module: records}, [module])
            text = given.get(module)
        if not isinstance(text, str) or not text.strip():
            raise ProposerFailure(f"no text for {module!r}")
        return Proposal(texts=(text,), votes=(1,), answers=(text,), prompt_digest=digest_of(plain(records)))


class FunctionModel:
    """A function from a prompt to an answer, as a model. It is given neither temperature nor seed."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self._function = function
        self.name = str(getattr(function, "__qualname__", type(function).__qualname__))
        self.identity = digest_of(["function", getattr(function, "__module__", ""), self.name])

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation, in order (see `Model`)."""
        return [self._one(one) for one in conversations]

    def _one(self, conversation: Conversation) -> Generation:
        try:
            with boundary(ModelFailure):
                answer = self._function(conversation[-1].content)
                if not isinstance(answer, str):
                    raise TypeError(f"an answer that is no text: {type(answer).__name__}")
        except ModelFailure as failure:
            return Generation(failure=str(failure), usage=Usage(generations=1))
        return Generation(answer=answer, usage=Usage(generations=1))


def _some(found: list[T], module: str) -> list[T]:
    if not found:
        raise ProposerFailure(f"the adapter shows nothing to reflect on for {module!r}")
    return found
