"""The pace of requests, against a clock that is told."""

import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrutable.models.limiter import Limiter, Outcome, Pace, limiter_at

ANSWERED, BUSY, FAILED, GONE, LOST = Outcome.ANSWERED, Outcome.BUSY, Outcome.FAILED, Outcome.GONE, Outcome.LOST


def pace(most: int = 16, backoff: float = 1.0, patience: float = 300.0) -> Pace:
    return Pace(most, backoff, patience)


def round_of(one: Pace, now: float, amount: int, *outcomes: Outcome, asked: float | None = None) -> list[str]:
    """Start `amount` at `now`, and let them come back a second later, with the last outcome for the rest."""
    for _ in range(amount):
        one.start(now)
    told = [*outcomes, *outcomes[-1:] * amount][:amount]
    return [one.end(now + 1, now, outcome, "" if outcome is ANSWERED else "trouble", asked) for outcome in told]


def free(one: Pace, now: float) -> int:
    """How many more may start."""
    amount = 0
    while one.wait(now) == 0:
        one.start(now)
        amount += 1
    one.under_way -= amount
    return amount


def test_as_many_as_allowed_may_start_and_the_next_waits_for_one_to_end() -> None:
    one = pace(3)
    for _ in range(3):
        assert one.wait(0) == 0
        one.start(0)
    assert one.wait(0) == math.inf
    one.end(1, 0, ANSWERED)
    assert one.wait(1) == 0


@pytest.mark.parametrize("outcome", [BUSY, LOST])
def test_a_round_of_refusals_halves_it_once(outcome: Outcome) -> None:
    one = pace(16)
    round_of(one, 0, 16, outcome)
    assert one.limit == 8
    round_of(one, 2, 8, outcome)
    assert one.limit == 4


def test_what_is_no_matter_of_room_does_not_slow_it() -> None:
    one = pace(16)
    round_of(one, 0, 16, FAILED)
    assert one.limit == 16


def test_a_round_of_answers_adds_about_one_and_never_goes_above_most() -> None:
    one = pace(16)
    round_of(one, 0, 16, BUSY)
    for now in range(2, 100, 2):
        before = one.limit
        round_of(one, now, int(before), ANSWERED)
        assert before + 0.8 < one.limit <= before + 1 or one.limit == 16
    assert one.limit == 16


def test_room_that_is_not_used_does_not_grow() -> None:
    one = pace(16)
    round_of(one, 0, 16, BUSY)
    for now in range(2, 100, 2):
        round_of(one, now, 3, ANSWERED)
    assert one.limit == 8


def test_it_never_falls_below_one() -> None:
    one = pace(16)
    for now in range(0, 40, 2):
        round_of(one, now, 1, BUSY)
    assert (one.limit, free(one, 50)) == (1, 1)


def test_it_finds_the_room_a_server_has() -> None:
    """A server that serves 5 at once and refuses the rest: the steady state stays between half of that and just above."""
    one = pace(64)
    seen = []
    for now in range(0, 400, 2):
        amount = free(one, now)
        for place in range(amount):
            one.start(now)
            one.end(now + 1, now, ANSWERED if place < 5 else BUSY)
        seen.append(amount)
    assert max(seen[20:]) == 6
    assert min(seen[20:]) >= 2
    assert sum(max(0, amount - 5) for amount in seen[20:]) / sum(seen[20:]) < 0.1  # refused


def test_retry_after_holds_all_back() -> None:
    one = pace(16)
    one.start(9)
    one.end(10, 9, BUSY, "status 429", 7.0)
    assert one.wait(12) == 5
    assert one.wait(17) == 0


def test_the_longest_retry_after_counts() -> None:
    one = pace(16)
    for now, asked in ((10, 7.0), (11, 2.0)):
        one.start(9)
        one.end(now, 9, BUSY, "status 429", asked)
    assert one.wait(11) == 6
    assert one.record(11).paused == 7


def test_no_retry_after_is_longer_than_patience() -> None:
    one = pace(patience=60)
    one.start(9)
    one.end(10, 9, BUSY, "status 429", 86400.0)
    assert one.wait(10) == 60


def test_while_nothing_listens_one_at_a_time_looks_and_ever_more_rarely_up_to_five_seconds() -> None:
    one = pace(16)
    round_of(one, 0, 16, GONE)
    now, waits = 1.0, []
    for _ in range(5):
        waits.append(one.wait(now))
        now += waits[-1]
        assert free(one, now) == 1
        one.start(now)
        one.end(now, now, GONE, "trouble")
    assert waits == [1, 2, 4, 5, 5]


def test_once_it_is_back_there_is_as_much_room_as_before() -> None:
    one = pace(16)
    round_of(one, 0, 16, GONE)
    round_of(one, 5, 1, ANSWERED)
    assert free(one, 6) == 16
    assert (one.record(6).away, one.record(6).absences) == (5, 1)


def test_what_was_asked_before_it_went_away_says_nothing_about_its_return() -> None:
    one = pace(16)
    for now in (0, 1):
        one.start(now)
    one.end(2, 1, GONE, "trouble")
    one.end(3, 0, ANSWERED)
    assert free(one, 4) == 1
    assert one.record(4).away == 2


def test_patience_ends_only_where_nothing_is_answered() -> None:
    one = pace(patience=10)
    round_of(one, 0, 4, BUSY)
    assert [one.overdue(now) for now in (10.9, 11.0, 15.0)] == [0, 10, 14]
    round_of(one, 12, 2, BUSY, ANSWERED)
    round_of(one, 14, 1, BUSY)
    assert one.overdue(20) == 0


def test_a_connection_cut_off_says_nothing_about_whether_it_is_there() -> None:
    one = pace(patience=10)
    round_of(one, 0, 1, BUSY)
    round_of(one, 5, 1, LOST)
    assert one.overdue(11.5) > 0
    assert pace().heard is False


def test_waiting_is_told_once_and_its_end_too() -> None:
    one = pace(patience=300)
    lines = []
    for now in range(1, 22):
        lines += [(now, line) for line in round_of(one, now - 1, 1, GONE) if line]
    lines += [(22, line) for line in round_of(one, 21, 2, ANSWERED) if line]
    assert lines == [
        (2, "waiting for the server, up to 300 s: trouble for 1 s, to be asked again in 2 s"),
        (22, "the server answers again after 21 s"),
    ]


def test_a_long_wait_is_told_again() -> None:
    one = pace()
    lines = [line for now in range(100) for line in round_of(one, now, 1, GONE) if line]
    assert [line.partition("trouble for ")[2].partition(",")[0] for line in lines] == ["1 s", "31 s", "61 s", "91 s"]


def test_a_moments_trouble_is_not_told() -> None:
    one = pace(backoff=0.01)
    assert "".join(round_of(one, 0, 8, BUSY, ANSWERED, BUSY)) == ""


def test_a_long_rest_that_a_server_asks_for_is_told() -> None:
    (line,) = round_of(pace(), 0, 1, BUSY, asked=40.0)
    assert line == "waiting for the server, up to 300 s: trouble, to be asked again in 40 s"


def test_troubles_are_counted_by_name() -> None:
    one = pace()
    round_of(one, 0, 5, ANSWERED, BUSY, BUSY, ANSWERED)
    told = one.record(9)
    assert (told.requests, told.answered, told.troubles, told.least, told.most) == (5, 3, {"trouble": 2}, 8, 16)


@given(
    most=st.integers(1, 20),
    steps=st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from(Outcome), st.none() | st.floats(0, 9), st.integers(1, 5)),
        max_size=80,
    ),
)
def test_whatever_happens_the_bounds_hold(most: int, steps) -> None:
    one = pace(most, backoff=0.1, patience=20)
    now, held = 0.0, []
    for passed, outcome, asked, starts in steps:
        now += passed
        for _ in range(starts):
            if one.wait(now) == 0:
                one.start(now)
                held.append(now)
        if held:
            one.end(now, held.pop(0), outcome, outcome.name, asked)
        assert 1 <= one.limit <= most
        assert one.under_way == len(held) <= most
        assert one.wait(now) == math.inf or one.wait(now) <= 20  # it always goes on
        told = one.record(now)
        assert told.paused <= now + 20
        assert told.away <= now + 1e-3


def test_who_waits_for_room_is_woken_to_stop() -> None:
    limiter, stop = Limiter(pace(1)), threading.Event()
    assert limiter.enter(stop) is not None
    found: list[float | None] = [1.0]
    waiting = threading.Thread(target=lambda: found.append(limiter.enter(stop)))
    waiting.start()
    time.sleep(0.05)
    stop.set()
    limiter.wake()
    waiting.join(5)
    assert (waiting.is_alive(), found[-1]) == (False, None)


def test_a_server_has_one_limiter_for_all_who_ask_it_alike() -> None:
    first = limiter_at("http://h/v1", 4, 0.5, 300)
    assert limiter_at("http://h/v1", 4, 0.5, 300) is first
    assert limiter_at("http://g/v1", 4, 0.5, 300) is not first
