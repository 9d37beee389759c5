"""Futures are of the values of their task runs."""

import asyncio
from typing import assert_type

from runnerstone import State, TaskFuture, TaskRun, task


@task
def parse(path: str) -> list[str]:
    return [path]


def asks(future: TaskFuture[int]) -> None:
    assert_type(future.result(), int)
    assert_type(future.result(timeout=1.5), int)
    assert_type(future.exception(0), BaseException | None)
    assert_type(future.wait(timeout=None), bool)
    assert_type(future.done(), bool)
    assert_type(future.cancelled(), bool)
    assert_type(future.cancel(), bool)
    assert_type(future.name, str)
    assert_type(future.state, State)
    assert_type(future.task_run, TaskRun)

    future.result("1")  # type: ignore[arg-type]
    future.name = "other"  # type: ignore[misc]
    future.results()  # type: ignore[attr-defined]


async def awaits(number: TaskFuture[int], text: TaskFuture[str]) -> None:
    assert_type(await number, int)
    assert_type(await asyncio.gather(number, text), tuple[int, str])
    assert_type(await asyncio.wait_for(number, timeout=1), int)


def calls_back(future: TaskFuture[int]) -> None:
    def tell(done: TaskFuture[int]) -> None:
        assert_type(done.result(), int)

    def tell_text(done: TaskFuture[str]) -> None:
        """Want another value."""

    future.add_done_callback(tell)
    future.add_done_callback(lambda done: print(done.result() + 1))
    future.add_done_callback(tell_text)  # type: ignore[arg-type]
    future.add_done_callback(lambda: None)  # type: ignore[arg-type,misc]


def takes_a_future_for_its_value(future: TaskFuture[list[str]]) -> None:
    list(future)  # type: ignore[call-overload]
    [*future]  # type: ignore[misc]
    len(future)  # type: ignore[arg-type]
    future + future  # type: ignore[operator]
    future[0]  # type: ignore[index]
    parse(future)  # type: ignore[arg-type]
