"""Waiting, and lists of futures, keep what the futures are of."""

from collections.abc import Iterator
from typing import assert_type

from runnerstone import TaskFuture
from runnerstone.future_lists import TaskFutureList
from runnerstone.waits import FIRST_COMPLETED, DoneAndNotDone, as_completed, wait


def waits(numbers: list[TaskFuture[int]], texts: TaskFutureList[str]) -> None:
    assert_type(wait(numbers), DoneAndNotDone[int])
    assert_type(wait(numbers, 1.5, FIRST_COMPLETED).done, list[TaskFuture[int]])
    assert_type(wait(texts, return_when="FIRST_EXCEPTION").not_done, list[TaskFuture[str]])
    assert_type(as_completed(texts, timeout=1), Iterator[TaskFuture[str]])
    assert_type([future.result() for future in as_completed(numbers)], list[int])

    done, not_done = wait(iter(numbers))
    assert_type(done, list[TaskFuture[int]])
    assert_type(not_done, list[TaskFuture[int]])

    wait([1, 2])  # type: ignore[arg-type]
    wait(numbers, return_when="SOON")  # type: ignore[arg-type]
    as_completed(numbers[0])  # type: ignore[arg-type]


def asks_for_results(numbers: TaskFutureList[int]) -> None:
    assert_type(numbers.result(), list[int])
    assert_type(numbers.result(1.5, on_error="raise"), list[int])
    assert_type(numbers.result(on_error="skip"), list[int])
    assert_type(numbers.result(on_error="collect"), list[int | BaseException])
    assert_type(numbers.wait(timeout=None), bool)
    assert_type(numbers.done(), bool)

    numbers.result(on_error="drop")  # type: ignore[call-overload]
    numbers.result(1.5, "skip")  # type: ignore[call-overload]


def uses_as_a_list(numbers: TaskFutureList[int], texts: TaskFutureList[str]) -> None:
    assert_type(numbers[0].result(), int)
    assert_type(numbers[1:], TaskFutureList[int])
    assert_type(numbers + numbers, TaskFutureList[int])
    assert_type(numbers + [numbers[0]], TaskFutureList[int])  # noqa: RUF005
    assert_type((numbers + texts)[0].name, str)
    assert_type([future.result() for future in numbers], list[int])
    assert_type(TaskFutureList([numbers[0]]), TaskFutureList[int])

    numbers.append(texts[0])  # type: ignore[arg-type]
