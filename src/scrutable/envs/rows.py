"""Rows made into tasks: what a row may hold, which of them are the same, and which split each belongs to.

A split belongs to a prompt, not to a row: rows that ask the same thing (white space aside) under different columns stay
together, so that nothing read on one split was seen on another. It is drawn from a hash of the prompt's content, so it
depends neither on the order of the rows nor on a seed, and a file that grows keeps its old prompts where they were.
What rows are read from is the business of `prompts.py` and `file.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from scrutable.core.errors import UserError, one_line
from scrutable.core.records import SPLITS, Message, Split, Task, digest_of

SHARES: dict[Split, float] = {"search": 0.4, "keep": 0.2, "report": 0.4}
"""The share of prompts that falls to each split when the rows do not say."""

# Names under which a reward is called (TRL's, see rewards.py): a column of that name could never reach it.
RESERVED = frozenset({"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"})

Entry = tuple[str, object]
"""Where a row stands (for messages: "rows[3]", "FILE, line 3"), and the row."""


@dataclass(frozen=True)
class Table:
    """Tasks by split, in the order of the rows.

    conversational: whether the prompts were lists of messages (else strings): a reward gets them back in that form.
    columns: all names that any row has, sorted; a row without one has None there. duplicates: how many rows were dropped.
    """

    tasks: dict[Split, tuple[Task, ...]]
    conversational: bool
    columns: tuple[str, ...]
    duplicates: int

    @property
    def count(self) -> int:
        """How many tasks there are in all splits."""
        return sum(map(len, self.tasks.values()))

    def counts(self) -> str:
        """The sizes of the splits, in words."""
        return ", ".join(f"{split} {len(self.tasks[split])}" for split in SPLITS)

    def digest(self) -> str:
        """Hash of the tasks of each split, whatever their order."""
        return digest_of({split: sorted(task.key for task in tasks) for split, tasks in self.tasks.items()})


def make_table(entries: Iterable[Entry], shares: Mapping[Split, float] = SHARES) -> Table:
    """Make tasks of rows: each a mapping with `prompt` (a string, or a list of messages), any columns, and maybe `split`.

    A row with the same prompt and columns as an earlier one is dropped, and counted. Either every row says its split or
    none does; `shares` (any positive scale) is used in the second case.

    Errors: UserError that names the row, when it is no mapping, has no usable prompt, or a column is no JSON value; when
    there are no rows; when strings and message lists are mixed; when one prompt is put into two splits.
    """
    tasks: dict[str, Task] = {}
    said: dict[str, Split | None] = {}
    forms: dict[bool, str] = {}
    total = 0
    for where, row in entries:
        total += 1
        prompt, columns, split = _parts(where, row)
        forms.setdefault(isinstance(prompt, str), where)
        task = Task(messages=_messages(where, prompt), columns=columns)
        identity = prompt_key(task)
        if said.setdefault(identity, split) != split:
            raise UserError(_disagree(where, said[identity], split))
        tasks.setdefault(task.key, task)
    if not tasks:
        raise UserError("there are no rows: give at least one with a `prompt`")
    if len(forms) > 1:
        raise UserError(
            f"{forms[True]} has a string as prompt and {forms[False]} a list of messages: use one form in all rows"
        )
    if None in said.values() and any(said.values()):
        raise UserError("some rows have a `split` and others none: mark all of them, or none")
    homes = {key: split for key, split in said.items() if split} or assign(said, shares)
    return Table(
        tasks={split: tuple(t for t in tasks.values() if homes[prompt_key(t)] == split) for split in SPLITS},
        conversational=False in forms,
        columns=tuple(sorted({name for task in tasks.values() for name in task.columns})),
        duplicates=total - len(tasks),
    )


def prompt_key(task: Task) -> str:
    """Hash of what is asked, columns and white space aside: tasks that share it never stand in two splits."""
    return digest_of([[m.role, " ".join(m.content.split())] for m in task.messages])


def assign(keys: Iterable[str], shares: Mapping[Split, float] = SHARES) -> dict[str, Split]:
    """Put each prompt into a split, by its hash alone.

    keys: hashes from `prompt_key`. Sizes follow `shares` up to chance. A split with a share that got nothing (only with a
    few prompts) is given one of the largest split's, so that ten rows are enough for all three.
    """
    places = {key: int(digest_of(["split", key])[:13], 16) / 16**13 for key in keys}
    whole = sum(shares.values())
    homes: dict[str, Split] = {}
    for key, place in places.items():
        edge = 0.0
        for split in SPLITS:
            edge += shares.get(split, 0.0) / whole
            if shares.get(split, 0.0) > 0:
                homes[key] = split
                if place < edge:
                    break
    for split in SPLITS:
        if shares.get(split, 0.0) > 0 and split not in homes.values():
            members = {s: sorted((k for k, home in homes.items() if home == s), key=places.__getitem__) for s in SPLITS}
            largest = max(members.values(), key=len)
            if len(largest) > 1:
                homes[largest[0]] = split
    return homes


def read_shares(value: object) -> dict[Split, float]:
    """Check shares that a user wrote, such as `{"search": 50, "keep": 20, "report": 30}`.

    Errors: UserError when a name is no split, a share is no number or negative, or all are zero.
    """
    if not isinstance(value, Mapping) or not set(value) <= set(SPLITS):
        raise UserError(f"`splits` must be a dict from {', '.join(SPLITS)} to shares, not {one_line(repr(value), 80)}")
    for split, share in value.items():
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share < float("inf"):
            raise UserError(f"`splits[{split!r}]` must be a share such as 0.4, not {one_line(repr(share), 80)}")
    if not any(value.values()):
        raise UserError("`splits` gives every split a share of 0: give at least one a share")
    return {split: float(value.get(split, 0.0)) for split in SPLITS}


def _parts(where: str, row: object) -> tuple[object, dict[str, JsonValue], Split | None]:
    """Take a row apart: its prompt, its columns, its split."""
    if not isinstance(row, Mapping):
        raise UserError(f"{where} is a {type(row).__name__}, not a dict with a `prompt`")
    if "prompt" not in row:
        has = ", ".join(f"`{one_line(name, 30)}`" for name in list(row)[:8]) or "nothing"
        raise UserError(
            f"{where} has no `prompt` (it has {has}): give each row a `prompt`, a string or a list of messages"
        )
    split = row.get("split")
    if split is not None and split not in SPLITS:
        raise UserError(
            f"{where}: `split` is {one_line(repr(split), 40)}: use one of {', '.join(SPLITS)}, or leave it out"
        )
    for name in row:
        if not isinstance(name, str) or name in RESERVED:
            raise UserError(f"{where}: a column cannot be called {one_line(repr(name), 40)}: rename it")
    columns = {
        name: _plain(f"{where}: column `{name}`", value)
        for name, value in row.items()
        if name not in ("prompt", "split")
    }
    return row["prompt"], columns, split


def _messages(where: str, prompt: object) -> tuple[Message, ...]:
    """Read a prompt: a string is one user message; a list holds messages of text, the last of them the user's."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise UserError(f"{where}: the prompt is empty: write one, or remove the row")
        return (Message(role="user", content=prompt),)
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes) or not prompt:
        raise UserError(f"{where}: `prompt` must be a string or a list of messages, not {one_line(repr(prompt), 60)}")
    messages = []
    for message in prompt:
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            shape = '{"role": "system", "user" or "assistant", "content": text}'
            raise UserError(f"{where}: a message must be {shape}, not {one_line(repr(message), 80)}")
        messages.append(Message(role=role, content=content))
    if any(m.role == "system" for m in messages[1:]):
        raise UserError(f"{where}: a system message must come first: move it to the start of `prompt`")
    if messages[-1].role != "user" or not messages[-1].content.strip():
        raise UserError(f"{where}: the last message of `prompt` must be the user's, and not empty")
    return tuple(messages)


def _plain(where: str, value: object) -> JsonValue:
    """Return the value as JSON has it (tuples become lists, numpy and torch numbers plain ones)."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise UserError(f"{where} has a dict with keys that are no strings: make them strings")
        return {name: _plain(where, held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(where, held) for held in value]
    if hasattr(value, "tolist"):
        return _plain(where, value.tolist())
    raise UserError(f"{where} holds a {type(value).__name__}: use strings, numbers, lists and dicts")


def _disagree(where: str, first: Split | None, second: Split | None) -> str:
    """Say that a prompt was put into two splits."""
    return f"{where}: its prompt stands in split {second or '(none)'} here and in {first or '(none)'} before: use one for both"
