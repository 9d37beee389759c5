"""The default task runner: threads for functions, an event loop for coroutines."""

import os
import threading
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


class ConcurrentTaskRunner(TaskRunner):
    """Runs functions on a bounded pool of threads, and coroutines all at once on one event loop.

    The threads and the loop start when there is work for them. Ends of functions are reported by
    the pool's threads, ends of coroutines by the flow run's reporter thread.

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

    capabilities = Capabilities(shares_memory=True, cancels_queued=True)

    def start(self) -> None:
        self._queue: SimpleQueue[tuple[TaskCall, Report] | None] = SimpleQueue()
        self._limit = self.max_workers or min(32, (os.cpu_count() or 1) + 4)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()  # guards the making of threads and of the loop
        self._loop: LoopThread | None = None
        self._cancelled: set[str] = set()  # ids of calls that shall not begin
        # Numbers of the threads that execute a call. Who takes one out decides: the thread, at the
        # call's end, to report it, or `stop` to leave the two behind.
        self._executing: set[int] = set()

    def submit(self, call: TaskCall, report: Report) -> None:
        if call.program.is_async:
            self._event_loop().submit(call, report.started, report.post)
            return
        self._queue.put((call, report))
        if len(self._threads) < self._limit and not self._queue.empty():
            self._add_thread()

    def _add_thread(self) -> None:
        with self._lock:
            number = len(self._threads)
            if number < self._limit:
                name = f"ConcurrentTaskRunner-{number}"
                thread = threading.Thread(target=self._work, args=(number,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self, number: int) -> None:
        place = where()
        while (item := self._queue.get()) is not _STOP:
            call, report = item
            outcome = None
            self._executing.add(number)  # before the look at what is cancelled
            if not self._cancelled or call.id not in self._cancelled:
                report.started(place)
                outcome = call(*call.upstream)
            try:
                self._executing.remove(number)
            except KeyError:  # `stop` was quicker
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
        else:
            self._cancelled.add(call.id)

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
        for number, thread in enumerate(threads):
            try:
                self._executing.remove(number)  # nobody waits for its call any more
            except KeyError:
                thread.join()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
