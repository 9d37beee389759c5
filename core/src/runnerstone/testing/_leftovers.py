"""What a task runner may leave behind: threads and child processes."""

import os
import select
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

_PROCESSES = Path("/proc")


class Census:
    """The threads of this process and the processes below it, at the time it was taken.

    Processes are counted on Linux only.
    """

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._processes = _descendants()

    def newcomers(self, patience_seconds: float) -> list[str]:
        """The threads and processes that have come since, and do not end soon; described."""
        deadline = time.monotonic() + patience_seconds
        threads = [thread for thread in threading.enumerate() if thread not in self._threads]
        for thread in threads:
            with suppress(RuntimeError, AssertionError):  # one that Python did not start
                thread.join(max(deadline - time.monotonic(), 0))
        processes = _descendants() - self._processes
        for process in processes:
            _join(process, max(deadline - time.monotonic(), 0))
        left = [f"thread {thread.name!r}" for thread in threads if thread.is_alive()]
        left += [f"process {_command(process)}" for process in processes & _descendants()]
        return left


def _descendants() -> set[int]:
    """Children of this process, their children and so on; without those that have ended."""
    children: dict[int, list[int]] = {}
    for folder in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(folder.name))
    found: set[int] = set()
    pending = [os.getpid()]
    while pending:
        new = set(children.get(pending.pop(), ())) - found
        found |= new
        pending += new
    return found


def _join(process: int, patience_seconds: float) -> None:
    if sys.platform == "linux":
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(process)
            try:
                select.select([handle], [], [], patience_seconds)
            finally:
                os.close(handle)


def _command(process: int) -> str:
    try:
        words = (_PROCESSES / str(process) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    return f"{process}: {b' '.join(words).decode(errors='replace').strip() or 'unknown'}"
