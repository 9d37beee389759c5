"""The task runner."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from runnerstone.errors import ValueLostError
from runnerstone.task_runners import (
    Capabilities,
    Pickled,
    Reference,
    Report,
    TaskCall,
    TaskRunner,
)
from runnerstone_process.messages import pack
from runnerstone_process.pools import Pool
from runnerstone_process.processes import Job
from runnerstone_process.workers import Settings


class ProcessTaskRunner(TaskRunner):
    """Runs each call in a process of this machine, one at a time in each; coroutines too.

    Processes start when there is work for them, and end with the flow run. Values above 64 KiB stay
    in files, in the folder for temporary files (``TMPDIR`` says where), from which the next calls
    read them without a copy.

    Attributes:
        max_workers: How many calls run at once. None is the number of processors that this process
            may use.
        initializer: Called once in each process, before its first call; None calls nothing. If it
            raises, the calls crash.
    """

    max_workers: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            [attrs.validators.instance_of(int), attrs.validators.ge(1)]
        ),
    )
    initializer: Callable[[], object] | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.is_callable())
    )

    capabilities = Capabilities(cancels_queued=True, kills=True, gains_from_packing=True)

    def start(self) -> None:
        import loky  # slow, and needed only where calls run
        from loky.backend import resource_tracker

        initializer = _pickled(self.initializer)
        self._folder = tempfile.mkdtemp(prefix="runnerstone-")
        resource_tracker.register(self._folder, "folder")  # which outlives a driver that is killed
        settings = Settings(initializer, self._folder, self.capabilities.inline_limit)
        self._pool = Pool(self.max_workers or loky.cpu_count(), settings)

    def submit(self, call: TaskCall, report: Report) -> None:
        parcel = call.parcel()
        contents = parcel.contents.head if parcel.contents.is_plain else parcel.contents
        order: tuple[Any, ...] = (call.program.digest, contents)  # what `Worker.execute` takes
        if parcel.kept:
            order += (parcel.slots, [reference.handle for reference in parcel.kept])
        self._pool.submit(Job(call, report, pack(order)))

    def cancel(self, call: TaskCall) -> None:
        self._pool.cancel(call)

    def slots(self) -> int:
        return self._pool.limit

    def fetch(self, references: Sequence[Reference]) -> list[Pickled]:
        try:
            return [reference.handle.read() for reference in references]
        except OSError as error:
            raise ValueLostError(f"a value that was kept in a file is gone: {error}") from error

    def stop(self) -> None:
        if hasattr(self, "_pool"):  # else starting got nowhere
            self._pool.stop()
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)
            from loky.backend import resource_tracker  # slow, and loaded by now

            resource_tracker.unregister(self._folder, "folder")
            del self._folder


def _pickled(initializer: Callable[[], object] | None) -> bytes | None:
    """The initializer as processes are sent it.

    Raises:
        TypeError: If it cannot be pickled.
    """
    if initializer is None:
        return None
    import cloudpickle  # slow, and needed only where there is something to pickle

    try:
        pickled: bytes = cloudpickle.dumps(initializer)
    except Exception as error:
        raise TypeError(f"the initializer {initializer!r} cannot be pickled: {error}") from error
    return pickled
