"""What a flow run costs by itself."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.comparisons import Comparison
from runnerstone import flow
from runnerstone.task_runners import ConcurrentTaskRunner


@flow(task_runner=ConcurrentTaskRunner())
def empty() -> None:
    pass


empty_by_name = empty.with_options(task_runner="concurrent")


def times(count: int, fn: Callable[[], object]) -> None:
    for _ in range(count):
        fn()


def empty_pool() -> None:
    with ThreadPoolExecutor():
        pass


def comparisons(*, quick: bool) -> list[Comparison]:
    """The comparisons of this module; the short ones if `quick`."""
    runs = 3 if quick else 9
    count = 10 if quick else 1_000
    return [
        Comparison(
            name="empty_flow_run",
            unit="us/run",
            per_second=1e6 / count,
            ours=partial(times, count, empty),
            reference=partial(times, count, empty_pool),
            runs=runs,
        ),
        Comparison(
            name="runner_by_name",
            unit="us/run",
            per_second=1e6 / count,
            ours=partial(times, count, empty_by_name),
            reference=partial(times, count, empty),
            runs=runs,
        ),
    ]
