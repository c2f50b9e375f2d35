"""Run folders of the command line: where they lie, how they are named, what is written about how they were made.

Without `--run`, a run is named by its verb, its subject and the hash of its config: the same command finds its own folder
again, and goes on there or shows what stands. Runs lie in runs/ of the working directory, or in SCRUTABLE_RUNS.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import create_model

from scrutable.core.config import Config
from scrutable.core.errors import UserError, one_line
from scrutable.core.folder import CONFIG, guard, hold, read_config, refuse_place, resolve
from scrutable.core.journal import Run

_BEGUN = frozenset({"about", "inputs", "stage", "failed"})  # kinds of events with which nothing has come of a run yet
TOLD = ("torch", "transformers", "trl", "peft", "safetensors", "openai")


def root() -> Path:
    """Return the folder that runs lie in."""
    return Path(os.environ.get("SCRUTABLE_RUNS", "runs"))


def folder_of(name: str) -> Path:
    """Return the folder of a run given by its name, or by a path."""
    looks_like_a_path = "/" in name or os.sep in name or name in (".", "..")
    return Path(name).expanduser() if looks_like_a_path else root() / name


def existing(name: str) -> Path:
    """Return the folder of a run that is there.

    Errors: UserError that names the runs there are.
    """
    for place in (folder_of(name), Path(name)):
        if (place / CONFIG).exists():
            return place
    known = [place.name for place in all_runs()]
    there = f"there are {', '.join(known[:6])}{', ...' if len(known) > 6 else ''}" if known else f"{root()}/ holds none"
    raise UserError(f"there is no run {name!r}: {there}")


def all_runs() -> list[Path]:
    """Return the folders of all runs, the newest first."""
    there = root().iterdir() if root().is_dir() else ()
    found = [place for place in there if (place / CONFIG).is_file()]
    return sorted(found, key=lambda place: ((place / CONFIG).stat().st_mtime, place.name), reverse=True)


def job(verb: str, seed: int, subject: Mapping[str, str], configs: Mapping[str, Config]) -> Config:
    """Return the config of a run: what it does, to what, and the configs of the functions it calls."""
    fields: dict[str, Any] = {name: (type(config), config) for name, config in configs.items()}
    plain = {"verb": verb, "seed": seed, **subject}
    fields |= {name: (type(value), value) for name, value in plain.items()}
    return create_model("Job", __base__=Config, **fields)()


def check_run(name: str | None, made: Config) -> None:
    """Refuse a run folder that cannot be made or gone on with, before anything is loaded for it.

    Errors: UserError when there can be none, another process holds it, or it was made with another config (the keys that
    differ are named).
    """
    place = place_of(name, made)
    refuse_place(place)
    if (place / CONFIG).exists():
        there, verb = read_config(place).identity.get("verb"), made.identity()["verb"]
        if there != verb:
            raise UserError(f"{place} was made by `scrutable {there or '(a script)'}`: choose another --run")
        guard(place, resolve(made))
        os.close(hold(place))


def place_of(name: str | None, made: Config) -> Path:
    """Return the folder of a job's run: the one that was named, or its own."""
    return folder_of(name) if name else root() / default_name(made)


@contextmanager
def open_run(name: str | None, made: Config, about: Mapping[str, str], inputs: Mapping[str, str]) -> Iterator[Run]:
    """Open the run of a job and write how it was made, once.

    about: title, before, after, env: what the page says at its top. inputs: identities of the environment and the models.
    Errors: UserError when another process holds it, or it was made with another config or other inputs (they are named).
    """
    with Run.open(place_of(name, made), made) as run:
        _check_inputs(run, inputs)
        if not run.has("about"):
            run.append(
                "about",
                "about",
                {**about, "command": command(), "scrutable": _version("scrutable"), "versions": versions()},
            )
        try:
            yield run
        except Exception as error:
            with suppress(OSError, UserError):  # a full disk: the error itself is told in any case
                run.append(f"failed/{len(run.events('failed'))}", "failed", {"why": one_line(error)})
            raise


def _check_inputs(run: Run, inputs: Mapping[str, str]) -> None:
    """Write down what a run is of, or refuse one that is of something else: names and paths in a config say too little.

    One that came to nothing may be begun anew: what was wrong may have been one of these.
    inputs: identities, by a name that people understand. Errors: UserError that names those that changed.
    """
    begun = [event.payload for event in run.events("inputs")]
    changed = [name for name, identity in inputs.items() if begun and begun[-1].get(name) != identity]
    if changed and any(event.kind not in _BEGUN for event in run.events()):
        raise UserError(
            f"{run.path} was made with another {' and another '.join(changed)} of the same name (changed since): "
            "put back what it was, or choose another run folder with --run"
        )
    if changed or not begun:
        run.append(f"inputs/{len(begun)}", "inputs", inputs)


def default_name(made: Config) -> str:
    """Return the name of a run that was given none: 'train-advert-1a2b3c'."""
    values = made.identity()
    words = [str(values.get(key, "")) for key in ("verb", "env", "after")]
    parts = [re.sub(r"[^A-Za-z0-9]+", "-", Path(word).stem if word else "").strip("-").lower()[:32] for word in words]
    return "-".join([*dict.fromkeys(part for part in parts if part), made.digest()[:6]])


def command() -> str:
    """Return the command line that is being run, without what does not decide what comes of it (`--run`, `--json`)."""
    words: list[str] = []
    given = iter(sys.argv[1:])
    for word in given:
        if word in ("--run", "--json"):
            next(given, None)
        elif word != "--debug" and not word.startswith(("--run=", "--json=")):
            words.append(word)
    return shlex.join(["scrutable", *words])


def versions() -> dict[str, str]:
    """Return the versions of what decides results."""
    return {"python": platform.python_version()} | {name: _version(name) for name in TOLD}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
