"""A user's own environment: one Python file.

    rows          a list of dicts, or the path of a .jsonl file (relative to this one), or a function that returns either;
                  each row has `prompt` (a string, or a list of messages), any columns, and maybe `split`
    reward*       functions called `reward` or `reward_...`, in TRL's signature (see rewards.py); or `rewards = [f, g]`
    feedback      optional: a function of the same signature that returns a list of texts: what the rater noticed
    true_reward   optional: what should have been rewarded; never trained on, only shown beside
    weights       optional: one number a reward, in their order, or a dict by name; 1 where not said
    splits        optional: shares such as {"search": 0.4, "keep": 0.2, "report": 0.4} (these are the defaults)
    name          optional: else the file's name
    timeout       optional: seconds that one call on a batch of answers may take (60)

A file without rewards is an environment without a reward. The file is run, so it is only ever one that the user named. Modules
beside it can be imported at its top; its folder is not on the path later, when its functions run. Its identity covers their
code too, but neither installed packages nor data that the code reads.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from scrutable.core.errors import UserError, one_line
from scrutable.core.records import digest_of
from scrutable.envs.prompts import read_jsonl, read_text
from scrutable.envs.rewards import SECONDS, Function, Rater
from scrutable.envs.rows import SHARES, Entry, make_table, read_shares
from scrutable.envs.table import TableEnvironment

# Modules imported from beside the last environment's file. Forgotten at the next: each may have its own `helpers`.
_beside: set[str] = set()


def open_file(path: str | Path) -> TableEnvironment:
    """Open a user's environment file (the module's docstring says what it may define).

    Errors: UserError in one line, with the line of the file where there is one.
    """
    path = Path(path)
    source = read_text(path)
    module = _run(path, source)
    try:
        return _environment(path, _code(path, source), vars(module))
    except UserError as error:
        line = str(error)
        raise UserError(line if line.startswith(str(path)) else f"{path}: {line}") from error


def _environment(path: Path, source: str, names: Mapping[str, Any]) -> TableEnvironment:
    """Make the environment from the names that the file defined."""
    shares = read_shares(names["splits"]) if "splits" in names else SHARES
    table = make_table(_entries(path, names), shares)
    rewards = _rewards(names)
    name = names.get("name", path.stem)
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"`name` must be a text, not {one_line(repr(name), 60)}")
    rater = None
    if rewards:
        rater = Rater(
            rewards=rewards,
            true_reward=_optional(names, "true_reward"),
            feedback=_optional(names, "feedback"),
            conversational=table.conversational,
            columns=table.columns,
            seconds=_timeout(names.get("timeout", SECONDS)),
        )
    return TableEnvironment(name.strip(), table, rater, source)


def _run(path: Path, source: str) -> ModuleType:
    """Run the file as a module under a private name.

    Errors: UserError with the file's line when it is no Python, raises, or calls sys.exit.
    """
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}: mend the file") from error
    except ValueError as error:
        raise UserError(f"{path} is no Python file: {error}") from error
    module = ModuleType(f"_scrutable_environment_{digest_of(str(path.resolve()))}")
    module.__file__ = str(path.resolve())
    sys.modules[module.__name__] = module  # dataclasses and pickle look a function's module up
    with _blaming(path), _folder_on_path(path.resolve().parent):
        exec(code, vars(module))
    return module


def _code(path: Path, source: str) -> str:
    """Return the hash of the file's text and of the modules beside it that it has imported, by their place in its folder."""
    folder = path.resolve().parent
    files = {Path(str(sys.modules[name].__file__)) for name in _beside}
    beside = {file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files}
    return digest_of([source, beside])


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn an error of the user's code into one line that names the line of the file."""
    try:
        yield
    except UserError:
        raise
    except SystemExit as error:
        raise UserError(
            f"{path} calls sys.exit when it is loaded: put that under `if __name__ == '__main__':`"
        ) from error
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        place = f"{path}, line {lines[-1]}" if lines else str(path)
        advice = "install it, or put it beside the file" if isinstance(error, ModuleNotFoundError) else "mend the file"
        raise UserError(f"{place}: {one_line(f'{type(error).__name__}: {error}')}: {advice}") from error


@contextmanager
def _folder_on_path(folder: Path) -> Iterator[None]:
    """Let the file import what stands beside it, and nothing that stood beside another environment."""
    for name in _beside:
        sys.modules.pop(name, None)
    _beside.clear()
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts:
                _beside.add(name)


def _entries(path: Path, names: Mapping[str, Any]) -> list[Entry]:
    """Find the rows that the file defines."""
    if "rows" not in names:
        raise UserError("it defines no `rows`: a list of dicts with a `prompt`, or the path of a .jsonl file")
    rows = names["rows"]
    if callable(rows) and not isinstance(rows, Iterable):
        with _blaming(path):
            rows = rows()
    if isinstance(rows, str | Path):
        file = path.parent / rows
        if file.suffix != ".jsonl":
            raise UserError(f"`rows` names {file}, which is no .jsonl file: give one, or a list of dicts")
        return [(f"{file.name}, {where}", row) for where, row in read_jsonl(file)]
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # it would iterate over the names of its columns
        raise UserError('`rows` is a data frame: write `rows = frame.to_dict("records")`')
    if isinstance(rows, Mapping | bytes) or not isinstance(rows, Iterable):
        raise UserError(f"`rows` is a {type(rows).__name__}: make it a list of dicts, or the path of a .jsonl file")
    with _blaming(path):
        return [(f"rows[{place}]", row) for place, row in enumerate(rows)]


def _rewards(names: Mapping[str, Any]) -> list[Function]:
    """Find the rewards: those listed in `rewards`, else the functions called `reward` or `reward_...`."""
    if "rewards" in names:
        listed = names["rewards"]
        listed = [listed] if callable(listed) else listed
        if not isinstance(listed, list | tuple) or not listed:
            raise UserError(f"`rewards` must be a list of functions, not {one_line(repr(listed), 60)}")
        for reward in listed:
            if not callable(reward) or isinstance(reward, type):
                raise UserError(f"`rewards` holds {one_line(repr(reward), 60)}, which is no function")
        found = [(_name_of(reward), reward) for reward in listed]
    else:
        if names.get("reward") is not None and not callable(names["reward"]):
            raise UserError(f"`reward` is {one_line(repr(names['reward']), 60)}: make it a function")
        found = [
            (name, value)
            for name, value in names.items()
            if (name == "reward" or name.startswith("reward_")) and callable(value) and not isinstance(value, type)
        ]
    unique: dict[str, Callable[..., Any]] = {}
    for name, reward in found:
        taken = {*unique, "feedback", "true_reward"}
        unique[next(n for n in (name, *(f"{name}_{k}" for k in range(2, 1000))) if n not in taken)] = reward
    weights = _weights(names.get("weights"), list(unique))
    return [Function(name, reward, weights[name]) for name, reward in unique.items()]


def _weights(value: object, rewards: list[str]) -> dict[str, float]:
    """Read `weights`: one number a reward, in order, or by name."""
    if value is None:
        return dict.fromkeys(rewards, 1.0)
    if isinstance(value, Mapping):
        strange = [str(name) for name in value if name not in rewards]
        if strange:
            raise UserError(
                f"`weights` names {', '.join(strange)}, which is no reward (there are: {', '.join(rewards)})"
            )
        pairs = {name: value.get(name, 1.0) for name in rewards}
    elif isinstance(value, list | tuple) and len(value) == len(rewards):
        pairs = dict(zip(rewards, value, strict=True))
    else:
        raise UserError(
            f"`weights` must have one number for each of the {len(rewards)} rewards ({', '.join(rewards) or 'none'}), "
            f"not {one_line(repr(value), 60)}"
        )
    for name, weight in pairs.items():
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not math.isfinite(weight):
            raise UserError(f"the weight of `{name}` is {one_line(repr(weight), 40)}, which is no number")
    return {name: float(weight) for name, weight in pairs.items()}


def _optional(names: Mapping[str, Any], name: str) -> Function | None:
    """Find `feedback` or `true_reward`, where the file defines it."""
    value = names.get(name)
    if value is None:
        return None
    if not callable(value) or isinstance(value, type):
        raise UserError(f"`{name}` is {one_line(repr(value), 60)}: make it a function, or remove it")
    return Function(name, value)


def _timeout(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise UserError(f"`timeout` must be a number of seconds, not {one_line(repr(value), 40)}")
    return float(value)


def _name_of(function: Callable[..., Any]) -> str:
    """What a reward is called on pages."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return "reward" if name == "<lambda>" else str(name)
