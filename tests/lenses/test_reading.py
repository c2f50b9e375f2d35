"""Readings of several changes in one run, and the page they make."""

import json
import re
from pathlib import Path

import pytest
from tests.evolve.toy import rule
from tests.lenses.toy_open import ToyOpen, toy_tasks

from scrutable.core.accounts import Account, Claim
from scrutable.core.journal import Run
from scrutable.core.records import Task, Usage
from scrutable.evolve.engine import EvolveConfig
from scrutable.lenses.distill import DistillConfig, DistillLens
from scrutable.lenses.reading import read
from scrutable.measure.change import Change, Speaker
from scrutable.measure.fidelity import measure
from scrutable.measure.hearing import MeasureConfig
from scrutable.report.page import report

ONE, OTHER = rule("sun", "yes"), rule("rain", "no")
TASKS = toy_tasks(80)


class Namer:
    """A lens that says what it was shown."""

    name = "namer"

    def __init__(self) -> None:
        self.asked = 0

    def planned(self, tasks: int) -> Usage:
        return Usage()

    def read(self, change: Change, tasks: list[Task], run: Run) -> Account:
        self.asked += 1
        return Account(lens=self.name, claims=(Claim(says=f"{len(tasks)} tasks under '{change.before.text}'"),))


def change(folder: Path, tuned: str = f"{ONE} {OTHER}") -> Change:
    return Change(Speaker(ToyOpen(folder=folder)), Speaker(ToyOpen(tuned)))


def test_every_change_and_every_choice_of_tasks_has_its_own_account(tmp_path: Path) -> None:
    whole, lens = change(tmp_path), Namer()
    with Run.temporary() as run:
        for _ in range(2):
            read(whole, TASKS, run, [lens])
            read(whole.remainder(ONE), TASKS, run, [lens])
            read(whole.remainder(OTHER), TASKS, run, [lens])
            read(whole, TASKS[:9], run, [lens])
            read(change(tmp_path, ONE), TASKS, run, [lens])
        assert len(run.events("account")) == lens.asked == 5


@pytest.mark.medium
def test_what_a_text_leaves_out_is_read_in_the_same_run_and_told_under_it(tmp_path: Path) -> None:
    whole = change(tmp_path)
    lens = DistillLens(DistillConfig(search=EvolveConfig(budget=3000, pool=20, keep=20, explore=10, patience=12)))
    few = MeasureConfig(tasks=12, answers=1, unrelated=2, random=0, null_tasks=6, null_answers=1)
    with Run.open(tmp_path / "run", {"seed": 0}) as run:
        read(whole, TASKS, run, [lens])
        (left,) = read(whole.remainder(ONE), TASKS, run, [lens])
        assert left.text == OTHER
        measure(whole, ONE, TASKS[:12], run, few)
        assert len(run.events("account")) == 2
    (carried,) = json.loads(report(tmp_path / "run").json.read_text(encoding="utf-8"))["first"]["carried"]
    assert carried["label"] == "the text given" and carried["first"][0]["value"]["value"] > 0.1
    page = report(tmp_path / "run").html.read_text(encoding="utf-8")
    assert f"Read in what is left: {OTHER}" in re.sub(r"<[^>]+>", "", page)
    anchors = re.findall(r'id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
