"""What runs at the same time, and what does not."""

import asyncio
import threading
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from runnerstone import TaskFuture, flow
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import (
    add,
    add_async,
    meet,
    meet_async,
    write_line,
    write_two_lines,
    write_two_lines_async,
)

T = TypeVar("T")

IN_TURN = ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]


class OrderTests(Suite):
    """Tasks run one at a time on a sequential runner, at the same time on the others."""

    def test_functions_run_one_at_a_time(
        self, sequential_runner: TaskRunner, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"

        @flow(task_runner=sequential_runner)
        def three() -> list[bool]:
            return [write_two_lines.submit(file, name).done() for name in "abc"]

        done = self.in_time(three)

        assert file.read_text().splitlines() == IN_TURN
        assert done == [True] * 3, "a call has to be over when its submission returns"

    def test_coroutines_run_one_at_a_time(
        self, sequential_runner: TaskRunner, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"

        @flow(task_runner=sequential_runner)
        def three() -> list[bool]:
            return [write_two_lines_async.submit(file, name).done() for name in "abc"]

        done = self.in_time(three)

        assert file.read_text().splitlines() == IN_TURN
        assert done == [True] * 3, "a call has to be over when its submission returns"

    def test_coroutines_of_an_async_flow_run_one_at_a_time(
        self, sequential_runner: TaskRunner, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"

        @flow(task_runner=sequential_runner)
        async def three() -> None:
            async with asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(_awaited(write_two_lines_async.submit(file, name)))

        self.in_time(lambda: asyncio.run(three()))

        assert file.read_text().splitlines() == IN_TURN

    @pytest.mark.parametrize("write", [write_two_lines, write_two_lines_async])
    def test_calls_that_several_threads_submit_run_one_at_a_time(
        self, sequential_runner: TaskRunner, tmp_path: Path, quick_switches: None, write: Any
    ) -> None:
        file = tmp_path / "lines"
        all_run = threading.Barrier(4, timeout=self.patience_seconds)

        def submit_three(name: str) -> None:
            all_run.wait()
            for _ in range(3):
                write.submit(file, name)

        @flow(task_runner=sequential_runner)
        def twelve() -> None:
            self.at_once(partial(copy_context().run, submit_three, name) for name in "abcd")

        self.in_time(twelve)

        lines = file.read_text().splitlines()
        assert len(lines) == 24
        assert lines[1::2] == [line.replace("begins", "ends") for line in lines[::2]], (
            "parallel is false, and calls that several threads submit run at the same time"
        )

    def test_functions_run_at_the_same_time(
        self, roomy_runner: TaskRunner, meeting: Meeting
    ) -> None:
        @flow(task_runner=roomy_runner)
        def pair() -> list[str]:
            names = [meet(meeting.address, name) for name in ("first", "second")]
            meeting.wait_for(2)
            meeting.close()
            return names

        assert self.in_time(pair) == ["first", "second"]

    def test_coroutines_run_at_the_same_time(
        self, roomy_runner: TaskRunner, meeting: Meeting
    ) -> None:
        @flow(task_runner=roomy_runner)
        def pair() -> list[Any]:
            futures = [meet_async.submit(meeting.address, name) for name in ("first", "second")]
            meeting.wait_for(2)
            meeting.close()
            return futures

        assert self.in_time(pair) == ["first", "second"]

    def test_functions_of_an_async_flow_run_at_the_same_time(
        self, roomy_runner: TaskRunner, meeting: Meeting
    ) -> None:
        @flow(task_runner=roomy_runner)
        async def pair() -> list[str]:
            names = [meet(meeting.address, name) for name in ("first", "second")]
            await asyncio.to_thread(meeting.wait_for, 2)
            meeting.close()
            return names

        assert self.in_time(lambda: asyncio.run(pair())) == ["first", "second"]

    def test_coroutines_of_an_async_flow_run_at_the_same_time(
        self, roomy_runner: TaskRunner, meeting: Meeting
    ) -> None:
        @flow(task_runner=roomy_runner)
        async def pair() -> list[str]:
            async with asyncio.TaskGroup() as group:
                runs = [
                    group.create_task(_awaited(meet_async.submit(meeting.address, name)))
                    for name in ("first", "second")
                ]
                await asyncio.to_thread(meeting.wait_for, 2)
                meeting.close()
            return [run.result() for run in runs]

        assert self.in_time(lambda: asyncio.run(pair())) == ["first", "second"]

    def test_body_goes_on_while_a_call_runs(
        self, parallel_runner: TaskRunner, meeting: Meeting
    ) -> None:
        @flow(task_runner=parallel_runner)
        def running() -> tuple[str, str]:
            future = meet.submit(meeting.address, "call")
            meeting.wait_for(1)
            state = future.state.type.value
            meeting.close()
            return state, future.result()

        state, result = self.in_time(running)

        assert state in {"PENDING", "RUNNING"}, f"a call that runs shows as {state}"
        assert result == "call"

    def test_async_flow_awaits_futures(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        async def sums() -> list[int]:
            first = await add.submit(1, 2)
            second = await add_async.submit(first, 4)
            return [first, second]

        assert self.in_time(lambda: asyncio.run(sums())) == [3, 7]

    def test_async_flow_awaits_futures_in_a_task_group(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        async def sums() -> list[int]:
            async with asyncio.TaskGroup() as group:
                runs = [
                    group.create_task(_awaited(add.submit(1, 2))),
                    group.create_task(_awaited(add_async.submit(3, 4))),
                ]
            return [run.result() for run in runs]

        assert self.in_time(lambda: asyncio.run(sums())) == [3, 7]

    def test_upstream_ends_before_its_dependent_begins(
        self, task_runner: TaskRunner, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"

        @flow(task_runner=task_runner)
        def in_turn() -> None:
            first = write_two_lines.submit(file, "a")
            second = write_two_lines_async.submit(file, "b", wait_for=[first])
            _ = write_two_lines.submit(file, "c", wait_for=[second])

        self.in_time(in_turn)

        assert file.read_text().splitlines() == IN_TURN

    def test_flow_waits_for_all_that_it_submitted(
        self, task_runner: TaskRunner, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"

        @flow(task_runner=task_runner)
        def forgetful() -> str:
            for number in range(20):
                write_line(file, str(number))
            return "plain value"

        record = self.record_of(forgetful)

        assert sorted(map(int, file.read_text().split())) == list(range(20))
        assert [run.state.name for run in record.task_runs] == ["Completed"] * 20


async def _awaited(future: TaskFuture[T]) -> T:
    return await future
