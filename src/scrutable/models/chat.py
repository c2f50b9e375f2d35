"""Chat: conversations to token ids, and answer tokens to text, as one tokenizer does it.

Where the tokenizer has a chat template it is used. Where it has none, the messages' contents are joined with a blank
line and the answer is what follows directly, so a single user message is a plain prompt. A template that refuses or
silently drops a system message gets the system text at the head of the first user message instead: a text must reach
the model, or every measurement of it would be about nothing. A conversation that ends with the assistant is continued.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from scrutable.core.errors import ModelFailure, boundary
from scrutable.core.records import Conversation, Message, digest_of

_PROBE = "scrutable asks whether this is seen"
_CACHED = 50_000
# Some templates print today's date, and would answer differently tomorrow: they are given the day that most of them fall
# back on. transformers hands templates no functions of ours, so the clock is a macro that shadows its own.
_TODAY = datetime(2024, 7, 26)
_DIRECTIVES = ("%-d", "%-m", *(f"%{letter}" for letter in "aAbBcdefHIjmMpSxXyYzZ%"))
_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{one}', '{_TODAY.strftime(one)}')" for one in _DIRECTIVES)
    + " }}{% endmacro %}\n"
)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Chat:
    """A tokenizer with its chat template, and what has been encoded and decoded so far.

    rows: rows of the model's embedding; tokens beyond them cannot be used. options: passed to the chat template
    (`enable_thinking`, say). Safe to use from several threads.
    """

    def __init__(self, tokenizer: Any, rows: int, options: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self.options = dict(options or {})
        self.vocabulary: dict[str, int] = {token: i for token, i in tokenizer.get_vocab().items() if i < rows}
        self._template = str(tokenizer.chat_template or "")
        dated = "strftime_now" in self._template
        self._clock = {"chat_template": _CLOCK + tokenizer.get_chat_template()} if dated else {}
        self._lock = threading.Lock()
        self._encoded: OrderedDict[Conversation, tuple[int, ...]] = OrderedDict()
        self._decoded: OrderedDict[tuple[int, ...], str] = OrderedDict()
        self._fold = bool(self._template) and not self._shows_system()

    @property
    def identity(self) -> str:
        """Hash of what decides tokens: the tokenizer, its template, and the options."""
        inner = getattr(self.tokenizer, "backend_tokenizer", None)
        told = inner.to_str() if inner is not None else dict(sorted(self.tokenizer.get_vocab().items()))
        return digest_of({"tokenizer": told, "template": self._template, "options": self.options})

    def encode(self, conversation: Conversation) -> list[int]:
        """Token ids up to where the answer begins. Errors: ModelFailure when the chat template refuses it."""
        ids: tuple[int, ...] = self._cached(self._encoded, tuple(conversation), self._encode)
        return list(ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of answer tokens, special tokens left out."""
        return self._cached(self._decoded, tuple(tokens), self._decode)

    def encode_answer(self, answer: str) -> list[int]:
        """Token ids of an answer's text, without special tokens and without the end-of-answer token."""
        with self._lock:
            return list(self.tokenizer(answer, add_special_tokens=False)["input_ids"])

    def end_tokens(self, *configured: int | Sequence[int] | None) -> frozenset[int]:
        """Ids that end an answer: those configured, the tokenizer's, and what its template writes after an answer."""
        found: set[int] = set()
        for ids in (*configured, self.tokenizer.eos_token_id):
            if ids is not None:
                found.update([ids] if isinstance(ids, int) else ids)
        if self._template:
            turns = (Message(role="user", content=_PROBE), Message(role="assistant", content=_PROBE))
            try:
                with boundary(ModelFailure):
                    tail = self._render(turns, add_generation_prompt=False).rpartition(_PROBE)[2]
                    after = self.tokenizer(tail.strip(), add_special_tokens=False)["input_ids"][:1]
                    special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.get_added_vocab().values())
                    found.update(i for i in after if i in special and i != self.tokenizer.unk_token_id)
            except ModelFailure:
                pass  # a template that renders no such pair says nothing about how answers end
        return frozenset(found)

    def _encode(self, conversation: Conversation) -> tuple[int, ...]:
        with boundary(ModelFailure):
            if not self._template:
                ids = list(self.tokenizer("\n\n".join(m.content for m in conversation))["input_ids"])
                # Some tokenizers end every text; an answer must be able to follow.
                return tuple(ids[:-1] if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id else ids)
            goes_on = conversation[-1].role == "assistant"
            text = self._render(
                _folded(conversation) if self._fold else conversation,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
            )
            return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _decode(self, tokens: tuple[int, ...]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _render(self, conversation: Conversation, **how: Any) -> str:
        messages = [{"role": m.role, "content": m.content} for m in conversation]
        how |= {**self._clock, **self.options}
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **how))

    def _shows_system(self) -> bool:
        asked = (Message(role="system", content=_PROBE), Message(role="user", content="?"))
        try:
            with boundary(ModelFailure):
                return _PROBE in self._render(asked, add_generation_prompt=True)
        except ModelFailure:
            return False

    def _cached(self, kept: OrderedDict[K, V], key: K, make: Callable[[K], V]) -> V:
        # One lock for cache and tokenizer: fast tokenizers refuse to be used by two threads at once.
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
            kept[key] = value = make(key)
            if len(kept) > _CACHED:
                kept.popitem(last=False)
            return value


def _folded(conversation: Conversation) -> Conversation:
    """Move system texts to the head of the first user message, with a blank line between."""
    system = [m.content for m in conversation if m.role == "system"]
    rest = [m for m in conversation if m.role != "system"]
    if not system:
        return conversation
    first = next((i for i, m in enumerate(rest) if m.role == "user"), None)
    if first is None:
        return (Message(role="user", content="\n\n".join(system)), *rest)
    rest[first] = Message(role="user", content="\n\n".join([*system, rest[first].content]))
    return tuple(rest)
