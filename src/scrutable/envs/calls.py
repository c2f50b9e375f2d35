"""Calling a user's function, sync or async, with a time limit.

Three ways, because no one way stops everything:
- in the main thread a timer signal interrupts the function where it stands, also inside `re` (a regular expression
  that backtracks for ever holds the interpreter lock, so no other thread could even notice);
- in another thread it runs in a daemon thread that is left behind when time is up, and told to stop;
- async functions share one event loop in a daemon thread, as under TRL, so that a client made at a file's first call works
  at its second.

Not stopped: C code that checks no signals. Processes would stop that too, but could not call functions that hold state.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import inspect
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any

_GRACE = 1.0  # seconds that a cancelled coroutine has to end
_AGAIN = 0.25  # seconds until the alarm rings again, should a bare `except` have swallowed it

_loop: asyncio.AbstractEventLoop | None = None
_loop_lock = threading.Lock()
_loop_threads: dict[asyncio.AbstractEventLoop, threading.Thread] = {}


class _Hung(BaseException):
    """Raised inside a function whose time is up. No Exception, so that `except Exception` lets it pass."""


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling the function gives a coroutine (partials and callable objects too, as TRL 1.16 decides it)."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def start(function: Callable[..., Any], arguments: dict[str, Any], seconds: float) -> Callable[[], Any]:
    """Begin a call, and return what waits for its result: an async function runs at once, a sync one when waited for.

    The waiting raises what the function raised, TimeoutError when `seconds` are over, RuntimeError for `sys.exit`.
    A generator is used up before it is returned, within the limit.
    """
    if is_async(function):
        return _start_async(function, arguments, seconds)
    call = functools.partial(_once, function, arguments)
    if threading.current_thread() is threading.main_thread():
        return functools.partial(_under_alarm, call, seconds)
    return functools.partial(_in_thread, call, seconds)


def _once(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call it; what is not data by then (a generator) is made data while the limit still holds."""
    try:
        output = function(**arguments)
        return list(output) if isinstance(output, Iterator) else output
    except SystemExit:
        raise RuntimeError("it called sys.exit") from None


def _too_late(seconds: float) -> TimeoutError:
    return TimeoutError(f"no answer within {seconds:.3g} s (if it is only slow, set `timeout` in the file)")


def _under_alarm(call: Callable[[], Any], seconds: float) -> Any:
    """Run in the main thread under a timer; another timer that was running (a test runner's) goes on afterwards."""
    armed = True

    def ring(_signal: int, _frame: FrameType | None) -> None:
        if armed:
            raise _Hung

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        return call()
    except _Hung:
        raise _too_late(seconds) from None
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001), interval)


def _in_thread(call: Callable[[], Any], seconds: float) -> Any:
    """Run in a daemon thread; when time is up, it is told to stop and left behind."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 (handed to the thread that waits)
            with contextlib.suppress(Exception):
                future.set_exception(error)

    thread = threading.Thread(target=work, name="scrutable-reward", daemon=True)
    thread.start()
    return _wait(future, thread, seconds, seconds)


def _wait(future: Future[Any], thread: threading.Thread, patience: float, seconds: float) -> Any:
    """Wait for a result for `patience` seconds; then stop the thread and say that the limit of `seconds` is over."""
    try:
        return future.result(max(patience, 0.0))
    except TimeoutError:
        if future.done():  # the function itself raised it
            raise
        # Stops loops of Python code; a thread that sleeps in C stays, and costs nothing.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Hung))
        raise _too_late(seconds) from None


def _start_async(function: Callable[..., Any], arguments: dict[str, Any], seconds: float) -> Callable[[], Any]:
    """Begin a coroutine on the shared loop. A loop that is blocked (a coroutine that never awaits) is replaced."""

    async def bounded() -> Any:
        try:
            async with asyncio.timeout(seconds) as scope:
                return await function(**arguments)
        except TimeoutError:
            if scope.expired():
                raise _too_late(seconds) from None
            raise
        except SystemExit:
            raise RuntimeError("it called sys.exit") from None

    deadline = time.monotonic() + seconds + _GRACE
    loop = _shared_loop()
    future = _submit(bounded(), loop)

    def finish() -> Any:
        try:
            return _wait(future, _loop_threads[loop], deadline - time.monotonic(), seconds)
        finally:
            if not future.done():
                _abandon(loop)

    return finish


def _submit(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Future[Any]:
    return asyncio.run_coroutine_threadsafe(coroutine, loop)


def _shared_loop() -> asyncio.AbstractEventLoop:
    """The one event loop of all async rewards, started at the first call."""
    global _loop
    with _loop_lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(_loop,), name="scrutable-rewards-loop", daemon=True)
            _loop_threads[_loop] = thread
            thread.start()
        return _loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(_Hung):
        loop.run_forever()


def _abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Use the loop for no further call."""
    global _loop
    with _loop_lock:
        if _loop is loop:
            _loop = None
