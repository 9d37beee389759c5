"""Methods and other callables as tasks and flows: what is bound is not asked for again."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar, assert_type

from runnerstone import FlowRun, TaskFuture, TaskFutureList, flow, task
from runnerstone.future_lists import TaskFutureIterator

T = TypeVar("T")


@dataclass
class Parser:
    encoding: str

    @task
    def parse(self, path: str, *, depth: int = 0) -> list[str]:
        return [self.encoding, path] * depth

    @task(retries=2)
    async def download(self, url: str) -> bytes:
        return url.encode(self.encoding)

    @task
    @classmethod
    def of(cls, encoding: str) -> "Parser":
        return cls(encoding)

    @task
    @staticmethod
    def count(words: list[str], scale: float = 1.0) -> int:
        return int(len(words) * scale)

    @flow
    def census(self, folder: str) -> int:
        return self.count(self.parse(folder))

    @flow(task_runner="sequential")
    async def mirror(self, url: str) -> int:
        return len(await self.download(url))

    @flow
    @classmethod
    def of_all(cls, encodings: list[str]) -> list["Parser"]:
        return [cls.of(encoding) for encoding in encodings]

    @flow
    @staticmethod
    def total(numbers: list[int]) -> int:
        return sum(numbers)


class XmlParser(Parser):
    """Inherits tasks and flows."""


class Store(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content

    @task
    def swap(self, content: T) -> T:
        self.content, content = content, self.content
        return content


class Scaler:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, number: int) -> int:
        return number * self.factor

    def scale(self, number: int) -> float:
        return number * self.factor / 2


class Downloader:
    async def __call__(self, url: str) -> bytes:
        return url.encode()


def power(base: int, exponent: int) -> int:
    return int(base**exponent)


def binds(parser: Parser) -> None:
    assert_type(parser.parse.name, str)
    assert_type(parser.parse("a", depth=1), list[str])
    assert_type(parser.parse.submit("a", depth=1).result(), list[str])
    assert_type(parser.parse.fn("a"), list[str])
    assert_type(Parser.parse(parser, "a", depth=1), list[str])
    assert_type(Parser.parse.submit(parser, "a").result(), list[str])

    parser.parse()  # type: ignore[call-arg]
    parser.parse(1)  # type: ignore[arg-type]
    parser.parse("a", 1)  # type: ignore[call-arg]
    parser.parse.submit()  # type: ignore[call-overload]
    parser.parse.submit(1)  # type: ignore[call-overload]
    Parser.parse("a")  # type: ignore[call-arg, arg-type]


def binds_what_is_inherited_or_generic(parser: XmlParser, store: Store[int]) -> None:
    assert_type(parser.parse("a"), list[str])
    assert_type(XmlParser.of("utf-8"), Parser)
    assert_type(parser.census.run("a"), FlowRun[int])
    assert_type(store.swap(5), int)
    assert_type(store.swap.submit(5).result(), int)

    store.swap("a")  # type: ignore[arg-type]


def binds_what_waits(parser: Parser, futures: list[TaskFuture[int]]) -> None:
    assert_type(parser.parse.submit("a", wait_for=futures).result(), list[str])
    assert_type(parser.download.submit("a", wait_for=futures).result(), bytes)

    parser.parse("a", wait_for=futures)  # type: ignore[call-arg]


async def binds_coroutine_functions(parser: Parser) -> None:
    assert_type(await parser.download("a"), bytes)
    assert_type(parser.download.submit("a").result(), bytes)
    assert_type(await parser.download.submit("a"), bytes)
    assert_type(parser.download.map(["a"]), TaskFutureList[bytes])


def binds_classes(parser: Parser) -> None:
    assert_type(Parser.of("utf-8"), Parser)
    assert_type(parser.of("utf-8"), Parser)
    assert_type(Parser.of.submit("utf-8").result(), Parser)

    Parser.of()  # type: ignore[call-arg]
    Parser.of(5)  # type: ignore[arg-type]


def leaves_static_methods(parser: Parser) -> None:
    assert_type(Parser.count(["a"], scale=2), int)
    assert_type(parser.count(["a"]), int)
    assert_type(parser.count.submit(["a"]).result(), int)

    parser.count()  # type: ignore[call-arg]
    parser.count(5)  # type: ignore[arg-type]


def maps_what_is_bound(parser: Parser) -> None:
    assert_type(parser.parse.map(["a", "b"]), TaskFutureList[list[str]])
    assert_type(parser.parse.map(["a", "b"], buffersize=2), TaskFutureIterator[list[str]])
    assert_type(parser.parse.map(["a"]).result(on_error="skip"), list[list[str]])


def changes_options(parser: Parser) -> None:
    patient = parser.parse.with_options(retries=9)

    assert_type(patient("a", depth=1), list[str])
    assert_type(patient.submit("a").result(), list[str])
    patient(1)  # type: ignore[arg-type]
    parser.parse.with_options(retrys=9)  # type: ignore[call-arg]


def runs_flows(parser: Parser) -> None:
    assert_type(parser.census("a"), int)
    assert_type(parser.census.run("a"), FlowRun[int])
    assert_type(parser.census.with_options(task_runner="ray")("a"), int)
    assert_type(Parser.census(parser, "a"), int)
    assert_type(Parser.of_all(["utf-8"]), list[Parser])
    assert_type(parser.total([1]), int)
    assert_type(Parser.total.run([1]), FlowRun[int])

    parser.census()  # type: ignore[call-arg]
    parser.census(1)  # type: ignore[arg-type]
    parser.census.run(1)  # type: ignore[arg-type]
    parser.total("1")  # type: ignore[arg-type]


async def awaits_flows(parser: Parser) -> None:
    assert_type(await parser.mirror("a"), int)
    assert_type(await parser.mirror.run("a"), FlowRun[int])

    await parser.mirror(1)  # type: ignore[arg-type]


def makes_tasks_of_callables() -> None:
    assert_type(task(Scaler(2))(5), int)
    assert_type(task(Scaler(2)).submit(5).result(), int)
    assert_type(task(Scaler(2).scale)(5), float)
    assert_type(task(partial(power, 2))(5), int)
    assert_type(task(name="square")(partial(power, exponent=2))(5), int)
    assert_type(task(lambda: "a")(), str)
    assert_type(task(Scaler)(2), Scaler)
    assert_type(task(retries=1)(Scaler)(2), Scaler)
    assert_type(task(Downloader()).submit("a").result(), bytes)
    assert_type(task(partial(Downloader(), "a")).submit().result(), bytes)
    assert_type(flow(Scaler(2))(5), int)
    assert_type(flow(partial(power, 2)).run(5), FlowRun[int])

    task(Scaler(2))("5")  # type: ignore[arg-type]
    task(lambda: "a")(1)  # type: ignore[call-arg]
    task(Scaler(2).scale)()  # type: ignore[call-arg]


def takes_what_is_bound(function: Callable[[str], list[str]]) -> None:
    takes_what_is_bound(Parser("utf-8").parse)
    takes_what_is_bound(Parser("utf-8").download)  # type: ignore[arg-type]
