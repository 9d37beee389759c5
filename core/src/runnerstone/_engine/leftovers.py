"""Calls that are over while their code goes on."""

from functools import partial
from typing import Final

from runnerstone._engine.attempts import Attempt
from runnerstone._engine.logs import log_lingering
from runnerstone._engine.threads import TimerThread

# How long code may go on, in seconds, after it was cancelled or timed out, before that is logged.
PATIENCE: Final = 1.0


class Leftovers:
    """Attempts that are over, and whose calls' ends have not been reported: their code may run.

    The set is changed by single operations, which are atomic. Whoever takes an attempt out has it
    done with: who reports the call's end, or the timer's thread, which logs that it goes on.
    """

    def __init__(self, timer: TimerThread) -> None:
        self._timer = timer
        self._attempts: set[Attempt] = set()

    def __bool__(self) -> bool:
        return bool(self._attempts)

    def add(self, attempt: Attempt) -> None:
        """Expect the end of an attempt's call."""
        self._attempts.add(attempt)
        self._timer.call_later(PATIENCE, partial(self._tell, attempt))

    def discard(self, attempt: Attempt) -> None:
        """The end of its call was reported, if it is one of these."""
        self._attempts.discard(attempt)

    def tell_all(self) -> None:
        """Log of all that is left that its code goes on."""
        for attempt in tuple(self._attempts):
            self._tell(attempt)

    def _tell(self, attempt: Attempt) -> None:
        if attempt in self._attempts:
            self._attempts.discard(attempt)
            log_lingering(attempt.future.task_run)
