"""Files of rows (.jsonl) and of prompts (.jsonl, .txt).

Prompts without any reward are an environment, too: fit for `read` and `measure`.
"""

from __future__ import annotations

import json
from pathlib import Path

from scrutable.core.errors import UserError
from scrutable.core.records import SPLITS
from scrutable.envs.rows import Entry, make_table
from scrutable.envs.table import TableEnvironment


def open_prompts(path: str | Path) -> TableEnvironment:
    """Open prompts without a reward: .jsonl with a `prompt` a line (and maybe `split`), or .txt with one prompt a line.

    Errors: UserError, with the line, when the file is missing or malformed.
    """
    path = Path(path)
    if path.suffix not in (".jsonl", ".txt"):
        raise UserError(f"{path}: prompts come from a .jsonl file (a `prompt` a line) or a .txt file (one a line)")
    if path.suffix == ".jsonl":
        entries = read_jsonl(path)
    else:
        entries = [(f"line {number}", {"prompt": line}) for number, line in _lines(path)]
    try:
        table, few = make_table(entries), ""
        if path.suffix == ".txt":
            few = f"{path}: {len(SPLITS)} different prompts are needed at least, and it has {table.count}"
        return TableEnvironment(path.stem, table, few=few)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_text(path: Path) -> str:
    """Return a file's text (UTF-8, a byte order mark dropped). Errors: UserError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def read_jsonl(path: Path) -> list[Entry]:
    """Return the objects of a JSONL file, each with its line; empty lines are passed over.

    Errors: UserError, with the line, when one is no JSON.
    """
    entries: list[Entry] = []
    for number, line in _lines(path):
        try:
            entries.append((f"line {number}", json.loads(line)))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: this is no JSON ({error.msg}): write one object a line") from error
        except RecursionError as error:
            raise UserError(f"{path}, line {number}: this JSON is nested too deeply: make it flat") from error
    return entries


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not empty, numbered from 1."""
    # Not splitlines: it also breaks at characters that may stand within a JSON string.
    lines = [line.rstrip("\r") for line in read_text(path).split("\n")]
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
