"""The task runner that runs one call at a time."""

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from runnerstone.calls import TaskCall
from runnerstone.contracts import Capabilities, Report, TaskRunner
from runnerstone.futures import LOOK_UP_SECONDS
from runnerstone.outcomes import Outcome

if TYPE_CHECKING:
    from runnerstone._loops import LoopThread


class SequentialTaskRunner(TaskRunner):
    """Runs each call in the thread that submits it, one after another; several threads take turns.

    Coroutines run on an event loop in a thread beside, which the submitting thread waits for.
    """

    capabilities = Capabilities(parallel=False, shares_memory=True)

    def start(self) -> None:
        self._loop: LoopThread | None = None
        self._turn = threading.RLock()  # held while a call runs

    def submit(self, call: TaskCall, report: Report) -> None:
        with self._turn:
            report.started()
            outcome = self._run_coroutine(call) if call.is_async else call(*call.upstream)
        report.done(outcome)

    def _run_coroutine(self, call: TaskCall) -> Outcome:
        if self._loop is None:
            from runnerstone._loops import LoopThread  # loads asyncio

            self._loop = LoopThread("SequentialTaskRunner loop")
        ended: SimpleQueue[Outcome] = SimpleQueue()
        self._loop.submit(call, lambda: None, ended.put)
        try:
            while True:
                with suppress(Empty):
                    return ended.get(timeout=LOOK_UP_SECONDS)
        except BaseException:  # Ctrl-C
            self._loop.cancel(call)
            raise

    def stop(self) -> None:
        if hasattr(self, "_loop") and self._loop is not None:  # absent where starting got nowhere
            self._loop.stop()
            self._loop = None
