"""What a task run costs beside a plain call, or the same work on a `ThreadPoolExecutor`."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.comparisons import Comparison
from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner

WORKERS = min(32, (os.cpu_count() or 1) + 4)  # the default of both
CONCURRENT = ConcurrentTaskRunner(max_workers=WORKERS)


@task
def noop() -> None:
    pass


@task
def increment(number: int) -> int:
    return number + 1


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@flow(task_runner=CONCURRENT)
def noops(count: int) -> None:
    for future in [noop.submit() for _ in range(count)]:
        future.result()


def noops_on_pool(count: int) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(noop.fn) for _ in range(count)]:
            future.result()


def noop_calls(count: int) -> None:
    for _ in range(count):
        noop.fn()


@flow(task_runner=CONCURRENT)
def chain(links: int) -> int:
    number = 0
    for _ in range(links):
        number = increment(number)
    return number


def chain_on_pool(links: int) -> int:
    number = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(links):
            number = pool.submit(increment.fn, number).result()
    return number


@flow(task_runner=CONCURRENT)
def fan_in(edges: int) -> int:
    return total([increment(0) for _ in range(edges)])


def fan_in_on_pool(edges: int) -> int:
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(increment.fn, 0) for _ in range(edges)]
        return pool.submit(total.fn, [future.result() for future in futures]).result()


def comparisons(*, quick: bool) -> list[Comparison]:
    """The comparisons of this module; the short ones if `quick`."""
    runs = 3 if quick else 9
    count = 200 if quick else 20_000
    size = 100 if quick else 10_000
    assert chain(size) == fan_in(size) == chain_on_pool(size) == fan_in_on_pool(size) == size
    return [
        Comparison(
            name="noop_concurrent",
            unit="us/task",
            per_second=1e6 / count,
            ours=partial(noops, count),
            reference=partial(noops_on_pool, count),
            runs=runs,
        ),
        Comparison(
            name="noop_sequential",
            unit="us/task",
            per_second=1e6 / count,
            ours=partial(noops.with_options(task_runner="sequential"), count),
            reference=partial(noop_calls, count),
            runs=runs,
        ),
        Comparison(
            name="chain_concurrent",
            unit="us/link",
            per_second=1e6 / size,
            ours=partial(chain, size),
            reference=partial(chain_on_pool, size),
            runs=runs,
        ),
        Comparison(
            name="fan_in_concurrent",
            unit="us/edge",
            per_second=1e6 / size,
            ours=partial(fan_in, size),
            reference=partial(fan_in_on_pool, size),
            runs=runs,
        ),
    ]
