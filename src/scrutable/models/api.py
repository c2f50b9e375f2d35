"""Served models: any OpenAI-compatible server (vLLM, `transformers serve`, llama.cpp, hosted ones).

The base URL and the key come from arguments, or from OPENAI_BASE_URL and OPENAI_API_KEY. A failure slows a run down and does
not end it. A server that is busy (429, 502, 503, 529), or away after it has once responded, is waited for, and that counts
against no request. What may be the request's own fault (other 5xx, a timeout, garbled JSON, a connection cut off) is tried a
stated number of times, with growing, jittered waits, and then becomes a failed Generation. What the user must mend (no such
server, a refused key, an unknown model, no answer for longer than there is patience) is a UserError.
Left out: log-probabilities, which no such server gives over the whole vocabulary.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from pydantic import Field, JsonValue

from scrutable.core.config import Config, anywhere
from scrutable.core.errors import UserError
from scrutable.core.records import Conversation, Generation, Sampling, Usage, digest_of
from scrutable.models.limiter import Outcome, ServerRecord, limiter_at
from scrutable.models.wire import Again, Completion, Refused, Wire

_OPENAI = "https://api.openai.com/v1"
_LONGEST_WAIT = 30.0  # seconds between two tries of one request
_FORMS = 4  # requests that may be refused for their form


class ServedOptions(Config):
    """How a served model is called."""

    workers: int = anywhere(32, "most requests under way at once; fewer where the server refuses some", ge=1)
    attempts: int = anywhere(
        6, "tries of one request before its task counts as failed; a server that is busy or away uses up none", ge=1
    )
    backoff: float = anywhere(0.5, "seconds before the second try; each further wait is twice as long", ge=0)
    timeout: float = anywhere(120.0, "seconds after which a request counts as lost", gt=0)
    patience: float = anywhere(
        300.0, "seconds for which a server that answered before is waited for, while it is away or refuses all", gt=0
    )
    extra: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="further fields of each request, such as chat_template_kwargs or top_k for vLLM",
    )
    price_in: float = anywhere(0.0, "US dollars for a million prompt tokens", ge=0)
    price_out: float = anywhere(0.0, "US dollars for a million answer tokens", ge=0)


class ServedModel:
    """A Model behind an OpenAI-compatible server. Safe to call from many threads at once.

    However many calls there are, and however many conversations each has, `workers` requests are under way at once at
    most; models on one server share that. Repeats of a conversation within a batch get seeds of their own.
    Errors: UserError when neither a base URL nor a key is known.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        options: ServedOptions | None = None,
    ) -> None:
        key = api_key or os.environ.get("OPENAI_API_KEY") or ""
        url = base_url or os.environ.get("OPENAI_BASE_URL") or (_OPENAI if key else "")
        if not url:
            raise UserError(
                f"no server is known for {model}: set OPENAI_BASE_URL, or OPENAI_API_KEY for api.openai.com"
            )
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"the server's address must look like http://host:port/v1, for {model}: check OPENAI_BASE_URL"
            )
        if parts.username or parts.password or parts.query:
            raise UserError("the server's address holds a secret: put the key into OPENAI_API_KEY instead")
        self._options = how = options or ServedOptions()
        self._wire = Wire(model, url.rstrip("/"), key, how.timeout, how.extra)
        self._limiter = limiter_at(self._wire.url, how.workers, how.backoff, how.patience)

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._wire.model

    @property
    def identity(self) -> str:
        """Hash of the model's name and the further fields of each request; a run may go on at another address."""
        return digest_of({"served": self.name, "extra": self._options.extra})

    @property
    def address(self) -> str:
        """The server's base URL, for people: no part of the identity."""
        return self._wire.url

    @property
    def record(self) -> ServerRecord:
        """What asking this server came to in this process, by all models on it."""
        return self._limiter.record

    def listen(self, say: Callable[[str], None]) -> None:
        """Let `say` have the lines that tell of waiting for the server (until then they are logged as warnings)."""
        self._limiter.say = say

    def price(self, prompt_tokens: int, answer_tokens: int) -> float:
        """Return what so many tokens cost, in US dollars, by the given prices."""
        return (prompt_tokens * self._options.price_in + answer_tokens * self._options.price_out) / 1e6

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation, in order (see `Model`)."""
        stop = threading.Event()

        def one(index: int) -> Generation:
            try:
                return self._persist(conversations[index], sampling, index, stop)
            except BaseException:
                stop.set()  # the others need not wait any longer
                self._limiter.wake()
                raise

        if len(conversations) == 1:
            return [one(0)]
        pool = ThreadPoolExecutor(max_workers=min(self._options.workers, max(1, len(conversations))))
        try:
            return list(pool.map(one, range(len(conversations))))
        finally:
            stop.set()
            self._limiter.wake()
            pool.shutdown(wait=False, cancel_futures=True)

    def _persist(self, conversation: Conversation, sampling: Sampling, index: int, stop: threading.Event) -> Generation:
        """Ask until there is an answer, or a reason to give up."""
        jitter = random.Random()  # of waits, not of results
        # Servers that honour seeds answer one prompt alike under one seed; repeats must differ.
        seed = int(digest_of([sampling.seed, index])[:7], 16)
        # Tries that may be its own fault; all that failed; those of another form; those after which it steps back.
        own = forms = waits = 0
        troubles: Counter[str] = Counter()
        while (began := self._limiter.enter(stop)) is not None:
            try:
                start = time.perf_counter()
                found = self._wire.ask(conversation, sampling, seed)
                self._limiter.leave(began, Outcome.ANSWERED)
                return self._generation(found, time.perf_counter() - start, troubles)
            except Refused as refusal:
                kind = str(refusal).partition(":")[0]
                self._limiter.leave(began, Outcome.FAILED, kind)
                return self._given_up(f"model: {refusal}", troubles, kind)
            except Again as again:
                self._waited_enough(again, self._limiter.leave(began, again.outcome, again.kind, again.asked))
                last = again
            except BaseException:
                self._limiter.leave(began, Outcome.FAILED)
                raise
            if last.formal and forms < _FORMS:
                forms += 1
                continue
            own += last.outcome in (Outcome.FAILED, Outcome.LOST)
            if own >= self._options.attempts:
                return self._given_up(f"model: {last} (after {own} attempts)", troubles, last.kind)
            troubles[last.kind] += 1
            if last.outcome is not Outcome.GONE:  # then the limiter says when it is looked for again
                waits += 1
                if not last.asked:
                    growing = self._options.backoff * 2 ** min(waits - 1, 20) * (0.5 + jitter.random())
                    stop.wait(min(_LONGEST_WAIT, growing))
        return Generation(failure="model: not asked")

    def _waited_enough(self, again: Again, seconds: float) -> None:
        """Raise a UserError where the server was never there, or is given up after `seconds` of asking in vain."""
        first = again.outcome is Outcome.GONE and not self._limiter.heard
        if first or (seconds and again.outcome is Outcome.GONE):
            spell = f", for {seconds:.0f} s" if seconds else ""
            raise UserError(f"no server answers at {self.address}: start it, or check OPENAI_BASE_URL ({again}{spell})")
        if seconds and again.outcome is Outcome.BUSY:
            raise UserError(
                f"the server at {self.address} has refused every request for {seconds:.0f} s ({again}): "
                "give the same command again once it has room"
            )

    def _given_up(self, why: str, troubles: Counter[str], last: str) -> Generation:
        self._limiter.give_up()
        usage = Usage(retries=troubles.total(), troubles=dict(troubles + Counter([last])))
        return Generation(failure=why, usage=usage)

    def _generation(self, found: Completion, seconds: float, troubles: Counter[str]) -> Generation:
        money = self.price(found.prompt_tokens, found.answer_tokens)
        usage = Usage(
            generations=1,
            prompt_tokens=found.prompt_tokens,
            answer_tokens=found.answer_tokens,
            retries=troubles.total(),
            troubles=dict(troubles),
            seconds=seconds,
            money=money,
        )
        return Generation(answer=found.content, complete=found.complete, reasoning=found.reasoning, usage=usage)
