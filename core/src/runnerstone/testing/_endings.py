"""Task runs that are tried again, that choose how they end, and that are cancelled."""

from pathlib import Path
from typing import Any

import pytest

from runnerstone import Cancelled, Completed, Failed, State, TaskFuture, flow
from runnerstone.errors import FlowCancelledError, TaskCancelledError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._suites import Suite, names_of, states_of
from runnerstone.testing._tasks import add, fail_until, give, meet, return_state
from runnerstone.testing._troubles import DomainError


class EndingTests(Suite):
    """Retries, states of the task's own choice, cancelling."""

    def test_failed_task_is_tried_again_until_it_succeeds(
        self, task_runner: TaskRunner, tmp_path: Path
    ) -> None:
        @flow(task_runner=task_runner)
        def twice() -> int:
            return fail_until(tmp_path / "attempts", 2)

        record = self.record_of(twice)

        assert record.result() == 2
        assert record.task_runs[0].attempts == 2
        assert (tmp_path / "attempts").read_text().count("attempt") == 2

    def test_task_that_fails_in_every_attempt_fails(
        self, task_runner: TaskRunner, tmp_path: Path
    ) -> None:
        @flow(task_runner=task_runner)
        def thrice() -> int:
            return fail_until(tmp_path / "attempts", 4)

        record = self.record_of(thrice)

        assert names_of(record) == ["Failed"]
        assert repr(record.error) == "ValueError('attempt 3')"
        assert record.task_runs[0].attempts == 3
        assert (tmp_path / "attempts").read_text().count("attempt") == 3

    def test_retry_may_be_delayed(self, task_runner: TaskRunner, tmp_path: Path) -> None:
        delayed = fail_until.with_options(retry_delay_seconds=0.01)

        @flow(task_runner=task_runner)
        def twice() -> list[int]:
            return [delayed(tmp_path / name, 2) for name in "ab"]

        assert self.in_time(twice) == [2, 2]

    def test_task_may_return_a_completed_state_with_a_value(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def choosing() -> Any:
            return return_state(Completed("as chosen", result=5))

        record = self.record_of(choosing)

        assert record.result() == 5
        assert [str(state) for state in states_of(record)] == [str(Completed("as chosen"))]

    @pytest.mark.parametrize(
        "state", [Failed("as chosen"), Cancelled("as chosen")], ids=lambda state: state.name
    )
    def test_task_may_return_a_state_that_is_not_completed(
        self, task_runner: TaskRunner, state: State
    ) -> None:
        @flow(task_runner=task_runner)
        def choosing() -> str:
            return_state(state)
            return "plain value"

        record = self.record_of(choosing)

        assert record.result() == "plain value"
        assert states_of(record) == [state]

    def test_exception_in_a_state_that_a_task_returns_is_raised(
        self, task_runner: TaskRunner
    ) -> None:
        @flow(task_runner=task_runner)
        def choosing() -> Any:
            return return_state(Failed("as chosen", result=DomainError("out of stock", 7)))

        with pytest.raises(DomainError, match="out of stock"):
            self.in_time(choosing)

    def test_cancelled_run_is_over_at_once_and_skips_what_depends_on_it(
        self, parallel_runner: TaskRunner, meeting: Meeting
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=parallel_runner)
        def cancelling() -> None:
            running = meet.submit(meeting.address, "running")
            futures.extend([running, give.submit(running)])
            meeting.wait_for(1)
            cancelled = running.cancel()
            assert cancelled, "cancel() of a run that is not final returns true"
            assert running.done(), "a cancelled run is final, whatever becomes of its call"
            meeting.close()

        with pytest.raises(FlowCancelledError):
            self.in_time(cancelling)

        running, behind = futures
        assert running.state.is_cancelled()
        assert isinstance(running.exception(), TaskCancelledError)
        assert behind.state.is_skipped()

    def test_run_that_waits_can_be_cancelled(
        self, parallel_runner: TaskRunner, meeting: Meeting
    ) -> None:
        @flow(task_runner=parallel_runner)
        def cancelling() -> list[str]:
            running = meet.submit(meeting.address, "running")
            waiting = add.submit(running, "never")
            waiting.cancel()
            meeting.close()
            running.wait(self.patience_seconds)
            return [running.state.name, waiting.state.name]

        assert self.in_time(cancelling) == ["Completed", "Cancelled"]
