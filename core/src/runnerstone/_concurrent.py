"""The default task runner: threads for functions, an event loop for coroutines."""

import itertools
import os
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import attrs

from runnerstone._context import where
from runnerstone.calls import TaskCall
from runnerstone.contracts import Capabilities, Report, TaskRunner

if TYPE_CHECKING:
    from runnerstone._loops import LoopThread

_STOP: Final = None
# Interrupted calls have this long to end, in seconds, before nobody waits for them any more.
GRACE_SECONDS: Final = 0.5


class ConcurrentTaskRunner(TaskRunner):
    """Runs functions on a bounded pool of threads, and coroutines all at once on one event loop.

    The threads and the loop start when there is work for them. What is cancelled is interrupted
    between two of its bytecodes; if it waits in C code meanwhile it goes on unheeded, and another
    thread takes the place of its own. Ends of functions are reported by the pool's threads, ends of
    coroutines by the flow run's reporter thread.

    Attributes:
        max_workers: How many functions run at once; coroutines are not counted. None is the
            standard library's default: four more than there are processors, at most 32.
    """

    max_workers: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            [attrs.validators.instance_of(int), attrs.validators.ge(1)]
        ),
    )

    capabilities = Capabilities(shares_memory=True, cancels_queued=True, interrupts=True)

    def start(self) -> None:
        self._queue: SimpleQueue[tuple[TaskCall, Report] | None] = SimpleQueue()
        self._limit = self.max_workers or min(32, (os.cpu_count() or 1) + 4)
        self._lock = threading.Lock()  # guards the making of threads and of the loop
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count()
        self._loop: LoopThread | None = None
        self._cancelled: set[str] = set()  # ids of calls that shall not begin
        # Calls that are executed, by thread. Who takes one out decides: the thread, at the call's
        # end, to report it and go on, or `cancel` and `stop` to do without the thread.
        self._executing: dict[TaskCall, threading.Thread] = {}
        # Calls that were cancelled while they were executed: their threads end with them. Likewise
        # who takes one out decides: the thread, to report the call's end, or `stop`.
        self._abandoned: dict[TaskCall, threading.Thread] = {}

    def submit(self, call: TaskCall, report: Report) -> None:
        if call.program.is_async:
            self._event_loop().submit(call, report.started, report.post)
            return
        self._queue.put((call, report))
        if len(self._threads) < self._limit and not self._queue.empty():
            self._add_thread()

    def _add_thread(self) -> None:
        with self._lock:
            if len(self._threads) < self._limit:
                name = f"ConcurrentTaskRunner-{next(self._numbers)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        thread = threading.current_thread()
        place = where()
        executing = self._executing
        while (item := self._queue.get()) is not _STOP:
            call, report = item
            outcome = None
            executing[call] = thread  # before the look at what is cancelled
            if not self._cancelled or call.id not in self._cancelled:
                report.started(place)
                outcome = call(*call.upstream)
            else:
                self._cancelled.discard(call.id)
            if executing.pop(call, None) is None:  # somebody was quicker
                if self._abandoned.pop(call, None) is not None and outcome is not None:
                    report.done(outcome)
                return
            if outcome is not None:
                report.done(outcome)
            del item, call, report, outcome  # else the values live until the next call

    def _event_loop(self) -> "LoopThread":
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    from runnerstone._loops import LoopThread  # loads asyncio

                    self._loop = LoopThread("ConcurrentTaskRunner loop")
        return self._loop

    def cancel(self, call: TaskCall) -> None:
        if call.is_async:
            self._event_loop().cancel(call)
            return
        self._cancelled.add(call.id)
        thread = self._executing.get(call)
        if thread is None:
            return
        self._abandoned[call] = thread
        if self._executing.pop(call, None) is None:  # it has just ended
            self._abandoned.pop(call, None)
            return
        self._cancelled.discard(call.id)
        with self._lock:  # another thread takes its place
            if thread in self._threads:
                self._threads.remove(thread)
        call.interrupt()
        if not self._queue.empty():
            self._add_thread()

    def slots(self) -> int:
        return self._limit

    def stop(self) -> None:
        if not hasattr(self, "_queue"):  # starting got nowhere
            return
        with suppress(Empty):
            while True:  # what has not begun never will
                self._queue.get_nowait()
        with self._lock:  # a thread that is still in `submit` shall add none
            threads, self._threads, self._limit = self._threads, [], 0
        for _ in threads:
            self._queue.put(_STOP)
        while self._executing:  # nobody waits for these calls any more
            with suppress(KeyError):
                call, thread = self._executing.popitem()
                self._abandoned[call] = thread
                call.interrupt()
        deadline = time.monotonic() + GRACE_SECONDS
        left = set()
        for call, thread in list(self._abandoned.items()):
            thread.join(max(deadline - time.monotonic(), 0))
            if self._abandoned.pop(call, None) is not None:
                left.add(thread)
        for thread in threads:
            if thread not in left:
                thread.join()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
