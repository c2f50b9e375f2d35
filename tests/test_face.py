"""The package's face: quick, lazy, and every name of its table there."""

import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_a_verb_is_the_verb_whatever_was_imported_before() -> None:
    code = "import scrutable.train.rl, scrutable.measure.fidelity, scrutable as s; print(callable(s.train), callable(s.measure))"
    assert python(code) == "True True\n"
    assert python("from scrutable import train; from scrutable.train import rl; print(train is rl.train)") == "True\n"


def test_type_checkers_see_the_same_names() -> None:
    stub = (Path(scrutable.__file__).parent / "__init__.pyi").read_text(encoding="utf-8")
    assert {n: m for m, n in re.findall(r"^from (\S+) import (\w+) as \2$", stub, re.MULTILINE)} == scrutable._FACE
