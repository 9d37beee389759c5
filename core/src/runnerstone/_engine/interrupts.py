"""Ctrl-C, told apart from a `KeyboardInterrupt` that somebody's code raised, and kept out of here.

Python raises `KeyboardInterrupt` between any two instructions of the main thread. In a user's code,
in a task runner's and where the engine waits, it may strike. Amid the engine's bookkeeping it would
leave a task run that never ends; there it is put off until the engine has done.

A flow run whose time is up is interrupted the same way, by a signal that its timer sends to the
main thread.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

# The first cancels what waits, the second what runs. Whoever presses a third time means now.
PUT_OFF: Final = 2
# Milliseconds that a signal may take that was sent to this thread; it may also have been lost, if
# its handler was itself interrupted.
SETTLING: Final = 100
# Modules to be left in peace: the engine's, and the default task runner's, which does not block.
_AT_WORK: Final = (f"{__package__}.", "runnerstone._concurrent", "runnerstone._prints")
_interruptible: Final[set[CodeType]] = set()
_due: type[BaseException] | None = None


class FlowExpired(BaseException):  # it ends a flow's body, and no user catches it
    """Raised in the body of a flow whose time is up, and in that of a subflow of it."""


def interruptible(fn: F) -> F:
    """Let Ctrl-C strike in a function of the engine, since it waits or runs other people's code."""
    _interruptible.add(cast("FunctionType", fn).__code__)
    return fn


def is_in_main_thread() -> bool:
    """Whether this is the thread in which Ctrl-C strikes."""
    return threading.current_thread() is threading.main_thread()


def can_be_signalled() -> bool:
    """Whether this is the main thread, and Ctrl-C is not kept from it."""
    if not is_in_main_thread():
        return False
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "SIG_BLOCK") else ()
    return signal.SIGINT not in blocked


def raise_if_due() -> None:
    """Raise what was put off; whatever of the engine others call in the main thread ends with this.

    Raises:
        KeyboardInterrupt: If Ctrl-C was, and this is the main thread.
        FlowExpired: If it was a flow run's end, likewise.
    """
    global _due  # a process has one main thread
    if _due is not None and is_in_main_thread():
        error, _due = _due, None
        raise error


class InterruptGuard:
    """What is known of the Ctrl-C that the process got during a flow run.

    Attributes:
        count: How many there have been.
        is_installed: Whether it handles the signal; if not, nothing here can interrupt.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_installed = False
        self._is_expiring = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Do what Python's own handler does, at once or later; the handler of the signal."""
        global _due  # noqa: PLW0603  # as above
        if self._is_expiring:
            self._is_expiring = False
            if not _is_at_work(frame):
                raise FlowExpired
            _due = _due or FlowExpired
            return
        self.count += 1
        if self.count <= PUT_OFF and _is_at_work(frame):
            _due = KeyboardInterrupt
        else:
            signal.default_int_handler(signum, frame)

    def expire(self) -> None:
        """Raise `FlowExpired` in the main thread, unless the body handles the signal itself."""
        if not self._is_in_charge():
            return
        self._is_expiring = True
        if hasattr(signal, "pthread_kill"):  # it also wakes what sleeps in the main thread
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            import _thread  # noqa: PLC0415  # on Windows alone

            _thread.interrupt_main()

    def wait_for_handler(self) -> None:
        """Wait until the signal that was sent has been handled, but not for long."""
        for _ in range(SETTLING):
            if not self._is_expiring or not self._is_in_charge():
                break
            time.sleep(0.001)

    def _is_in_charge(self) -> bool:
        return signal.getsignal(signal.SIGINT) == self.handle

    def settle(self, *, is_due_around: bool) -> None:
        """Have nothing of an expiry come any more; in the main thread, which it was meant for.

        Args:
            is_due_around: Whether the body of a flow around is to be ended, too.
        """
        global _due  # noqa: PLW0603  # as above
        self.wait_for_handler()
        self._is_expiring = False
        if _due is FlowExpired and not is_due_around:
            _due = None


@contextmanager
def guarding() -> Iterator[InterruptGuard]:
    """Give the guard for a flow run: the one that there is, or else a new one.

    A new one takes the place of Python's own handler, and only of that one, and only in the main
    thread, which is the only one that may. Elsewhere it knows of no Ctrl-C.

    Raises:
        KeyboardInterrupt: At the end, if one was put off until then.
    """
    guard = InterruptGuard()
    handler = signal.getsignal(signal.SIGINT)
    if not is_in_main_thread() or handler is not signal.default_int_handler:
        outer = getattr(handler, "__self__", None)
        yield outer if is_in_main_thread() and isinstance(outer, InterruptGuard) else guard
        return
    signal.signal(signal.SIGINT, guard.handle)
    guard.is_installed = True
    try:
        yield guard
    finally:
        if signal.getsignal(signal.SIGINT) == guard.handle:  # unless the flow's body chose another
            signal.signal(signal.SIGINT, handler)
    raise_if_due()


def _is_at_work(frame: FrameType | None) -> bool:
    """Whether what runs there is the engine, or a library that it calls."""
    while frame is not None:
        if frame.f_code in _interruptible:
            return False
        if frame.f_globals.get("__name__", "").startswith(_AT_WORK):
            return True
        frame = frame.f_back
    return False
