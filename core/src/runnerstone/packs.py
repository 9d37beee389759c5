"""Calls in a worker: one, or a pack of small ones that have travelled together.

What a pack comes to is told in pieces. Its last outcome is that of the call that was executed last,
and says in its `Outcome.progress` how the calls before it ended; a call that was not executed goes
back to the engine. Where the task runner can, a pack that takes long says so before its end: then
only the call at hand is still the worker's.

Two threads deal with a pack in a worker: the one that executes it, and a timer's, once, when it has
taken long. A lock guards what has ended and which calls are to be executed. It is held while the
timer's thread tells of that, and never while a call is executed.
"""

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from logging import getLogger
from threading import Lock, Timer
from typing import Any, Final

import attrs

from runnerstone._context import where
from runnerstone._pickles import pack, safe_repr
from runnerstone.calls import Parcel, TaskCall
from runnerstone.contents import PROTOCOL, Pickled
from runnerstone.labels import FlowRunInfo
from runnerstone.outcomes import Crash, Outcome
from runnerstone.programs import Program

__all__ = ["Pack", "run_parcel"]

# A pack that has taken so long, in seconds, is taken apart; it was meant to last a third of that.
LONG_SECONDS: Final = 0.1
# Of the values that a pack sends back in one piece, in bytes.
MOST_BYTES: Final = 64 * 1024
_log: Final = getLogger("runnerstone.packs")

# Takes an `Outcome.progress`; in any thread.
Tell = Callable[[bytes], object]
# What travels of an outcome without anything special: the value's pickle, the start, the end.
Plain = tuple[bytes, float | None, float | None]


class Pack(TaskCall):
    """Small calls of one task that travel as one, and are executed one after another.

    A task runner treats it as a call. The engine, which makes it, takes its outcome apart.

    Attributes:
        calls: The calls, none of which needs a value that a worker keeps.
    """

    __slots__ = ("calls",)

    def __init__(self, calls: Sequence[TaskCall]) -> None:
        first = calls[0]
        super().__init__(
            first.program, first.flow_run, first.number, first.attempt, None, (), None, True
        )
        self.calls: Final = calls

    @property
    def id(self) -> str:
        """Unique among all calls: the first call's, and how many follow it."""
        return f"{self.calls[0].id}+{len(self.calls) - 1}"

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.calls[0].name} and {len(self.calls) - 1} more"

    @property
    def nbytes(self) -> int:
        """Size of all arguments, in bytes."""
        return sum(call.nbytes for call in self.calls)

    def __call__(self, *upstream: Any) -> Outcome:
        """Execute the calls in this thread; return the last one's outcome, with the others'."""
        return _Execution(iter(self.calls), len(self.calls), None).run()

    def parcel(self) -> Parcel:
        """The calls without their program; `run_parcel` executes them."""
        members = [call.member(call.upstream) for call in self.calls]
        return Parcel(pack((*self.flow_run.parts, members)), (), ())

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.program, self.parcel().contents)


def _arrived(program: Program, contents: Pickled) -> Pack:
    *parts, members = contents.load()
    flow_run = FlowRunInfo(*parts)
    return Pack([TaskCall.of_member(program, flow_run, member) for member in members])


def run_parcel(
    program: Program, contents: Pickled, *kept: Pickled, tell: Tell | None = None
) -> Outcome:
    """Execute what is in a parcel in this thread; in a worker.

    Args:
        program: The call's.
        contents: The parcel's.
        kept: The values that the parcel's references stand for, in the same order.
        tell: Called with what has become of a pack that takes long, for `Report.progressed`, at
            most once and in another thread; None if the task runner cannot bring that to the
            driver before the pack's end.
    """
    try:
        *parts, members = contents.load()
        flow_run = FlowRunInfo(*parts)
    except Exception as error:  # noqa: BLE001  # the driver's runnerstone is another than the worker's
        message = f"the call could not be unpickled in {where()}: {safe_repr(error)}"
        return Outcome(problem=Crash(message, is_permanent=True), where=where())
    calls = (TaskCall.of_member(program, flow_run, member) for member in members)
    if len(members) > 1:
        return _Execution(calls, len(members), tell).run()
    call = next(calls)
    rest = iter(kept)
    return call(*(next(rest) if value is None else value for value in call.upstream))


class _Execution:
    """A pack that is being executed."""

    def __init__(self, calls: Iterator[TaskCall], count: int, tell: Tell | None) -> None:
        self._calls: Final = calls
        self._tell: Final = tell
        self._where: Final = where()  # the timer's thread tells of it, too
        self._lock: Final = Lock()
        # Guarded by the lock:
        self._count = count  # how many of the calls are to be executed
        self._begun = 1  # how many were, the one at hand included; the first is in any case
        self._told = 0  # how many the driver has been told of
        self._ended: list[Plain | Outcome] = []  # those that ended since, the last one excepted

    def run(self) -> Outcome:
        clock = None
        if self._tell is not None:
            clock = Timer(LONG_SECONDS, self._hand_back)
            clock.daemon = True
            clock.start()
        try:
            outcome = self._execute(time.monotonic() + LONG_SECONDS)
        finally:
            if clock is not None:
                clock.cancel()
        with self._lock:
            self._count = 0
            return attrs.evolve(outcome, progress=self._progress())

    def _execute(self, deadline: float) -> Outcome:
        call, nbytes = next(self._calls), 0
        while True:
            outcome = call(*call.upstream)
            if type(outcome.value) is Pickled:
                nbytes += outcome.value.nbytes
            if nbytes > MOST_BYTES or time.monotonic() > deadline:
                return outcome
            with self._lock:
                if self._begun >= self._count:
                    return outcome
                self._begun += 1
                self._ended.append(_brief(outcome))
            call = next(self._calls)

    def _hand_back(self) -> None:
        """Tell what has ended, and give back what has not begun; on the timer's thread."""
        with self._lock:
            if self._count and self._tell is not None:
                try:
                    self._tell(self._progress())
                except Exception as error:  # noqa: BLE001  # a connection may raise anything
                    _log.warning("A pack goes on without telling what has ended: %r", error)
                    return
                self._count = self._begun
                self._told += len(self._ended)
                self._ended = []

    def _progress(self) -> bytes:
        return pickle.dumps((self._where, self._told, self._ended, self._begun), protocol=PROTOCOL)


def _brief(outcome: Outcome) -> Plain | Outcome:
    """What has to travel of an outcome."""
    value = outcome.value
    special = outcome.problem or outcome.state or outcome.records
    if special or type(value) is not Pickled or not value.is_plain:
        return outcome
    return bytes(value.head), outcome.started, outcome.ended


@attrs.frozen
class Progress:
    """What became of a pack so far.

    Attributes:
        where: The worker that executes it.
        first: The place, in the pack, of the first call that is told of here.
        outcomes: Of that call and those that follow it.
        begun: How many calls of the pack were executed, or are, the last one included; the others
            never will be.
    """

    where: str
    first: int
    outcomes: list[Outcome]
    begun: int

    @classmethod
    def read(cls, progress: bytes) -> "Progress":
        """What a worker has told; raises anything, if its runnerstone is another."""
        place, first, ended, begun = pickle.loads(progress)
        outcomes = [
            it
            if type(it) is Outcome
            else Outcome(Pickled(it[0]), started=it[1], ended=it[2], where=place)
            for it in ended
        ]
        return cls(place, first, outcomes, begun)
