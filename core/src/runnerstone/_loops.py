"""An event loop on a thread of its own, for the task runners that run coroutines."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from runnerstone.calls import Outcome, TaskCall


class LoopThread:
    """Runs calls of coroutine functions, all at once, on one event loop in one thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[
            str, asyncio.Task[None]
        ] = {}  # by call id; the loop's thread alone uses it
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

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
        task.add_done_callback(lambda _: self._tasks.pop(call.id, None))

    async def _run(self, call: TaskCall, ended: Callable[[Outcome], None]) -> None:
        ended(await call.run_async(*call.upstream))

    def cancel(self, call: TaskCall) -> None:
        """Cancel a call's coroutine, if it runs here."""
        self._loop.call_soon_threadsafe(self._cancel, call.id)

    def _cancel(self, call_id: str) -> None:
        if task := self._tasks.get(call_id):
            task.cancel()

    def stop(self) -> None:
        """Cancel what still runs, then end the loop and its thread."""
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _drain(self) -> Any:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
