"""The task runner that runs one call at a time."""

import pickle
import threading
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import attrs

from runnerstone.calls import TaskCall
from runnerstone.contracts import Capabilities, Report, TaskRunner
from runnerstone.futures import LOOK_UP_SECONDS
from runnerstone.outcomes import Outcome
from runnerstone.packs import run_parcel

if TYPE_CHECKING:
    from runnerstone._loops import LoopThread

STRICT: Final = Capabilities(parallel=False)


class SequentialTaskRunner(TaskRunner):
    """Runs each call in the thread that submits it, one after another; several threads take turns.

    Coroutines run on an event loop in a thread beside, which the submitting thread waits for.

    Attributes:
        strict: Whether calls get and give what they would in another process: copies, made by
            pickling, with arrays that are read-only, and no context variables. What would fail
            there fails here, too, and is as easy to debug as usual.
    """

    strict: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    capabilities = Capabilities(parallel=False, shares_memory=True, interrupts=True)

    def __attrs_post_init__(self) -> None:
        if self.strict:
            self.capabilities = STRICT

    def start(self) -> None:
        self._loop: LoopThread | None = None
        self._turn = threading.RLock()  # held while a call runs

    def submit(self, call: TaskCall, report: Report) -> None:
        with self._turn:
            report.started()
            if self.strict:
                outcome = _executed_apart(call)
            else:
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

    def cancel(self, call: TaskCall) -> None:
        if call.is_async and self._loop is not None:
            self._loop.cancel(call)
        else:
            call.interrupt()

    def stop(self) -> None:
        if hasattr(self, "_loop") and self._loop is not None:  # absent where starting got nowhere
            self._loop.stop()
            self._loop = None


def _executed_apart(call: TaskCall) -> Outcome:
    """The outcome of a call that is sent to a worker and back, but for the worker."""
    parcel = call.parcel()
    sent = pickle.loads(pickle.dumps((call.program, parcel.contents), protocol=5))
    outcome = Context().run(run_parcel, *sent)
    returned: Outcome = pickle.loads(pickle.dumps(outcome, protocol=5))
    return returned
