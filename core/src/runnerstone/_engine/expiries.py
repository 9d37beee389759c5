"""The end of a flow run's time."""

import threading
from functools import partial
from typing import Final, Protocol

from runnerstone._engine.interrupts import FlowExpired, InterruptGuard, can_be_signalled
from runnerstone._engine.threads import TimerThread


class Expiring(Protocol):
    """A flow run that can be ended; the engine is one."""

    def close_all(self) -> None: ...
    def cancel_all(self) -> None: ...


class Expiry:
    """Ends a flow run whose time is up: it cancels what was submitted and interrupts the body.

    The timer's thread does it. The lock guards whether there is a body to be interrupted; the
    signal is sent while it is held, so that none is sent to a body that is over.
    """

    def __init__(
        self, seconds: float | None, guard: InterruptGuard, parent: "Expiry | None"
    ) -> None:
        """Prepare to end a flow run.

        Args:
            seconds: How much time its body has, and what that submits; None sets no limit.
            guard: Can interrupt the main thread.
            parent: That of the flow run around; None if there is none.
        """
        self.seconds: Final = seconds
        self._guard = guard
        self._parent = parent
        self._lock = threading.Lock()
        self._is_body_open = False
        self._has_come = False

    def open_body(self, timer: TimerThread, flow_run: Expiring, *, is_async: bool) -> None:
        """The body begins: its time runs, and it can be interrupted.

        Args:
            timer: The flow run's.
            flow_run: What is to be ended.
            is_async: Whether its event loop interrupts it.
        """
        if self.seconds is not None:
            can_be = self._guard.is_installed and can_be_signalled()
            self._is_body_open = can_be and not is_async
            timer.call_later(self.seconds, partial(self.come, flow_run))

    def close_body(self) -> None:
        """The body is over, and nothing interrupts it any more; in the body's thread."""
        if self._is_body_open:
            with self._lock:
                self._is_body_open = False
            self._guard.settle(is_due_around=self.has_come_around)

    def come(self, flow_run: Expiring) -> None:
        """End the flow run; from any thread."""
        self._has_come = True
        flow_run.close_all()
        with self._lock:
            is_signalled = self._is_body_open
            if is_signalled:
                self._guard.expire()
        if is_signalled:
            # First: a call in the same thread is interrupted next, maybe amid the signal's handler.
            self._guard.wait_for_handler()
        flow_run.cancel_all()

    @property
    def has_come_around(self) -> bool:
        """Whether the time of a flow run around is up."""
        return self._parent is not None and self._parent.has_come

    @property
    def has_come(self) -> bool:
        """Whether the flow run's own time is up, or that of one around."""
        return self._has_come or self.has_come_around

    def raise_if_come(self) -> None:
        """Raise what ends the body.

        Raises:
            FlowExpired: If the time is up.
        """
        if self.has_come:
            raise FlowExpired
