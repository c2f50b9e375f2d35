"""Calling a user's function under a time limit."""

import asyncio
import contextlib
import functools
import re
import signal
import threading
import time

import pytest

from scrutable.envs.calls import is_async, start


def called(function, seconds=0.2, **arguments):
    return start(function, arguments, seconds)()


def elsewhere(function):
    """Run in another thread, and return what it returned or raised."""
    box = []

    def work():
        try:
            box.append(function())
        except Exception as error:
            box.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return box[0]


def spin():
    while True:
        pass


def backtrack():
    re.match(r"(a+)+$", "a" * 40 + "b")


async def never():
    await asyncio.sleep(60)


async def blocks():
    time.sleep(3)


@pytest.mark.parametrize("hangs", [lambda: time.sleep(60), spin, backtrack, never, blocks])
def test_a_call_that_hangs_ends_at_its_limit(hangs):
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
        called(hangs)
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize("hangs", [lambda: time.sleep(1), spin])
def test_it_ends_in_another_thread_too(hangs):
    assert isinstance(elsewhere(lambda: called(hangs)), TimeoutError)


def test_a_loop_left_behind_in_a_thread_is_stopped():
    elsewhere(lambda: called(spin))
    deadline = time.monotonic() + 5
    while any(t.name == "scrutable-reward" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_bare_except_cannot_swallow_the_limit():
    def stubborn():
        for _ in range(2):
            with contextlib.suppress(BaseException):
                time.sleep(60)
        return "done"

    began = time.monotonic()
    called(stubborn)
    assert time.monotonic() - began < 2


def test_async_functions_share_one_loop_also_after_one_that_blocked_it():
    async def loop():
        return id(asyncio.get_running_loop())

    assert called(loop) == called(loop)
    with pytest.raises(TimeoutError):
        called(blocks)
    assert called(loop) == called(loop)


def test_async_calls_run_while_others_are_waited_for():
    async def nap():
        await asyncio.sleep(0.3)

    began = time.monotonic()
    for finish in [start(nap, {}, 5) for _ in range(4)]:
        finish()
    assert time.monotonic() - began < 0.9


def test_the_limit_holds_for_a_generator_that_is_used_up():
    def slowly():
        yield 1.0
        time.sleep(60)

    with pytest.raises(TimeoutError, match="no answer"):
        called(slowly)


def test_its_own_timeout_is_told_from_ours():
    def own():
        raise TimeoutError("the judge is away")

    async def own_async():
        raise TimeoutError("the judge is away")

    for function in (own, own_async):
        with pytest.raises(TimeoutError, match="the judge is away"):
            called(function)


def test_sys_exit_is_an_error_like_others():
    def leave():
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match=r"sys\.exit"):
        called(leave)
    assert isinstance(elsewhere(lambda: called(leave)), RuntimeError)


def test_another_alarm_goes_on_afterwards():
    rung = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    before = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        assert called(lambda: 7) == 7
        time.sleep(0.4)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_async_is_seen_through_partials_and_objects():
    class Judge:
        async def __call__(self):
            return 1

    assert is_async(functools.partial(never))
    assert is_async(Judge())
    assert not is_async(spin)
    assert called(Judge()) == 1
