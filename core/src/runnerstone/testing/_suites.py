"""What the parts of the suite have in common: fixtures, and waiting that ends."""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from runnerstone import Flow, FlowRun, State, flow
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._tasks import tell_place

T = TypeVar("T")


class Suite:
    """Tests of one subject, for the task runner that a fixture gives."""

    patience_seconds: ClassVar[float] = 60.0
    """Longest wait for anything that a test waits for."""

    @pytest.fixture
    def task_runner(self) -> TaskRunner:
        """The task runner to be tested; a subclass overrides this."""
        raise NotImplementedError(
            f"{type(self).__qualname__} has to override the fixture task_runner(self), marked with "
            "@pytest.fixture, and return a task runner"
        )

    @pytest.fixture
    def sequential_runner(self, task_runner: TaskRunner) -> TaskRunner:
        """The task runner, if it runs one call at a time."""
        if task_runner.capabilities.parallel:
            pytest.skip("capabilities.parallel is true")
        return task_runner

    @pytest.fixture
    def parallel_runner(self, task_runner: TaskRunner) -> TaskRunner:
        """The task runner, if its calls run beside the flow's body."""
        if not task_runner.capabilities.parallel:
            pytest.skip("capabilities.parallel is false")
        return task_runner

    @pytest.fixture
    def roomy_runner(self, parallel_runner: TaskRunner) -> TaskRunner:
        """The task runner, if it runs two calls at once."""
        slots = self.in_time(_slots_of, parallel_runner)
        if slots == 1:
            pytest.skip("slots() is 1: set up with more, it would be tested more")
        return parallel_runner

    @pytest.fixture
    def sharing_runner(self, task_runner: TaskRunner) -> TaskRunner:
        """The task runner, if its calls run in the driver's process."""
        if not task_runner.capabilities.shares_memory:
            pytest.skip("capabilities.shares_memory is false")
        return task_runner

    @pytest.fixture
    def travelling_runner(self, task_runner: TaskRunner) -> TaskRunner:
        """The task runner, if its calls travel to other processes."""
        if task_runner.capabilities.shares_memory:
            pytest.skip("capabilities.shares_memory is true")
        return task_runner

    @pytest.fixture
    def separate_runner(self, travelling_runner: TaskRunner) -> TaskRunner:
        """The task runner, if its calls run in processes that may die without the driver."""

        @flow(task_runner=travelling_runner)
        def asking() -> tuple[int, int]:
            return tell_place()

        if self.in_time(asking)[0] == os.getpid():
            pytest.skip("calls run in the driver's process")
        return travelling_runner

    @pytest.fixture
    def started_runner(self, task_runner: TaskRunner) -> Iterator[TaskRunner]:
        """A started copy of the task runner, as the engine makes it; stopped after the test."""
        runner = task_runner.copy_for_run()
        try:
            self.in_time(runner.start)
            yield runner
        finally:
            self.in_time(runner.stop)

    @pytest.fixture
    def meeting(self) -> Iterator[Meeting]:
        """Where tasks wait for the test; closed after the test, if not before."""
        with Meeting(
            self.patience_seconds / 2
        ) as meeting:  # its failure comes first, and tells more
            yield meeting

    @pytest.fixture
    def quick_switches(self) -> Iterator[None]:
        """Have Python switch between threads very often, so that races show."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(interval)

    def in_time(self, function: Callable[..., T], *args: Any) -> T:
        """What a call of `function` gives, in a thread of its own; a failure if it does not end."""
        return _Running(function, args).result(self.patience_seconds)

    def at_once(self, functions: Iterable[Callable[[], T]]) -> list[T]:
        """What calls of several functions give, each in a thread of its own, all begun at once."""
        running = [_Running(function, ()) for function in functions]
        return [it.result(self.patience_seconds) for it in running]

    def record_of(self, flow: Flow[[], Any]) -> FlowRun[Any]:
        """The record of a run of a flow."""
        run: FlowRun[Any] = self.in_time(flow.run)
        return run


class _Running(Generic[T]):
    """A call in a thread of its own, which nothing waits for if it does not end."""

    def __init__(self, function: Callable[..., T], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._ended: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, name="test", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._ended.set_result(self._function(*self._args))
        except BaseException as error:  # noqa: BLE001  # raised where the test waits
            self._ended.set_exception(error)

    def result(self, patience_seconds: float) -> T:
        self._thread.join(patience_seconds)
        if not self._ended.done():
            frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001  # so it is named
            stack = "".join(traceback.format_stack(frame)) if frame else ""
            pytest.fail(
                f"{self._function!r} has not ended within {patience_seconds} s; if it is a flow, "
                f"the task runner has not reported the end of a call. This is where it is:\n{stack}"
            )
        return self._ended.result()


def _slots_of(task_runner: TaskRunner) -> int | None:
    runner = task_runner.copy_for_run()
    try:
        runner.start()
        return runner.slots()
    finally:
        runner.stop()


def states_of(record: FlowRun[Any]) -> list[State]:
    """The states of a flow run's task runs, in the order of submission."""
    return [run.state for run in record.task_runs]


def names_of(record: FlowRun[Any]) -> list[str]:
    """The names of the states of a flow run's task runs, in the order of submission."""
    return [run.state.name for run in record.task_runs]
