"""The command line in this process: exit code, stdout and stderr of one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scrutable.cli import frame


@dataclass(frozen=True)
class Called:
    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Call `scrutable` in an empty folder, which stays the same within a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRUTABLE_RUNS", raising=False)

    def run(*words: str) -> Called:
        monkeypatch.setattr("sys.argv", ["scrutable", *words])
        with pytest.raises(SystemExit) as end:
            frame.main()
        said = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Called(end.value.code, said.out, said.err)

    return run
