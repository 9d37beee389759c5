"""Which calls are sent to the task runner together, and when.

Where sending costs more than small calls take, these travel in packs. The calls of one task are a
stream. It is self-clocking: a call is sent at once while the runner has less than it can execute
now, and a little more for its way; what comes meanwhile waits here, and goes, packed, when
something that was sent has ended. How many go together follows from how long such calls took. So a
call is never held up while a slot is free, and packs grow only where calls come faster than they
end. Calls that are not known to be small go alone; while nothing but these are sent, ever more are,
so that a cluster that grows with its load sees it.

Which thread does what. Calls are added by whoever launches them, ends are told by whoever reports
them, and either sends what is due then. The reporter's thread asks the runner for its slots, and
takes packs apart. A stream's lock guards what waits, what was sent and what was measured. It is
held for a few assignments, and at most while a pack is put together of those that wait, and never
while the runner, the engine or pickling runs.
"""

import os
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

from runnerstone._engine.attempts import Attempt
from runnerstone._engine.interrupts import interruptible
from runnerstone._engine.paces import Pace
from runnerstone._engine.threads import SerialThread, TimerThread
from runnerstone._engine.units import Member, Unit
from runnerstone.calls import TaskCall
from runnerstone.contents import Reference
from runnerstone.contracts import TaskRunner
from runnerstone.outcomes import Outcome
from runnerstone.packs import MOST_BYTES

if TYPE_CHECKING:
    from runnerstone.programs import Program


MOST_CALLS: Final = 1000  # that go together
# How many packs, or calls that go alone, the runner has for each slot: one is on its way.
DEPTH: Final = 2
# Between looks at what waits, in seconds: of calls not known to be small, twice as many are sent.
WIDENING_SECONDS: Final = 0.1
# Between questions for the runner's slots, in seconds.
SLOTS_SECONDS: Final = 1.0

Sending = list[tuple[TaskCall, Attempt | Unit]]


class Owner(Protocol):
    """The engine, as its streams know it."""

    @property
    def runner(self) -> TaskRunner: ...
    @property
    def reporter(self) -> SerialThread: ...
    @property
    def timer(self) -> TimerThread: ...

    def send(self, calls: Sequence[tuple[TaskCall, Attempt | Unit]]) -> None: ...
    def done(self, attempt: Attempt, outcome: Outcome) -> None: ...
    def cancel_call(self, call: TaskCall) -> None: ...


class Streams:
    """The streams of a flow run, one for each task whose calls may be packed."""

    def __init__(self, owner: Owner) -> None:
        self._owner: Final = owner
        self._streams: dict[Program, Stream | None] = {}
        self.slots = 0  # how many calls the runner executes at once; 0 if it was not asked
        self._asked = 0.0

    def admit(self, calls: Sequence[tuple[TaskCall, Attempt]]) -> Sending:
        """Take calls that are ready; return what is to be sent now: some of them, maybe others."""
        if len(calls) == 1:
            return self._admit_one(*calls[0])
        sending: Sending = []
        due: list[Stream] = []
        for call, attempt in calls:
            stream = self._stream_of(call, attempt)
            if stream is None:
                sending.append((call, attempt))
                continue
            if not self.slots:
                self.ask()
            if stream.add(call, attempt) and stream not in due:
                due.append(stream)
        for stream in due:
            sending += stream.take()
        return sending

    def _admit_one(self, call: TaskCall, attempt: Attempt) -> Sending:
        stream = self._stream_of(call, attempt)
        if stream is None:
            return [(call, attempt)]
        if not self.slots:
            self.ask()
        sending = stream.pass_on(call, attempt)
        if sending is not None:
            return sending
        return stream.take() if stream.add(call, attempt) else []

    def _stream_of(self, call: TaskCall, attempt: Attempt) -> "Stream | None":
        """The stream of a call; None if it goes alone."""
        program = attempt.program
        if program not in self._streams:
            self._streams.setdefault(program, self._made(attempt))
        if attempt.past.crashes:
            return None
        if call.upstream and any(type(it) is Reference for it in call.upstream):
            return None
        return self._streams[program]

    def _made(self, attempt: Attempt) -> "Stream | None":
        options = attempt.task.options
        go_alone = (
            options.batch == 1
            or not options.crash_retries
            or options.timeout_seconds is not None
            or options.resources
            or attempt.program.is_async  # they could run at the same time in one place
        )
        most = MOST_CALLS if options.batch == "auto" else options.batch
        return None if go_alone else Stream(self._owner, self, most)

    def close(self) -> None:
        """Let go of the streams, which refer to this in turn."""
        self._streams.clear()

    @interruptible
    def ask(self) -> None:
        """Ask the runner for its slots; it may block."""
        self._asked = time.monotonic()
        try:
            slots = max(int(self._owner.runner.slots() or 0), 0)
        except Exception:  # noqa: BLE001  # a cluster that is in trouble: the calls will tell of it
            slots = 0
        self.slots = slots or self.slots or os.cpu_count() or 1

    def ask_again(self) -> None:
        """Have the runner asked, if that was long ago."""
        now = time.monotonic()
        if now - self._asked > SLOTS_SECONDS:
            self._asked = now
            self._owner.reporter.call(self.ask)


class Stream:
    """The calls of one task that may be packed: what waits, what was sent, how long they take."""

    def __init__(self, owner: Owner, streams: Streams, most: int) -> None:
        """Begin a stream.

        Args:
            owner: Sends and takes the calls.
            streams: Knows the runner's slots.
            most: How many calls may go together.
        """
        self.owner: Final = owner
        self._streams: Final = streams
        self.lock: Final = Lock()
        # Guarded by the lock:
        self._waiting: deque[Member] = deque()
        self._units = 0  # how many were sent and have not ended
        self._factor = 1  # how many times what is usual the runner is given
        self._is_widening = False  # whether the timer will see to what waits
        self._pace: Final = Pace(most)
        self._is_uneven = False  # whether something that waits has come back from behind a slow one

    def pass_on(self, call: TaskCall, attempt: Attempt) -> Sending | None:
        """What is to be sent of a call, if it need not wait; None if it has to."""
        with self.lock:
            if self._waiting or not self._has_room():
                return None
            unit = self._sent([(call, attempt)])
        return [(unit.call, unit)] if unit else []

    def add(self, call: TaskCall, attempt: Attempt) -> bool:
        """Have a call that is ready wait; return whether something is to be sent now."""
        attempt.sender = self
        with self.lock:
            self._waiting.append((call, attempt))
            has_room = self._has_room()
            widens = not has_room and self._may_widen()
        if widens:
            self._widen_later()
        return has_room

    def cancel(self, attempt: Attempt) -> None:
        """Forget a call that waits: as its attempt is over, it will be passed over."""

    def take(self) -> Sending:
        """What is to be sent now, of what waits."""
        sending: Sending = []
        while unit := self._next():
            sending.append((unit.call, unit))
        return sending

    def ended(
        self, unit: Unit | None, outcomes: Sequence[Outcome] = (), back: Sequence[Member] = ()
    ) -> None:
        """Send what is due now, since something has ended that was sent, or a part of it.

        Args:
            unit: What has ended; None if only a part has.
            outcomes: How its calls ended.
            back: Its calls that were not executed.
        """
        for _, attempt in back:
            attempt.sender = self
        with self.lock:
            if unit is not None and not unit.is_over:
                unit.is_over = True
                self._units -= 1
            if back:
                self._waiting.extendleft(reversed(back))
                self._is_uneven = True
            if outcomes:
                self._pace.learn(outcomes)
                if self._pace.is_small:
                    self._factor = 1
            is_waiting = bool(self._waiting)
        self._streams.ask_again()
        if is_waiting:
            self.owner.send(self.take())

    def _next(self) -> Unit | None:
        """The calls that go next, together; None if none shall."""
        with self.lock:
            while self._has_room() and (members := self._first()):
                if unit := self._sent(members):
                    return unit
            widens = self._may_widen()
        if widens:
            self._widen_later()
        return None

    def _first(self) -> list[Member]:
        """Take what goes next of what waits, those that are over left out; under the lock."""
        members: list[Member] = []
        share = len(self._waiting) / (self._streams.slots * DEPTH)
        size, nbytes = self._pace.size(share, evenly=self._is_uneven), 0
        while self._waiting and len(members) < size:
            call, attempt = self._waiting[0]
            nbytes += call.nbytes
            if members and nbytes > MOST_BYTES:
                break
            self._waiting.popleft()
            if not attempt.over:
                members.append((call, attempt))
        self._is_uneven = self._is_uneven and bool(self._waiting)
        return members

    def _sent(self, members: Sequence[Member]) -> Unit | None:
        """Calls as they are sent, which counts from here on; None if they were cancelled just now.

        Under the lock: what is sent is whole before who cancels a call finds it.
        """
        unit = Unit(self, members)
        if unit.attempts:
            self._units += 1
            return unit
        unit.is_over = True
        return None

    def _has_room(self) -> bool:
        """Whether the runner is to be given more; under the lock."""
        return self._units < self._streams.slots * DEPTH * self._factor

    def _may_widen(self) -> bool:
        """Whether the timer is to see to what waits; likewise."""
        if self._waiting and not self._is_widening:
            self._is_widening = True
            return True
        return False

    def _widen_later(self) -> None:
        widen = partial(self.owner.reporter.call, self._widen)
        self.owner.timer.call_later(WIDENING_SECONDS, widen)

    def _widen(self) -> None:
        """Send more, if the runner has more slots by now, or if nothing says that calls are small.

        On the reporter's thread. Calls that were small may all take long now, so that no end comes.
        """
        self._streams.ask_again()
        with self.lock:
            self._is_widening = False
            if not self._pace.is_small:
                self._factor *= 2
        self.owner.send(self.take())
