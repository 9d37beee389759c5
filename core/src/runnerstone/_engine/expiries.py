"""The end of a flow run's time."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from runnerstone._engine.interrupts import FlowExpired, InterruptGuard, is_in_main_thread
from runnerstone._engine.threads import TimerThread


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

    def open_body(self, timer: TimerThread, cancel_all: Callable[[], object]) -> None:
        """The body begins: its time runs, and it can be interrupted.

        Args:
            timer: The flow run's.
            cancel_all: Cancels all that is live, also in the flow runs within.
        """
        if self.seconds is not None:
            self._is_body_open = self._guard.is_installed and is_in_main_thread()
            timer.call_later(self.seconds, partial(self.come, cancel_all))

    def close_body(self) -> None:
        """The body is over, and nothing interrupts it any more; in the body's thread."""
        if self._is_body_open:
            with self._lock:
                self._is_body_open = False
            self._guard.settle()

    def come(self, cancel_all: Callable[[], object]) -> None:
        """End the flow run; from any thread."""
        self._has_come = True
        cancel_all()
        with self._lock:
            if self._is_body_open:
                self._guard.expire()

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
