"""The default task runner: threads for functions, an event loop for coroutines."""

import os
import threading
from queue import SimpleQueue
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
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        place = where()
        while (item := self._queue.get()) is not _STOP:
            call, report = item
            if self._cancelled and call.id in self._cancelled:
                continue
            report.started(place)
            report.done(call(*call.upstream))
            del item, call, report  # else the values live until the next call

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
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(_STOP)
        for thread in threads:
            thread.join()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
