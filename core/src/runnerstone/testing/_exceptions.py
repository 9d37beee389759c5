"""What goes wrong in tasks, and on their way."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from runnerstone import Cancelled, Completed, Failed, State, TaskFuture, flow
from runnerstone.errors import (
    FlowCancelledError,
    TaskCancelledError,
    TaskCrashedError,
    TaskFailedError,
    UpstreamNotCompletedError,
)
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._suites import Suite, names_of
from runnerstone.testing._tasks import (
    DomainError,
    FormattingError,
    Record,
    Unpicklable,
    UnpicklableError,
    add,
    call,
    call_async,
    fail,
    fail_async,
    fail_until,
    give,
    make_unpicklable,
    meet,
    raise_cancelled_error,
    raise_domain_error,
    raise_formatting_error,
    raise_group,
    raise_keyboard_interrupt,
    raise_system_exit,
    raise_unpicklable_error,
    raise_value_error,
    raise_with_cause,
    return_state,
)

BASE_EXCEPTIONS = [raise_keyboard_interrupt, raise_system_exit, raise_cancelled_error]


class ExceptionTests(Suite):
    """What one task run meets with concerns that run and what depends on it, and is told truly."""

    def test_failed_task_skips_what_depends_on_it_and_nothing_else(
        self, task_runner: TaskRunner
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=task_runner)
        def partly() -> None:
            failed = fail.submit("b")
            behind = add.submit(failed, "c")
            futures.extend([give.submit("a"), failed, behind, add.submit(behind, "d")])

        record = self.record_of(partly)
        a, b, c, d = futures

        assert record.state.is_failed()
        assert str(record.state.message) == "1/4 states failed."
        assert a.result() == "a"
        assert repr(b.exception()) == "ValueError('b')"
        for skipped, upstream in ((c, b), (d, c)):
            assert skipped.state.name == "NotReady"
            assert skipped.state.message == (
                f"Upstream task run {upstream.name!r} did not reach a 'COMPLETED' state."
            )
            error = skipped.exception()
            assert isinstance(error, UpstreamNotCompletedError)
            assert repr(error.__cause__) == "ValueError('b')"

    @pytest.mark.parametrize("task", [fail, fail_async])
    def test_flow_raises_what_its_task_raised(self, task_runner: TaskRunner, task: Any) -> None:
        @flow(task_runner=task_runner)
        def failing() -> None:
            task("not today")

        with pytest.raises(ValueError, match="^not today"):
            self.in_time(failing)

    @pytest.mark.parametrize("run", [call, call_async])
    @pytest.mark.parametrize("function", [raise_value_error, *BASE_EXCEPTIONS])
    def test_no_exception_ends_more_than_its_task_run(
        self, task_runner: TaskRunner, run: Any, function: Callable[[], NoReturn]
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=task_runner)
        def surviving() -> list[str]:
            futures.append(run.submit(function))
            return [give(str(number)) for number in range(10)]

        assert self.in_time(surviving) == [str(number) for number in range(10)]
        assert futures[0].state.is_failed()
        error = futures[0].exception()
        assert isinstance(error, (ValueError, TaskFailedError))

    def test_exception_that_is_no_error_is_told_by_one_that_is(
        self, task_runner: TaskRunner
    ) -> None:
        error = self._exception_of(task_runner, raise_system_exit)

        assert isinstance(error, TaskFailedError)
        assert "SystemExit(3)" in str(error)

    def test_exception_arrives_with_its_type_and_attributes(self, task_runner: TaskRunner) -> None:
        error = self._exception_of(task_runner, raise_domain_error)

        assert isinstance(error, DomainError)
        assert error.args == ("out of stock", 7)
        assert error.code == 7

    def test_exception_arrives_with_its_traceback(self, task_runner: TaskRunner) -> None:
        error = self._exception_of(task_runner, raise_domain_error)

        assert "in raise_domain_error" in _printed(error)

    def test_exception_arrives_with_its_cause(self, task_runner: TaskRunner) -> None:
        error = self._exception_of(task_runner, raise_with_cause)

        assert isinstance(error, DomainError)
        assert "KeyError: 'shelf'" in _printed(error)

    def test_exception_group_arrives_with_its_members(self, task_runner: TaskRunner) -> None:
        error = self._exception_of(task_runner, raise_group)

        assert isinstance(error, ExceptionGroup)
        assert [type(member) for member in error.exceptions] == [ValueError, DomainError]

    @pytest.mark.parametrize(
        ("function", "kind", "text"),
        [
            (raise_formatting_error, FormattingError, "out of stock (7)"),
            (raise_unpicklable_error, UnpicklableError, "with baggage"),
        ],
    )
    def test_exception_that_cannot_travel_is_told_by_its_text(
        self,
        task_runner: TaskRunner,
        function: Callable[[], NoReturn],
        kind: type[Exception],
        text: str,
    ) -> None:
        error = self._exception_of(task_runner, function)

        assert isinstance(error, (kind, TaskFailedError))
        assert text in str(error)
        assert f"in {function.__name__}" in _printed(error)

    def test_value_that_cannot_travel_crashes_its_run(self, travelling_runner: TaskRunner) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=travelling_runner)
        def stuck() -> str:
            futures.append(call.submit(make_unpicklable))
            return give("unharmed")

        assert self.in_time(stuck) == "unharmed"
        (future,) = futures
        assert future.state.is_crashed(), f"the run ended {future.state}"
        assert future.name in str(future.state.message)
        assert "this object stays at home" in str(future.state.message)
        assert isinstance(future.exception(), TaskCrashedError)

    def test_argument_that_cannot_travel_crashes_its_run(
        self, travelling_runner: TaskRunner
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=travelling_runner)
        def stuck() -> str:
            futures.append(add.submit(1, second={"key": [Record(Unpicklable())]}))
            return give("unharmed")

        assert self.in_time(stuck) == "unharmed"
        (future,) = futures
        assert future.state.is_crashed(), f"the run ended {future.state}"
        assert future.name in str(future.state.message)
        assert "argument 'second'['key'][0].first" in str(future.state.message)
        assert isinstance(future.exception(), TaskCrashedError)

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

    @pytest.mark.parametrize(
        ("state", "name", "message"),
        [
            (Completed("as chosen", result=5), "Completed", "as chosen"),
            (Failed("as chosen"), "Failed", "as chosen"),
            (Cancelled("as chosen"), "Cancelled", "as chosen"),
        ],
    )
    def test_state_that_a_task_returns_is_its_own(
        self, task_runner: TaskRunner, state: State, name: str, message: str
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=task_runner)
        def choosing() -> str:
            futures.append(return_state.submit(state))
            return "plain value"

        self.in_time(choosing)

        (future,) = futures
        assert (future.state.name, future.state.message) == (name, message)
        if state.is_completed():
            assert future.result() == 5
        else:
            assert future.exception() is not None

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

    def _exception_of(
        self, task_runner: TaskRunner, function: Callable[[], NoReturn]
    ) -> BaseException | None:
        """What the future of a task that calls `function` tells."""
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=task_runner)
        def raising() -> str:
            futures.append(call.submit(function))
            return "plain value"

        self.in_time(raising)
        return futures[0].exception()


def _printed(error: BaseException | None) -> str:
    assert error is not None
    return "".join(traceback.format_exception(error))
