"""Maps are lists of futures of the function's values, or iterators with a `buffersize`."""

from collections.abc import Iterator
from itertools import count
from typing import assert_type

from runnerstone import TaskFuture, TaskFutureList, allow_failure, quote, task, unmapped
from runnerstone.future_lists import TaskFutureIterator


@task
def parse(path: str, *, depth: int = 0) -> list[str]:
    return [path] * depth


@task
async def download(url: str, *, tries: int = 1) -> bytes:
    return url.encode() * tries


def maps(futures: list[TaskFuture[int]]) -> None:
    assert_type(parse.map(["a", "b"]), TaskFutureList[list[str]])
    assert_type(parse.map(["a", "b"], depth=[1, 2]), TaskFutureList[list[str]])
    assert_type(parse.map(["a"], depth=unmapped(1), wait_for=futures), TaskFutureList[list[str]])
    assert_type(parse.map(["a"], buffersize=None), TaskFutureList[list[str]])
    assert_type(download.map(["a"], tries=2), TaskFutureList[bytes])
    assert_type(download.map(["a"]).result(), list[bytes])

    parse.map(["a"], wait_for=futures[0])  # type: ignore[call-overload]
    parse.map(["a"], wait_for=[1])  # type: ignore[list-item]


def takes_an_iterator(futures: Iterator[TaskFuture[list[str]]]) -> None:
    assert_type(next(futures).result(), list[str])


def maps_step_by_step() -> None:
    mapped = parse.map(map(str, count()), buffersize=10)

    assert_type(mapped, TaskFutureIterator[list[str]])
    assert_type([future.result() for future in mapped], list[list[str]])
    assert_type(iter(mapped), TaskFutureIterator[list[str]])
    assert_type(download.map(["a"], buffersize=1), TaskFutureIterator[bytes])
    mapped.close()

    takes_an_iterator(mapped)
    parse.map(["a"], buffersize="10")  # type: ignore[call-overload]
    mapped.result()  # type: ignore[attr-defined]


async def awaits() -> None:
    async for future in download.map(["a"], buffersize=1):
        assert_type(await future, bytes)


def maps_with_either(size: int | None) -> None:
    mapped = parse.map(["a"], buffersize=size)

    assert_type([future.result() for future in mapped], list[list[str]])


def marks_arguments(numbers: TaskFuture[int], words: list[str]) -> None:
    assert_type(unmapped(words), unmapped[list[str]])
    assert_type(unmapped(words).value, list[str])
    assert_type(quote(words), list[str])
    assert_type(allow_failure(parse("a")), list[str] | BaseException)
    assert_type(parse.submit("a", wait_for=[allow_failure(numbers), numbers]).name, str)
    parse(allow_failure(numbers))
    parse(quote("a"))

    parse(quote(5))  # type: ignore[arg-type]
    parse(unmapped("a"))  # type: ignore[arg-type]
