"""Interrupting Python code that another thread executes, between two of its bytecodes.

What waits in C code, such as a sleep or a read, is interrupted once that returns.
"""

import gc
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

# Held while an exception is sent.
_sending: Final = threading.Lock()
# Python looks for it in each turn of a loop; one would do.
STRIKING: Final = 100
# Before 3.12, while an exception waits for a thread that is in C code, all threads that are traced,
# by a debugger or coverage, stand still: there it is not sent.
CAN_TRACE: Final = sys.version_info >= (3, 12)
# Between looks at a thread that is to be left in peace.
AGAIN_SECONDS: Final = 0.005
# Modules that take a lock in one step and see to its release in the next, or that must not be left
# half-way: of logging, and ours that a task may call.
_DELICATE: Final = ("logging", "runnerstone._engine", "runnerstone._prints", "runnerstone.contexts")


class Interruption(BaseException):
    """Raised in the code of a task that is cancelled, or that has used up its time."""


class Interruptible:
    """A stretch of code that one thread executes, and that another may interrupt, once.

    The thread enters and leaves without a lock. It says where it is before it looks whether it is
    to be interrupted, and the other one does so the other way round, so that one of them notices.
    After `leave` nothing of an interruption can reach the thread.
    """

    __slots__ = ("_is_interrupted", "_thread")

    def __init__(self) -> None:
        self._thread: int | None = None
        self._is_interrupted = False

    @property
    def is_interrupted(self) -> bool:
        """Whether anybody has interrupted it, or tried to before it began."""
        return self._is_interrupted

    def enter(self) -> None:
        """Begin, in the calling thread; raises Interruption if it is to end at once."""
        self._thread = threading.get_ident()
        if self._is_interrupted:
            self.leave()
            raise Interruption

    def leave(self) -> None:
        """End; in the thread that entered, also after an interruption, and harmless twice."""
        self._thread = None
        if self._is_interrupted:
            with suppress(Interruption):
                with _sending:  # by now it was sent, or never will be
                    pass
                for _ in range(STRIKING):  # and if it has not struck yet, it strikes here
                    pass

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Keep interruptions away from a part of it, until that ends; in any thread.

        Raises:
            Interruption: At the end, if there was one.
        """
        is_executed_here = self._thread == threading.get_ident()
        if is_executed_here:
            self.leave()
        try:
            yield
        finally:
            if is_executed_here:
                self.enter()

    def interrupt(self) -> None:
        """Raise `Interruption` in the thread that executes the code; from any thread.

        While that thread logs, or is in the engine, it is left in peace: it may be about to release
        a lock. Then a thread of its own looks again until the time has come, or the code has ended.
        """
        with _sending:
            if self._is_interrupted:
                return
            self._is_interrupted = True
            is_sent = self._send()
        if not is_sent:
            threading.Thread(target=self._insist, name="interruption", daemon=True).start()

    def _insist(self) -> None:
        is_sent = False
        while not is_sent:
            time.sleep(AGAIN_SECONDS)
            with _sending:
                is_sent = self._send()

    def _send(self) -> bool:
        """Interrupt the code, unless it has ended; false if it cannot be now. Under the lock."""
        time.sleep(0)  # with the GIL just taken, nobody is switched to before what follows is done
        thread = self._thread
        if thread is None:
            return True
        if thread == threading.get_ident() or _is_delicate(thread):
            return False
        if CAN_TRACE or sys.gettrace() is None:
            _raise_in(thread)
        return True


def _is_delicate(thread: int) -> bool:
    """Whether what a call executes there now is better left in peace."""
    frame = _frame_of(thread)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == "runnerstone.calls":  # above is what executes the call
            return False
        if module.startswith(_DELICATE):
            return True
        frame = frame.f_back
    return False


def _frame_of(thread: int) -> FrameType | None:
    """What a thread executes."""
    collects = gc.isenabled()
    gc.disable()  # a collection amid this makes Python 3.11 wait for itself
    try:
        return sys._current_frames().get(thread)  # noqa: SLF001  # so it is named
    finally:
        if collects:
            gc.enable()


def _raise_in(thread: int) -> None:
    """Have `Interruption` raised in a thread as soon as it executes another bytecode."""
    import ctypes  # slow to load, and few runs are interrupted

    kind = ctypes.py_object(Interruption)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), kind)
