from scrutable.core.journal import Run
from scrutable.core.records import Usage
from scrutable.measure.tab import Tab


def test_what_is_touched_counts_once_whoever_paid_for_it():
    with Run.temporary() as run:
        run.append("old", "answers", {}, cost=Usage(generations=2))
        run.append("other", "answers", {}, cost=Usage(generations=100))
        tab = Tab(run)
        for key in ("old", "new", "new"):
            tab.once(key, "answers", lambda: ({}, Usage(generations=3)))
        assert tab.cost.generations == 5
