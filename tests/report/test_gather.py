"""What a run folder says, sorted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.synthetic import CONFIG, RULE, fidelity

from scrutable.core.accounts import Account, Claim
from scrutable.core.journal import Run
from scrutable.core.records import Candidate, Rollout, Score, Usage
from scrutable.report.gather import gather
from scrutable.report.trace import NO_REASON


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
    assert facts.searches[0].trace.unscored == {"reward: ValueError: no": 1, "model: 500": 1, NO_REASON: 1}


def test_a_measured_text_is_called_by_where_it_is_from(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("distill/a/account", "account", Account(lens="distill", claims=(Claim(says="a", text="a"),)))
        found = Candidate(texts={"text": "b"})
        run.append("evolve/candidate/b", "candidate", {"candidate": found})
        run.append("evolve/result", "result", {"candidate": found})
        for text in "abc":
            run.append(f"measure/fidelity/{text}", "fidelity", {"fidelity": fidelity(text, 0.9)})
        run.append("remainder/x/measure/fidelity/a", "fidelity", {"fidelity": fidelity("a", 0.9)})
    labels = [measured.label for measured in gather(Run.read(tmp_path / "run")).measured]
    assert labels == ["read from the weights", "evolved on the environment", "the text given", "in what is left"]


def test_a_text_that_was_heard_only_was_not_read_from_weights(tmp_path: Path) -> None:
    """Of two served models there are no weights to read."""
    with Run.open(tmp_path / "run", CONFIG) as run:
        for lens in ("blackbox", "interview"):
            run.append(f"{lens}/a/account", "account", Account(lens=lens, claims=(Claim(says="a", text="a"),)))
        run.append("measure/fidelity/a", "fidelity", {"fidelity": fidelity("a", 0.9)})
    heard = gather(Run.read(tmp_path / "run")).measured
    assert [one.label for one in heard] == ["seen in the answers and said by the tuned model itself"]


def test_a_text_that_was_read_and_evolved_is_called_both(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        run.append("distill/a/account", "account", Account(lens="distill", claims=(Claim(says="a", text="a"),)))
        for scope in ("distill/a", "evolve"):
            found = Candidate(texts={"text": "a"})
            run.append(f"{scope}/candidate/a", "candidate", {"candidate": found})
            run.append(f"{scope}/result", "result", {"candidate": found})
            run.append(f"measure/fidelity/{scope}", "fidelity", {"fidelity": fidelity("a", 0.9)})
            labels = {measured.label for measured in gather(Run.read(tmp_path / "run")).measured}
            assert labels == {
                "read from the weights" + (" and evolved on the environment" if scope == "evolve" else "")
            }


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


def test_a_text_that_was_tried_again_keeps_what_was_said_before(tmp_path: Path) -> None:
    candidate = Candidate(texts={"text": "x"})
    with Run.open(tmp_path / "run", CONFIG) as run:
        lost = {
            "candidate": candidate,
            "accepted": False,
            "why": "lost the screening",
            "search": {"value": 0.4},
            "keep": None,
        }
        run.append("evolve/candidate/x/0", "candidate", lost)
        run.append(
            "evolve/candidate/x/1", "candidate", lost | {"accepted": True, "why": "better", "search": {"value": 0.6}}
        )
        run.append(
            "evolve/candidate/x/end", "candidate", lost | {"accepted": True, "why": "chosen", "keep": {"value": 0.5}}
        )
    (tried,) = gather(Run.read(tmp_path / "run")).searches[0].tried.values()
    assert (tried.accepted, tried.why) == (True, "lost the screening; better; chosen")
    assert (tried.search["value"], tried.keep["value"]) == (0.4, 0.5)


def test_time_by_the_clock_belongs_to_the_part_that_it_led_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 13.0, 5000.0, 5002.0])
    with Run.open(tmp_path / "run", CONFIG) as run, monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: 1000.0 + next(clock))
        for at, key in enumerate(("train/a", "train/b", "read/a", "read/b", "read/c")):
            run.append(key, "step", {"at": at})
    assert gather(Run.read(tmp_path / "run")).elapsed == {"train": 10.0, "read": 5.0}
