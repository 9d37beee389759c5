"""What goes wrong in tasks, and on their way."""

import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from runnerstone import TaskFuture, flow
from runnerstone.errors import TaskFailedError, UpstreamNotCompletedError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import add, call, call_async, fail, fail_async, give
from runnerstone.testing._troubles import (
    DomainError,
    FormattingError,
    UnpicklableError,
    raise_cancelled_error,
    raise_domain_error,
    raise_formatting_error,
    raise_group,
    raise_keyboard_interrupt,
    raise_recursion_error,
    raise_system_exit,
    raise_unpicklable_error,
    raise_value_error,
    raise_with_cause,
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
            failed: TaskFuture[Any] = fail.submit("b")
            behind = add.submit(failed, "c")
            futures.extend([give.submit("a"), failed, behind, add.submit(behind, "d")])

        record = self.record_of(partly)
        a, b, c, d = futures

        assert record.state.is_failed()
        assert record.state.message == "1/4 states failed."
        assert a.state.is_completed()
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

        with pytest.raises(ValueError, match=r"^not today"):
            self.in_time(failing)

    @pytest.mark.parametrize("run", [call, call_async])
    @pytest.mark.parametrize(
        "function", [raise_value_error, raise_recursion_error, raise_group, *BASE_EXCEPTIONS]
    )
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
        assert isinstance(error, Exception)

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

    def test_traceback_begins_in_the_users_code(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def failing() -> None:
            call(raise_domain_error)

        with pytest.raises(DomainError) as caught:
            self.in_time(failing)
        printed = _printed(caught.value)
        assert "in raise_domain_error" in printed
        own = [line for line in printed.splitlines() if "/runnerstone" in line]
        assert [line for line in own if "/runnerstone/testing/" not in line] == []

    def test_exception_has_a_note_that_names_the_run_and_the_task_runner(
        self, task_runner: TaskRunner
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=task_runner)
        def failing() -> None:
            futures.extend(call.map([raise_domain_error] * 3))

        record = self.record_of(failing)

        assert isinstance(record.error, DomainError)
        first, second = record.error.__notes__
        name = futures[0].name
        assert first == (
            f"Task run {name!r} (map index 0) of flow run {record.name!r} failed on "
            f"{type(task_runner).__name__}"
        )
        assert second == f"2 other runs failed in flow run {record.name!r}"

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
