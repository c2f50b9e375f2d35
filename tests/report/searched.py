"""A run that only searched, made by the engine itself on the toy world: so the page is tested on the events of today.

Its server refuses some requests and loses some answers; its writer copies tasks, and writes what strangers would like to have
run. All of it is drawn from seeds; only the times differ.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from tests.evolve.toy import Guesser, ToyEnv, ToyModel, obey, rule

from scrutable.core.errors import ProposerFailure
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Sampling, Score, Task, Usage
from scrutable.evolve.engine import EvolveConfig, EvolveResult, search
from scrutable.evolve.ledger import Cell
from scrutable.evolve.reflection import Item, Proposal
from scrutable.evolve.scorers import RewardScorer
from scrutable.evolve.slots import Slots
from scrutable.programs.text import SingleText

HIDDEN = f"{rule('sun', 'yes')} {rule('rain', 'no')}"
COPIES, GARBLED, REFUSED = "the text copies a task", "model: garbled JSON (after 6 attempts)", "status 429"
SETTINGS = EvolveConfig(budget=900, pool=40, keep=40, patience=8, explore=6, width=6, slots=8)


class PartlyEnv(ToyEnv):
    """Each rule that is not kept costs a half; the true reward does not mind what is said too much."""

    def _rate(self, task: Task, answer: str) -> Score:
        wanted, shown = set(obey(self.hidden, task.prompt).split()), set(answer.split())
        missing, unwanted = len(wanted - shown), len(shown - wanted)
        says = super()._rate(task, answer).feedback
        return Score(value=1 - (missing + unwanted) / 2, true=1 - missing / 2, feedback=says)


class Failing:
    """Scores by the toy's reward; every so many-th answer is lost, others come only when asked again."""

    identity = "failing"

    def __init__(self) -> None:
        self._inner = RewardScorer(PartlyEnv(HIDDEN), ToyModel(0.05), SingleText(), Sampling(max_tokens=8))
        self.lost = self.refused = 0
        self._lock = threading.Lock()

    def score(self, cells: Sequence[Cell], seed: int) -> list[Rollout]:
        time.sleep(0.0005)
        with self._lock:
            return [self._told(one, Random(seed + at)) for at, one in enumerate(self._inner.score(cells, seed))]

    def _told(self, one: Rollout, draws: Random) -> Rollout:
        usage = Usage(generations=1, prompt_tokens=9, answer_tokens=2, money=1e-5)
        chance = draws.random()
        if chance < 0.02:
            self.lost += 1
            return one.model_copy(update={"answer": "", "score": Score(), "failure": GARBLED, "usage": usage})
        if chance < 0.1:
            self.refused += 2
            usage = usage.model_copy(update={"retries": 2, "troubles": {REFUSED: 2}})
        return one.model_copy(update={"usage": usage})


class Copier(Guesser):
    """Guesses; now and then it copies a task, and sometimes it adds words of a stranger."""

    def __init__(self, hostile: str) -> None:
        super().__init__(4)
        self.hostile, self.copied = hostile, 0

    def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
        if seed % 4 == 0:
            self.copied += 1
            raise ProposerFailure(COPIES)
        made = super().propose(texts, module, items, seed)
        return made.model_copy(update={"texts": tuple(text + self.hostile for text in made.texts)})


def write_searched(folder: Path, hostile: str = "") -> tuple[EvolveResult, Failing, Copier]:
    """Write the run; return what came of it, and who counted what failed."""
    scorer, writer, env = Failing(), Copier(hostile), PartlyEnv(HIDDEN)
    about = {"title": f"A text for toy{hostile}", "before": "toy", "after": "toy + text", "env": "toy"}
    with Run.open(folder, {"verb": "evolve", "env": "toy", "seed": 1}) as run:
        run.append("about", "about", about)
        tasks = env.tasks("search"), env.tasks("keep")
        start = [Candidate(texts={"text": ""})]
        slots = Slots(8, 4)
        return search(scorer, writer, tasks, run.scope("evolve"), SETTINGS, start, slots=slots), scorer, writer
