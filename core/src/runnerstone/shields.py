"""Starting processes that Ctrl-C does not reach.

A terminal sends Ctrl-C to all processes of its group. Workers that die of it leave their driver
without the chance to end in order, so what starts them starts them here: on one thread a process,
which blocks the signal. All threads and processes that come of it inherit that. The thread lives as
long as the process, because some engines' processes end with the thread that started them.
"""

import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from runnerstone.futures import wait_for_release

__all__ = ["shielded"]

T = TypeVar("T")


class _Task:
    """A function to be called on the thread, and what came of it."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._fn = fn
        self._running = threading.Lock()
        self._running.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value = self._fn()
        except BaseException as error:  # noqa: BLE001  # raised where the caller waits
            self._error = error
        finally:
            self._running.release()

    def result(self) -> Any:
        wait_for_release(self._running)
        if self._error is not None:
            try:
                raise self._error
            finally:
                self = None  # type: ignore[assignment]  # noqa: PLW0642  # else the traceback holds it in a cycle
        return self._value


class _Thread:
    """The thread, once there is something to call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the start
        self._queue: SimpleQueue[_Task] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, fn: Callable[[], Any]) -> Any:
        if threading.current_thread() is self._thread:
            return fn()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shielded", daemon=True)
                self._thread.start()
        task = _Task(fn)
        self._queue.put(task)
        return task.result()

    def _run(self) -> None:
        from multiprocessing import resource_tracker  # slow, and few processes start others

        resource_tracker.ensure_running()  # it unblocks the signal in the thread that starts it
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while True:
            self._queue.get().run()


_thread = _Thread()


def _start_anew() -> None:
    global _thread  # noqa: PLW0603  # a forked child has none of the threads
    _thread = _Thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def shielded(fn: Callable[[], T]) -> T:
    """What ``fn()`` gives or raises, called on the thread whose processes Ctrl-C does not reach.

    Calls wait for one another. If Ctrl-C ends the waiting, `fn` goes on: let it keep what it starts
    where a later call, to end it, finds it.
    """
    return cast("T", _thread.call(fn))
