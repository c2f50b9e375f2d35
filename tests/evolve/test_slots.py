"""Slots: calls at once, each result once, whatever fails; and nothing that was begun is lost."""

import threading
import time
from collections import Counter
from random import Random

import pytest

from scrutable.core.journal import Run
from scrutable.evolve.slots import Slots


def drained(slots: Slots) -> list:
    found = []
    while slots.under_way:
        found.append(slots.wait())
    return found


@pytest.mark.parametrize(("rollouts", "reflections"), [(1, 1), (2, 1), (1, 4), (8, 4)])
def test_each_call_comes_back_once_with_what_it_returned(rollouts: int, reflections: int) -> None:
    slots, draws = Slots(rollouts, reflections), Random(0)

    def call(value: int, wait: float) -> int:
        time.sleep(wait)
        return value

    wanted = {}
    for value in range(40):
        wait = draws.random() * 0.004
        kind = "reflections" if value % 5 == 0 else "rollouts"
        wanted[slots.begin(kind, lambda value=value, wait=wait: call(value, wait))] = value
    found = drained(slots)
    assert {done.ticket: done.value for done in found} == wanted
    assert len(found) == 40
    slots.close()


def test_alone_all_is_done_in_this_thread_when_it_is_waited_for() -> None:
    slots, threads = Slots(), []
    for _ in range(3):
        slots.begin("rollouts", lambda: threads.append(threading.current_thread()))
    assert not threads
    drained(slots)
    assert threads == [threading.current_thread()] * 3


def test_no_more_calls_are_at_work_than_there_are_slots_of_their_kind() -> None:
    slots, lock = Slots(3, 2), threading.Lock()
    at_work: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def call(kind: str) -> None:
        with lock:
            at_work[kind] += 1
            most[kind] = max(most[kind], at_work[kind])
        time.sleep(0.003)
        with lock:
            at_work[kind] -= 1

    for number in range(30):
        kind = "reflections" if number % 3 == 0 else "rollouts"
        slots.begin(kind, lambda kind=kind: call(kind))
    drained(slots)
    slots.close()
    assert most == {"rollouts": 3, "reflections": 2}


def test_rollouts_do_not_wait_for_reflections() -> None:
    slots, gate = Slots(1, 1 + 1), threading.Event()
    slow = [slots.begin("reflections", gate.wait) for _ in range(5)]
    quick = slots.begin("rollouts", lambda: "done")
    assert slots.wait().ticket == quick
    gate.set()
    assert {done.ticket for done in drained(slots)} == set(slow)
    slots.close()


@pytest.mark.parametrize("rollouts", [1, 4])
@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_call_raises_comes_back_and_harms_no_other(rollouts: int, raised: BaseException) -> None:
    slots = Slots(rollouts, rollouts)

    def call() -> None:
        raise raised

    bad, good = slots.begin("rollouts", call), slots.begin("rollouts", lambda: 7)
    if rollouts == 1 and isinstance(raised, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):  # one's own: it must end the program
            slots.wait()
    else:
        found = {done.ticket: done for done in (slots.wait(), slots.wait())}
        assert found[bad].error is raised
        assert (found[good].value, found[good].error) == (7, None)
    slots.close()


def test_close_waits_for_what_is_at_work_and_begins_no_more() -> None:
    with Run.temporary({}) as run:
        slots, begun = Slots(2, 2), threading.Event()

        def call(number: int) -> None:
            begun.set()
            time.sleep(0.05)
            run.append(f"done/{number}", "done", {})

        for number in range(20):
            slots.begin("rollouts", lambda number=number: call(number))
        begun.wait()
        slots.close()
        written = len(run.events("done"))
        assert 1 <= written <= 4  # those at work are on the disk, the waiting ones were not begun
        time.sleep(0.15)
        assert len(run.events("done")) == written


def test_what_is_in_line_alone_is_not_begun_after_close() -> None:
    slots, done = Slots(), []
    slots.begin("rollouts", lambda: done.append(1))
    slots.close()
    assert not done


def test_time_at_work_is_counted_by_kind() -> None:
    for slots in (Slots(), Slots(4, 2)):
        for _ in range(4):
            slots.begin("rollouts", lambda: time.sleep(0.01))
        slots.begin("reflections", lambda: time.sleep(0.03))
        drained(slots)
        slots.close()
        assert 0.04 <= slots.busy["rollouts"] < 0.4
        assert 0.03 <= slots.busy["reflections"] < 0.3
