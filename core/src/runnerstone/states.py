"""States: how a run stands, as an immutable value.

Times are the run's, not the state's, so that the common states are shared constants.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs

__all__ = [
    "Cancelled",
    "Completed",
    "Crashed",
    "Failed",
    "State",
    "StateType",
    "TimedOut",
]


class StateType(StrEnum):
    """The kinds of states; a state's name refines its type."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


FINAL_TYPES: Final = frozenset(
    {
        StateType.COMPLETED,
        StateType.FAILED,
        StateType.CRASHED,
        StateType.CANCELLED,
        StateType.SKIPPED,
    }
)

TROUBLE: Final = frozenset({StateType.FAILED, StateType.CRASHED})


@attrs.frozen
class State:
    """How a run stands.

    Attributes:
        type: What the engine goes by.
        name: Refines the type, for example ``TimedOut`` for a `FAILED` run; the type's own name if
            there is nothing to refine.
        message: Why, for people. None where the type says it all.
        result: What the user's code gave with a state that it returned: a value, or the exception
            of a failure. None in the states that the engine makes.
    """

    type: StateType
    name: str
    message: str | None = attrs.field(default=None, kw_only=True)
    result: Any = attrs.field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"{self.name}(message={self.message!r}, type={self.type._value_})"

    __repr__ = __str__

    def is_final(self) -> bool:
        """Whether nothing can follow."""
        return self.type in FINAL_TYPES

    def is_completed(self) -> bool:
        """Whether the run did what it was asked to."""
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        """Whether the user's code failed."""
        return self.type is StateType.FAILED

    def is_timed_out(self) -> bool:
        """Whether the run took longer than it was given; such a run has failed, too."""
        return self.type is StateType.FAILED and self.name == "TimedOut"

    def is_crashed(self) -> bool:
        """Whether the infrastructure ended the run."""
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        """Whether the run was cancelled."""
        return self.type is StateType.CANCELLED

    def is_skipped(self) -> bool:
        """Whether the run never started because of what it depends on."""
        return self.type is StateType.SKIPPED


def Completed(message: str | None = None, *, result: Any = None) -> State:  # noqa: N802
    """A state for a task or a flow to return: completed, with `result` as its value."""
    return State(StateType.COMPLETED, "Completed", message=message, result=result)


def Failed(message: str | None = None, *, result: Any = None) -> State:  # noqa: N802
    """A state for a task or a flow to return: failed, with `result` as its exception."""
    return State(StateType.FAILED, "Failed", message=message, result=result)


def Crashed(message: str | None = None) -> State:  # noqa: N802
    """The state of a run that the infrastructure ended."""
    return State(StateType.CRASHED, "Crashed", message=message)


def Cancelled(message: str | None = None) -> State:  # noqa: N802
    """A state for a task or a flow to return: cancelled."""
    return State(StateType.CANCELLED, "Cancelled", message=message)


def TimedOut(message: str | None = None) -> State:  # noqa: N802
    """A state for a task or a flow to return: failed, because something took too long."""
    return State(StateType.FAILED, "TimedOut", message=message)


def exceeded(what: str, seconds: float) -> State:
    """The state of a run that took too long."""
    return TimedOut(f"{what} exceeded timeout of {float(seconds)} seconds.")


def NotReady(upstream: str) -> State:  # noqa: N802
    """The state of a run that was skipped because the run named `upstream` did not complete."""
    return State(
        StateType.SKIPPED,
        "NotReady",
        message=f"Upstream task run {upstream!r} did not reach a 'COMPLETED' state.",
    )


PENDING: Final = State(StateType.PENDING, "Pending")
RUNNING: Final = State(StateType.RUNNING, "Running")
RETRYING: Final = State(StateType.RUNNING, "Retrying")
AWAITING_RETRY: Final = State(StateType.SCHEDULED, "AwaitingRetry")
COMPLETED: Final = Completed()
ALL_COMPLETED: Final = Completed("All states completed.")


def aggregate(counts: Mapping[StateType, int], *, skipped_by_cancelling: int = 0) -> State:
    """One final state for many.

    Args:
        counts: How many states there are of each type; at least one in all. Those that are not
            final count as failed.
        skipped_by_cancelling: How many of the skipped ones are so because what they depend on was
            cancelled, not because it failed.
    """
    total = sum(counts.values())
    completed, cancelled, skipped = (
        counts.get(type_, 0)
        for type_ in (StateType.COMPLETED, StateType.CANCELLED, StateType.SKIPPED)
    )
    if completed == total:
        return ALL_COMPLETED
    if failed := total - completed - cancelled - skipped:
        return Failed(f"{failed}/{total} states failed.")
    if skipped > skipped_by_cancelling:
        return Failed(f"{skipped}/{total} states skipped.")
    return Cancelled(f"{cancelled + skipped}/{total} states cancelled.")
