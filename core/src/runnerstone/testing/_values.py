"""What tasks are given and give back."""

from typing import Any

import pytest

from runnerstone import flow, task
from runnerstone.errors import ResultGoneError
from runnerstone.task_runners import TaskRunner
from runnerstone.testing._suites import Suite
from runnerstone.testing._tasks import (
    SETTING,
    Block,
    Frozen,
    Numbers,
    Pair,
    Record,
    add_async_in_task,
    add_in_task,
    append_to,
    change_setting,
    change_setting_async,
    consume,
    give,
    give_async,
    size_of,
)

SIZES = [0, 1, 1000, 64 * 1024, 1_000_000]
VALUES: list[Any] = [
    None,
    "text",
    [],
    {"key": [1, (2.5, {b"3"})]},
    Pair(1, 2),
    Record(1, [2]),
    Frozen(1, {2}),
    Numbers([1, 2]),
    Block(b"x" * 100_000),
]


class ValueTests(Suite):
    """Values arrive as they were sent, whatever they are and however large."""

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
    def test_value_comes_back(self, task_runner: TaskRunner, value: object) -> None:
        @flow(task_runner=task_runner)
        def back() -> object:
            return give.submit(give.submit(value))

        result = self.in_time(back)

        assert type(result) is type(value)
        assert result == value

    @pytest.mark.parametrize("size", SIZES)
    def test_value_of_any_size_reaches_the_driver_and_other_tasks(
        self, task_runner: TaskRunner, size: int
    ) -> None:
        @flow(task_runner=task_runner)
        def sizes() -> tuple[bytes, int, int]:
            value = give(b"x" * size)
            return value, size_of(value), size_of(give_async.submit(value))

        assert self.in_time(sizes) == (b"x" * size, size, size)

    def test_value_may_be_asked_for_in_the_body(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def asking() -> tuple[bytes, int]:
            future = give.submit(b"x" * 1_000_000)
            value = future.result(self.patience_seconds)
            return value, size_of(future)

        assert self.in_time(asking) == (b"x" * 1_000_000, 1_000_000)

    def test_one_value_may_go_to_many_tasks(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def many() -> list[int]:
            value = give(b"x" * 1_000_000)
            return [size_of(value) for _ in range(20)]

        assert self.in_time(many) == [1_000_000] * 20

    def test_arguments_may_be_given_by_name(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def named() -> int:
            return size_of(value=give(value="four"))

        assert self.in_time(named) == 4

    def test_task_defined_in_a_function_runs(self, task_runner: TaskRunner) -> None:
        offset = 10

        @task
        def shift(number: int) -> int:
            return number + offset

        @task
        async def shift_async(number: int) -> int:
            return number + offset

        @flow(task_runner=task_runner)
        def shifted() -> list[object]:
            return [shift(1), shift_async.submit(2)]

        assert self.in_time(shifted) == [11, 12]

    def test_function_and_class_defined_in_a_function_travel(self, task_runner: TaskRunner) -> None:
        class Local:
            def __init__(self, number: int) -> None:
                self.number = number

        @task
        def double(value: Local) -> Local:
            return Local(2 * value.number)

        @task
        def apply(function: object, value: object) -> object:
            return function(value)  # type: ignore[operator]  # it is one

        @flow(task_runner=task_runner)
        def doubled() -> object:
            return apply(lambda value: value.number + 1, double(Local(20)))

        assert self.in_time(doubled) == 41

    def test_task_called_in_a_task_is_the_plain_function(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def nested() -> list[object]:
            return [add_in_task(1, 2), add_async_in_task.submit(3, 4)]

        record = self.record_of(nested)

        assert record.result() == [["int", "3"], ["int", "7"]]
        assert len(record.task_runs) == 2

    def test_generator_is_passed_on_unconsumed(self, sharing_runner: TaskRunner) -> None:
        numbers = (number for number in range(5))

        @flow(task_runner=sharing_runner)
        def consuming() -> list[int]:
            next(numbers)
            return consume(numbers)

        assert self.in_time(consuming) == [1, 2, 3, 4]

    def test_generator_that_a_task_returns_is_passed_on_unconsumed(
        self, sharing_runner: TaskRunner
    ) -> None:
        @flow(task_runner=sharing_runner)
        def consuming() -> list[int]:
            return consume(give(number for number in range(5)))

        assert self.in_time(consuming) == [0, 1, 2, 3, 4]

    def test_value_is_the_same_object(self, sharing_runner: TaskRunner) -> None:
        items = [object()]

        @flow(task_runner=sharing_runner)
        def same() -> object:
            return give.submit(give.submit(items))

        assert self.in_time(same) is items

    def test_change_of_an_argument_stays_in_the_task(self, travelling_runner: TaskRunner) -> None:
        items = [1]

        @flow(task_runner=travelling_runner)
        def appended() -> list[list[int]]:
            made = give(items)
            longer = [append_to(made, item) for item in (2, 3)]
            return [made, *longer]

        results = self.in_time(appended)

        assert items == [1]
        assert results == [[1], [1, 2], [1, 3]], "each task has to get a copy of its own"

    def test_argument_is_as_it_was_when_the_task_was_called(
        self, travelling_runner: TaskRunner
    ) -> None:
        @flow(task_runner=travelling_runner)
        def changing() -> list[list[int]]:
            items = [1]
            first = give.submit(items)
            items.append(2)
            return [first, give.submit(items)]  # type: ignore[list-item]  # futures stand for their values

        assert self.in_time(changing) == [[1], [1, 2]]

    def test_buffer_is_as_it_was_when_the_task_was_called(
        self, travelling_runner: TaskRunner
    ) -> None:
        @flow(task_runner=travelling_runner)
        def changing() -> list[Block]:
            memory = bytearray(b"a" * 100_000)
            given = [give(Block(memory)), give(give(Block(memory)))]
            memory[:] = b"b" * 100_000
            return given

        assert self.in_time(changing) == [Block(b"a" * 100_000)] * 2

    def test_buffers_are_read_only_in_tasks(self, travelling_runner: TaskRunner) -> None:
        @task
        def is_read_only(block: Block) -> bool:
            return block.view.readonly

        @flow(task_runner=travelling_runner)
        def read_only() -> list[bool]:
            small, large = Block(bytearray(1000)), Block(bytearray(1_000_000))
            return [is_read_only(block) for block in (small, large, give(small), give(large))]

        assert self.in_time(read_only) == [True] * 4

    def test_task_sees_the_context_in_which_it_was_called(self, sharing_runner: TaskRunner) -> None:
        @flow(task_runner=sharing_runner)
        def changing() -> list[object]:
            seen: list[object] = []
            for value in ("first", "second"):
                SETTING.set(value)
                seen += [change_setting("other"), change_setting_async.submit("other")]
            return [*seen, SETTING.get()]

        assert self.in_time(changing) == ["first", "first", "second", "second", "second"]

    def test_returned_values_outlive_the_runner(self, task_runner: TaskRunner) -> None:
        @flow(task_runner=task_runner)
        def large() -> dict[str, object]:
            return {"nested": [give(b"x" * 1_000_000), Record(give(b"y" * 1_000_000))]}

        result = self.in_time(large)

        assert result == {"nested": [b"x" * 1_000_000, Record(b"y" * 1_000_000)]}

    def test_value_left_behind_is_there_or_said_to_be_gone(self, task_runner: TaskRunner) -> None:
        futures = []

        @flow(task_runner=task_runner)
        def left() -> None:
            futures.append(give.submit(b"x" * 1_000_000))

        self.in_time(left)

        try:
            value = futures[0].result(self.patience_seconds)
        except ResultGoneError:
            assert not task_runner.capabilities.shares_memory
        else:
            assert value == b"x" * 1_000_000
