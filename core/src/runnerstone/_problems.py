"""Why a run has no value."""

from typing import Final

import attrs

from runnerstone._tracebacks import with_note
from runnerstone.errors import (
    RunnerstoneError,
    TaskCancelledError,
    TaskCrashedError,
    TaskFailedError,
    TaskTimeoutError,
    UpstreamNotCompletedError,
)
from runnerstone.outcomes import Crash, Failure
from runnerstone.runs import TaskRun
from runnerstone.states import State, StateType


@attrs.frozen
class NoValue:
    """A run ended without a value and without an exception: its state says all.

    Attributes:
        state: The state.
        note: As a `Failure` has it.
    """

    state: State
    note: str | None = attrs.field(default=None, kw_only=True)

    def error(self) -> BaseException:
        """The exception to raise for it."""
        text = self.state.message or f"the run ended {self.state.name}"
        if self.state.is_timed_out():
            kind: type[RunnerstoneError] = TaskTimeoutError
        else:
            kind = _ERRORS.get(self.state.type, TaskFailedError)
        return with_note(kind(text), self.note)


_ERRORS: Final[dict[StateType, type[RunnerstoneError]]] = {
    StateType.CANCELLED: TaskCancelledError,
    StateType.CRASHED: TaskCrashedError,
}


@attrs.frozen
class Skip:
    """A run was skipped.

    Attributes:
        message: The state's: which direct upstream did not complete.
        root: The run at which the trouble began.
        flow_run_id: Of the flow run that this belongs to.
        cause: Why that one has no value.
    """

    message: str
    root: TaskRun
    flow_run_id: str
    cause: "Failure | Crash | NoValue"

    @property
    def by_cancelling(self) -> bool:
        """Whether nothing failed: the root was cancelled."""
        return self.root.state.type is StateType.CANCELLED

    def error(self) -> BaseException:
        """The exception to raise for it; its cause is the root's own."""
        error = UpstreamNotCompletedError(f"{self.message} It began at {self.root.name!r}.")
        error.__cause__ = self.cause.error()
        return error


Problem = Failure | Crash | NoValue | Skip
