"""Settings, copies, starting and stopping."""

import pickle
import threading
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import Any

import attrs
import pytest

from runnerstone import flow
from runnerstone.task_runners import (
    Capabilities,
    TaskRunner,
    TaskRunnerSpec,
    installed_task_runners,
    resolve_task_runner,
)
from runnerstone.testing._leftovers import Census
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import add, add_async, fail, give


class LifecycleTests(Suite):
    """A task runner is a description, of which each flow run starts and stops a copy."""

    def test_fixture_gives_a_task_runner_that_can_be_chosen(self, task_runner: TaskRunner) -> None:
        chosen = resolve_task_runner(task_runner)  # raises where the class breaks the contract

        assert chosen is task_runner

    def test_capabilities_are_a_record(self, task_runner: TaskRunner) -> None:
        assert isinstance(type(task_runner).capabilities, Capabilities), (
            f"{type(task_runner).__qualname__}.capabilities has to be a Capabilities"
        )
        assert isinstance(task_runner.capabilities, Capabilities), (
            "__attrs_post_init__ may narrow self.capabilities, with attrs.evolve"
        )

    def test_announced_capabilities_are_those_of_the_class(self, task_runner: TaskRunner) -> None:
        specs = _specs_of(type(task_runner))
        if not specs:
            pytest.skip("no installed distribution announces the class")

        for spec in specs:
            assert spec.capabilities == type(task_runner).capabilities, (
                f"the TaskRunnerSpec of {spec.name!r} does not tell the capabilities of {spec.path}"
            )

    def test_copy_is_equal_to_the_original_and_not_the_same(self, task_runner: TaskRunner) -> None:
        copy = task_runner.copy_for_run()

        assert copy is not task_runner
        assert type(copy) is type(task_runner)
        assert copy == task_runner, "the copy has other settings"

    def test_settings_survive_pickling(self, task_runner: TaskRunner) -> None:
        copy = pickle.loads(pickle.dumps(task_runner))

        assert type(copy) is type(task_runner)
        assert copy == task_runner

    def test_started_runner_refuses_to_be_pickled(self, started_runner: TaskRunner) -> None:
        with pytest.raises(TypeError, match=r"a started .* cannot be pickled"):
            pickle.dumps(started_runner)

    def test_slots_are_a_positive_number_or_unknown(self, started_runner: TaskRunner) -> None:
        slots = started_runner.slots()

        assert slots is None or (type(slots) is int and slots >= 1), (
            f"slots() is {slots!r}: it has to be an int of at least 1, or None if it is not known"
        )

    def test_one_flow_run_may_follow_another(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def three() -> Any:
            return add(1, 2)

        results = [self.in_time(three) for _ in range(2)]

        assert results == [3, 3]

    def test_one_flow_may_run_twice_at_once(self, task_runner: TaskRunner) -> None:
        both_run = threading.Barrier(2, timeout=self.patience_seconds)

        @flow(task_runner=task_runner)
        def sums(first: str) -> list[str]:
            both_run.wait()
            values = [add(first, second) for second in "xyz"]
            both_run.wait()
            return values

        results = self.at_once(partial(sums, name) for name in "ab")

        assert results == [["ax", "ay", "az"], ["bx", "by", "bz"]]

    def test_stopping_twice_is_harmless(self, task_runner: TaskRunner) -> None:
        runner = task_runner.copy_for_run()
        self.in_time(runner.start)

        self.in_time(runner.stop)
        self.in_time(runner.stop)

    def test_stopping_is_harmless_where_starting_got_nowhere(self, task_runner: TaskRunner) -> None:
        runner = task_runner.copy_for_run()  # as if the first line of its `start` had raised

        self.in_time(runner.stop)

    def test_runner_that_fails_to_start_is_stopped(self, task_runner: TaskRunner) -> None:
        stops: list[str] = []
        runner = _failing_to_start(task_runner, stops)

        @flow(task_runner=runner)
        def three() -> Any:
            return add(1, 2)

        record = self.record_of(three)

        assert record.state.is_crashed(), f"the flow run ended {record.state}"
        assert stops == ["stopped"]
        with pytest.raises(OSError, match="no room"):
            record.result()

    def test_flow_runs_leave_no_thread_and_no_process(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def sums() -> list[Any]:
            return [add(1, 2), give(3), add_async.submit(4, 5)]

        self._check_that_nothing_is_left(sums.run)

    def test_failed_flow_runs_leave_no_thread_and_no_process(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def failing() -> None:
            fail("in a task")
            raise ValueError("in the body")

        self._check_that_nothing_is_left(failing.run)

    def test_failed_start_leaves_no_thread_and_no_process(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=_failing_to_start(task_runner, []))
        def three() -> Any:
            return add(1, 2)

        self._check_that_nothing_is_left(three.run)

    def _check_that_nothing_is_left(self, run: Any) -> None:
        self.in_time(run)  # what a process has once may stay: a resource tracker, a loop's thread
        census = Census()

        self.in_time(run)
        self.in_time(run)

        left = census.newcomers(self.patience_seconds)
        assert not left, f"stop has to end what start and submit began; left: {', '.join(left)}"


def _failing_to_start(task_runner: TaskRunner, stops: list[str]) -> TaskRunner:
    """A runner with the same settings whose `start` acquires everything and raises then."""
    original: Any = type(task_runner)

    class Failing(original):  # type: ignore[misc]  # the class under test
        def start(self) -> None:
            super().start()
            raise OSError("no room")

        def stop(self) -> None:
            super().stop()
            stops.append("stopped")

    settings = {
        field.alias: getattr(task_runner, field.name)
        for field in attrs.fields(original)
        if field.init
    }
    failing: TaskRunner = Failing(**settings)
    return failing


def _specs_of(cls: type[TaskRunner]) -> list[TaskRunnerSpec]:
    """What installed distributions announce of a class; imports none of another package."""
    package = cls.__module__.partition(".")[0]
    found = []
    for installed in installed_task_runners():
        if installed.spec is not None:
            module, _, name = installed.spec.path.partition(":")
            is_near = module.partition(".")[0] == package
            if is_near and attrgetter(name)(import_module(module)) is cls:
                found.append(installed.spec)
    return found
