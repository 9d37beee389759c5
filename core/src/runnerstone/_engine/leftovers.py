"""Calls that are over while their code goes on."""

from functools import partial
from typing import Any, Final

from runnerstone._engine.attempts import Attempt
from runnerstone._engine.logs import log_leftover
from runnerstone._engine.threads import TimerThread

# How long code may go on, in seconds, after it was cancelled or timed out, before that is logged.
PATIENCE: Final = 1.0
_NONE: Final[Any] = object()


class Leftovers:
    """Attempts that are over, and whose calls' ends have not been reported: their code may run.

    The record is changed and copied by single operations, which are atomic (so is making a list of
    it; making a tuple is not where Python has no GIL). Whoever takes an attempt out has
    done with it: who reports the call's end, or the timer's thread, which logs that it goes on.

    Attributes:
        attempts: The attempts, and where each runs.
    """

    def __init__(self, timer: TimerThread) -> None:
        self._timer = timer
        self.attempts: Final[dict[Attempt, str | None]] = {}

    def add(self, attempt: Attempt) -> None:
        """Expect the end of an attempt's call, which is about to be cancelled."""
        self.attempts[attempt] = attempt.future.task_run.where
        self._timer.call_later(PATIENCE, partial(self._tell, attempt))

    def discard(self, attempt: Attempt) -> None:
        """The end of its call was reported, if it is one of these."""
        self.attempts.pop(attempt, None)

    def tell_all(self) -> None:
        """Log of all that is left that its code goes on."""
        for attempt in list(self.attempts):
            self._tell(attempt)

    def _tell(self, attempt: Attempt) -> None:
        where = self.attempts.pop(attempt, _NONE)
        if where is not _NONE:
            log_leftover(attempt.future.task_run, attempt.number, where)
