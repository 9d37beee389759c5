"""A worker process, as the driver sees it."""

import os
import platform
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, Final

import attrs

from runnerstone.task_runners import Report, TaskCall
from runnerstone_process.messages import pack, receive, send
from runnerstone_process.workers import Settings, work

# Longest wait for processes that have been told to end, before they are killed, in seconds.
GRACE_SECONDS: Final = 5.0
# What ends a process whatever it does; Windows' only way has the other name.
KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)


@attrs.define(eq=False)
class Job:
    """A call that was submitted.

    Attributes:
        call: The call.
        report: How to tell what becomes of it.
        message: What a worker is sent, once it has the program.
        is_sent: All of it has gone to a process. Until then the call is the sender's; guarded by
            the runner's lock.
        is_cancelled: It shall not be sent to another process; likewise.
        refusals: How many processes were gone before they could be sent it.
    """

    call: TaskCall
    report: Report
    message: list[bytes | memoryview]
    is_sent: bool = False
    is_cancelled: bool = False
    refusals: int = 0


class WorkerProcess:
    """One process, which executes one call at a time.

    Whoever takes it from the idle ones sends it a call; only the pump receives from it.

    Attributes:
        connection: To the process.
        is_ready: It has started; until then nothing is sent to it but its settings. Guarded by the
            runner's lock, as are the next.
        job: What it executes; None if it is idle.
        doomed: It has been killed or has died: its pid may be another's by now.
        is_gone: The pump has noticed that it ended.
    """

    def __init__(self, settings: Settings) -> None:
        """Start the process; to be called on the shielded thread."""
        from multiprocessing.util import Finalize  # slow, as is the next

        from loky.backend.context import get_context

        context = get_context("loky")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=work, args=(theirs, os.getpid()), name="ProcessTaskRunner worker"
        )
        try:
            self._process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()  # so that the end of the process is the end of the connection
        self.pid: Final[int] = self._process.pid
        self.where: Final = f"{platform.node()}:{self.pid}/MainThread"
        self.is_ready = False
        self.job: Job | None = None
        self.doomed = False
        self.is_gone = False
        self._digests: set[bytes] = set()
        # Children of the worker may keep its connection open when it is gone; nobody keeps its pid.
        self._handle = os.pidfd_open(self.pid) if sys.platform == "linux" else -1
        self._death = self._handle if self._handle >= 0 else self._process.sentinel
        # Of a runner that nobody stopped; else the driver would wait for the process at its exit.
        self._at_exit = Finalize(None, self.kill, exitpriority=10)
        send(self.connection, pack(settings))

    @property
    def ends(self) -> tuple[Any, ...]:
        """What becomes readable when a message comes, or the process ends."""
        return self.connection, self._death

    def execute(self, job: Job) -> None:
        """Send a call, after its program if that is new; raises OSError if the process is gone."""
        program = job.call.program
        if program.digest not in self._digests:
            send(self.connection, pack(program))
            self._digests.add(program.digest)
        send(self.connection, job.message)

    def receive(self, *, is_readable: bool) -> list[bytes] | None:
        """The message that the process has sent; None if it has sent nothing, so is gone.

        Args:
            is_readable: The connection is known to be; else only the process to have ended.
        """
        with suppress(EOFError, OSError):
            if is_readable or self.connection.poll():
                return receive(self.connection)
        return None

    def kill(self) -> None:
        """End the process, whatever it does; only before `bury`, while its pid is its own."""
        os.kill(self.pid, KILL)

    def dismiss(self) -> None:
        """Have the process end, once it is idle; only while nobody sends it anything."""
        self.connection.close()

    def bury(self, deadline: float = 0.0) -> None:
        """Wait for the end of a process that was dismissed, was killed or has died.

        Args:
            deadline: When to kill it, by the monotonic clock.
        """
        if not wait((self._death,), max(deadline - time.monotonic(), 0)):
            self.kill()
        self._process.join()
        self._at_exit.cancel()
        if self._handle >= 0:
            os.close(self._handle)

    def obituary(self) -> str:
        """How the process has ended; after `bury`."""
        code = self._process.exitcode or 0
        if code >= 0:
            return f"worker process {self.pid} exited with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        text = f"worker process {self.pid} was killed by {name}"
        return text + " (perhaps there was not enough memory)" * (name == "SIGKILL")
