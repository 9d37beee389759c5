"""Tasks check as the functions that they are made of, submissions as futures of their values."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, assert_type

from runnerstone import Task, TaskFuture, task
from runnerstone.options import TaskOptions

T = TypeVar("T")


@task
def parse(path: str, *, depth: int = 0) -> list[str]:
    return [path] * depth


@task(
    name="count",
    tags={"io"},
    retries=2,
    retry_delay_seconds=0.5,
    resources={"cpu": 1, "gpu": "a100"},
    runner_options={"dask": {"priority": 1}},
)
def count(words: Sequence[str], scale: float = 1.0) -> int:
    return int(len(words) * scale)


@task
async def download(url: str) -> bytes:
    return url.encode()


@task()
def first(items: Sequence[T], default: T) -> T:
    return items[0] if items else default


@task
def greedy(self: int, fn: int, name: str, key: str, args: int, kwargs: int, retries: int) -> None:
    """Use the names that the library's own methods might have wanted."""


def makes_tasks() -> None:
    assert_type(task(len)(["a"]), int)
    assert_type(task(Path.read_text)(Path("a")), str)
    assert_type(task(lambda: 1)(), int)
    assert_type(task(retries=1)(len)(["a"]), int)

    task("parse")  # type: ignore[call-overload]
    task(None)  # type: ignore[call-overload]
    task(retrys=1)  # type: ignore[call-overload]
    task(retries="1")  # type: ignore[call-overload]
    task(tags=[1])  # type: ignore[list-item]


def describes_tasks() -> None:
    assert_type(parse.name, str)
    assert_type(parse.key, str)
    assert_type(parse.is_async, bool)
    assert_type(parse.options, TaskOptions)
    assert_type(parse.options.tags, frozenset[str])
    assert_type(parse.fn("a", depth=1), list[str])

    parse.options.retries = 3  # type: ignore[misc]


def calls() -> None:
    assert_type(parse("a"), list[str])
    assert_type(parse(path="a", depth=2), list[str])
    assert_type(first([1, 2], 0), int)
    greedy(self=1, fn=2, name="n", key="k", args=3, kwargs=4, retries=5)

    parse()  # type: ignore[call-arg]
    parse(1)  # type: ignore[arg-type]
    parse("a", 2)  # type: ignore[call-arg]
    parse("a", dept=2)  # type: ignore[call-arg]


def composes() -> None:
    assert_type(count(parse("a")), int)
    assert_type(count(parse("a") + parse("b"), scale=2), int)
    assert_type(sum(count(parse(path)) for path in ["a", "b"]), int)
    assert_type({path: first(parse(path), "none") for path in ["a", "b"]}, dict[str, str])

    count(parse)  # type: ignore[arg-type]
    count(count(parse("a")))  # type: ignore[arg-type]


async def awaits() -> None:
    assert_type(await download("a"), bytes)
    assert_type(await asyncio.gather(download("a"), download("b")), tuple[bytes, bytes])

    download("a").decode()  # type: ignore[attr-defined]


def submits() -> list[TaskFuture[object]]:
    parse.submit()  # type: ignore[call-overload]
    parse.submit(1)  # type: ignore[call-overload]
    parse.submit("a", dept=2)  # type: ignore[call-overload]
    download.submit(1)  # type: ignore[call-overload]

    return [
        assert_type(parse.submit("a", depth=2), TaskFuture[list[str]]),
        assert_type(count.submit(parse("a")), TaskFuture[int]),
        assert_type(download.submit("a"), TaskFuture[bytes]),
        assert_type(first.submit([1], 0), TaskFuture[int]),
    ]


def waits_for(one: TaskFuture[int], other: TaskFuture[str]) -> list[TaskFuture[object]]:
    parse("a", wait_for=[one])  # type: ignore[call-arg]
    parse.submit("a", wait_for=one)  # type: ignore[call-overload]
    parse.submit("a", wait_for=[1])  # type: ignore[list-item, unused-awaitable]

    return [
        assert_type(parse.submit("a", wait_for=[one, other]), TaskFuture[list[str]]),
        assert_type(parse.submit("a", depth=1, wait_for={one}), TaskFuture[list[str]]),
        assert_type(download.submit("a", wait_for=(one,)), TaskFuture[bytes]),
    ]


def changes_options() -> None:
    patient = parse.with_options(name="patient", retries=9, tags=["slow"])

    assert_type(patient("a", depth=1), list[str])
    patient("a", 1)  # type: ignore[call-arg]
    parse.with_options(retrys=9)  # type: ignore[call-arg]
    parse.with_options(retries=None)  # type: ignore[arg-type]


def takes_tasks(any_task: Task[..., int], this_task: Task[[str], list[str]]) -> None:
    assert_type(any_task("whatever", works=True), int)
    assert_type(any_task.submit("whatever").result(), int)

    takes_tasks(count, task(str.split))
    takes_tasks(parse, task(str.split))  # type: ignore[arg-type]
    takes_tasks(count, count)  # type: ignore[arg-type]
