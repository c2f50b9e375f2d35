"""The package's face: quick, lazy, and every name of its table there."""

import os
import subprocess
import sys

import pytest

import scrutable


def python(code: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, check=True).stdout


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'pydantic', 'rich', 'jinja2'}"
    assert python(f"import scrutable, sys; print({heavy} & sys.modules.keys())") == "set()\n"


def test_importing_it_takes_under_300_milliseconds() -> None:
    code = "import time; t = time.perf_counter(); import scrutable; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", scrutable.__all__)
def test_every_name_of_the_face_is_there(name: str) -> None:
    assert getattr(scrutable, name) is not None
    assert name in dir(scrutable)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = scrutable.nonsense
