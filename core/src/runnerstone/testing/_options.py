"""What tasks were declared with, and what their code knows of its run."""

import logging
from typing import Any

import pytest

from runnerstone import TaskFuture, flow, tags
from runnerstone.contexts import TaskRunContext
from runnerstone.errors import TaskFailedError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import (
    fail_by_attempt,
    log_and_print,
    log_and_print_async,
    tell_context,
    tell_context_async,
)
from runnerstone.testing._troubles import DomainError, FormattingError


class OptionTests(Suite):
    """A task's options hold wherever it runs."""

    def test_failures_of_one_type_are_retried_and_others_are_not(
        self, task_runner: TaskRunner
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=task_runner)
        def trying() -> TaskFuture[Any]:
            futures.append(fail_by_attempt.submit([FormattingError, FormattingError]))
            futures.append(fail_by_attempt.submit([FormattingError, DomainError]))
            return futures[0]

        result: Any = self.in_time(trying)
        _, unlucky = futures

        assert result == 3
        assert unlucky.task_run.attempts == 2
        assert isinstance(unlucky.exception(), DomainError)

    @pytest.mark.parametrize("task", [tell_context, tell_context_async])
    def test_code_knows_its_run(self, task_runner: TaskRunner, task: Any) -> None:
        named = task.with_options(name="teller", tags={"own"}, task_run_name="one of them")

        @flow(task_runner=task_runner, tags={"flow's"})
        def asking() -> Any:
            with tags("around"):
                return [task(), named()]

        record = self.record_of(asking)
        usual, special = record.result()
        runs = record.task_runs

        assert usual == TaskRunContext(
            task_run_name=f"{task.name}-{task.key}-0",
            task_name=task.name,
            number=0,
            attempt=1,
            tags=frozenset({"flow's", "around"}),
            flow_run_id=record.id,
            flow_run_name=record.name,
            flow_name="asking",
        )
        assert special.task_run_name == "one of them"
        assert special.task_name == "teller"
        assert special.tags == {"own", "flow's", "around"}
        assert [run.name for run in runs] == [usual.task_run_name, "one of them"]
        assert [run.tags for run in runs] == [usual.tags, special.tags]

    @pytest.mark.parametrize("task", [log_and_print, log_and_print_async])
    def test_what_code_logs_is_in_the_drivers_log_before_the_run_ends(
        self, task_runner: TaskRunner, task: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "runnerstone")

        @flow(task_runner=task_runner)
        def logging_flow() -> None:
            task.with_options(log_prints=True)("tea", printed=True)

        record = self.record_of(logging_flow)

        (run,) = record.task_runs
        prefix = f"Task run {run.name!r}"
        found = [it for it in caplog.records if it.getMessage().startswith(prefix)]
        assert [it.getMessage() for it in found] == [
            f"{prefix} - tea: 100 percent",
            f"{prefix} - tea, printed",
            f"{prefix} - tea: 100% wrong",
            f"{prefix} finished in state {run.state}",
        ]
        logged = found[0]
        assert logged.name == "runnerstone.task_runs"
        assert logged.funcName == "log_and_print"
        assert vars(logged)["task_run_name"] == run.name
        assert vars(logged)["flow_run_name"] == record.name
        assert found[1].funcName == "log_and_print"
        assert "ValueError: ordinary" in caplog.text

    def test_exception_that_cannot_travel_is_known_by_its_type(
        self, task_runner: TaskRunner
    ) -> None:
        judged: list[BaseException] = []

        def judge(error: BaseException) -> bool:
            judged.append(error)
            return len(judged) < 2

        @flow(task_runner=task_runner)
        def trying() -> None:
            fail_by_attempt.with_options(retry_on=judge)([FormattingError] * 4)

        record = self.record_of(trying)

        assert record.task_runs[0].attempts == 2
        assert [type(it) for it in judged] in ([FormattingError] * 2, [TaskFailedError] * 2)
