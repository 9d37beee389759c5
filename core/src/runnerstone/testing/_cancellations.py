"""Cancelling calls, and stopping while they run; the calls are made by hand."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runnerstone import TaskFuture, flow
from runnerstone.errors import TaskCancelledError, UpstreamNotCompletedError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._calls import CallMaker, CallSuite, Ends, submit
from runnerstone.testing._leftovers import Census
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._tasks import (
    give,
    give_async,
    meet,
    spin,
    spin_stubbornly,
    write_line,
)


class CancellationTests(CallSuite):
    """What the capabilities promise of cancelling is so, and stopping is the end."""

    def test_cancelling_what_is_over_or_unknown_is_harmless(
        self, started_runner: TaskRunner, make: CallMaker, ends: Ends
    ) -> None:
        over, unknown, after = make.calls(give, range(3))
        unknown_coroutine = make.call(give_async, 4)
        self.in_time(submit, started_runner, [over], ends)
        ends.wait([over])

        for call in (over, unknown, unknown_coroutine):
            self.in_time(started_runner.cancel, call)

        self.in_time(submit, started_runner, [after], ends)
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
        self.in_time(submit, started_runner, running, ends)
        meeting.wait_for(slots)
        self.in_time(submit, started_runner, [queued, following], ends)

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
        threading.Thread(  # which a sequential runner keeps until the call ends
            target=submit, args=(started_runner, [running], ends), daemon=True
        ).start()
        meeting.wait_for(1)

        self.in_time(started_runner.cancel, running)

        assert meeting.has_left("running"), f"{capability} is true, and the call goes on"
        following = make.call(give, 1)
        self.in_time(submit, started_runner, [following], ends)
        ends.wait([following])

    def test_run_that_is_cancelled_ends_at_once_and_skips_what_depends_on_it(
        self, parallel_runner: TaskRunner, meeting: Meeting
    ) -> None:
        can = parallel_runner.capabilities
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=parallel_runner)
        def cancelling() -> Any:
            running = spin.submit(meeting.address, "running")
            behind = give.submit(running)
            beyond = give.submit([behind])
            futures.extend([running, behind, beyond])
            meeting.wait_for(1)
            assert beyond.cancel()
            assert running.cancel()
            assert not behind.cancel(), "it was skipped, not cancelled"
            if can.interrupts or can.kills:
                assert meeting.has_left("running"), "its code goes on"
            meeting.close()
            return give("unharmed")

        assert self.in_time(cancelling) == "unharmed"
        running, behind, beyond = futures
        assert [future.state.name for future in futures] == ["Cancelled", "NotReady", "Cancelled"]
        assert isinstance(running.exception(), TaskCancelledError)
        assert isinstance(behind.exception(), UpstreamNotCompletedError)
        assert running.cancelled()
        assert beyond.cancelled()

    def test_stopping_is_safe_while_the_last_report_is_being_made(
        self, parallel_runner: TaskRunner, quick_switches: None
    ) -> None:
        deadline = time.monotonic() + 0.2

        self._stop_during_a_report(parallel_runner)
        while time.monotonic() < deadline:  # many times, where starting is cheap
            self._stop_during_a_report(parallel_runner)

    def _stop_during_a_report(self, task_runner: TaskRunner) -> None:
        runner = task_runner.copy_for_run()
        self.in_time(runner.start)
        make, ends = CallMaker(runner), Ends(self.patience_seconds)
        warming, (first, second) = make.calls(give, range(3)), make.calls(give, range(2))
        self.in_time(submit, runner, warming, ends)
        ends.wait(warming)

        def submit_second() -> None:  # its end may be there before this returns
            runner.submit(second, ends.report(second))

        runner.submit(first, ends.report(first, submit_second))
        ends.wait([first, second])
        self.in_time(runner.stop)
        ends.check()

    def test_nothing_is_reported_after_stopping(
        self, parallel_runner: TaskRunner, ends: Ends, meeting: Meeting
    ) -> None:
        self.in_time(_start_and_stop, parallel_runner)  # what a process has once may stay
        census = Census()
        runner = parallel_runner.copy_for_run()
        self.in_time(runner.start)
        make = CallMaker(runner)
        calls = [make.call(meet, meeting.address, str(number)) for number in range(5)]
        self.in_time(submit, runner, calls, ends)
        meeting.wait_for(min(runner.slots() or 1, len(calls)))
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
