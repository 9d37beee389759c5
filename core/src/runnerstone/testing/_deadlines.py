"""Calls that take longer than they may."""

import time
from typing import Any, Final

import pytest

from runnerstone import TaskFuture, flow
from runnerstone.errors import TaskTimeoutError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import give, meet, meet_async, spin, spin_stubbornly

LIMIT: Final = 0.3
# What a busy machine may add, in seconds; without a deadline these calls go on for much longer.
TOLERANCE: Final = 10.0


class DeadlineTests(Suite):
    """A run ends when its time is up, and what cannot be interrupted holds nobody up."""

    @pytest.mark.parametrize("task", [spin, meet_async])
    def test_what_can_be_interrupted_ends_at_its_deadline(
        self, task_runner: TaskRunner, meeting: Meeting, task: Any
    ) -> None:
        future, seconds = self._time_out(task_runner, meeting, task, leaves=True)

        assert future.state.name == "TimedOut", f"the run ended {future.state}"
        assert future.state.message == f"Task run exceeded timeout of {LIMIT} seconds."
        assert isinstance(future.exception(), TaskTimeoutError)
        assert isinstance(future.exception(), TimeoutError)
        assert LIMIT <= seconds < LIMIT + TOLERANCE

    @pytest.mark.parametrize("task", [meet, spin_stubbornly])
    def test_what_cannot_be_interrupted_is_timed_out_at_its_deadline(
        self, parallel_runner: TaskRunner, meeting: Meeting, task: Any
    ) -> None:
        kills = parallel_runner.capabilities.kills

        future, seconds = self._time_out(
            parallel_runner, meeting, task, leaves=kills, is_stubborn=True
        )

        assert future.state.name == "TimedOut", f"the run ended {future.state}"
        assert seconds < LIMIT + TOLERANCE

    def test_time_in_the_queue_is_not_counted(
        self, task_runner: TaskRunner, meeting: Meeting
    ) -> None:
        runner = task_runner.copy_for_run()
        self.in_time(runner.start)
        slots = runner.slots()
        self.in_time(runner.stop)
        if slots is None:
            pytest.skip("slots() is None: what is queued is not known")

        @flow(task_runner=task_runner)
        def queueing() -> list[Any]:
            busy = [meet.submit(meeting.address, str(number)) for number in range(slots)]
            meeting.wait_for(slots)
            queued = give.with_options(timeout_seconds=LIMIT).submit("in time")
            time.sleep(LIMIT * 2)
            meeting.close()
            return [*busy, queued]

        assert self.in_time(queueing)[-1] == "in time"

    def test_a_run_that_timed_out_is_retried_as_a_failed_one(
        self, task_runner: TaskRunner, meeting: Meeting
    ) -> None:
        future, _ = self._time_out(task_runner, meeting, spin, leaves=True, retries=1)

        assert future.state.name == "TimedOut"
        assert future.task_run.attempts == 2

    def _time_out(
        self,
        task_runner: TaskRunner,
        meeting: Meeting,
        task: Any,
        *,
        leaves: bool,
        is_stubborn: bool = False,
        retries: int = 0,
    ) -> tuple[TaskFuture[Any], float]:
        """The future of a task that was given too little time, and how long it ran at last.

        Calls of other tasks run beside it and after it.

        Args:
            task_runner: Where.
            meeting: Where the task waits.
            task: The task.
            leaves: Whether its code has to end, too.
            is_stubborn: Whether its code goes on when it is interrupted.
            retries: The task's.
        """
        futures: list[TaskFuture[Any]] = []
        limited = task.with_options(timeout_seconds=LIMIT, retries=retries)

        @flow(task_runner=task_runner)
        def too_long() -> list[int]:
            late = limited.submit(meeting.address, "late")
            futures.append(late)
            meeting.wait_for(1)
            if is_stubborn and late.task_run.started is None:
                meeting.close()
                pytest.skip("the task runner does not tell when a call begins")
            beside = [give(number) for number in range(20)]
            late.wait(self.patience_seconds / 2)
            if not (leaves or task_runner.capabilities.interrupts):
                meeting.close()  # the code may keep its place until it ends
            after = [give.submit(number) for number in range(20, 40)]
            for future in after:
                future.wait()
            if leaves:
                assert meeting.has_left("late"), "the run is over, and its code goes on"
            meeting.close()
            return beside + [future.result() for future in after]

        assert self.in_time(too_long) == [*range(40)]
        (future,) = futures
        run = future.task_run
        assert run.ended is not None
        return future, run.ended - (run.started or run.submitted)
