"""The bench of the engine's own time: what it counts. How long it takes is for an idle machine to say."""

import pytest

from scrutable.bench.overhead import JOURNALED, OverheadConfig, overhead


@pytest.mark.medium
def test_every_proposal_is_accepted_and_scored_on_the_whole_pool() -> None:
    tasks, proposals = 20, 200
    found = overhead(OverheadConfig(tasks=tasks, proposals=proposals))
    assert found.iterations == proposals
    # Three answers of the parent, three of the child, and the child on the pool; those to a shown task may be known.
    assert tasks * proposals < found.rollouts <= (tasks + 6) * proposals
    assert found.per_iteration == pytest.approx(found.whole - JOURNALED * found.rollouts / proposals)
    assert 0 < found.scorer < 0.1
