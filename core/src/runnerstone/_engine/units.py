"""What is sent to a task runner as one: a call that may be packed, alone or with others."""

from collections.abc import Iterable, Sequence
from functools import partial
from logging import LogRecord
from typing import TYPE_CHECKING, Final

from runnerstone._engine.attempts import Attempt
from runnerstone._engine.interrupts import raise_if_due
from runnerstone._engine.verdicts import no_outcome
from runnerstone.calls import TaskCall
from runnerstone.contracts import Report
from runnerstone.outcomes import Crash, Outcome
from runnerstone.packs import Pack, Progress

if TYPE_CHECKING:
    from runnerstone._engine.streams import Stream

Member = tuple[TaskCall, Attempt]

# A pack with a cancelled call is given so long, in seconds, before it is taken apart.
PATIENCE_SECONDS: Final = 1.0


class Unit(Report):
    """A call or a pack that was sent, and what the task runner reports to.

    The stream's lock guards which attempts are left.

    Attributes:
        call: What the runner got.
        attempts: The attempts that have not ended here, by their places; None for one that has.
        is_over: Whether the runner has done with it; the stream's.
    """

    __slots__ = ("_is_watched", "_stream", "attempts", "call", "is_over")

    def __init__(self, stream: "Stream", members: Sequence[Member]) -> None:
        """Put together what is to be sent; under the stream's lock.

        Args:
            stream: Its calls'.
            members: The calls, at least one; those that were cancelled just now will be missing.
        """
        self._stream: Final = stream
        self._is_watched = False
        self.is_over = False
        for _, attempt in members:
            attempt.sender = self
        # Who cancels one either knows the unit now, or has ended the attempt before.
        live = [member for member in members if not member[1].over]
        self.attempts: list[Attempt | None] = [attempt for _, attempt in live]
        calls = [call for call, _ in live or members]
        self.call: TaskCall = calls[0] if len(calls) == 1 else Pack(calls)

    def started(self, where: str | None = None) -> None:
        for attempt in self._left()[:1]:
            attempt.started(where)

    def logged(self, records: Iterable[LogRecord]) -> None:
        for attempt in self._left()[:1]:
            attempt.logged(records)

    def progressed(self, progress: bytes) -> None:
        self._stream.owner.reporter.call(partial(self._go_on, progress))

    def done(self, outcome: Outcome) -> None:
        # Behind the progress that was told before, whose calls' end this one is not. Nor may an end
        # that is reported inside ``submit`` send more there: that would go as deep as calls wait.
        self.post(outcome)
        raise_if_due()

    def post(self, outcome: Outcome) -> None:
        self._stream.owner.reporter.call(partial(self._end, outcome))

    def cancel(self, attempt: Attempt) -> None:
        """One of the attempts is over: cancel what was sent, if nobody needs it any more."""
        owner = self._stream.owner
        if (
            not self._drop_if_unneeded()
            and owner.runner.capabilities.kills
            and not self._is_watched
        ):
            self._is_watched = True
            take_apart = partial(owner.reporter.call, self._take_apart)
            owner.timer.call_later(PATIENCE_SECONDS, take_apart)

    def _drop_if_unneeded(self) -> bool:
        """Cancel what was sent, if all attempts that are left are over; return whether it is so."""
        if not all(it.over for it in self._left()):
            return False
        self._stream.owner.cancel_call(self.call)
        self._stream.ended(self)
        return True

    def _left(self) -> list[Attempt]:
        with self._stream.lock:
            return [attempt for attempt in self.attempts if attempt is not None]

    def _take_apart(self) -> None:
        """End a pack in which a call was cancelled, and may hold up the others for ever."""
        if any(it.over for it in self._left()):  # else that call ended, or never began
            self._stream.owner.cancel_call(self.call)
            self._end(Outcome(problem=Crash("it travelled with a call that was cancelled")))

    def _go_on(self, progress: bytes) -> None:
        """Take what has become of a part; on the reporter's thread."""
        try:
            news = Progress.read(progress)
        except Exception as error:  # noqa: BLE001  # the worker's runnerstone is another
            self._end(_unreadable(error))
            return
        with self._stream.lock:
            told = self._told(news)
            back = self._back(news)
            current = self.attempts[-1] if self.attempts else None
        try:
            self._stream.ended(None, news.outcomes, back)
            if current is not None:
                current.started(news.where)
                self._drop_if_unneeded()
        finally:  # whatever a task runner raises that is sent more
            self._tell(told)

    def _end(self, outcome: Outcome) -> None:
        news = None
        if not isinstance(outcome, Outcome):
            outcome = no_outcome(outcome)  # type: ignore[unreachable]  # it may have no types
        if outcome.progress is not None:
            try:
                news = Progress.read(outcome.progress)
            except Exception as error:  # noqa: BLE001  # likewise
                outcome = _unreadable(error)
        elif isinstance(self.call, Pack) and not isinstance(outcome.problem, Crash):
            text = "the task runner has lost an outcome's progress, which tells of a pack's calls"
            outcome = Outcome(problem=Crash(text, is_permanent=True))
        told: list[tuple[Attempt, Outcome]] = []
        back: list[Member] = []
        outcomes: list[Outcome] = []
        with self._stream.lock:
            if news is not None:
                told = self._told(news)
                back = self._back(news)
                outcomes += news.outcomes
            told += [(it, outcome) for it in self.attempts if it is not None]
            self.attempts.clear()
        try:
            self._stream.ended(self, [*outcomes, outcome], back)
        finally:  # likewise
            self._tell(told)

    def _told(self, news: Progress) -> list[tuple[Attempt, Outcome]]:
        """The attempts whose ends are told; under the lock."""
        last = news.first + len(news.outcomes)
        attempts = self.attempts[news.first : last]
        self.attempts[news.first : last] = [None] * len(attempts)
        pairs = zip(attempts, news.outcomes, strict=False)
        return [(attempt, outcome) for attempt, outcome in pairs if attempt is not None]

    def _back(self, news: Progress) -> list[Member]:
        """The calls that were not executed; under the lock."""
        calls = self.call.calls if isinstance(self.call, Pack) else [self.call]
        left = zip(calls[news.begun :], self.attempts[news.begun :], strict=False)
        del self.attempts[news.begun :]
        return [(call, attempt) for call, attempt in left if attempt is not None]

    def _tell(self, told: Sequence[tuple[Attempt, Outcome]]) -> None:
        """Have each attempt take its end, whatever is raised when another takes its own."""
        owner, rest = self._stream.owner, iter(told)
        try:
            for attempt, outcome in rest:
                owner.done(attempt, outcome)
        finally:
            if left := list(rest):
                owner.reporter.call(partial(self._tell, left))


def _unreadable(error: Exception) -> Outcome:
    message = f"what the worker sent cannot be read here: {error!r}"
    return Outcome(problem=Crash(message, error, is_permanent=True))
