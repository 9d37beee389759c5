"""What a worker process does: it takes one call after another from its connection."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from runnerstone.programs import Program
from runnerstone.task_runners import Crash, Outcome, Pickled, run_parcel
from runnerstone_process.files import ValueFile
from runnerstone_process.messages import pack, receive, send, send_progress, unpack

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# What a process sends first, in place of an outcome and of where its value is.
READY: Final = (None, None)
# See prctl(2).
PR_SET_PDEATHSIG: Final = 1


@attrs.frozen
class Settings:
    """What a worker process is told once.

    Attributes:
        initializer: The function to be called first, pickled; None if there is none.
        folder: Where values stay.
        limit: Size up to which a value is sent to the driver, in bytes.
    """

    initializer: bytes | None
    folder: str
    limit: int


class Worker:
    """Executes the calls of one flow run in this process, one at a time."""

    def __init__(self, settings: Settings, tell: Callable[[bytes], object]) -> None:
        """Prepare to execute calls.

        Args:
            settings: What the process was told.
            tell: Sends the driver what becomes of a pack; see `run_parcel`.
        """
        self._settings = settings
        self._tell = tell
        self._programs: dict[bytes, Program] = {}
        self._problem: Crash | None = None

    def initialize(self) -> None:
        """Call the user's initializer; if it raises, every call will crash for that reason."""
        if self._settings.initializer is not None:
            try:
                Pickled(self._settings.initializer).load()()
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
                message = f"the initializer of the worker process raised {error!r}"
                self._problem = Crash(message, is_permanent=True)

    def add(self, program: Program) -> None:
        """Take a program for the calls that follow."""
        self._programs[program.digest] = program

    def execute(
        self,
        digest: bytes,
        contents: bytes | Pickled,
        slots: Sequence[int] = (),
        files: Sequence[ValueFile] = (),
    ) -> tuple[Outcome, ValueFile | None]:
        """Execute a call; return its outcome, and where its value is if that stays here.

        Args:
            digest: Its program's, which the worker has been sent before.
            contents: Its parcel's; as bytes if they are plain.
            slots: Places in its upstream of what is kept.
            files: Where that is.
        """
        if self._problem is not None:
            return Outcome(problem=self._problem), None
        kept = []
        for slot, file in zip(slots, files, strict=True):
            try:
                kept.append(file.read())
            except OSError as error:
                return Outcome(problem=Crash(f"a value is gone: {error}", lost=(slot,))), None
        if isinstance(contents, bytes):
            contents = Pickled(contents)
        outcome = run_parcel(self._programs[digest], contents, *kept, tell=self._tell)
        sent, value = outcome.parted(self._settings.limit)
        if value is None:
            return sent, None
        try:
            return sent, ValueFile.write(value, self._settings.folder)
        except OSError as error:
            message = f"its value, of {value.nbytes} bytes, could not be kept: {error}"
            return attrs.evolve(sent, problem=Crash(message, is_permanent=True)), None


def work(connection: "Connection[Any, Any]", driver: int) -> None:
    """Do what the driver says until it is gone; the main function of a worker process.

    Args:
        connection: To the driver.
        driver: The driver's process id.
    """
    _end_with(driver)
    # loky's way of starting processes is for the driver; in tasks, Python's own is the default.
    multiprocessing.set_start_method(None, force=True)
    try:
        settings = unpack(receive(connection))
        worker = Worker(settings, partial(send_progress, connection))
        worker.initialize()
        send(connection, pack(READY))
        while True:
            content = unpack(receive(connection))
            if isinstance(content, Program):
                worker.add(content)
            else:
                send(connection, pack(worker.execute(*content)))
                del content
    except (EOFError, OSError):
        return  # the driver has closed the connection, or is gone


def _end_with(driver: int) -> None:
    """Have the kernel end this process when the driver ends, whatever it executes; on Linux."""
    if sys.platform == "linux":
        import ctypes  # slow, and needed once

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != driver:  # it has ended before
            os._exit(1)
