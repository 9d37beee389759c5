"""What a task runner does with calls, without an engine: they are made by hand."""

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from runnerstone.task_runners import Failure, Outcome, TaskRunner
from runnerstone.testing._calls import CallMaker, CallSuite, Ends, submit, value_of
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._tasks import (
    fail,
    fail_async,
    give,
    give_async,
    meet,
    tell_place,
    write_line,
)


class ReportTests(CallSuite):
    """A task runner executes each call once, and reports its end once."""

    def test_each_call_is_executed_once(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"
        calls = [make.call(write_line, file, str(number)) for number in range(50)]

        self.in_time(submit, started_runner, calls, ends)
        ends.wait(calls)

        assert sorted(map(int, file.read_text().split())) == list(range(50))

    def test_each_end_is_reported_once(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = [
            *make.calls(give, range(10)),
            *make.calls(give_async, range(10)),
            *make.calls(fail, "xyz"),
            *make.calls(fail_async, "xyz"),
        ]

        self.in_time(submit, started_runner, calls, ends)
        ends.wait(calls)
        self.in_time(started_runner.stop)

        ends.check()
        assert ends.count() == len(calls)

    def test_calls_submitted_together_end_once_each(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = [*make.calls(give, range(20)), *make.calls(give_async, range(5))]

        self.in_time(started_runner.submit_many, list(map(ends.pair, calls)))
        values = [value_of(started_runner, ends.of(call)) for call in calls]
        self.in_time(started_runner.stop)

        ends.check()
        assert values == [*range(20), *range(5)]

    def test_nothing_submitted_together_is_harmless(self, started_runner: TaskRunner) -> None:
        self.in_time(started_runner.submit_many, [])

    @pytest.mark.parametrize("task", [give, give_async])
    def test_outcome_tells_value_times_and_place(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, task: object
    ) -> None:
        call = make.call(task, "value")  # type: ignore[arg-type]  # pytest's parameter

        self.in_time(submit, started_runner, [call], ends)
        outcome = ends.of(call)

        assert type(outcome) is Outcome, f"the call gave an Outcome, and {outcome!r} arrived"
        assert outcome.problem is None
        assert value_of(started_runner, outcome) == "value"
        assert outcome.started is not None
        assert outcome.ended is not None
        assert outcome.started <= outcome.ended
        assert outcome.where

    @pytest.mark.parametrize("task", [fail, fail_async])
    def test_function_that_raises_ends_in_a_failure(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, task: object
    ) -> None:
        call = make.call(task, "not today")  # type: ignore[arg-type]  # pytest's parameter

        self.in_time(submit, started_runner, [call], ends)
        outcome = ends.of(call)

        assert isinstance(outcome.problem, Failure)
        assert repr(outcome.problem.error()) == "ValueError('not today')"

    def test_submitting_executes_the_call_right_there(
        self, sequential_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        call = make.call(tell_place)

        submitter = self.in_time(submit, started_runner, [call], ends)

        assert ends.count() == 1, "parallel is false, and submit returned before the end"
        if sequential_runner.capabilities.shares_memory:
            assert ends.of(call).value == (os.getpid(), submitter)

    def test_submitting_returns_at_once(
        self,
        parallel_runner: TaskRunner,
        started_runner: TaskRunner,
        make: CallMaker,
        ends: Ends,
        meeting: Meeting,
    ) -> None:
        calls = [make.call(meet, meeting.address, str(number)) for number in range(50)]

        self.in_time(submit, started_runner, calls, ends)
        ended_meanwhile = ends.count()
        meeting.close()

        ends.wait(calls)
        assert ended_meanwhile == 0

    def test_calls_may_be_submitted_by_several_threads(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = make.calls(give, range(100))
        at_once = threading.Barrier(4, timeout=self.patience_seconds)

        def submit_quarter(quarter: int) -> None:
            at_once.wait()
            submit(started_runner, calls[quarter::4], ends)

        self.at_once(partial(submit_quarter, quarter) for quarter in range(4))
        ends.wait(calls)

        assert [value_of(started_runner, ends.of(call)) for call in calls] == list(range(100))

    def test_calls_may_be_submitted_inside_a_report(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        first, second = make.calls(give, range(2))

        def submit_second() -> None:
            started_runner.submit(second, ends.report(second))

        self.in_time(started_runner.submit, first, ends.report(first, submit_second))

        ends.wait([first, second])

    def test_no_lock_is_held_during_a_report(
        self, parallel_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        first, second = make.calls(give, range(2))
        passed = threading.Event()
        waited: list[bool] = []

        def use_the_runner() -> None:
            started_runner.submit(second, ends.report(second))
            started_runner.cancel(first)
            started_runner.slots()
            passed.set()

        def wait_for_another_thread() -> None:
            threading.Thread(target=use_the_runner, daemon=True).start()
            waited.append(passed.wait(self.patience_seconds))

        started_runner.submit(first, ends.report(first, wait_for_another_thread))
        ends.wait([first, second])

        assert passed.wait(self.patience_seconds)
        assert waited != [False], (
            "Report.done waits until another thread has called submit, cancel and slots, and these "
            "wait until done returns: hold no lock in a report"
        )

    def test_report_that_takes_its_time_holds_up_no_other_call(
        self,
        roomy_runner: TaskRunner,
        started_runner: TaskRunner,
        make: CallMaker,
        ends: Ends,
        meeting: Meeting,
    ) -> None:
        first = make.call(give, 1)
        second = make.call(meet, meeting.address, "second")
        problems: list[AssertionError] = []

        def wait_until_second_runs() -> None:
            try:
                started_runner.submit(second, ends.report(second))
                meeting.wait_for(1)
            except AssertionError as error:
                problems.append(error)
            finally:
                meeting.close()

        started_runner.submit(first, ends.report(first, wait_until_second_runs))
        ends.wait([first, second])

        assert not problems, (
            "Report.done waits until another call runs, and that waits until done returns: report "
            "on a thread on which nothing else depends, or with Report.post"
        )
