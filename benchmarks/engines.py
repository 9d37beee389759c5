"""What a task run costs on processes, Dask and Ray, beside the same loop on the bare engine.

Each engine is started once and for both. Ours and the reference start and connect for themselves,
and time the loop alone, after a few calls that nobody times.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

from benchmarks.comparisons import Comparison
from runnerstone import flow, task
from runnerstone.task_runners import TaskRunner

WORKERS = 2
WARM_UP = 50


@task
def echo(number: int) -> int:
    return number


def plain(number: int) -> int:
    """The same, for what pickles functions by their names."""
    return number


def timed(loop: Callable[[int], int], count: int) -> float:
    """How long a loop over `count` calls takes, in seconds, after a short one that is not timed."""
    loop(WARM_UP)
    started = time.perf_counter()
    total = loop(count)
    seconds = time.perf_counter() - started
    assert total == sum(range(count))
    return seconds


def echo_loop(count: int) -> int:
    return sum(future.result() for future in [echo.submit(number) for number in range(count)])


def flow_seconds(task_runner: TaskRunner, count: int) -> float:
    """Time the loop in a flow."""

    @flow(task_runner=task_runner)
    def echoes() -> float:
        return timed(echo_loop, count)

    return echoes()


def pool_seconds(make_pool: Callable[[], Any], count: int) -> float:
    """Time the loop on a pool with the standard library's methods."""
    with make_pool() as pool:

        def loop(count: int) -> int:
            futures = [pool.submit(plain, number) for number in range(count)]
            return sum(future.result() for future in futures)

        return timed(loop, count)


@contextmanager
def processes(*, quick: bool) -> Iterator[list[Comparison]]:
    """On processes; the standard library's are forked, for it has no others without a guard."""
    from concurrent.futures import ProcessPoolExecutor  # here, where the plugin is installed

    import loky

    from runnerstone_process import ProcessTaskRunner

    compared = partial(_comparison, quick=quick, runner=ProcessTaskRunner(max_workers=WORKERS))
    forked = partial(ProcessPoolExecutor, WORKERS, mp_context=get_context("fork"))
    yield [
        compared("noop_process", partial(pool_seconds, forked)),
        compared(
            "noop_process_loky", partial(pool_seconds, partial(loky.ProcessPoolExecutor, WORKERS))
        ),
    ]


@contextmanager
def dask_cluster(*, quick: bool) -> Iterator[list[Comparison]]:
    """On a local Dask cluster."""
    from distributed import Client, LocalCluster  # here, where the plugin is installed

    from runnerstone_dask import DaskTaskRunner

    def bare(count: int) -> float:
        with Client(cluster, set_as_default=False) as client:

            def loop(count: int) -> int:
                futures = [client.submit(plain, it, pure=False) for it in range(count)]
                return sum(client.gather(futures))

            return timed(loop, count)

    address = "127.0.0.1:0"
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address=address
    ) as cluster:
        runner = DaskTaskRunner(cluster=cluster)
        yield [_comparison("noop_dask", bare, quick=quick, runner=runner)]


@contextmanager
def ray_session(*, quick: bool) -> Iterator[list[Comparison]]:
    """On a local Ray, which the flows find in the process."""
    import ray  # here, where the plugin is installed

    from runnerstone_ray import RayTaskRunner

    def bare(count: int) -> float:
        remote = ray.remote(plain)

        def loop(count: int) -> int:
            references = [remote.remote(number) for number in range(count)]
            return sum(ray.get(reference) for reference in references)

        return timed(loop, count)

    runner = RayTaskRunner(init_kwargs={"num_cpus": WORKERS})
    with _held(runner):
        yield [_comparison("noop_ray", bare, quick=quick, runner=runner)]


@contextmanager
def _held(runner: TaskRunner) -> Iterator[None]:
    """Keep what a task runner has started, so that others with the same settings share it."""
    started = runner.copy_for_run()
    try:
        started.start()
        yield
    finally:
        started.stop()


def _comparison(
    name: str, reference: Callable[[int], float], *, quick: bool, runner: TaskRunner
) -> Comparison:
    count = 100 if quick else 3000
    return Comparison(
        name=name,
        unit="us/task",
        per_second=1e6 / count,
        ours=partial(flow_seconds, runner, count),
        reference=partial(reference, count),
        runs=2 if quick else 7,
    )


def groups(*, quick: bool) -> list[AbstractContextManager[list[Comparison]]]:
    """The comparisons of each plugin that is installed; entering a group starts its engine."""
    plugins = {
        "runnerstone_process": processes,
        "runnerstone_dask": dask_cluster,
        "runnerstone_ray": ray_session,
    }
    return [group(quick=quick) for name, group in plugins.items() if find_spec(name)]
