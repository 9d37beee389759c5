"""What the task runner or the way to it, not the task, is to blame for."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runnerstone import TaskFuture, flow, task
from runnerstone.errors import TaskCrashedError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import Record, add, call, give, tell_place
from runnerstone.testing._troubles import (
    Unloadable,
    Unpicklable,
    die,
    die_first,
    make_unpicklable,
)


class CrashTests(Suite):
    """What cannot travel, or dies on the way, crashes one run and is named."""

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

    def test_task_that_cannot_travel_crashes_its_run(self, travelling_runner: TaskRunner) -> None:
        unpicklable = Unpicklable()
        futures: list[TaskFuture[Any]] = []

        @task
        def stay() -> str:
            return repr(unpicklable)

        @flow(task_runner=travelling_runner)
        def stuck() -> str:
            futures.append(stay.submit())
            return give("unharmed")

        assert self.in_time(stuck) == "unharmed"
        (future,) = futures
        assert future.state.is_crashed(), f"the run ended {future.state}"
        assert "'stay'" in str(future.state.message)
        assert "its variable 'unpicklable'" in str(future.state.message)
        assert "this object stays at home" in str(future.state.message)
        assert isinstance(future.exception(), TaskCrashedError)

    def test_value_that_the_driver_cannot_unpickle_is_told(
        self, travelling_runner: TaskRunner
    ) -> None:
        @flow(task_runner=travelling_runner)
        def unloadable() -> Any:
            return call(Unloadable)

        record = self.record_of(unloadable)

        assert not record.state.is_completed(), f"the flow run ended {record.state}"
        with pytest.raises(MemoryError, match="too large for this process"):
            record.result()

    def test_argument_that_cannot_be_unpickled_crashes_its_run(
        self, travelling_runner: TaskRunner
    ) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=travelling_runner)
        def stuck() -> str:
            futures.append(give.submit([Unloadable()]))
            return give("unharmed")

        assert self.in_time(stuck) == "unharmed"
        (future,) = futures
        assert future.state.is_crashed(), f"the run ended {future.state}"
        assert "too large for this process" in str(future.state.message)
        assert isinstance(future.exception(), TaskCrashedError)

    def test_worker_that_dies_crashes_its_run(self, separate_runner: TaskRunner) -> None:
        futures: list[TaskFuture[Any]] = []

        @flow(task_runner=separate_runner)
        def asking() -> tuple[int, int]:
            return tell_place()

        @flow(task_runner=separate_runner)
        def dying() -> str:
            futures.append(call.with_options(crash_retries=2).submit(die))
            return "plain value"

        assert self.in_time(dying) == "plain value"
        (future,) = futures
        assert future.state.is_crashed(), f"the run ended {future.state}"
        assert isinstance(future.exception(), TaskCrashedError)
        assert self.in_time(asking)[0] != os.getpid()

    def test_call_whose_worker_died_is_executed_again(
        self, separate_runner: TaskRunner, tmp_path: Path
    ) -> None:
        futures: list[TaskFuture[Any]] = []
        file = tmp_path / "attempts"

        @flow(task_runner=separate_runner)
        def dying() -> str:
            futures.append(call.submit(partial(die_first, file)))
            well: str = add(futures[0], " and well")
            return well

        assert self.in_time(dying) == "alive and well"
        assert len(file.read_text(encoding="utf-8").splitlines()) == 2
