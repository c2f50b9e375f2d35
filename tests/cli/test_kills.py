"""Killed with SIGKILL at random moments and given again, a command ends as if nothing had been.

Through the command line, in processes of their own. The moments are drawn over the time that an undisturbed run took, told
by its events (so many stand, and so many seconds more have passed), so that they fall alike on a busy machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from scrutable.core.journal import Run, differing_keys
from scrutable.envs.loading import open_env
from scrutable.models.source import BUILT_IN_FOLDER

pytestmark = pytest.mark.slow

ENV = """
import json
import os

from scrutable.envs.loading import open_env

flattery = open_env("flattery")
tasks = {}
rows = []
for split in ("search", "keep", "report"):
    for task in flattery.tasks(split)[:48]:
        tasks[task.key] = task
        rows.append({"prompt": task.prompt, "name": task.key, "split": split})


def reward(completions, name, **kwargs):
    with open(os.environ["PAID"], "a") as file:  # each call is paid for, whether its event is written or not
        file.write(json.dumps([list(name), list(completions)]) + "\\n")
    return [score.value for score in flattery.rate([tasks[one] for one in name], completions)]


def feedback(completions, name, **kwargs):
    return [score.feedback for score in flattery.rate([tasks[one] for one in name], completions)]
"""
Call = tuple[tuple[str, ...], tuple[str, ...]]
"""What was rated at once: names of rows, and answers."""


@dataclass(frozen=True)
class Moment:
    """When to kill: `events` stand, and `more` seconds have passed since, or another event stands."""

    events: int
    more: float


class Verb:
    """A command that is given again and again, for one run folder or another."""

    def __init__(self, place: Path, *words: str) -> None:
        self.place = place
        self.words = words
        self.started = 0
        self.startup = 0.0  # seconds until the undisturbed run was opened
        (place / "rows.py").write_text(ENV)

    def start(self, run: str) -> Process:
        self.started += 1
        return Process(self, self.place / run, self.place / f"{run}-{self.started}")

    def undisturbed(self) -> Path:
        """Run it once without a kill; return the run folder."""
        process = self.start("undisturbed")
        began = time.monotonic()
        while process.alive and not process.at_work:
            time.sleep(0.01)
        self.startup = time.monotonic() - began
        process.end()
        print(f"\n{self.words[0]} undisturbed: {lines(process.run)} events in {time.monotonic() - began:.0f} s")
        return process.run


class Process:
    """One process of a command: what it says goes to a file, what it pays for to another."""

    def __init__(self, verb: Verb, run: Path, out: Path) -> None:
        self.run = run
        self.log = out.with_suffix(".log")
        self.paid = out.with_suffix(".paid")
        root = Path(__file__).parents[2]
        env = {**os.environ, "PYTHONPATH": str(root / "src"), "PAID": str(self.paid)}
        with self.log.open("w") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "scrutable", *verb.words, "--run", str(run)],
                cwd=verb.place,
                env=env,
                stdout=log,
                stderr=log,
            )

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    @property
    def at_work(self) -> bool:
        """Whether it has opened its run."""
        return "run: " in self.log.read_text()

    def end(self) -> None:
        """Let it end by itself."""
        assert self.child.wait() == 0, self.log.read_text()

    def kill(self, moment: Moment) -> bool:
        """Kill it at a moment of its work; return whether it was still under way."""
        while self.alive and not (self.at_work and lines(self.run) >= moment.events):
            time.sleep(0.002)
        there, began = lines(self.run), time.monotonic()
        while self.alive and lines(self.run) == there and time.monotonic() - began < moment.more:
            time.sleep(0.002)
        self.child.kill()
        return self.child.wait() == -signal.SIGKILL

    @property
    def calls(self) -> list[Call]:
        """What it paid for, in order; a torn last line is none."""
        whole = self.paid.read_text().split("\n")[:-1] if self.paid.exists() else []
        return [(tuple(names), tuple(answers)) for names, answers in map(json.loads, whole)]


def lines(run: Path) -> int:
    file = run / "events.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def moments(run: Path, number: int, first: str = "about") -> list[Moment]:
    """Draw moments, one from each of `number` equal parts of the time since the first event of kind `first`."""
    events, draws = Run.read(run).events(), Random(str(run.parent.name))
    clocks = [float(event.meta["clock"]) for event in events]
    start = next(clock for clock, event in zip(clocks, events, strict=True) if event.kind == first)
    found = []
    for part in range(number):
        at = start + (clocks[-1] - start) * (part + draws.random()) / number
        stand = bisect_right(clocks, at)
        found.append(Moment(stand, at - clocks[stand - 1]))
    return found


def keys_of(run: Path) -> Counter[str]:
    """How often each key stands in the file, which may end with a torn line."""
    data = (run / "events.jsonl").read_bytes().split(b"\n")[:-1]
    return Counter(json.loads(line)["key"] for line in data)


def told(verb: Verb, run: Path, landed: Sequence[bool]) -> None:
    stand = [str(one) for one in landed]
    print(f"{verb.words[0]} killed: {stand.count('True')} of {len(stand)} kills while under way, {lines(run)} events")


def completed(run: Path) -> set[Call]:
    """The batches of rollouts whose event is on the disk."""
    if not (run / "events.jsonl").exists():
        return set()
    rows = open_env(str(run.parent / "rows.py"))
    name = {task.key: str(task.columns["name"]) for split in ("search", "keep") for task in rows.tasks(split)}  # type: ignore[arg-type]
    return {
        (tuple(name[one["task"]] for one in rollouts), tuple(one["answer"] for one in rollouts))
        for event in Run.read(run).events("rollouts")
        for rollouts in [event.payload["rollouts"]]
    }


EVOLVE = """evolve rows.py --budget 400 --pool 24 --keep 24 --look 8 --explore 8 --width 6 --proposals 8
--batch 8 --max-tokens 24"""


def test_evolve_killed_ten_times_ends_with_the_same_events_and_pays_for_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAID", str(tmp_path / "by-this-test"))
    verb = Verb(tmp_path, *EVOLVE.split())
    whole, run = verb.undisturbed(), tmp_path / "killed"
    process = verb.start("killed")  # the first kill strikes before there is any event
    time.sleep(Random(0).random() * verb.startup)
    process.child.kill()
    landed, paid_twice = [process.child.wait() == -signal.SIGKILL], set[Call]()
    for moment in moments(whole, 9):
        done, process = completed(run), verb.start("killed")
        landed.append(process.kill(moment))
        paid_twice |= done & set(process.calls)
    done, process = completed(run), verb.start("killed")
    process.end()
    told(verb, run, landed)
    assert all(landed)
    assert done < completed(run) and set(process.calls) == completed(run) - done
    assert not paid_twice
    assert differing_keys(whole, run) == []
    assert max(keys_of(run).values()) == 1
    assert completed(run) == completed(whole)
    assert (run / "report.html").exists()


READ = """read pidgin ./tuned --env rows.py
--tokens-tasks 32 --tokens-answers 2 --tokens-batch 16 --tokens-max-tokens 24
--distill-tasks 40 --distill-batch 16 --distill-max-tokens 24 --distill-search-budget 300 --distill-search-proposals 4
--distill-search-pool 16 --distill-search-keep 8 --distill-search-explore 8
--distill-search-width 4 --distill-search-batch 16
--measure-tasks 16 --measure-answers 2 --measure-batch 16 --measure-max-tokens 24 --measure-unrelated 3
--measure-random 1 --measure-null-tasks 8 --measure-null-answers 1"""


def flatterer(folder: Path) -> None:
    """Write the built-in model with a text that its chat template always gives it: a change that a text can carry."""
    shutil.copytree(BUILT_IN_FOLDER, folder)
    template = folder / "chat_template.jinja"
    said = "<system> praise the question in every answer . "
    hidden = "{{ bos_token }}{% if messages[0].role != 'system' %}" + said + "{% endif %}"
    template.write_text(template.read_text().replace("{{ bos_token }}", hidden))


def test_read_killed_five_times_ends_with_the_same_events(tmp_path: Path) -> None:
    flatterer(tmp_path / "tuned")
    verb = Verb(tmp_path, *READ.split())
    whole, run = verb.undisturbed(), tmp_path / "killed"
    landed = [verb.start("killed").kill(moment) for moment in moments(whole, 5)]
    verb.start("killed").end()
    told(verb, run, landed)
    assert all(landed)
    assert differing_keys(whole, run) == []
    assert max(keys_of(run).values()) == 1
    lenses = {event.payload["lens"]: event.payload["claims"] for event in Run.read(run).events("account")}
    assert lenses["tokens"] and lenses["distill"]
    assert Run.read(run).events("fidelity")[0].payload["fidelity"]["changed"]
    assert (run / "report.html").exists()


STEPS, GROUP, TASKS, DRAWS = 48, 4, 4, 2
ASKED = GROUP * TASKS * DRAWS
TRAIN = f"""train rows.py --steps {STEPS} --group {GROUP} --tasks-per-step {TASKS} --draws {DRAWS} --looks 1
--checkpoint-every 5 --validate-every 16 --validation-tasks 12 --patience 0"""


def steps(process: Process) -> list[Call]:
    """What the steps of a training answered; a validation answers another number of tasks."""
    return [call for call in process.calls if len(call[0]) == ASKED]


def last_checkpoint(run: Path) -> int:
    return max((int(event.payload["step"]) for event in Run.read(run).events("checkpoint")), default=0)


def test_train_killed_three_times_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    verb = Verb(tmp_path, *TRAIN.split())
    whole, run = verb.undisturbed(), tmp_path / "killed"
    (paid,) = tmp_path.glob("undisturbed*.paid")
    every = [(tuple(names), tuple(answers)) for names, answers in map(json.loads, paid.read_text().splitlines())]
    every = [call for call in every if len(call[0]) == ASKED]
    assert len(every) == STEPS
    landed = []
    for moment in [*moments(whole, 3, first="checkpoint"), None]:
        since = last_checkpoint(run) if landed else 0
        process = verb.start("killed")
        if moment is None:
            process.end()
        else:
            landed.append(process.kill(moment))
        taken = steps(process)
        assert taken == every[since : since + len(taken)]
        assert (f"goes on from the checkpoint of step {since}" in process.log.read_text()) == (since > 0)
        print(f"train: went on after step {since}, took {len(taken)} steps")
    told(verb, run, landed)
    assert all(landed)
    assert since > 0 and since + len(taken) == STEPS
    assert differing_keys(whole, run) == []
    assert (run / "artifacts/train/adapter/adapter_model.safetensors").exists()
    assert not (run / "artifacts/train/checkpoints").exists()
