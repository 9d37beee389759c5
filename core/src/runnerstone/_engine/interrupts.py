"""Ctrl-C, told apart from a `KeyboardInterrupt` that somebody's code raised."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class InterruptGuard:
    """While entered, counts the Ctrl-C that the process got.

    It takes the place of Python's own handler, and only of that one, and only in the main thread,
    which is the only one that may; it raises `KeyboardInterrupt` just as that does.
    """

    def __init__(self) -> None:
        self.count = 0
        self._installed = False

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        signal.default_int_handler(signum, frame)
