"""What the pump waits for: a bell, and each process's messages and end."""

import selectors
import sys
import threading
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from runnerstone_process.processes import WorkerProcess

# Which process, and whether it has sent something, else it has ended; None for the bell.
Source = tuple[WorkerProcess, bool] | None


class Sources:
    """Waits for whatever comes first. Any thread may add a process; one waits, and removes.

    The system keeps the list between two waits, which is much of what a small call costs; Windows
    cannot do so for pipes, and gets it anew each time.
    """

    def __init__(self, bell: "Connection[Any, Any]") -> None:
        """Begin with the bell alone.

        Args:
            bell: What is readable when somebody wants the waiting to end.
        """
        self._lock: Final = threading.Lock()  # guards the list, not the waiting
        self._ends: dict[Any, Source] = {bell: None}
        self._selector = None if sys.platform == "win32" else selectors.DefaultSelector()
        if self._selector is not None:
            self._selector.register(bell, selectors.EVENT_READ)

    def add(self, worker: WorkerProcess) -> None:
        """Wait for a process too, from the next time on; the bell tells of it."""
        with self._lock:
            for end in worker.ends:
                self._ends[end] = worker, end is worker.connection
                if self._selector is not None:
                    self._selector.register(end, selectors.EVENT_READ)

    def remove(self, worker: WorkerProcess) -> None:
        """Wait for a process no more; before its ends are closed."""
        with self._lock:
            for end in worker.ends:
                del self._ends[end]
                if self._selector is not None:
                    self._selector.unregister(end)

    def wait(self) -> list[Source]:
        """Block until something has come; messages stand before ends."""
        ready: list[Any]
        if self._selector is None:
            with self._lock:
                ends = list(self._ends)
            ready = wait(ends)
        else:
            ready = [key.fileobj for key, _ in self._selector.select()]
        with self._lock:
            sources = [self._ends[end] for end in ready if end in self._ends]
        return sorted(sources, key=lambda source: source is not None and not source[1])

    def close(self) -> None:
        """Let go of the list."""
        if self._selector is not None:
            self._selector.close()
