"""Errors: what a user can fix, and the named boundaries at which foreign code can fail.

A `UserError` is shown as one line with the fix and ends with exit code 2. A `BoundaryError` is data: it names who
failed (a reward, a model, a server), is written into the record of the task it struck, and lets the sibling tasks go on.
Everything else is a defect of scrutable and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ScrutableError(Exception):
    """Base of all errors that scrutable raises on purpose."""


class UserError(ScrutableError):
    """Something the user can fix: the message is one line that says what is wrong and what to do."""


class BoundaryError(ScrutableError):
    """Foreign code failed at a named boundary; recorded as data, never fatal to sibling tasks."""

    boundary = "unknown"

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))

    def __str__(self) -> str:
        return f"{self.boundary}: {self.args[0]}"


class RewardFailure(BoundaryError):
    """A user's reward function raised, hung, or returned something that is no number."""

    boundary = "reward"


class FeedbackFailure(BoundaryError):
    """A user's feedback function raised or returned something that is no text."""

    boundary = "feedback"


class ModelFailure(BoundaryError):
    """A model could not answer one task (a server error, garbled JSON, a stream cut off)."""

    boundary = "model"


class AdapterFailure(BoundaryError):
    """An adapter of another optimiser raised, or broke its contract."""

    boundary = "adapter"


class ProposerFailure(BoundaryError):
    """A reflection gave no usable text."""

    boundary = "proposer"


def one_line(message: object, limit: int = 300) -> str:
    """Return the message on one line, control characters removed, at most `limit` characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(message)).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


@contextmanager
def boundary(failure: type[BoundaryError]) -> Iterator[None]:
    """Turn any plain exception of the enclosed foreign code into the named `failure`.

    KeyboardInterrupt, SystemExit, and errors scrutable itself raised pass through unchanged.
    """
    try:
        yield
    except ScrutableError:
        raise
    except Exception as error:
        raise failure(f"{type(error).__name__}: {error}") from error
