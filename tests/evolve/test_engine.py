"""The engine: finds a known text in an honest small search, within its budget, and says what it did."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.evolve.toy import Guesser, ToyEnv, ToyModel, rule

from scrutable.core.errors import UserError
from scrutable.core.journal import Run, events_equal
from scrutable.core.records import Candidate, Score, Task
from scrutable.evolve.engine import EvolveConfig, EvolveResult, evolve
from scrutable.evolve.reflection import Item, Proposal
from scrutable.evolve.sentences import sentences
from scrutable.programs.modules import Module, Pipeline

ONE = rule("sun", "yes")
TWO = f"{ONE} {rule('rain', 'no')}"
SMALL = EvolveConfig(budget=1500, pool=48, keep=32, patience=6)


def ran(seed: int = 0, hidden: str = TWO, config: EvolveConfig = EvolveConfig(), **more: object) -> EvolveResult:  # noqa: B008
    with Run.temporary({"seed": seed}) as run:
        return evolve(ToyEnv(hidden), ToyModel(), run, config, Guesser(), **more)  # type: ignore[arg-type]


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(4))
def test_two_hidden_rules_are_found_and_nothing_else(seed: int) -> None:
    """No proposal says both: they are put together out of sentences."""
    found = ran(seed)
    assert set(sentences(found.best.text)) == set(sentences(TWO))
    assert found.score is not None
    assert found.gain is not None
    assert found.score.value > 0.85
    assert found.gain.low is not None
    assert found.gain.low > 0.4
    assert len(found.worth) == 2


def test_where_there_is_nothing_to_learn_the_start_stays() -> None:
    found = ran(hidden="", config=SMALL)
    assert found.best.text == ""
    assert found.stopped == "no better text in 6 proposals"


def test_an_end_for_want_of_rollouts_says_what_is_left_and_what_is_reserved() -> None:
    stopped = ran(config=SMALL.model_copy(update={"budget": 200, "patience": 50})).stopped
    assert re.fullmatch(
        r"the next \d+ rollouts do not fit: of 160, \d+ are spent \(40 more are reserved for the end\)", stopped
    )


def test_a_score_that_is_always_the_same_is_told() -> None:
    class Flat(ToyEnv):
        def _rate(self, task: Task, answer: str) -> Score:
            return Score(value=0.0, feedback="bad .")

    with Run.temporary() as run:
        found = evolve(Flat(TWO), ToyModel(), run, SMALL, Guesser())
    assert [note for note in found.notes if "every answer earned the same score (0)" in note]
    assert not [note for note in ran(config=SMALL).notes if "the same score" in note]


@pytest.mark.parametrize("budget", [100, 137, 400, 1500])
def test_the_budget_is_never_exceeded(budget: int) -> None:
    env = ToyEnv(TWO)
    with Run.temporary({"seed": 1}) as run:
        found = evolve(env, ToyModel(), run, EvolveConfig(budget=budget, patience=50), Guesser())
        recorded = [r for event in run.events("rollouts") for r in event.payload["rollouts"]]
        assert env.rated == found.rollouts == len(recorded) <= budget
        cells = [(r["candidate"], r["task"], r.get("repeat", 0)) for r in recorded]
        assert len(set(cells)) == len(cells)
        assert found.score is not None


def test_the_search_leaves_the_reserve_for_the_end() -> None:
    found = ran(config=EvolveConfig(budget=600, reserve=0.3, patience=50, ahead=4))
    told = re.fullmatch(
        r"the next (\d+) rollouts do not fit: of 420, (\d+) are spent \(180 more are reserved for the end\)",
        found.stopped,
    )
    assert told
    assert int(told[2]) <= 420 < int(told[1]) + int(told[2])
    assert found.score is not None


def test_a_target_ends_the_search() -> None:
    assert ran(config=SMALL.model_copy(update={"target": 0.0})).stopped == "the target 0 was reached"


@pytest.mark.parametrize("mode", ["deterministic", "throughput"])
def test_tokens_end_the_search_but_not_the_end(mode: str) -> None:
    found = ran(config=SMALL.model_copy(update={"tokens": 9000, "mode": mode}))
    assert found.stopped == "another proposal might exceed the budget of 7,200 tokens"
    assert found.score is not None


def test_seconds_end_the_search() -> None:
    found = ran(config=SMALL.model_copy(update={"seconds": 1e-6, "batch": 1000, "mode": "throughput"}))
    assert found.stopped == "the budget of 1e-06 seconds is spent"
    assert found.score is not None


@pytest.mark.parametrize("limit", [{"seconds": 60.0}, {"money": 1.0}])
def test_what_depends_on_more_than_the_seed_is_refused_in_deterministic_mode(limit: dict[str, float]) -> None:
    with pytest.raises(UserError, match="use mode throughput"):
        ran(config=SMALL.model_copy(update=limit))


def test_the_most_proposals_end_the_search() -> None:
    for mode in ("deterministic", "throughput"):
        found = ran(config=SMALL.model_copy(update={"proposals": 3, "mode": mode}))
        assert (found.stopped, found.reflections) == ("3 proposals were made", 3)
    assert ran(config=SMALL.model_copy(update={"proposals": 0})).stopped == "0 proposals were made"


@pytest.mark.parametrize("gate", ["test", "improves"])
def test_where_all_are_validated_each_accepted_text_is_scored_on_the_whole_pool(gate: str) -> None:
    with Run.temporary({"seed": 0}) as run:
        config = EvolveConfig(**{**SMALL.model_dump(), "gate": gate, "validate_all": True, "proposals": 8})
        evolve(ToyEnv(ONE), ToyModel(), run, config, Guesser())
        scored: dict[str, set[str]] = {}
        for event in run.events("rollouts"):
            for one in event.payload["rollouts"]:
                scored.setdefault(one["candidate"], set()).add(one["task"])
        told = [e.payload for e in run.events("candidate") if e.payload["accepted"] and "/end" not in e.key]
        children = [Candidate.model_validate(p["candidate"]) for p in told]
        children = [one for one in children if one.origin not in ("seed", "pruning")]
        assert children
        assert all(len(scored[one.key]) >= 48 for one in children)


def test_a_gate_that_asks_only_for_a_higher_sum_lets_more_through() -> None:
    """Where nothing can be learnt and the score is a coin, the test lets few pass, and the comparison's gate many."""

    class Coin(ToyEnv):
        def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
            return [Score(value=float(answer == "hm"), feedback="bad : no yes .") for answer in answers]

    passed = {}
    for gate in ("test", "improves"):
        with Run.temporary({"seed": 1}) as run:
            config = EvolveConfig(budget=3000, pool=48, keep=16, patience=100, proposals=20, gate=gate)  # type: ignore[arg-type]
            evolve(Coin(ONE), ToyModel(noise=0.5), run, config, Guesser())
            passed[gate] = sum(len(event.payload["accepted"]) for event in run.events("proposal"))
    assert passed["test"] < passed["improves"]


def test_a_proposal_is_told_with_what_it_was_charged() -> None:
    with Run.temporary({"seed": 0}) as run:
        found = evolve(ToyEnv(ONE), ToyModel(), run, SMALL, Guesser())
        told = [event.payload for event in run.events("proposal")]
        assert found.reflections == len(told)
        keys = [event.key for event in run.events()]
        searching = run.events()[: keys.index("evolve/stage/end")]
        paid = sum(len(event.payload.get("rollouts", ())) for event in searching)
        assert sum(one["charged"] for one in told) + SMALL.explore == paid
        accepted = {key for one in told for key in one["accepted"]}
        assert accepted <= {one.key for one in found.candidates}


def test_repeats_are_paid_for() -> None:
    env = ToyEnv(ONE)
    with Run.temporary({"seed": 1}) as run:
        found = evolve(env, ToyModel(), run, EvolveConfig(budget=800, repeats=2, patience=2), Guesser())
        assert env.rated == found.rollouts <= 800
        assert {r.get("repeat", 0) for e in run.events("rollouts") for r in e.payload["rollouts"]} == {0, 1}


def test_several_candidates_go_to_the_model_at_once() -> None:
    model = ToyModel()
    with Run.temporary({"seed": 0}) as run:
        evolve(ToyEnv(TWO), model, run, SMALL, Guesser())
        shared = [event for event in run.events("rollouts") if len(event.payload["candidates"]) > 5]
    assert shared
    assert max(model.calls) > 48


def test_every_accepted_text_is_told_with_its_parent_and_why() -> None:
    with Run.temporary({"seed": 0}) as run:
        found = evolve(ToyEnv(ONE), ToyModel(), run, SMALL, Guesser())
        told = [event.payload for event in run.events("candidate")]
        accepted = {Candidate.model_validate(one["candidate"]).key for one in told if one["accepted"]}
        assert {one.key for one in found.candidates} == accepted
        for one in told:
            candidate = Candidate.model_validate(one["candidate"])
            assert one["why"]
            assert candidate.origin == "seed" or set(candidate.parents) <= accepted
        (result,) = run.events("result")
        assert Candidate.model_validate(result.payload["candidate"]) == found.best
        assert all(event.key.startswith("evolve/") for event in run.events())


def test_a_run_done_again_is_read_and_not_paid(tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        env, writer = ToyEnv(TWO), Guesser()
        with Run.open(tmp_path / "run", {"seed": 0}) as run:
            results.append(evolve(env, ToyModel(), run, SMALL, writer))
    assert results[0] == results[1]
    assert env.rated == writer.calls == 0


def test_two_runs_with_one_seed_are_the_same_and_with_two_are_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        with Run.open(tmp_path / name, {"seed": seed}) as run:
            evolve(ToyEnv(TWO), ToyModel(), run, SMALL, Guesser())
    assert events_equal(tmp_path / "a", tmp_path / "b")
    assert not events_equal(tmp_path / "a", tmp_path / "c")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole") / "run"
    with Run.open(place, {"seed": 4}) as run:
        evolve(ToyEnv(TWO), ToyModel(), run, SMALL, Guesser())
    return place


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.93, 0.97, 0.99])
def test_cut_off_after_any_event_it_goes_on_as_if_it_had_not_been(share: float, whole: Path, tmp_path: Path) -> None:
    """What stands is kept, the torn line is owed again, the rest comes out the same, and no rollout is paid twice."""
    lines = (whole / "events.jsonl").read_bytes().splitlines(keepends=True)
    keep = int(share * len(lines))
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines[:keep]) + lines[keep][: len(lines[keep]) // 2])
    env = ToyEnv(TWO)
    with Run.open(tmp_path, {"seed": 4}) as run:
        found = evolve(env, ToyModel(), run, SMALL, Guesser())
    assert events_equal(whole, tmp_path)
    stood = [json.loads(line) for line in lines[:keep]]
    assert env.rated == found.rollouts - sum(len(event["payload"].get("rollouts", ())) for event in stood)


def test_another_search_in_the_same_run_is_refused(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {"seed": 0}) as run:
        evolve(ToyEnv(ONE), ToyModel(), run, SMALL, Guesser())
        with pytest.raises(UserError, match="another search"):
            evolve(ToyEnv(TWO), ToyModel(), run, SMALL, Guesser())


def test_the_first_text_may_be_any_and_may_be_several() -> None:
    found = ran(hidden=TWO, config=SMALL, start=("when fog say hey .", rule("rain", "no")))
    assert {one.text for one in found.candidates} >= {"when fog say hey .", rule("rain", "no")}
    assert found.best.text != "when fog say hey ."


def test_a_programs_modules_are_each_evolved() -> None:
    """The second module is the one that answers; the first is only heard by it."""

    class Planner:
        items = 3

        def propose(self, texts: Mapping[str, str], module: str, items: Sequence[Item], seed: int) -> Proposal:
            return Proposal(texts=(ONE,), votes=(1,), answers=(ONE,))

    program = Pipeline([Module("plan"), Module("act", "{input}")])
    with Run.temporary({"seed": 0}) as run:
        found = evolve(ToyEnv(ONE), ToyModel(), run, SMALL, Planner(), program)
    assert found.best.texts == {"plan": "", "act": ONE}


def test_no_reward_no_evolution() -> None:
    env = ToyEnv(ONE)
    env.rewarded = False
    with Run.temporary({}) as run, pytest.raises(UserError, match="no reward"):
        evolve(env, ToyModel(), run, SMALL, Guesser())


def test_when_nothing_can_be_scored_the_reason_is_told() -> None:
    class Silent(ToyEnv):
        def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
            return [Score(failures=("reward: KeyError: 'x'",)) for _ in tasks]

    with Run.temporary({}) as run, pytest.raises(UserError, match="KeyError"):
        evolve(Silent(ONE), ToyModel(), run, SMALL, Guesser())


def test_tasks_that_cannot_be_scored_are_left_out_and_not_zero() -> None:
    class Holes(ToyEnv):
        def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
            found = super().rate(tasks, answers)
            return [Score() if int(t.key, 16) % 3 == 0 else s for t, s in zip(tasks, found, strict=True)]

    with Run.temporary({"seed": 0}) as run:
        found = evolve(Holes(ONE), ToyModel(noise=0), run, SMALL, Guesser())
    assert found.best.text == ONE
    assert found.score is not None
    assert found.score.value == 1.0
    assert found.score.count is not None
    assert found.score.count < 32


def test_few_tasks_are_enough_for_a_large_effect() -> None:
    with Run.temporary({"seed": 0}) as run:
        env = ToyEnv(ONE, {"search": 24, "keep": 12, "report": 1})
        found = evolve(env, ToyModel(noise=0), run, EvolveConfig(budget=1500, patience=4), Guesser())
    assert found.best.text == ONE
    assert "overfit" in found.notes[0]


@pytest.mark.medium
def test_luck_is_not_reported_as_a_gain() -> None:
    """The reward is a coin, whatever the text: over several searches the reported gains average to nothing."""

    class Coin(ToyEnv):
        def rate(self, tasks: Sequence[Task], answers: Sequence[str]) -> list[Score]:
            return [Score(value=float(answer == "hm"), feedback="bad : no yes .") for answer in answers]

    gains = []
    for seed in range(6):
        with Run.temporary({"seed": seed}) as run:
            found = evolve(Coin(ONE), ToyModel(noise=0.5), run, EvolveConfig(budget=1500, patience=3), Guesser())
            assert found.gain is not None
            gains.append(found.gain.value)
    assert abs(sum(gains) / len(gains)) < 0.1


@pytest.mark.medium
def test_the_built_in_model_finds_the_rule_of_a_built_in_environment() -> None:
    from scrutable.envs.builtin import BuiltinEnv
    from scrutable.models.hf import load_model
    from scrutable.world import grammar

    env = BuiltinEnv("advert")
    with Run.temporary({"seed": 1}) as run:
        found = evolve(env, load_model("pidgin"), run, EvolveConfig(budget=1500, pool=60, keep=40, patience=1))
    assert grammar.read(found.best.text) == (list(env.rules), [])
    assert found.failures <= found.reflections
