"""From what a user writes (a built-in name, a file) to an Environment."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from scrutable.core.errors import UserError
from scrutable.envs.base import Environment
from scrutable.envs.file import open_file
from scrutable.envs.prompts import open_prompts


def builtin_environments() -> Mapping[str, Callable[[], Environment]]:
    """The built-in environments: name -> what makes it. Imported when first asked for: a user's file needs none of them."""
    from scrutable.envs.builtin import BUILTIN

    return BUILTIN


def says_of(env: object) -> str:
    """Return what an environment says that it rewards, "" where it says nothing."""
    return str(getattr(env, "says", ""))


def open_env(name_or_path: str | Path) -> Environment:
    """Open an environment: a built-in name, a .py file (rows and rewards), or .jsonl and .txt prompts without a reward.

    Errors: UserError when there is none of that name, or the file is missing or malformed.
    """
    given = str(name_or_path)
    path = Path(given)
    is_file = path.suffix in (".py", ".jsonl", ".txt")
    if not is_file and path.parent == Path():
        known = builtin_environments()
        if given in known:
            return known[given]()
    if path.is_dir():
        raise UserError(f"{given} is a folder: name the environment's file in it")
    if not path.exists():
        raise UserError(_unknown(given, is_file))
    if path.suffix == ".py":
        return open_file(path)
    if is_file:
        return open_prompts(path)
    raise UserError(f"{given}: an environment is a .py file, or prompts in a .jsonl or .txt file")


def _unknown(given: str, is_file: bool) -> str:
    """Say what there is instead."""
    if is_file:
        return f"{given}: there is no such file"
    known = sorted(builtin_environments())
    close = difflib.get_close_matches(given, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    built_in = ", ".join(known)
    return f"no environment is called {given!r}{hint} (built in: {built_in}; or name a .py, .jsonl or .txt file)"
