"""Threads that a flow run starts when it first needs them, and ends."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from runnerstone._engine.logs import log_fault, task_log
from runnerstone.futures import wait_for_release

GOES_ON: Final = "The thread %r goes on after an exception:"
# Alarms that are called off stay in the heap until there are more of them than this.
FORGOTTEN: Final = 100


class SerialThread:
    """Runs callables one after another, in the order given, on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._lock = threading.Lock()  # so that nothing is queued behind the end
        self._thread: threading.Thread | None = None
        self._stopped = False

    def call(self, fn: Callable[[], object]) -> None:
        """Have `fn` called, and what it raises logged; once stopped, ignore it."""
        with self._lock:
            if self._stopped:
                return
            self._queue.put(fn)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def drain(self) -> None:
        """Wait until everything given so far has been called; from any other thread."""
        waiting = threading.Lock()
        waiting.acquire()
        with self._lock:
            if self._thread is None or self._stopped:
                return
            self._queue.put(waiting.release)
        wait_for_release(waiting)

    def _run(self) -> None:
        while (fn := self._queue.get()) is not None:
            try:
                fn()
            except BaseException as error:  # noqa: BLE001  # whatever it is, the next are called
                log_fault(task_log, error, GOES_ON, self._name)
            del fn

    def stop(self) -> None:
        """Wait until everything given so far has been called, then end the thread."""
        with self._lock:
            self._stopped = True
            thread = self._thread
        if thread is not None:
            self._queue.put(None)
            if thread is not threading.current_thread():
                thread.join()


class Alarm:
    """What is to be called, unless it is called off."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[], object]) -> None:
        self.fn: Callable[[], object] | None = fn


class TimerThread:
    """Calls callables when their time has come, on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        # Guarded by the condition; the number keeps alarms out of the comparison.
        self._due: list[tuple[float, int, Alarm]] = []
        self._called_off = 0  # how many of these are
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def call_later(self, delay_seconds: float, fn: Callable[[], object]) -> Alarm:
        """Have `fn` called after a delay, unless stopped before; what it raises is logged.

        Args:
            delay_seconds: From now on.
            fn: The others wait for it, so it must not block.

        Returns:
            What `call_off` takes.
        """
        due = time.monotonic() + delay_seconds
        alarm = Alarm(fn)
        with self._changed:
            if self._stopped:
                return alarm
            heapq.heappush(self._due, (due, next(self._numbers), alarm))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            if self._due[0][2] is alarm:
                self._changed.notify()
        return alarm

    def call_off(self, alarm: Alarm) -> None:
        """Have something not called, unless it is too late for that; harmless twice."""
        with self._changed:
            if alarm.fn is None:
                return
            alarm.fn = None
            self._called_off += 1
            if self._called_off > FORGOTTEN and self._called_off > len(self._due) / 2:
                self._due = [entry for entry in self._due if entry[2].fn is not None]
                heapq.heapify(self._due)
                self._called_off = 0

    def _run(self) -> None:
        while (fn := self._next()) is not None:
            try:
                fn()
            except BaseException as error:  # noqa: BLE001  # whatever it is, the next are called
                log_fault(task_log, error, GOES_ON, self._name)
            del fn

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next callable's time; return it, or None once stopped."""
        with self._changed:
            while not self._stopped:
                if not self._due:
                    self._changed.wait()
                elif self._due[0][2].fn is None:
                    heapq.heappop(self._due)
                    self._called_off -= 1
                elif (rest := self._due[0][0] - time.monotonic()) > 0:
                    self._changed.wait(rest)
                else:
                    alarm = heapq.heappop(self._due)[2]
                    fn, alarm.fn = alarm.fn, None
                    return fn
        return None

    def stop(self) -> None:
        """End the thread; what is not due yet is forgotten."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
