"""What a search's events tell its readers, beside what it needs itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.evolve.late import LateWriter, journaled, searched

from scrutable.core.journal import Run


@pytest.fixture(scope="module", params=["deterministic", "throughput"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with Run.temporary({"seed": 5}) as made:
        searched(made, mode=request.param)
        yield made


def test_the_uses_of_a_proposals_rollouts_sum_to_what_it_was_charged(run: Run) -> None:
    told = [event.payload for event in run.events("proposal")]
    assert [sum(one["uses"].values()) for one in told] == [one["charged"] for one in told]
    assert {use for one in told for use in one["uses"]} <= {"shown", "screening", "test"}
    assert sum("screening" in one["uses"] for one in told) > 0


def test_what_the_writer_saw_was_paid_for_and_is_no_more_than_it_asked_for(run: Run) -> None:
    paid = {cell[:2] for cell in journaled(run)}
    for event in run.events("proposal"):
        shown = [tuple(pair) for pair in event.payload["shown"]]
        assert set(shown) <= paid
        assert len(shown) <= LateWriter.items
        assert {name for name, _ in shown} <= {event.payload["parent"]}


def test_who_is_on_the_front_is_accepted_and_holds_something(run: Run) -> None:
    accepted = {
        event.payload["candidate"]["texts"]["text"] for event in run.events("candidate") if event.payload["accepted"]
    }
    keys = {key for event in run.events("proposal") for key in event.payload["accepted"]}
    for event in run.events("proposal"):
        front = event.payload["front"]
        assert all(held > 0 for held in front.values())
        assert len(front) <= len(accepted)
        assert len(set(front) - keys) <= 1  # the first text is accepted by no proposal


def test_slices_cost_no_rollout(run: Run) -> None:
    kinds = [event.kind for event in run.events()]
    assert kinds.count("slices") == 1
    assert "rollouts" not in kinds[kinds.index("slices") :]
    whole = run.events("slices")[0].payload["slices"][0]
    assert whole["best"] == run.events("result")[0].payload["score"]
