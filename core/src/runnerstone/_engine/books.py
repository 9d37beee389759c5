"""The book of a flow run: what has been submitted, what is live, and what did not complete."""

import threading
from collections.abc import Callable
from typing import Any, Final

from runnerstone._engine.attempts import Attempt
from runnerstone._problems import Problem, Skip
from runnerstone.errors import FlowRunEndedError
from runnerstone.labels import Labels
from runnerstone.programs import Program
from runnerstone.runs import FlowRun, TaskRun
from runnerstone.states import TROUBLE, State


class Series:
    """The runs of one task's name and key: what numbers them."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Book:
    """Numbers the runs of a flow run, knows which are live, and records how the others ended.

    Attributes:
        run: The flow run's record.
        lock: Guards everything here but what `live` says of single attempts.
        live: The attempts that are not over. One that enters it is the last of its task run; it
            leaves as the last thing of its end. It is changed by single operations, which are
            atomic, so that a run that completes needs no lock for it.
        skipped_by_cancelling: How many runs were skipped though nothing failed.
        first_failure: Index and problem of the first run to have failed, by submission.
    """

    def __init__(self, run: FlowRun[Any], keep_task_runs: int) -> None:
        """Open the book.

        Args:
            run: The record to keep.
            keep_task_runs: How many task runs the record keeps one by one.
        """
        self.run: Final = run
        self.lock: Final = threading.Lock()
        self.live: Final[set[Attempt]] = set()
        self.skipped_by_cancelling = 0
        self.first_failure: tuple[int, Problem | BaseException] | None = None
        self._keep_task_runs = keep_task_runs
        self._live_subflows = 0
        self._when_idle: list[Callable[[], None]] = []  # called when nothing is live any more
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing is to begin any more."""
        return self._closed

    def enter(
        self,
        program: Program,
        series: Series,
        submitted: float,
        labels: Labels | None,
        map_index: int | None,
    ) -> TaskRun:
        """Number a task run; under the lock, with its first attempt added to `live` before leaving.

        Args:
            program: The task's.
            series: What numbers its runs.
            submitted: When.
            labels: See `TaskRun`.
            map_index: Likewise.

        Raises:
            FlowRunEndedError: If the book is closed.
        """
        if self._closed:
            raise FlowRunEndedError(
                f"task {program.task_name!r} was submitted to flow run {self.run.name!r}, "
                "which is over"
            )
        number = series.count
        series.count = number + 1
        index = self.run.submitted
        self.run.submitted = index + 1
        run = TaskRun(program, number, index, submitted, labels, map_index)
        if index < self._keep_task_runs:
            self.run.task_runs.append(run)
        return run

    def leave(self, attempt: Attempt) -> None:
        """Strike out an attempt that is over; tell who waits for it if it was the last."""
        self.live.discard(attempt)
        if not self.live:
            self._tell_if_idle()

    def record(self, run: TaskRun, state: State, problem: Problem) -> None:
        """Remember that a run did not complete."""
        with self.lock:
            self.run.count(state)
            if isinstance(problem, Skip):
                self._record_skip(run.index, problem)
            elif state.type in TROUBLE:
                self._record_failure(run.index, run.name, run.task_name, state, problem)

    def _record_skip(self, index: int, skip: Skip) -> None:
        """Remember why a task run or a subflow run was skipped; under the lock."""
        if skip.by_cancelling:
            self.skipped_by_cancelling += 1
        else:
            self._candidate(index, skip.cause)

    def _record_failure(
        self, index: int, name: str, kind: str, state: State, problem: Problem | BaseException
    ) -> None:
        """Remember a failure of a task run or a subflow run; under the lock."""
        self._candidate(index, problem)
        if not self.run.keep_failure(name, problem):
            self.run.further_failures[kind, state.type.value] += 1

    def _candidate(self, index: int, problem: Problem | BaseException) -> None:
        if self.first_failure is None or index < self.first_failure[0]:
            self.first_failure = index, problem

    def begin_subflow(self, run: FlowRun[Any]) -> int:
        """Enter a run of a flow that this flow's body calls; return its index.

        Raises:
            FlowRunEndedError: If this flow run is over.
        """
        with self.lock:
            if self._closed:
                raise FlowRunEndedError(
                    f"flow {run.flow_name!r} was called in flow run {self.run.name!r}, "
                    "which is over"
                )
            index = self.run.submitted
            self.run.submitted = index + 1
            self.run.subflow_runs.append(run)
            self._live_subflows += 1
        return index

    def end_subflow(self, index: int, run: FlowRun[Any], skip: Skip | None) -> None:
        """Count how a subflow run ended.

        Args:
            index: Its index.
            run: Its record, finished.
            skip: Why it was skipped, if it was.
        """
        state = run.state
        with self.lock:
            self.run.count(state)
            if skip is not None:
                self._record_skip(index, skip)
            elif state.type in TROUBLE and run.error is not None:
                self._record_failure(index, run.name, run.flow_name, state, run.error)
            self._live_subflows -= 1
        self._tell_if_idle()

    def when_idle(self, fn: Callable[[], None]) -> bool:
        """Have `fn` called, in any thread, when nothing is live any more; false if nothing is.

        Args:
            fn: It must neither block nor raise.
        """
        with self.lock:
            if not self.live and not self._live_subflows:
                return False
            self._when_idle.append(fn)
            return True

    def _tell_if_idle(self) -> None:
        with self.lock:
            if self.live or self._live_subflows:
                return
            told, self._when_idle = self._when_idle, []
        for fn in told:
            fn()

    def close(self) -> bool:
        """Take no more submissions, if nothing is live; return whether it is so."""
        with self.lock:
            if self.live or self._live_subflows:
                return False
            self._closed = True
            return True

    def close_now(self) -> list[Attempt]:
        """Take no more submissions; return what is live, in the order of submission."""
        with self.lock:
            self._closed = True
            return sorted(self.live, key=lambda attempt: attempt.index)
