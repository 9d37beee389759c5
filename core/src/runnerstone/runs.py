"""What is recorded of runs, in the driver."""

import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from runnerstone._tracebacks import hide_frames
from runnerstone.errors import (
    FlowCancelledError,
    FlowFailedError,
    FlowTimeoutError,
)
from runnerstone.labels import FlowRunInfo, Labels, name_of_run, tags_of_run
from runnerstone.states import AWAITING_RETRY, PENDING, RETRYING, RUNNING, State, StateType

if TYPE_CHECKING:
    from types import TracebackType

    from runnerstone._problems import Problem
    from runnerstone.programs import Program

__all__ = ["FlowRun", "TaskRun"]

R_co = TypeVar("R_co", covariant=True)

# Failures that a flow run keeps whole; the others are counted.
FAILURES_KEPT: Final = 100


class TaskRun:
    """One submission of a task: a record that the engine keeps up to date.

    Attributes:
        number: Which run of its task this is within the flow run, from 0.
        index: Its place among everything that the flow run submitted, from 0.
        map_index: Its place among the runs of its `Task.map`, from 0; None if it is of none.
        attempts: How many attempts have ended.
        submitted: When it was submitted, in seconds since the epoch.
        started: When its last attempt started, by the worker's clock; None if none has.
        ended: When it became final; None if it is not.
        where: The worker of its last attempt; None if it is not known.
    """

    __slots__ = (
        "_labels",
        "_program",
        "_state",
        "attempts",
        "ended",
        "index",
        "map_index",
        "number",
        "started",
        "submitted",
        "where",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # one a task run: a record to hold these would cost another
        self,
        program: "Program",
        number: int,
        index: int,
        submitted: float,
        labels: Labels | None = None,
        map_index: int | None = None,
    ) -> None:
        self._program = program
        self._labels = labels
        self.map_index = map_index
        self._state = PENDING
        self.number = number
        self.index = index
        self.attempts = 0
        self.submitted = submitted
        self.started: float | None = None
        self.ended: float | None = None
        self.where: str | None = None

    @property
    def state(self) -> State:
        """How it stands."""
        state = self._state
        if self.started is None or state.is_final():
            return state
        return RETRYING if self.attempts else RUNNING

    @property
    def name(self) -> str:
        """``{task name}-{key}-{number}``, unique within the flow run; or by ``task_run_name``."""
        return name_of_run(self._program, self.number, self._labels)

    @property
    def tags(self) -> frozenset[str]:
        """All its labels: the task's, the flow's, and those of ``with tags`` around."""
        return tags_of_run(self._program, self._labels)

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return self._program.task_name

    def begin(self, where: str | None) -> None:
        """An attempt has begun; for the engine."""
        self.where = where
        self.started = time.time()

    def await_retry(self) -> None:
        """An attempt has ended, and another will follow; for the engine."""
        self.attempts += 1
        self.started = None
        self._state = AWAITING_RETRY

    def finish(self, state: State, started: float | None, where: str | None) -> None:
        """Make the run final; for the engine.

        Args:
            state: The final state.
            started: When its last attempt started; None if it has not.
            where: The worker of its last attempt; None if it is not known.
        """
        self._state = state  # first: what is read meanwhile may be final, but no retry
        self.ended = time.time()
        if started is not None:
            self.started = started
            self.where = where
        if self.started is not None:
            self.attempts += 1

    def __repr__(self) -> str:
        return f"<TaskRun {self.name!r} {self.state.name}>"


class FlowRun(Generic[R_co]):
    """One call of a flow: a record that the engine keeps up to date.

    Attributes:
        id: Unique among all flow runs, 16 hexadecimal digits.
        name: Two words, or as ``flow_run_name`` says.
        flow_name: The flow's name.
        tags: Its labels: the flow's, and those of ``with tags(...)`` around and of flows around.
        state: How it stands.
        attempts: How many attempts have begun. What else is recorded is the last one's.
        started: When it began, in seconds since the epoch.
        ended: When it became final; None if it is not.
        task_runs: Its task runs in the order of submission, the first ``keep_task_runs`` of them.
        subflow_runs: The runs of the flows that its body called, in order.
        submitted: How many task runs and subflow runs there have been.
        further_failures: Failures beyond those in `failures`, counted by task and type of state.
    """

    def __init__(
        self, name: str, flow_name: str, started: float, *, tags: frozenset[str] = frozenset()
    ) -> None:
        self.id = os.urandom(8).hex()
        self.name = name
        self.flow_name = flow_name
        self.tags = tags
        self.started = started
        self.ended: float | None = None
        self.attempts = 0
        self._value: Any = None
        self._error: BaseException | None = None
        self._error_at: TracebackType | None = None
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Forget what there was of an attempt before; for the engine."""
        self.attempts += 1
        self.state = PENDING
        self.task_runs: list[TaskRun] = []
        self.subflow_runs: list[FlowRun[Any]] = []
        self.submitted = 0
        self._incomplete: Counter[StateType] = Counter()
        self._failures: list[tuple[str, Problem | BaseException]] = []
        self.further_failures: Counter[tuple[str, str]] = Counter()

    def info(self, log_level: int) -> FlowRunInfo:
        """What the calls of this attempt know of it.

        Args:
            log_level: What they log below it is of no interest.
        """
        attempt = f"-{self.attempts}" if self.attempts > 1 else ""
        return FlowRunInfo(f"{self.id}{attempt}", self.name, self.flow_name, log_level)

    @property
    def counts(self) -> dict[StateType, int]:
        """How many task runs and subflow runs ended in each type of state, once all have."""
        completed = self.submitted - self._incomplete.total()
        counts = {StateType.COMPLETED: completed, **self._incomplete}
        return {type_: count for type_, count in counts.items() if count}

    def count(self, state: State) -> None:
        """Count a run that did not complete; for the engine."""
        if not state.is_completed():
            self._incomplete[state.type] += 1

    @property
    def failures(self) -> list[tuple[str, BaseException]]:
        """Name and exception of the first 100 runs that failed or crashed."""
        return [
            (name, problem if isinstance(problem, BaseException) else problem.error())
            for name, problem in self._failures
        ]

    def keep_failure(self, name: str, problem: "Problem | BaseException") -> bool:
        """Keep a failure, if there is room; return whether there was. For the engine."""
        if len(self._failures) == FAILURES_KEPT:
            return False
        self._failures.append((name, problem))
        return True

    @property
    def error(self) -> BaseException | None:
        """What `result` raises; None if it returns."""
        return self._error

    def result(self) -> R_co:
        """What the flow returned, with the futures in it replaced by their results.

        Raises:
            BaseException: What the body raised, or the first failure among its runs.
            FlowCancelledError: If it ended cancelled.
            FlowFailedError: If it failed by a state that the user made.
        """
        if self._error is not None:
            try:
                raise self._error.with_traceback(self._error_at)  # noqa: TRY301  # likewise
            except BaseException as error:
                hide_frames(error)
                raise
            finally:
                self = None  # type: ignore[assignment]  # noqa: PLW0642  # else the traceback holds it in a cycle
        value: R_co = self._value
        return value

    def finish(
        self, state: State, ended: float, *, value: Any = None, error: BaseException | None = None
    ) -> None:
        """Make the run final; for the engine.

        Args:
            state: The final state.
            ended: When.
            value: What `result` returns.
            error: What it raises instead. None leaves that to the state.
        """
        self.state = state
        self.ended = ended
        if error is None and not state.is_completed():
            text = state.message or f"flow run {self.name!r} ended {state.name}"
            if state.is_timed_out():
                error = FlowTimeoutError(text)
            else:
                error = FlowCancelledError(text) if state.is_cancelled() else FlowFailedError(text)
        self._value = value
        self._error = error
        self._error_at = None if error is None else error.__traceback__

    def __repr__(self) -> str:
        return f"<FlowRun {self.name!r} of {self.flow_name!r} {self.state.name}>"
