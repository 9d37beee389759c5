"""Flow runs as wholes: their records, and flows inside flows."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runnerstone import Flow, TaskFuture, flow
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner, TaskRunner
from runnerstone.testing._suites import Suite, names_of
from runnerstone.testing._tasks import (
    add,
    add_async,
    fail,
    give,
    size_of,
    write_two_lines,
    write_two_lines_async,
)

IN_TURN = [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
OTHERS = [SequentialTaskRunner(), ConcurrentTaskRunner(max_workers=2)]


class FlowRunTests(Suite):
    """A flow run keeps a record, and runs other flows inside, on whichever runners these have."""

    def test_flow_run_completes(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def both() -> None:
            give("a")
            _ = add_async.submit(1, 2)

        record = self.record_of(both)

        assert str(record.state) == "Completed(message='All states completed.', type=COMPLETED)"
        assert names_of(record) == ["Completed", "Completed"]

    def test_task_runs_are_recorded_with_times_and_places(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def both() -> Any:
            return add(add_async.submit(1, 2), 3)

        before = time.time()
        record = self.record_of(both)
        after = time.time()

        first, second = record.task_runs
        for run in (first, second):
            assert run.attempts == 1
            assert run.where
            assert run.started is not None
            assert run.ended is not None
            assert before <= run.submitted <= run.ended <= after
        if not task_runner.capabilities.distributed:  # else the clocks are several machines'
            for run in (first, second):
                assert run.submitted <= run.started <= run.ended  # type: ignore[operator]  # not None, see above
            assert first.ended <= second.started  # type: ignore[operator]  # likewise

    def test_runs_of_one_task_are_numbered(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def three() -> list[str]:
            return [give.submit(letter).name for letter in "abc"]

        names = self.in_time(three)

        assert names == [f"give-{give.key}-{number}" for number in range(3)]

    def test_body_that_raises_fails_the_flow_run_once_its_tasks_are_over(
        self, task_runner: TaskRunner
    ) -> None:
        @flow(task_runner=task_runner)
        def raising() -> None:
            for number in range(5):
                give(number)
            raise ValueError("in the body")

        record = self.record_of(raising)

        assert record.state.is_failed()
        assert repr(record.error) == "ValueError('in the body')"
        assert names_of(record) == ["Completed"] * 5

    @pytest.mark.parametrize("write", [write_two_lines, write_two_lines_async])
    def test_subflow_is_over_when_its_call_returns(
        self, task_runner: TaskRunner, tmp_path: Path, write: Any
    ) -> None:
        file = tmp_path / "lines"

        @flow(task_runner=task_runner)
        def child(name: str) -> None:
            write(file, name)

        @flow(task_runner=task_runner)
        def parent() -> None:
            for name in "abc":
                child(name)

        self.in_time(parent)

        assert file.read_text().splitlines() == IN_TURN

    def test_async_subflows_that_are_awaited_in_turn_run_in_turn(
        self, task_runner: TaskRunner, tmp_path: Path
    ) -> None:
        file = tmp_path / "lines"

        @flow(task_runner=task_runner)
        async def child(name: str) -> None:
            _ = write_two_lines_async.submit(file, name)

        @flow(task_runner=task_runner)
        async def parent() -> None:
            for name in "abc":
                await child(name)

        self.in_time(lambda: asyncio.run(parent()))

        assert file.read_text().splitlines() == IN_TURN

    def test_async_subflows_in_a_task_group_run_at_the_same_time(
        self, task_runner: TaskRunner
    ) -> None:
        @flow(task_runner=task_runner)
        async def child(both_run: asyncio.Barrier, name: str) -> str:
            async with asyncio.timeout(self.patience_seconds), both_run:
                return give(name)

        @flow(task_runner=task_runner)
        async def parent() -> list[str]:
            both_run = asyncio.Barrier(2)
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(child(both_run, name)) for name in "ab"]
            return [run.result() for run in runs]

        assert self.in_time(lambda: asyncio.run(parent())) == ["a", "b"]

    def test_subflow_may_have_the_same_task_runner(self, task_runner: TaskRunner) -> None:
        assert self.in_time(_nested(task_runner, task_runner)) == [3, 6, 9]

    @pytest.mark.parametrize("other", OTHERS, ids=["sequential", "concurrent"])
    def test_subflow_may_have_this_task_runner_below_another(
        self, task_runner: TaskRunner, other: TaskRunner
    ) -> None:
        assert self.in_time(_nested(other, task_runner)) == [3, 6, 9]

    @pytest.mark.parametrize("other", OTHERS, ids=["sequential", "concurrent"])
    def test_subflow_may_have_another_task_runner_below_this(
        self, task_runner: TaskRunner, other: TaskRunner
    ) -> None:
        assert self.in_time(_nested(task_runner, other)) == [3, 6, 9]

    @pytest.mark.parametrize("other", OTHERS, ids=["sequential", "concurrent"])
    def test_large_values_pass_between_task_runners(
        self, task_runner: TaskRunner, other: TaskRunner
    ) -> None:
        @flow(task_runner=other)
        def child(value: Any, give_future: Callable[[], TaskFuture[bytes]]) -> list[Any]:
            return [size_of(value), size_of(give_future()), give(value)]

        @flow(task_runner=task_runner)
        def parent() -> list[Any]:
            future = give.submit(b"x" * 1_000_000)
            *sizes, value = child(future, lambda: future)
            return [*sizes, size_of(value)]

        assert self.in_time(parent) == [1_000_000] * 3

    def test_future_of_the_parent_may_be_upstream_of_a_task_in_a_subflow(
        self, task_runner: TaskRunner
    ) -> None:
        @flow(task_runner=task_runner)
        def parent() -> tuple[Any, Any]:
            small, large = give("small"), give(b"x" * 1_000_000)

            @flow(task_runner=task_runner)
            def child() -> tuple[Any, Any]:
                return add(small, " value"), size_of(large)

            return child()

        assert self.in_time(parent) == ("small value", 1_000_000)

    def test_subflow_waits_for_the_futures_among_its_arguments(
        self, task_runner: TaskRunner
    ) -> None:
        @flow(task_runner=task_runner)
        def child(values: list[str]) -> list[object]:
            return [*(type(value).__name__ for value in values), give(values[0])]

        @flow(task_runner=task_runner)
        def parent() -> list[object]:
            return child([give("a"), give("b")])

        assert self.in_time(parent) == ["str", "str", "a"]

    def test_subflow_does_not_run_if_one_of_its_arguments_failed(
        self, task_runner: TaskRunner
    ) -> None:
        bodies: list[object] = []

        @flow(task_runner=task_runner)
        def child(value: object) -> None:
            bodies.append(value)

        @flow(task_runner=task_runner)
        def parent() -> None:
            child.run(fail("upstream"))

        record = self.record_of(parent)

        assert bodies == []
        assert record.state.is_failed()
        (subflow_run,) = record.subflow_runs
        assert subflow_run.state.is_skipped()

    def test_failed_subflow_fails_its_parent(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def child() -> None:
            fail("below")

        @flow(task_runner=task_runner)
        def parent() -> None:
            child.run()
            give("unharmed")

        record = self.record_of(parent)

        assert record.state.is_failed()
        assert record.state.message == "1/2 states failed."
        assert repr(record.error) == "ValueError('below')"
        assert names_of(record) == ["Completed"]


def _nested(outer: TaskRunner, inner: TaskRunner) -> Flow[[], list[int]]:
    """A flow that has tasks before and after a subflow with tasks."""

    @flow(task_runner=inner)
    def child(number: int) -> Any:
        return add(number, add_async.submit(1, 2))

    @flow(task_runner=outer)
    def parent() -> list[int]:
        first = add(1, 2)
        second = child(first)
        return [first, second, add(second, 3)]

    return parent
