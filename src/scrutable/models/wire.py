"""The wire: one request to an OpenAI-compatible server, what came back, and what that means.

The client is `openai`'s, imported when first used. The key is handed to it and is nowhere else: not in records, names,
identities, messages or logs. Nothing is asked twice here (`api.py` does that), and nothing waits (`limiter.py` does).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from scrutable.core.errors import ScrutableError, UserError, one_line
from scrutable.core.records import Conversation, Sampling
from scrutable.models.limiter import Outcome

_LONGEST_CONNECT = 10.0  # seconds: what listens accepts at once
_BUSY = (429, 502, 503, 529)  # too many requests; a proxy, or the server itself, that is not ready; overloaded
# Ids and counts that differ from one failure to the next: a failure is told alike whenever it comes.
_PASSING = re.compile(r"\b(?:[a-z]+[_-])?(?=[0-9a-f-]*\d)[0-9a-f]{8}[0-9a-f-]*\b", re.IGNORECASE)


class Again(ScrutableError):
    """What may pass by itself. kind: the same in a few words, to be counted by; asked: seconds the server asked for;
    formal: it wants another form of request, which is no failure.
    """

    def __init__(
        self, why: str, outcome: Outcome, kind: str, *, asked: float | None = None, formal: bool = False
    ) -> None:
        super().__init__(why)
        self.outcome = outcome
        self.kind = kind
        self.asked = asked
        self.formal = formal


class Refused(ScrutableError):
    """What will not pass, but concerns this one request only."""


@dataclass(frozen=True)
class Completion:
    """One answer as it came back, with what it cost in tokens."""

    content: str
    complete: bool
    prompt_tokens: int
    answer_tokens: int
    reasoning: str = ""


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


class Wire:
    """Asks one model on one server. model: its name there; extra: further fields of each request."""

    def __init__(self, model: str, url: str, key: str, timeout: float, extra: Mapping[str, Any]) -> None:
        self.model = model
        self.url = url
        self._client = _Lazy(url, key, timeout)
        self._timeout = timeout
        self._extra = dict(extra)
        self._form = _Form()

    def ask(self, conversation: Conversation, sampling: Sampling, seed: int) -> Completion:
        """Ask once. Errors: Again, Refused, UserError (what the user must mend)."""
        import openai

        form = self._form
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in conversation],
            "temperature": sampling.temperature,
            "top_p": 1.0,
            form.limit: sampling.max_tokens,
            "extra_body": self._extra or None,
        }
        if form.seed:
            fields["seed"] = seed
        try:
            data = self._client.get().chat.completions.with_raw_response.create(**fields).http_response.json()
        except openai.APIStatusError as error:
            said, code = _said(error.body)
            adapted = form.adapted(said)
            if error.status_code in (400, 422) and adapted is not None:
                self._form = adapted
                raise Again("it wants another form of request", Outcome.FAILED, "", formal=True) from error
            raise self._verdict(error.status_code, error.response.headers, self._clean(said), code) from error
        except openai.APIConnectionError as error:
            raise self._lost(error, isinstance(error, openai.APITimeoutError)) from error
        except ValueError as error:  # JSONDecodeError, UnicodeDecodeError
            raise Again("the server's answer is no JSON", Outcome.FAILED, "no JSON") from error
        return self._read(data)

    def _lost(self, error: Exception, late: bool) -> Again:
        cause = error.__cause__
        # httpx's errors by name: which httpx it is depends on the client's version.
        if type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
            return Again(self._clean(cause), Outcome.GONE, "nothing listens there")
        if late:
            return Again(f"no answer within {self._timeout:g} s", Outcome.LOST, "no answer in time")
        return Again("the connection was cut off", Outcome.LOST, "cut off")

    def _verdict(self, status: int, headers: Mapping[str, str], told: str, code: str) -> ScrutableError:
        if status in (401, 403):
            return UserError(f"the server at {self.url} refused the key ({status}): check OPENAI_API_KEY")
        # `transformers serve` that was started with one model says 400 to the name of another.
        if status == 404 or (status == 400 and "pinned to" in told):
            said = f" ({told})" if status == 400 else ""
            return UserError(
                f"the server at {self.url} knows no model {self.model!r}: "
                f"check the name, and that the address ends in /v1{said}"
            )
        if code == "insufficient_quota":
            return UserError(f"the account at {self.url} has no quota left: add some, or use another key, then resume")
        kind = f"status {status}"
        why = f"{kind}: {told}" if told else kind
        if status in _BUSY:
            return Again(why, Outcome.BUSY, kind, asked=asked_wait(headers))
        if status in (408, 409, 425) or status >= 500:
            return Again(why, Outcome.FAILED, kind)
        return Refused(why)

    def _read(self, data: Any) -> Completion:
        """Read an answer out of the response. Errors: Again when it lacks what every answer has."""
        try:
            choice = data["choices"][0]
            message = choice["message"]
            content, reason = message["content"], choice.get("finish_reason")
            thought = message.get("reasoning_content") or message.get("reasoning")
            if content is not None and not isinstance(content, str):
                raise TypeError("the content is no text")
            spent = data.get("usage") or {}
            asked, told = int(spent.get("prompt_tokens") or 0), int(spent.get("completion_tokens") or 0)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            said = data.get("error") if isinstance(data, dict) else None
            why = "the server's answer is no chat completion" + (f": {self._clean(said)}" if said else "")
            raise Again(why, Outcome.FAILED, "no chat completion") from error
        if content is None and reason != "length":
            raise Refused(f"no text came back (finish_reason {reason})")
        reasoning = thought if isinstance(thought, str) else ""
        return Completion(content or "", reason != "length", asked, told, reasoning)

    def _clean(self, message: object) -> str:
        return self._client.clean(_PASSING.sub("(id)", self._client.clean(message)))


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


def _said(body: object) -> tuple[str, str]:
    """Return what an error's body says, and its code; '' where it has none, or is a proxy's page."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        told = next((inner[key] for key in ("message", "detail") if inner.get(key)), "")
        return str(told), str(inner.get("code") or "")
    return (inner if isinstance(inner, str) and not inner.lstrip().startswith("<") else ""), ""


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After (a number or a date) asks for, if it is there and can be read."""
    told = headers.get("retry-after")
    if told is None:
        return None
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds < float("inf") else None  # nan is none either
