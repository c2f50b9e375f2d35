"""Runs cut off in the middle, and gone on with."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from scrutable.core.journal import Run, events_equal

T = TypeVar("T")


class Killed(BaseException):
    """What ends a run in the middle; nothing in the library catches it."""


def cut_off(go: Callable[[Run], T], folder: Path, events: int) -> tuple[T, T]:
    """Return what `go` gives in one run, and in another that was killed after so many events and gone on with.

    Both must leave the same events.
    """
    with Run.open(folder / "whole", {"seed": 1}) as run:
        whole = go(run)
    with Run.open(folder / "killed", {"seed": 1}) as run, pytest.raises(Killed):
        append = run.append

        def dying(*given, **more):
            if len(run.events()) == events:
                raise Killed
            return append(*given, **more)

        run.append = dying
        go(run)
    with Run.open(folder / "killed", {"seed": 1}) as run:
        resumed = go(run)
    assert events_equal(folder / "whole", folder / "killed")
    return whole, resumed
