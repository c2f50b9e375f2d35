"""Runs without a model, written once for all tests of the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.synthetic import write_run

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>**bold** [link](http://x.test) "
    "\u202eevil \x1b[31m &lt; \u200bx\x00 \"'>{{ 7*7 }}"
)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "hostile", hostile=HOSTILE)


@pytest.fixture(scope="session")
def unchanged_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "same", changed=False)
