"""What a task runner does with calls, without an engine: they are made by hand."""

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runnerstone.task_runners import Failure, Outcome, Pickled, Reference, TaskCall, TaskRunner
from runnerstone.testing._calls import CallMaker, Ends
from runnerstone.testing._leftovers import Census
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import (
    fail,
    fail_async,
    give,
    give_async,
    meet,
    spin,
    spin_stubbornly,
    tell_place,
    write_line,
)

SIZES = [0, 1, 1000, 64 * 1024, 1_000_000]


class ReportTests(Suite):
    """A task runner executes each call once, and reports its end once."""

    @pytest.fixture
    def make(self, started_runner: TaskRunner) -> CallMaker:
        """Makes calls for the started task runner."""
        return CallMaker(started_runner)

    @pytest.fixture
    def ends(self) -> Ends:
        """What is reported."""
        return Ends(self.patience_seconds)

    def test_each_call_is_executed_once(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"
        calls = [make.call(write_line, file, str(number)) for number in range(50)]

        self.in_time(_submit, started_runner, calls, ends)
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

        self.in_time(_submit, started_runner, calls, ends)
        ends.wait(calls)
        self.in_time(started_runner.stop)

        ends.check()
        assert ends.count() == len(calls)

    def test_calls_submitted_together_end_once_each(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = [*make.calls(give, range(20)), *make.calls(give_async, range(5))]

        self.in_time(started_runner.submit_many, list(map(ends.pair, calls)))
        ends.wait(calls)
        self.in_time(started_runner.stop)

        ends.check()
        assert [_value(started_runner, ends.of(call)) for call in calls] == [*range(20), *range(5)]

    def test_nothing_submitted_together_is_harmless(self, started_runner: TaskRunner) -> None:
        self.in_time(started_runner.submit_many, [])

    @pytest.mark.parametrize("task", [give, give_async])
    def test_outcome_tells_value_times_and_place(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, task: object
    ) -> None:
        call = make.call(task, "value")  # type: ignore[arg-type]  # pytest's parameter

        self.in_time(_submit, started_runner, [call], ends)
        outcome = ends.of(call)

        assert type(outcome) is Outcome, f"what is reported has to be what the call gave: {outcome!r}"
        assert outcome.problem is None
        assert _value(started_runner, outcome) == "value"
        assert outcome.started is not None
        assert outcome.ended is not None
        assert outcome.started <= outcome.ended
        assert outcome.where

    @pytest.mark.parametrize("task", [fail, fail_async])
    def test_function_that_raises_ends_in_a_failure(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, task: object
    ) -> None:
        call = make.call(task, "not today")  # type: ignore[arg-type]  # pytest's parameter

        self.in_time(_submit, started_runner, [call], ends)
        outcome = ends.of(call)

        assert isinstance(outcome.problem, Failure)
        assert repr(outcome.problem.error()) == "ValueError('not today')"

    def test_submitting_executes_the_call_right_there(
        self, sequential_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        call = make.call(tell_place)

        submitter = self.in_time(_submit, started_runner, [call], ends)

        assert ends.count() == 1, "capabilities.parallel is false, and submit returned before the end"
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

        self.in_time(_submit, started_runner, calls, ends)
        ended_meanwhile = ends.count()
        meeting.close()

        ends.wait(calls)
        assert ended_meanwhile == 0

    def test_calls_may_be_submitted_by_several_threads(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = make.calls(give, range(100))
        at_once = threading.Barrier(4, timeout=self.patience_seconds)

        def submit(quarter: int) -> None:
            at_once.wait()
            _submit(started_runner, calls[quarter::4], ends)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(submit, range(4), timeout=self.patience_seconds))
        ends.wait(calls)

        assert [_value(started_runner, ends.of(call)) for call in calls] == list(range(100))

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
            "Report.done blocks until another thread has called submit, cancel and slots, and these "
            "block until done returns: hold no lock in a report"
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
            "Report.done blocks until another call runs, and that does not begin before done returns: "
            "report on a thread on which nothing else depends, or with Report.post"
        )

    @pytest.mark.parametrize("size", SIZES)
    def test_value_of_any_size_can_be_had(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends, size: int
    ) -> None:
        call = make.call(give, b"x" * size)

        self.in_time(_submit, started_runner, [call], ends)

        assert self.in_time(_value, started_runner, ends.of(call)) == b"x" * size

    def test_value_is_passed_as_it_is(
        self, sharing_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        value = object()
        call = make.call(give, value)

        self.in_time(_submit, started_runner, [call], ends)

        assert ends.of(call).value is value

    def test_value_up_to_the_inline_limit_comes_with_the_outcome(
        self, travelling_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        overhead = 100  # more than pickling adds to bytes
        limit = started_runner.capabilities.inline_limit
        call = make.call(give, bytes(max(limit - overhead, 0)))

        self.in_time(_submit, started_runner, [call], ends)

        assert type(ends.of(call).value) is Pickled or limit < overhead

    def test_values_are_fetched_in_the_order_asked_for(
        self, travelling_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        calls = make.calls(give, [bytes([number]) * 1_000_000 for number in range(3)])
        self.in_time(_submit, started_runner, calls, ends)
        references = [ends.of(call).value for call in calls]
        if not all(type(reference) is Reference for reference in references):
            pytest.skip("the task runner makes no Reference of a value of 1 MB")

        fetched = self.in_time(started_runner.fetch, references[::-1])

        assert [type(value) for value in fetched] == [Pickled] * 3
        assert [value.load()[:1] for value in fetched] == [b"\2", b"\1", b"\0"]

    def test_shared_value_can_be_fetched(
        self, travelling_runner: TaskRunner, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        call = make.call(give, b"x" * 1000)
        self.in_time(_submit, started_runner, [call], ends)
        value = _pickled(started_runner, ends.of(call))

        shared = self.in_time(started_runner.share, value)

        if shared is None:
            pytest.skip("share() returns None")
        assert type(shared) is Reference
        assert self.in_time(started_runner.fetch, [shared])[0].load() == b"x" * 1000

    def test_cancelling_what_is_over_or_unknown_is_harmless(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        over, unknown, after = make.calls(give, range(3))
        unknown_coroutine = make.call(give_async, 4)
        self.in_time(_submit, started_runner, [over], ends)
        ends.wait([over])

        for call in (over, unknown, unknown_coroutine):
            self.in_time(started_runner.cancel, call)

        self.in_time(_submit, started_runner, [after], ends)
        ends.wait([after])

    def test_cancelling_prevents_a_queued_call(
        self,
        parallel_runner: TaskRunner,
        started_runner: TaskRunner,
        make: CallMaker,
        ends: Ends,
        meeting: Meeting,
        tmp_path: Path,
    ) -> None:
        if not parallel_runner.capabilities.cancels_queued:
            pytest.skip("capabilities.cancels_queued is false")
        slots = started_runner.slots()
        if slots is None:
            pytest.skip("slots() is None: what is queued is not known")
        file = tmp_path / "lines"
        running = [make.call(meet, meeting.address, str(number)) for number in range(slots)]
        queued, following = (make.call(write_line, file, line) for line in ("queued", "following"))
        self.in_time(_submit, started_runner, running, ends)
        meeting.wait_for(slots)
        self.in_time(_submit, started_runner, [queued, following], ends)

        self.in_time(started_runner.cancel, queued)
        meeting.close()
        ends.wait([*running, following])
        self.in_time(started_runner.stop)

        assert file.read_text().split() == ["following"]

    @pytest.mark.parametrize(
        ("capability", "task"), [("interrupts", spin), ("kills", spin_stubbornly)]
    )
    def test_cancelling_ends_a_running_call(
        self,
        task_runner: TaskRunner,
        started_runner: TaskRunner,
        make: CallMaker,
        ends: Ends,
        meeting: Meeting,
        capability: str,
        task: object,
    ) -> None:
        if not getattr(task_runner.capabilities, capability):
            pytest.skip(f"capabilities.{capability} is false")
        running = make.call(task, meeting.address, "running")  # type: ignore[arg-type]  # pytest's parameter
        self.in_time(_submit, started_runner, [running], ends)
        meeting.wait_for(1)

        self.in_time(started_runner.cancel, running)

        assert meeting.has_left("running"), f"capabilities.{capability} is true, and the call goes on"
        following = make.call(give, 1)
        self.in_time(_submit, started_runner, [following], ends)
        ends.wait([following])

    def test_nothing_is_reported_after_stopping(
        self, parallel_runner: TaskRunner, ends: Ends, meeting: Meeting
    ) -> None:
        self.in_time(_start_and_stop, parallel_runner)  # what a process has once may stay
        census = Census()
        runner = parallel_runner.copy_for_run()
        self.in_time(runner.start)
        make = CallMaker(runner)
        calls = [make.call(meet, meeting.address, str(number)) for number in range(5)]
        self.in_time(_submit, runner, calls, ends)
        meeting.wait_for(1)
        stopping = threading.Thread(target=runner.stop, daemon=True)

        stopping.start()
        meeting.close()
        stopping.join(self.patience_seconds)
        count = ends.count()

        assert not stopping.is_alive(), "stop has to return once the calls that run are over"
        left = census.newcomers(self.patience_seconds)
        assert not left, f"stop has returned, and these have not ended: {', '.join(left)}"
        assert ends.count() == count, "an end was reported after stop had returned"
        ends.check()


def _start_and_stop(task_runner: TaskRunner) -> None:
    runner = task_runner.copy_for_run()
    try:
        runner.start()
    finally:
        runner.stop()


def _submit(runner: TaskRunner, calls: Iterable[TaskCall], ends: Ends) -> int:
    """Submit calls one by one; return which thread did so."""
    for call in calls:
        runner.submit(call, ends.report(call))
    return threading.get_ident()


def _value(runner: TaskRunner, outcome: Outcome) -> Any:
    """The value that an outcome stands for."""
    assert outcome.problem is None, f"the call ended in {outcome.problem!r}"
    if runner.capabilities.shares_memory:
        return outcome.value
    return _pickled(runner, outcome).load()


def _pickled(runner: TaskRunner, outcome: Outcome) -> Pickled:
    value = outcome.value
    if type(value) is Reference:
        (value,) = runner.fetch([value])
    assert type(value) is Pickled, (
        f"a value that travelled has to be a Pickled or a Reference, and it is {value!r}"
    )
    return value
