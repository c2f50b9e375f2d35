"""Served models: any OpenAI-compatible server (vLLM, `transformers serve`, llama.cpp, hosted ones).

They are asked by the `openai` client. The base URL and the key come from arguments, or from OPENAI_BASE_URL and
OPENAI_API_KEY. The key is handed to the client and is nowhere else: not in records, names, identities, messages or
logs. What passes by itself (429, 5xx, a timeout, garbled JSON, a connection cut off) is tried again with growing,
jittered waits, and becomes a failed Generation when it does not; what the user must mend (no such server, a refused
key, an unknown model) is a UserError.
Left out: log-probabilities, which no such server gives over the whole vocabulary.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, JsonValue

from scrutable.core.config import Config, anywhere
from scrutable.core.errors import ScrutableError, UserError, one_line
from scrutable.core.records import Conversation, Generation, Sampling, Usage, digest_of

_OPENAI = "https://api.openai.com/v1"
_LONGEST_WAIT = 60.0  # seconds, whatever a server asks for
_LONGEST_CONNECT = 10.0  # seconds: what listens accepts at once


class ServedOptions(Config):
    """How a served model is called."""

    workers: int = anywhere(16, "requests under way at once", ge=1)
    attempts: int = anywhere(6, "tries of one request before its task counts as failed", ge=1)
    backoff: float = anywhere(0.5, "seconds before the second try; each further wait is twice as long", ge=0)
    timeout: float = anywhere(120.0, "seconds after which a request counts as lost", gt=0)
    extra: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="further fields of each request, such as chat_template_kwargs or top_k for vLLM",
    )
    price_in: float = anywhere(0.0, "US dollars for a million prompt tokens", ge=0)
    price_out: float = anywhere(0.0, "US dollars for a million answer tokens", ge=0)


class _Again(ScrutableError):
    """What may pass by itself. wait: seconds the server asked for; gone: nothing listens there; formal: it wants
    another form of request, which is no failure.
    """

    def __init__(self, why: str, *, wait: float | None = None, gone: bool = False, formal: bool = False) -> None:
        super().__init__(why)
        self.wait = wait
        self.gone = gone
        self.formal = formal


class _Refused(ScrutableError):
    """What will not pass, but concerns this one request only."""


class ServedModel:
    """A Model behind an OpenAI-compatible server.

    Several conversations are asked at once; answers come back in order. Repeats of a conversation within a batch get
    seeds of their own. Errors: UserError when neither a base URL nor a key is known.
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
        self._name = model
        self._url = url.rstrip("/")
        self._options = options or ServedOptions()
        self._client = _Lazy(self._url, key, self._options.timeout)
        self._form = _Form()
        self._successes = 0

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._name

    @property
    def identity(self) -> str:
        """Hash of the model's name and the further fields of each request; a run may go on at another address."""
        return digest_of({"served": self._name, "extra": self._options.extra})

    @property
    def address(self) -> str:
        """The server's base URL, for people: no part of the identity."""
        return self._url

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Generation]:
        """Answer each conversation, in order (see `Model`)."""
        stop = threading.Event()

        def one(index: int) -> Generation:
            try:
                return self._persist(conversations[index], sampling, index, stop)
            except BaseException:
                stop.set()  # the others need not wait out their backoff
                raise

        pool = ThreadPoolExecutor(max_workers=min(self._options.workers, max(1, len(conversations))))
        try:
            return list(pool.map(one, range(len(conversations))))
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _persist(self, conversation: Conversation, sampling: Sampling, index: int, stop: threading.Event) -> Generation:
        """Ask until there is an answer, a reason to give up, or no further attempt."""
        jitter = random.Random()  # of waits, not of results
        before = self._successes
        why, attempt, failed = _Again("not asked"), 0, 0
        while attempt < self._options.attempts and not stop.is_set():
            began = time.perf_counter()
            try:
                data = self._request(conversation, sampling, index)
                generation = self._read(data, time.perf_counter() - began, failed)
                self._successes += 1
                return generation
            except _Refused as refusal:
                return Generation(failure=f"model: {refusal}", usage=Usage(retries=failed))
            except _Again as again:
                why = again
                failed += not again.formal
                if again.gone and not self._successes:
                    break
            attempt += 1
            if attempt < self._options.attempts:
                growing = self._options.backoff * 2 ** (attempt - 1) * (0.5 + jitter.random())
                stop.wait(min(_LONGEST_WAIT, max(growing, why.wait or 0.0)))
        if why.gone and self._successes == before:
            raise UserError(f"no server answers at {self._url}: start it, or check OPENAI_BASE_URL ({why})")
        return Generation(failure=f"model: {why} (after {attempt} attempts)", usage=Usage(retries=max(0, failed - 1)))

    def _request(self, conversation: Conversation, sampling: Sampling, index: int) -> Any:
        """Send one request and return its JSON; the client's errors become _Again, _Refused or UserError."""
        import openai

        form = self._form
        fields: dict[str, Any] = {
            "model": self._name,
            "messages": [{"role": m.role, "content": m.content} for m in conversation],
            "temperature": sampling.temperature,
            "top_p": 1.0,
            form.limit: sampling.max_tokens,
            "extra_body": self._options.extra or None,
        }
        if form.seed:
            # Servers that honour seeds answer one prompt alike under one seed; repeats must differ.
            fields["seed"] = int(digest_of([sampling.seed, index])[:7], 16)
        try:
            return self._client.get().chat.completions.with_raw_response.create(**fields).http_response.json()
        except openai.APIStatusError as error:
            adapted = form.adapted(one_line(error))
            if error.status_code == 400 and adapted is not None:
                self._form = adapted
                raise _Again("the server wants another form of request", wait=0.0, formal=True) from error
            raise self._verdict(error.status_code, error.response.headers, self._client.clean(error)) from error
        except openai.APIConnectionError as error:
            cause = error.__cause__
            # httpx's errors by name: which httpx it is depends on the client's version.
            gone = type(cause).__name__ in ("ConnectError", "ConnectTimeout")
            if isinstance(error, openai.APITimeoutError) and not gone:
                raise _Again(f"no answer within {self._options.timeout:g} s") from error
            raise _Again(self._client.clean(cause or error) or "the connection was cut off", gone=gone) from error
        except ValueError as error:  # JSONDecodeError, UnicodeDecodeError
            raise _Again(f"the server's answer is no JSON: {one_line(error, 100)}") from error

    def _verdict(self, status: int, headers: Mapping[str, str], told: str) -> ScrutableError:
        if status in (401, 403):
            return UserError(f"the server at {self._url} refused the key ({status}): check OPENAI_API_KEY")
        if status == 404:
            return UserError(
                f"the server at {self._url} knows no model {self._name!r}: "
                "check the name, and that the address ends in /v1"
            )
        if "insufficient_quota" in told:
            return UserError(f"the account at {self._url} has no quota left: add some, or use another key, then resume")
        if status in (408, 409, 425, 429) or status >= 500:
            return _Again(f"status {status}: {told}", wait=_asked_wait(headers))
        return _Refused(f"status {status}: {told}")

    def _read(self, data: Any, seconds: float, retries: int) -> Generation:
        """Read an answer out of the response. Errors: _Again when it lacks what every answer has."""
        try:
            choice = data["choices"][0]
            content, reason = choice["message"]["content"], choice.get("finish_reason")
            if content is not None and not isinstance(content, str):
                raise TypeError("the content is no text")
            spent = data.get("usage") or {}
            asked, told = int(spent.get("prompt_tokens") or 0), int(spent.get("completion_tokens") or 0)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            said = self._client.clean(data)
            raise _Again(f"the server's answer is no chat completion: {one_line(said, 120)}") from error
        if content is None and reason != "length":
            raise _Refused(f"no text came back (finish_reason {reason})")
        money = (asked * self._options.price_in + told * self._options.price_out) / 1e6
        usage = Usage(
            generations=1, prompt_tokens=asked, answer_tokens=told, retries=retries, seconds=seconds, money=money
        )
        return Generation(answer=content or "", complete=reason != "length", usage=usage)


@dataclass(frozen=True)
class _Form:
    """What a server wants a request to look like; found out from its refusals."""

    limit: str = "max_tokens"
    seed: bool = True

    def adapted(self, refusal: str) -> _Form | None:
        if self.limit == "max_tokens" and "max_completion_tokens" in refusal:
            return _Form("max_completion_tokens", self.seed)
        if self.seed and "seed" in refusal:
            return _Form(self.limit, seed=False)
        return None


class _Lazy:
    """The openai client, made when first used (its import takes a second), and the only holder of the key."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self._url, self._key, self._timeout = url, key, timeout
        self._lock = threading.Lock()
        self._client: Any = None

    def get(self) -> Any:
        import openai

        with self._lock:
            if self._client is None:
                # Local servers take any key, but the client wants one.
                timeout = openai.Timeout(self._timeout, connect=min(self._timeout, _LONGEST_CONNECT))
                self._client = openai.OpenAI(
                    base_url=self._url, api_key=self._key or "none", timeout=timeout, max_retries=0
                )
            return self._client

    def clean(self, message: object) -> str:
        """One line without the key, which some servers repeat in their errors."""
        text = str(message)
        return one_line(text.replace(self._key, "***") if self._key else text, 200)


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After (a number or a date) asks for, if it is there and can be read."""
    told = headers.get("retry-after")
    if told is None:
        return None
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return None
