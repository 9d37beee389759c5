"""The same small pieces of work, done by tasks in a flow or by plain functions on an engine."""

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runnerstone import Task, task

How = Literal["loop", "map", "one_by_one"]
WARM_UP = 50


@task
def echo(number: int) -> int:
    return number


@task
def nap(number: int) -> int:
    time.sleep(0.01)
    return number


@task
def locate(number: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def plain_echo(number: int) -> int:
    return number


def plain_nap(number: int) -> int:
    time.sleep(0.01)
    return number


def plain_locate(number: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def silence() -> None:
    """Have flows log nothing, as where an application logs warnings alone."""
    logging.getLogger("runnerstone").setLevel(logging.WARNING)
    logging.getLogger().addHandler(logging.NullHandler())  # else flows log to stderr by themselves


@dataclass(frozen=True)
class Work:
    """A function as a task, and as itself: what pickles functions by name needs the latter."""

    task: Task[[int], int]
    plain: Callable[[int], int]


ECHO = Work(echo, plain_echo)
NAP = Work(nap, plain_nap)
LOCATE = Work(locate, plain_locate)


def unpacked(work: Task[[int], int]) -> Task[[int], int]:
    """A task whose calls travel one by one."""
    return work.with_options(batch=1)


class Way(ABC):
    """A way of having calls executed."""

    @abstractmethod
    def loop(self, work: Work, numbers: Sequence[int]) -> list[int]:
        """Submit a call for each number, then take the result of each."""

    @abstractmethod
    def map(self, work: Work, numbers: Sequence[int]) -> list[int]:
        """Have a call for each number at once, where that is possible; take all results."""

    def one_by_one(self, work: Work, numbers: Sequence[int]) -> list[int]:
        """Submit a call and take its result, for one number after another."""
        return [self.loop(work, (number,))[0] for number in numbers]


@dataclass(frozen=True, kw_only=True)
class FlowWay(Way):
    """As tasks, in a flow's body.

    Attributes:
        packed: Whether calls may travel several together.
    """

    packed: bool = True

    def _task(self, work: Work) -> Task[[int], int]:
        # What is located has to be apart.
        return work.task if self.packed and work is not LOCATE else _unpacked(work)

    def loop(self, work: Work, numbers: Sequence[int]) -> list[int]:
        called = self._task(work)
        return [future.result() for future in [called.submit(number) for number in numbers]]

    def map(self, work: Work, numbers: Sequence[int]) -> list[int]:
        return list(self._task(work).map(numbers).result())


_UNPACKED: dict[Work, Task[[int], int]] = {}


def _unpacked(work: Work) -> Task[[int], int]:
    """The same task at each call: a new one would be pickled again."""
    if work not in _UNPACKED:
        _UNPACKED[work] = unpacked(work.task)
    return _UNPACKED[work]


class BareWay(Way):
    """As plain functions, on an engine."""

    @abstractmethod
    def _loop(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]: ...

    @abstractmethod
    def _map(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]: ...

    def loop(self, work: Work, numbers: Sequence[int]) -> list[int]:
        return self._loop(work.plain, numbers)

    def map(self, work: Work, numbers: Sequence[int]) -> list[int]:
        return self._map(work.plain, numbers)


def warm(way: Way, workers: int) -> None:
    """Wait until so many workers have each done something."""
    seen: set[Any] = set()
    while len(seen) < workers:
        seen.update(way.loop(LOCATE, range(2 * workers)))


def seconds(way: Way, *, work: Work, how: How, count: int, workers: int) -> float:
    """How long it takes to do some work so many times, with workers that are warm."""
    do = {"loop": way.loop, "map": way.map, "one_by_one": way.one_by_one}[how]
    warm(way, workers)
    do(work, range(WARM_UP))
    started = time.perf_counter()
    results = do(work, range(count))
    elapsed = time.perf_counter() - started
    assert sum(results) == sum(range(count))
    return elapsed
