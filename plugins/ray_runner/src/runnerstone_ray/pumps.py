"""The thread that hands calls to Ray, and reports what becomes of them."""

import threading
from collections import deque
from logging import getLogger
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import attrs

from runnerstone.errors import TaskCrashedError
from runnerstone.task_runners import Crash, Outcome, Parcel, Reference, Report, TaskCall
from runnerstone_ray.losses import crash_of
from runnerstone_ray.workers import contents_to_send, outcome_of, remote_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

# At most so many calls, and bytes of their contents, are in Ray at once; the rest waits here. Ray
# holds all it is given in the driver's memory, and gets slower with it.
MOST_CALLS: Final = 10_000
MOST_BYTES: Final = 64 * 1024 * 1024
# How long the end of the thread is waited for, before a look at whether a lost cluster holds it up
# for ever, in seconds.
GRACE_SECONDS: Final = 5.0
_log: Final = getLogger("runnerstone.ray")


@attrs.define(eq=False)
class Entry:
    """A call that was submitted, and what Ray has given for it.

    Attributes:
        call: The call.
        report: How to tell what becomes of it.
        parcel: What is sent.
        nbytes: The size of its contents.
        sent: Ray's reference to the outcome; None while the call waits.
        value: Ray's reference to the value, if that stays on the cluster.
        cancelled: It shall not be sent any more.
    """

    call: TaskCall
    report: Report
    parcel: Parcel
    nbytes: int
    sent: Any = None
    value: Any = None
    cancelled: bool = False


class Pump:
    """Runs the calls of one flow run.

    Its thread alone gives calls to Ray and cancels them, in the order of what comes into its inbox.
    Ends come on a thread of Ray's own, which must not be held up: it posts them, and wakes this one
    if calls wait for room. The lock guards the entries, what is in Ray, what waits, and what is
    known of a loss. While it is held nothing is sent, and an end is posted, which does not block:
    so none is once the pump has stopped.
    """

    def __init__(self, limit: int, *, most_calls: int = MOST_CALLS, cpus: int = 1) -> None:
        """Start the thread.

        Args:
            limit: Size up to which a value comes to the driver with the outcome, in bytes.
            most_calls: How many are in Ray at once.
            cpus: How many CPUs a call takes there.
        """
        self._limit = limit
        self._most_calls = most_calls
        self._cpus = cpus
        self._inbox: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._entries: dict[TaskCall, Entry] = {}  # that have not ended
        self._loss: str | None = None
        self._waiting: deque[Entry] = deque()
        self._calls = 0  # in Ray, as are
        self._nbytes = 0
        self._thread = threading.Thread(target=self._run, name="RayTaskRunner", daemon=True)
        self._thread.start()

    def put(self, call: TaskCall, report: Report) -> None:
        """Take a call; raises UnpicklableError if its task cannot travel."""
        _ = call.program.digest  # pickled here, where the caller is told
        parcel = call.parcel()
        entry = Entry(call, report, parcel, parcel.contents.nbytes)
        with self._lock:
            if self._loss is not None:
                raise TaskCrashedError(self._loss)
            self._entries[call] = entry
        self._inbox.put((self._take, (entry,)))

    def cancel(self, call: TaskCall) -> None:
        """Have a call ended, or not begun."""
        self._inbox.put((self._cancel, (call,)))

    def abandon(self, loss: str) -> None:
        """End all that has not ended: it never will, for the reason given."""
        with self._lock:
            self._loss = loss
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            entry.report.post(Outcome(problem=Crash(loss, is_permanent=True)))

    def stop(self) -> None:
        """End the calls that are left, and the thread; report nothing any more."""
        with self._lock:
            left = list(self._entries)
        for call in left:
            self._inbox.put((self._cancel, (call,)))
        self._inbox.put(None)
        while self._thread.is_alive():
            self._thread.join(GRACE_SECONDS)
            if self._loss is not None:
                return
        with self._lock:
            self._entries.clear()

    # On the thread

    def _run(self) -> None:
        while (item := self._inbox.get()) is not None:
            function, arguments = item
            function(*arguments)
            del item, function, arguments

    def _take(self, entry: Entry) -> None:
        with self._lock:
            self._waiting.append(entry)
        self._go_on()

    def _go_on(self) -> None:
        """Send what waits, as far as there is room."""
        while (entry := self._next()) is not None:
            self._send(entry)

    def _next(self) -> Entry | None:
        """The call to be sent now, which is in Ray from here on; None if there is none."""
        with self._lock:
            while self._waiting:
                entry = self._waiting[0]
                fits = self._nbytes + entry.nbytes <= MOST_BYTES
                if self._calls >= self._most_calls or not (fits or not self._calls):
                    return None
                self._waiting.popleft()
                if not entry.cancelled:
                    self._calls += 1
                    self._nbytes += entry.nbytes
                    return entry
        return None

    def _send(self, entry: Entry) -> None:
        parcel = entry.parcel
        try:
            function = remote_function(entry.call.program, self._limit, self._cpus)
            handles = [reference.handle for reference in parcel.kept]
            entry.sent, entry.value = function.remote(contents_to_send(parcel.contents), *handles)
            future = entry.sent.future()
        except Exception as error:  # noqa: BLE001  # whatever Ray raises, the call is lost
            self._end(entry, Outcome(problem=crash_of(error, parcel)))
            return
        future.add_done_callback(lambda ended: self._end(entry, _outcome(entry, ended)))

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        """Report a call that is in Ray no more; on Ray's thread, or here."""
        with self._lock:
            known = self._entries.pop(entry.call, None)
            self._calls -= 1
            self._nbytes -= entry.nbytes
            if self._waiting:
                self._inbox.put((self._go_on, ()))
            if known is not None:
                entry.report.post(outcome)

    def _cancel(self, call: TaskCall) -> None:
        import ray  # loaded by now

        with self._lock:
            entry = self._entries.get(call)
            if entry is None:
                return
            entry.cancelled = True
            if entry.sent is None:
                del self._entries[call]
                return
        try:
            # By force: it ends the worker process, whatever that does. The alternative interrupts
            # Python code alone, and only in a main thread.
            ray.cancel(entry.sent, force=True)
        except Exception as error:  # noqa: BLE001  # the call goes on; its task run has ended
            _log.warning("Ray did not cancel call %s: %r", call.id, error)


def _outcome(entry: Entry, ended: "Future[bytes]") -> Outcome:
    error = ended.exception()
    if error is not None:
        return Outcome(problem=crash_of(error, entry.parcel))
    try:
        outcome, nbytes = outcome_of(ended.result())
    except Exception as unreadable:  # noqa: BLE001  # the worker's runnerstone is another
        message = f"what the Ray worker process sent cannot be read here: {unreadable!r}"
        return Outcome(problem=Crash(message, unreadable, is_permanent=True))
    if nbytes is None:
        return outcome
    return attrs.evolve(outcome, value=Reference(entry.value, nbytes=nbytes, where=outcome.where))
