"""Killed with SIGKILL at random moments and run again, an evolution ends with the same events, and pays for nothing twice."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from scrutable.core.journal import differing_keys

CODE = """
import sys, time
from pathlib import Path
from scrutable.core.journal import Run
from scrutable.evolve.engine import EvolveConfig, evolve
from tests.evolve.toy import Guesser, ToyEnv, ToyModel, rule

place, paid = Path(sys.argv[1]), open(sys.argv[2], "a", buffering=1)

class Slow(ToyModel):
    def generate(self, conversations, sampling):
        found = super().generate(conversations, sampling)
        time.sleep(0.01)  # room to be killed between the answer and its event
        paid.write(f"{sampling.seed}\\n")
        return found

config = EvolveConfig(budget=1500, pool=48, keep=32, patience=3, batch=64)
with Run.open(place, {"seed": 7}) as run:
    evolve(ToyEnv(rule("sun", "yes") + " " + rule("rain", "no")), Slow(), run, config, Guesser())
"""


def start(place: Path, paid: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(place), str(paid)], env=env, stderr=subprocess.PIPE, text=True
    )


def size(place: Path) -> int:
    file = place / "events.jsonl"
    return file.stat().st_size if file.exists() else 0


def done_seeds(place: Path) -> set[int]:
    """Seeds of the batches whose event is on the disk (a torn last line is not)."""
    data = (place / "events.jsonl").read_bytes() if (place / "events.jsonl").exists() else b""
    events = [json.loads(line) for line in data.split(b"\n")[:-1]]
    return {event["payload"]["seed"] for event in events if event["kind"] == "rollouts"}


@pytest.mark.medium
def test_ten_kills_change_nothing_and_no_completed_rollout_is_paid_twice(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    child = start(undisturbed, tmp_path / "paid")
    assert child.wait(120) == 0, child.stderr and child.stderr.read()
    total = size(undisturbed)
    draws, completed, paid_twice = Random(0), set[int](), set[int]()
    goals = sorted(draws.random() for _ in range(10))
    for number, goal in enumerate(goals):
        log = tmp_path / f"paid{number}"
        child = start(killed, log)
        while child.poll() is None and size(killed) < goal * total:
            time.sleep(0.002)
        time.sleep(draws.random() * 0.02)
        child.kill()
        child.wait(60)
        paid = {int(line) for line in log.read_text().splitlines()} if log.exists() else set()
        paid_twice |= paid & completed
        completed = done_seeds(killed)
    child = start(killed, tmp_path / "last")
    assert child.wait(120) == 0, child.stderr and child.stderr.read()
    last = {int(line) for line in (tmp_path / "last").read_text().splitlines()}
    assert not differing_keys(undisturbed, killed)
    assert not paid_twice | (last & completed)
    assert len(completed) > 5  # the kills did strike a search under way
