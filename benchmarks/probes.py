"""What is measured of a process's memory, each in a fresh process; see `memory`."""

import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from benchmarks.threads import CONCURRENT, WORKERS, noop, plain_noop
from benchmarks.ways import echo, locate, silence
from runnerstone import flow
from runnerstone.task_runners import TaskRunner, resolve_task_runner

BUFFER = 1_000
SETTLING_SECONDS = 3.0

silence()


def own_bytes() -> int:
    """Of this process's memory that is resident."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def family_bytes() -> int:
    """The same, with all processes below it: an engine's, with the driver."""
    total = own_bytes()
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def streamed(
    runner: TaskRunner,
    count: int,
    first: int,
    measure: Callable[[], int],
    settling_seconds: float = 0.0,
) -> list[int]:
    """Stream runs through a flow; the bytes after the first so many, and at the end.

    Args:
        runner: Where they run.
        count: How many.
        first: After how many of them is measured.
        measure: What is measured.
        settling_seconds: How long the engine has, after its first calls, to start what it starts.
    """

    @flow(task_runner=runner)
    def stream() -> list[int]:
        locate.map(range(10)).result()
        time.sleep(settling_seconds)
        before = 0
        numbers = echo.map(range(count), buffersize=BUFFER)
        for number, future in enumerate(numbers, start=1):
            assert future.result() == number - 1
            if number == first:
                before = measure()
        return [before, measure()]

    return stream()


def streamed_on_threads(count: int, first: int) -> list[int]:
    """On the concurrent task runner."""
    return streamed(CONCURRENT, count, first, own_bytes)


def streamed_on(name: str, count: int, first: int, settings: dict[str, Any]) -> list[int]:
    """On an engine of its own: the bytes of the driver and of all that it has started."""
    runner = type(resolve_task_runner(name))(**settings)
    return streamed(runner, count, first, family_bytes, SETTLING_SECONDS)


def held(count: int) -> list[int]:
    """Hold the futures of so many runs at once; the bytes before and with them."""

    @flow(task_runner=CONCURRENT)
    def hold() -> list[int]:
        for future in [noop.submit() for _ in range(1_000)]:
            future.result()
        before = own_bytes()
        futures = [noop.submit() for _ in range(count)]
        for future in futures:
            future.result()
        return [before, own_bytes()]

    return hold()


def held_on_pool(count: int) -> list[int]:
    """The same of a `ThreadPoolExecutor`."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(plain_noop) for _ in range(1_000)]:
            future.result()
        before = own_bytes()
        futures = [pool.submit(plain_noop) for _ in range(count)]
        for future in futures:
            future.result()
        return [before, own_bytes()]
