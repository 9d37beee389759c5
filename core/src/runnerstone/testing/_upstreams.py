"""How results flow from task to task, a few and many."""

from collections.abc import Callable
from typing import Any

import pytest

from runnerstone import TaskFuture, flow
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._meetings import Meeting
from runnerstone.testing._suites import Suite, names_of
from runnerstone.testing._tasks import (
    Frozen,
    Numbers,
    Pair,
    Record,
    add,
    add_async,
    fail,
    give,
    meet,
    total,
)

CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [1, value],
    "tuple": lambda value: (1, value),
    "set": lambda value: {value, "other"},
    "frozenset": lambda value: frozenset({value}),
    "dict_value": lambda value: {"key": value},
    "dict_key": lambda value: {value: "value"},
    "named_tuple": lambda value: Pair(1, value),
    "dataclass": lambda value: Record(value, "second"),
    "attrs_class": lambda value: Frozen("first", value),
    "list_subclass": lambda value: Numbers([value]),
    "depth": lambda value: [{"key": (Record([Frozen({value: value})]),)}],
}


class UpstreamTests(Suite):
    """A task gets the values of the futures among its arguments, and runs when they are there."""

    def test_values_pass_from_task_to_task(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def letters() -> tuple[str, str, str]:
            a, b = give("a"), give("b")
            return a, b, add(b, "c")

        assert self.in_time(letters) == ("a", "b", "bc")

    def test_values_pass_between_functions_and_coroutines(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def sums() -> Any:
            return add(add_async.submit(add(1, 2), 3), add_async.submit(4, 5))

        assert self.in_time(sums) == 15

    def test_submission_returns_a_future_to_wait_for(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def waiting() -> list[Any]:
            future = add.submit(0, 1)
            is_final = future.wait(self.patience_seconds)
            return [type(future) is TaskFuture, is_final, future.state.name, future.result()]

        assert self.in_time(waiting) == [True, True, "Completed", 1]

    @pytest.mark.parametrize("container", CONTAINERS)
    def test_future_is_found_in_a(self, task_runner: TaskRunner, container: str) -> None:
        put = CONTAINERS[container]

        @flow(task_runner=task_runner)
        def inside() -> Any:
            return give(put(give("value")))

        result = self.in_time(inside)

        assert result == put("value")
        assert type(result) is type(put("value"))

    def test_one_future_may_be_given_several_times(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def twice() -> Any:
            value = give(2)
            return add([value, value], [value])

        assert self.in_time(twice) == [2, 2, 2]

    def test_task_runs_only_when_all_its_upstream_is_there(
        self, roomy_runner: TaskRunner, meeting: Meeting
    ) -> None:
        @flow(task_runner=roomy_runner)
        def late() -> list[Any]:
            slow = meet(meeting.address, "slow")
            both = add.submit(give("quick and "), slow)
            meeting.wait_for(1)
            done_meanwhile = both.done()
            meeting.close()
            return [done_meanwhile, both]

        assert self.in_time(late) == [False, "quick and slow"]

    def test_thousand_calls_at_once(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def thousand() -> list[int]:
            return [add(number, 1) for number in range(1000)]

        assert self.in_time(thousand) == list(range(1, 1001))

    def test_chain_of_two_hundred(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def chain() -> Any:
            value = 0
            for _ in range(200):
                value = add(value, 1)
            return value

        assert self.in_time(chain) == 200

    def test_fan_in_of_two_hundred(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def fan_in() -> int:
            return total([give(number) for number in range(200)])

        assert self.in_time(fan_in) == sum(range(200))

    def test_wait_for_orders_tasks_without_passing_values(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def ordered() -> None:
            given: TaskFuture[Any] = give.submit(1)
            failed: TaskFuture[Any] = fail.submit("not today")
            for future in (given, failed):
                _ = give.submit(2, wait_for=[future])

        record = self.record_of(ordered)

        assert names_of(record) == ["Completed", "Failed", "Completed", "NotReady"]
