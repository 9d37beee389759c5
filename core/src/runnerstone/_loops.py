"""An event loop on a thread of its own, for the task runners that run coroutines."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from logging import getLogger
from typing import Final

from runnerstone.calls import TaskCall
from runnerstone.outcomes import Crash, Outcome

_log: Final = getLogger("runnerstone.task_runners")

# Cancelled coroutines have this long to clean up before nobody waits for them any more.
GRACE_SECONDS: Final = 5.0


class LoopThread:
    """Runs calls of coroutine functions, all at once, on one event loop in one thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        # By call id; the loop's thread alone uses it.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._run_loop, name=name, daemon=True)
        self._thread.start()

    def _run_loop(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def submit(
        self, call: TaskCall, began: Callable[[], None], ended: Callable[[Outcome], None]
    ) -> None:
        """Run a call on the loop.

        Args:
            call: Of a coroutine function.
            began: Called on the loop when the call begins; it must not block.
            ended: Called on the loop with the call's outcome; it must not block.
        """
        self._loop.call_soon_threadsafe(partial(self._start, call, began, ended))

    def _start(
        self, call: TaskCall, began: Callable[[], None], ended: Callable[[Outcome], None]
    ) -> None:
        began()
        task = self._loop.create_task(self._run(call, ended), context=call.context())
        self._tasks[call.id] = task
        task.add_done_callback(partial(self._forget, call.id, ended))

    async def _run(self, call: TaskCall, ended: Callable[[Outcome], None]) -> None:
        try:
            ended(await call.run_async(*call.upstream))
        finally:
            del call, ended  # else an exception of the call's keeps them alive

    def _forget(
        self, call_id: str, ended: Callable[[Outcome], None], task: asyncio.Task[None]
    ) -> None:
        del self._tasks[call_id]
        if task.cancelled():  # before it began: otherwise the call catches that
            message = "the call was cancelled on its event loop before it began"
            ended(Outcome(problem=Crash(message, is_permanent=True)))  # as somebody wanted it

    def cancel(self, call: TaskCall) -> None:
        """Cancel a call's coroutine, if it runs here."""
        self._loop.call_soon_threadsafe(self._cancel, call.id)

    def _cancel(self, call_id: str) -> None:
        if task := self._tasks.get(call_id):
            task.cancel()

    def stop(self) -> None:
        """Cancel what still runs, then end the loop and its thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join(GRACE_SECONDS)
        if self._thread.is_alive():
            _log.warning(
                "Coroutines on %r still run %s s after they were cancelled; they are left behind",
                self._thread.name,
                GRACE_SECONDS,
            )

    async def _end(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
        self._loop.stop()
