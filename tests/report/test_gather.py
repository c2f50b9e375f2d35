"""What a run folder says, sorted."""

from __future__ import annotations

from pathlib import Path

from tests.report.synthetic import CONFIG, RULE

from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Usage
from scrutable.report.gather import gather


def test_every_part_of_a_run_is_found(run_folder: Path) -> None:
    facts = gather(Run.read(run_folder))
    assert [len(training.steps) for training in facts.trainings] == [60]
    assert [len(training.validations) for training in facts.trainings] == [6]
    assert [reading.account.lens for reading in facts.readings] == ["distill", "tokens"]
    assert [measured.label for measured in facts.measured] == ["read from the weights", "evolved on the environment"]
    assert facts.measured[0].fidelity.text == RULE
    assert facts.unread == 0


def test_searches_are_told_apart_by_their_scope(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        for scope in ("evolve", "read/distill"):
            candidate = Candidate(texts={"text": scope})
            run.append(
                f"{scope}/candidate/{candidate.key}", "candidate", {"candidate": candidate, "accepted": True, "why": ""}
            )
    facts = gather(Run.read(tmp_path / "run"))
    assert [(search.scope, [t.candidate.text for t in search.tried.values()]) for search in facts.searches] == [
        ("evolve", ["evolve"]),
        ("read/distill", ["read/distill"]),
    ]


def test_unscored_answers_and_failures_are_counted(tmp_path: Path) -> None:
    candidate = Candidate(texts={"text": "x"})
    scores = [Score(value=1.0), Score(failures=("reward: ValueError: no",)), Score()]
    rollouts = [
        Rollout(task=str(at), candidate=candidate.key, answer="", score=score) for at, score in enumerate(scores)
    ]
    rollouts.append(Rollout(task="9", candidate=candidate.key, answer="", score=Score(), failure="model: 500"))
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("evolve/candidate/1", "candidate", {"candidate": candidate})
        run.append("evolve/rollouts/1", "rollouts", {"candidate": candidate.key, "rollouts": rollouts})
    facts = gather(Run.read(tmp_path / "run"))
    assert (facts.searches[0].rollouts, facts.searches[0].unscored) == (4, 3)
    assert facts.failures == {"reward": 1, "model": 1}


def test_an_event_of_another_version_is_counted_and_not_fatal(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("account", "account", {"lens": "tokens", "claims": "many"})
        run.append("fidelity", "fidelity", {"label": "x"})
    facts = gather(Run.read(tmp_path / "run"))
    assert (facts.readings, facts.measured, facts.unread) == ([], [], 2)


def test_cost_is_summed_by_the_part_of_the_run(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("train/step/1", "step", {"step": 1, "reward": 0.5}, cost=Usage(generations=3))
        run.append("train/step/2", "step", {"step": 2, "reward": 0.5}, cost=Usage(generations=4))
        run.append("measure/x", "divergence", {}, cost=Usage(forward_passes=5))
    cost = gather(Run.read(tmp_path / "run")).cost
    assert cost["train"].generations == 7
    assert cost["measure"].forward_passes == 5


def test_an_account_of_what_is_left_is_known_by_its_key(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("read/account", "account", {"lens": "tokens"})
        run.append("read/remainder/account", "account", {"lens": "tokens"})
    assert [reading.of_remainder for reading in gather(Run.read(tmp_path / "run")).readings] == [False, True]
