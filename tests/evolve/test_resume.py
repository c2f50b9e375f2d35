"""Killed with SIGKILL at random moments and run again, a search ends in good order, and pays for nothing twice.

In one thread with batches, and with threads that make one rollout a call; in both modes. A rollout is completed when its
event is on the disk.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from scrutable.core.journal import Run, differing_keys

BATCHED = """
import sys, time
from pathlib import Path
from scrutable.core.journal import Run
from scrutable.evolve.engine import EvolveConfig, evolve
from tests.evolve.toy import Guesser, ToyEnv, ToyModel, rule

place, paid, mode = Path(sys.argv[1]), open(sys.argv[2], "a", buffering=1), sys.argv[3]

class Slow(ToyModel):
    def generate(self, conversations, sampling):
        found = super().generate(conversations, sampling)
        time.sleep(0.01)  # room to be killed between the answer and its event
        paid.write(f"{sampling.seed}\\n")
        return found

config = EvolveConfig(budget=1500, pool=48, keep=32, patience=3, batch=64, mode=mode)
with Run.open(place, {"seed": 7}) as run:
    evolve(ToyEnv(rule("sun", "yes") + " " + rule("rain", "no")), Slow(), run, config, Guesser())
"""

THREADED = """
import os, sys
from pathlib import Path
from scrutable.core.journal import Run
from tests.evolve.late import Latency, LateScorer, searched

place, paid, mode = Path(sys.argv[1]), open(sys.argv[2], "a", buffering=1), sys.argv[3]

class Told(LateScorer):
    def score(self, cells, seed):
        found = super().score(cells, seed)
        paid.write(f"{seed}\\n")
        self._latency()  # room to be killed between the answer and its event
        return found

with Run.open(place, {"seed": 7}) as run:
    scorer = Told(Latency(os.getpid(), 0.004))
    searched(run, scorer=scorer, latency=os.getpid(), mode=mode, budget=500, ahead=6, slots=8, patience=30)
"""


def start(code: str, place: Path, paid: Path, mode: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    command = [sys.executable, "-c", code, str(place), str(paid), mode]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def ended(child: subprocess.Popen[str]) -> None:
    assert child.wait(120) == 0, child.stderr and child.stderr.read()


def size(place: Path) -> int:
    file = place / "events.jsonl"
    return file.stat().st_size if file.exists() else 0


def events(place: Path) -> list[dict[str, Any]]:
    """Return the events that are on the disk (a torn last line is not)."""
    data = (place / "events.jsonl").read_bytes() if (place / "events.jsonl").exists() else b""
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def seeds(place: Path) -> set[int]:
    """Return the seeds of the completed calls: each call has one of its own."""
    return {event["payload"]["seed"] for event in events(place) if event["kind"] == "rollouts"}


def paid_for(log: Path) -> Counter[int]:
    return Counter(int(line) for line in log.read_text().splitlines()) if log.exists() else Counter()


@dataclass
class Tally:
    """What the kills did. struck: kills that found the search at work; under_way: calls paid for and not yet written."""

    struck: int = 0
    twice: int = 0
    lost: int = 0
    under_way: int = 0
    completed: set[int] = field(default_factory=set)


def killed_often(code: str, mode: str, folder: Path, total: int, kills: int) -> Tally:
    """Start a search again and again, kill it at random moments, and let it end."""
    draws, tally, place = Random(mode), Tally(), folder / "killed"
    for number, goal in enumerate([*sorted(draws.random() for _ in range(kills)), None]):
        log, stood = folder / f"paid{number}", events(place)
        child = start(code, place, log, mode)
        if goal is None:
            ended(child)
        else:
            while child.poll() is None and size(place) < goal * total:
                time.sleep(0.002)
            time.sleep(draws.random() * 0.05)
            tally.struck += child.poll() is None
            child.kill()
            child.communicate(timeout=60)
        paid = paid_for(log)
        tally.twice += sum(count for seed, count in paid.items() if seed in tally.completed)
        tally.twice += sum(count - 1 for count in paid.values())
        tally.lost += events(place)[: len(stood)] != stood
        tally.completed = seeds(place)
        tally.under_way += len(paid.keys() - tally.completed)
    return tally


@pytest.mark.medium
@pytest.mark.parametrize("mode", ["deterministic", "throughput"])
@pytest.mark.parametrize(("code", "kills"), [(BATCHED, 5), (THREADED, 25)], ids=["batched", "threaded"])
def test_kills_lose_nothing_and_no_completed_rollout_is_paid_twice(
    code: str, kills: int, mode: str, tmp_path: Path
) -> None:
    undisturbed = tmp_path / "undisturbed"
    ended(start(code, undisturbed, tmp_path / "paid", mode))
    tally = killed_often(code, mode, tmp_path, size(undisturbed), kills)
    told = {"struck": tally.struck, "under way": tally.under_way, "calls": len(tally.completed)}
    print(mode, told, {"paid twice": tally.twice, "lost": tally.lost})
    assert (tally.twice, tally.lost) == (0, 0)
    assert tally.struck > kills / 2  # the kills did strike a search at work
    with Run.open(tmp_path / "killed", {"seed": 7}) as run:
        cells = Counter(
            (one["candidate"], one["task"]) for event in run.events("rollouts") for one in event.payload["rollouts"]
        )
        (result,) = run.events("result")
        assert set(cells.values()) == {1}
        assert result.payload["rollouts"] == cells.total()
        assert cells.total() <= (1500 if code == BATCHED else 500)
        assert result.payload["score"] is not None
    if mode == "deterministic" or code == BATCHED:  # in one thread there is one schedule
        assert not differing_keys(undisturbed, tmp_path / "killed")
