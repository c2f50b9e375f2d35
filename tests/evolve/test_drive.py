"""The drive: many proposals at once come to what one after the other would, or to what the log says; no limit is exceeded."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from tests.cut import Killed
from tests.evolve.late import (
    TWO,
    BoundedScorer,
    Latency,
    LateScorer,
    LateWriter,
    journaled,
    searched,
)
from tests.evolve.toy import ToyEnv

from scrutable.core.errors import UserError
from scrutable.core.journal import Event, Run, differing_keys, events_equal
from scrutable.core.records import Candidate, Rollout, Score, Usage
from scrutable.evolve.budget import tokens_of
from scrutable.evolve.engine import EvolveResult
from scrutable.evolve.ledger import Cell, Ledger, Limits

MODES = ("deterministic", "throughput")
TIGHT = {"ahead": 8, "budget": 400, "tested": 6, "look": 4, "patience": 50}
"""So many proposals that some are refused what they ask for."""


def accounted(run: Run, found: EvolveResult, scorer: LateScorer, budget: int) -> None:
    """Every rollout that was paid stands in the journal once, and there are no more than may be."""
    assert scorer.paid == journaled(run)
    assert set(scorer.paid.values()) <= {1}
    assert found.rollouts == scorer.paid.total() <= budget


def before_the_end(run: Run) -> list[Event]:
    """Return the events of the search itself, without the choice and the final score."""
    events = run.events()
    return events[: [event.key for event in events].index("stage/end")]


# ------------------------------------------------------------------------------------------------------- deterministic


@pytest.mark.medium
@pytest.mark.parametrize("ahead", [1, 4, 8])
@pytest.mark.parametrize("budget", [250, 600])
def test_the_seed_alone_decides_whatever_the_latencies_and_slots(ahead: int, budget: int, tmp_path: Path) -> None:
    """Budgets that end in the middle of proposals are the hard ones: some are refused while others are under way."""
    for name, (latency, slots) in enumerate(((0, 8), (1, 8), (2, 2), (3, 16), (4, 1))):
        with Run.open(tmp_path / str(name), {"seed": 5}) as run:
            found, scorer = searched(run, latency=latency, slots=slots, ahead=ahead, budget=budget, patience=50)
            accounted(run, found, scorer, budget)
        assert not differing_keys(tmp_path / "0", tmp_path / str(name))


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(6))
def test_other_seeds_depend_on_no_latency_either(seed: int, tmp_path: Path) -> None:
    for name in ("a", "b"):
        with Run.open(tmp_path / name, {"seed": seed}) as run:
            searched(run, latency=ord(name), ahead=8, budget=400, patience=50)
    assert not differing_keys(tmp_path / "a", tmp_path / "b")


@pytest.mark.medium
def test_how_many_are_ahead_does_decide(tmp_path: Path) -> None:
    for ahead in (1, 4):
        with Run.open(tmp_path / str(ahead), {"seed": 5}) as run:
            searched(run, ahead=ahead, mean=0.0)
    assert not events_equal(tmp_path / "1", tmp_path / "4")


@pytest.mark.medium
def test_rollouts_are_under_way_together_but_no_more_than_there_are_slots() -> None:
    for slots in (2, 8):
        with Run.temporary({"seed": 0}) as run:
            _, scorer = searched(run, slots=slots)
        assert 2 <= scorer.most_together <= slots


@pytest.mark.medium
def test_failures_that_differ_are_told_alike_whatever_came_first(tmp_path: Path) -> None:
    class Failing(LateScorer):
        def score(self, cells, seed):
            found = super().score(cells, seed)
            return [self.one(*pair) for pair in zip(cells, found, strict=True)]

        def one(self, cell: Cell, made: Rollout) -> Rollout:
            lost = int(cell.key, 16) % 5 == 0
            return made.model_copy(update={"score": Score(failures=(f"reward: {cell.key}",))}) if lost else made

    for name in ("a", "b"):
        with Run.open(tmp_path / name, {"seed": 1}) as run:
            found, _ = searched(run, scorer=Failing(Latency(ord(name), 0.001)))
            assert found.unscored > 5
    assert not differing_keys(tmp_path / "a", tmp_path / "b")


# ------------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.medium
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ahead", [1, 8])
@pytest.mark.parametrize("budget", [100, 137, 200, 317, 450, 600])
def test_no_rollout_is_paid_twice_and_none_beyond_the_budget(mode: str, ahead: int, budget: int) -> None:
    with Run.temporary({"seed": budget}) as run:
        found, scorer = searched(run, mode=mode, ahead=ahead, budget=budget, patience=50, latency=budget, mean=0.0003)
        accounted(run, found, scorer, budget)
        assert found.score is not None


@pytest.mark.medium
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("repeats", [1, 2])
def test_what_the_proposals_were_charged_is_what_the_search_paid(mode: str, repeats: int) -> None:
    """The starts and the end come on top."""
    with Run.temporary({"seed": 3}) as run:
        searched(run, mode=mode, ahead=4, budget=500, patience=50, repeats=repeats)
        before = [event for event in before_the_end(run) if event.kind == "rollouts"]
        paid = Counter((r["candidate"], r["task"], r.get("repeat", 0)) for e in before for r in e.payload["rollouts"])
        charged = sum(event.payload["charged"] for event in run.events("proposal"))
        assert charged + 6 * repeats == paid.total()


class Watched(BoundedScorer):
    """One that is never asked for so much that the limit could be exceeded; `run` is the search's."""

    def __init__(self, latency: Latency, run: Run, limit: int) -> None:
        super().__init__(latency)
        self.run, self.limit = run, limit
        self.exceeded = 0

    def score(self, cells, seed):
        found = super().score(cells, seed)
        if not self.run.has("stage/end"):
            spent = sum(tokens_of(event.cost) for event in self.run.events("rollouts"))
            spent += sum(tokens_of(event.cost) for event in self.run.events("reflection"))
            self.exceeded = max(self.exceeded, spent + sum(tokens_of(one.usage) for one in found) - self.limit)
        return found


@pytest.mark.medium
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("start", ["", "say nothing . " * 20])
@pytest.mark.parametrize("tokens", [1000, 2500, 4000, 5000, 8000])
def test_tokens_are_never_exceeded_and_end_a_search_in_good_order(mode: str, start: str, tokens: int) -> None:
    """A text longer than a writer is asked for costs more than was expected of one: that is refused, and breaks nothing."""
    for latency in range(2):
        with Run.temporary({"seed": 5}) as run:
            watched = Watched(Latency(latency, 0.0003), run, tokens)
            found, _ = searched(
                run, scorer=watched, mode=mode, tokens=tokens, budget=600, patience=50, starts=(start,), latency=latency
            )
            assert sum(tokens_of(event.cost) for event in before_the_end(run)) <= tokens
            assert watched.exceeded <= 0
            assert found.score is not None
            assert "budget of" in found.stopped or "do not fit" in found.stopped or "no better" in found.stopped


@pytest.mark.medium
@pytest.mark.parametrize("tokens", [400, 1000, 2000])
def test_where_nobody_can_say_what_a_call_costs_none_is_begun_once_the_tokens_are_spent(tokens: int) -> None:
    """In one thread the calls are batches, and what is over is the last batch's."""
    for mode in MODES:
        with Run.temporary({"seed": 5}) as run:
            found, scorer = searched(run, mode=mode, tokens=tokens, budget=600, patience=50)
            assert not hasattr(scorer, "most")
            assert "budget of" in found.stopped
            assert found.score is not None or [note for note in found.notes if "cut short" in note]


@pytest.mark.parametrize("mode", MODES)
def test_a_token_limit_too_small_for_anything_is_told(mode: str) -> None:
    with Run.temporary({}) as run, pytest.raises(UserError, match="the budget ends before the first text is scored"):
        searched(run, mode=mode, tokens=30, scorer=BoundedScorer(Latency(0, 0)))


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.2])
def test_seconds_end_a_search_in_good_order(seconds: float) -> None:
    """Proposals under way are ended too, and are no proposals without a better text."""
    with Run.temporary({"seed": 1}) as run:
        found, scorer = searched(run, mode="throughput", seconds=seconds, budget=600, patience=50, mean=0.001)
        assert found.stopped == f"the budget of {seconds:g} seconds is spent"
        accounted(run, found, scorer, 600)


@pytest.mark.medium
def test_money_ends_a_search_and_is_not_exceeded() -> None:
    class Dear(BoundedScorer):
        def score(self, cells, seed):
            price = {"usage": Usage(money=0.01)}
            return [one.model_copy(update=price) for one in super().score(cells, seed)]

        def most(self, cells):
            return Usage(money=0.015 * len(cells))

    with Run.temporary({"seed": 1}) as run:
        found, _ = searched(run, mode="throughput", money=1.0, budget=600, patience=50, scorer=Dear(Latency(0, 0.0003)))
        assert sum(event.cost.money for event in before_the_end(run)) <= 1.0
        assert "$" in found.stopped


def test_one_who_is_refused_is_charged_what_it_was_given_and_counts_as_no_try() -> None:
    with Run.temporary({"seed": 5}) as run:
        searched(run, ahead=8, budget=300, patience=50)
        told = [event.payload for event in run.events("proposal")]
        paid = journaled(run)
        refused = [one for one in told if one["spent"]]
        assert refused
        assert sum(one["charged"] for one in told) < paid.total()


# ---------------------------------------------------------------------------------------------------------- throughput


@pytest.mark.medium
@pytest.mark.parametrize("ahead", [1, 4, 8])
def test_the_schedule_tells_of_each_proposal_that_it_began_and_was_committed_once(ahead: int) -> None:
    with Run.temporary({"seed": 2}) as run:
        searched(run, mode="throughput", ahead=ahead, budget=500, patience=50)
        told = [(e.payload["does"], e.payload["proposal"]) for e in run.events("schedule")]
        made = [int(event.key.split("/")[1]) for event in run.events("proposal")]
        assert [number for does, number in told if does == "begin"] == list(range(len(made)))
        assert [number for does, number in told if does == "commit"] == made
        assert sorted(made) == list(range(len(made)))
        under_way = 0
        for does, _ in told:
            under_way += {"begin": 1, "commit": -1, "refuse": 0}[does]
            assert under_way <= ahead


def test_a_deterministic_search_writes_no_schedule() -> None:
    with Run.temporary({}) as run:
        searched(run)
        assert not run.events("schedule")


def cut_after(place: Path, whole: Path, keep: int, torn: bool = False) -> None:
    """Leave the first events of a run, as a kill would."""
    place.mkdir()
    lines = (whole / "events.jsonl").read_bytes().splitlines(keepends=True)
    rest = lines[keep][: len(lines[keep]) // 2] if torn and keep < len(lines) else b""
    shutil.copy(whole / "config.json", place)
    (place / "events.jsonl").write_bytes(b"".join(lines[:keep]) + rest)


@pytest.mark.medium
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limits", [{"budget": 350}, {"budget": 600, "tokens": 4000}])
def test_cut_off_after_any_event_a_search_goes_on(mode: str, limits: dict[str, int], tmp_path: Path) -> None:
    """What stands is kept, and paid for once; in deterministic mode the rest comes out the same, in throughput mode in order."""
    settings = {"mode": mode, "ahead": 4, "patience": 50, "mean": 0.0003, **limits}
    with Run.open(tmp_path / "whole", {"seed": 4}) as run:
        searched(run, scorer=BoundedScorer(Latency(0, 0.0003)), **settings)
        count = len(run.events())
    cuts = sorted({*range(0, count, max(1, count // 9)), count - 1, count})
    for number, keep in enumerate(cuts):
        place = tmp_path / str(keep)
        cut_after(place, tmp_path / "whole", keep, torn=True)
        with Run.open(place, {"seed": 4}) as run:
            stood = run.events()
            before = journaled(run)
            scorer = BoundedScorer(Latency(number, 0.0003))
            found, _ = searched(run, latency=number, scorer=scorer, **settings)
            assert run.events()[: len(stood)] == stood
            assert not before.keys() & scorer.paid.keys()
            after = journaled(run)
            assert after == before + scorer.paid
            assert set(after.values()) <= {1}
            assert found.rollouts == after.total() <= limits["budget"]
            searching = before_the_end(run)
            assert sum(len(e.payload.get("rollouts", ())) for e in searching) <= limits["budget"] * 0.8
            if "tokens" in limits:
                assert sum(tokens_of(event.cost) for event in searching) <= limits["tokens"]
        if mode == "deterministic":
            assert not differing_keys(tmp_path / "whole", place)


@pytest.mark.medium
def test_what_was_paid_for_and_is_not_come_to_again_counts_too(tmp_path: Path) -> None:
    """Of an ask that is refused as a whole after a kill, a part may have been bought before it."""
    settings = {"mode": "throughput", "budget": 350, "patience": 50}
    with Run.open(tmp_path / "whole", {"seed": 4}) as run:
        searched(run, **settings)
        count = len(before_the_end(run))
    cut_after(tmp_path / "again", tmp_path / "whole", count // 2)
    with Run.open(tmp_path / "again", {"seed": 4}) as run:
        one = Candidate(texts={"text": "said once ."})
        stray = Cell(one, one.key, "lost", ToyEnv(TWO).tasks("search")[0])
        Ledger(run, LateScorer(Latency(0, 0)), Limits(1)).buy([stray])
        found, scorer = searched(run, **settings)
        assert stray.place not in scorer.paid
        assert found.rollouts == journaled(run).total() <= 350
    with Run.open(tmp_path / "again", {"seed": 4}) as run:
        again, scorer = searched(run, **settings)
        assert again == found


@pytest.mark.medium
def test_cut_off_where_the_budget_is_nearly_spent_a_search_exceeds_it_by_nothing(tmp_path: Path) -> None:
    """What was paid before the kill counts before anything new is given, in whatever order it is come to again."""
    settings = {"mode": "throughput", **TIGHT}
    with Run.open(tmp_path / "whole", {"seed": 5}) as run:
        searched(run, **settings)
        assert [event for event in run.events("schedule") if event.payload["does"] == "refuse"]
        count = len(before_the_end(run))
    for keep in range(count // 2, count, max(1, count // 20)):
        place = tmp_path / str(keep)
        cut_after(place, tmp_path / "whole", keep)
        with Run.open(place, {"seed": 5}) as run:
            searched(run, latency=keep, **settings)
            assert sum(len(e.payload.get("rollouts", ())) for e in before_the_end(run)) <= 320


@pytest.mark.medium
@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_was_done_is_replayed_from_its_log(mode: str, tmp_path: Path) -> None:
    """Without the last event, the result: all is done again from what stands, and comes to the same."""
    with Run.open(tmp_path / "whole", {"seed": 5}) as run:
        first, _ = searched(run, mode=mode, **TIGHT)
        assert [event for event in run.events("proposal") if event.payload["spent"]]
        count = len(run.events())
    cut_after(tmp_path / "again", tmp_path / "whole", count - 1)
    with Run.open(tmp_path / "again", {"seed": 5}) as run:
        second, scorer = searched(run, mode=mode, latency=9, **TIGHT)
        assert not scorer.paid
    assert second.model_copy(update={"usage": first.usage}) == first
    assert events_equal(tmp_path / "whole", tmp_path / "again")


def test_a_schedule_that_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {"seed": 4}) as run:
        run.append("schedule/0", "schedule", {"does": "commit", "proposal": 7})
        with pytest.raises(UserError, match="holds a schedule that cannot be followed"):
            searched(run, mode="throughput")


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.mark.medium
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fails", [2, 30, 90, 150])
def test_an_error_in_a_thread_ends_the_search_and_what_was_done_is_kept(mode: str, fails: int, tmp_path: Path) -> None:
    settings = {"mode": mode, "ahead": 4, "budget": 400, "patience": 50}
    failing = LateScorer(Latency(0, 0.0005), fails=fails)
    with Run.open(tmp_path / "run", {"seed": 2}) as run:
        with pytest.raises(UserError, match="the server is gone"):
            searched(run, scorer=failing, **settings)
        assert failing.together == 0  # the calls under way were waited for
        assert journaled(run) == failing.paid
    with Run.open(tmp_path / "run", {"seed": 2}) as run:
        found, scorer = searched(run, **settings)
        assert not failing.paid.keys() & scorer.paid.keys()
        assert journaled(run) == failing.paid + scorer.paid
        assert found.rollouts == journaled(run).total()
    if mode == "deterministic":
        with Run.open(tmp_path / "undisturbed", {"seed": 2}) as run:
            searched(run, **settings)
        assert events_equal(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize("mode", MODES)
def test_a_kill_in_this_thread_waits_for_the_calls_and_loses_none(mode: str, tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {"seed": 2}) as run:
        scorer, append = LateScorer(Latency(0, 0.0005)), run.append

        def dying(key: str, *given, **more):
            if key == "proposal/3":
                raise Killed
            return append(key, *given, **more)

        run.append = dying
        with pytest.raises(Killed):
            searched(run, scorer=scorer, mode=mode, ahead=4, patience=50)
        assert scorer.together == 0
        assert journaled(run) == scorer.paid


@pytest.mark.medium
@pytest.mark.parametrize("mode", MODES)
def test_a_writer_that_fails_is_counted_and_the_others_go_on(mode: str) -> None:
    with Run.temporary({"seed": 2}) as run:
        writer = LateWriter(Latency(0, 0.001), raises=2)
        found, _ = searched(run, mode=mode, writer=writer, patience=8)
        told = [event.payload["failures"] for event in run.events("reflection")]
        failed = [one for one in told if one]
        assert 0 < len(failed) < len(told)
        assert failed[0] == ["proposer: RuntimeError: no idea"]
        assert found.failures == len(failed)
        assert found.reflections == len(told)


def test_a_writer_that_a_user_must_mend_ends_the_search() -> None:
    class Gone(LateWriter):
        def propose(self, *given):
            raise UserError("no such model: name another")

    with Run.temporary({}) as run, pytest.raises(UserError, match="no such model"):
        searched(run, writer=Gone(Latency(0, 0)))
