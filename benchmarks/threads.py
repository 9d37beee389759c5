"""What a task costs on threads, silent and logged, beside a `ThreadPoolExecutor`."""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.comparisons import Comparison, timed
from benchmarks.rows import Bar
from runnerstone import Task, flow, task
from runnerstone.task_runners import ConcurrentTaskRunner

WORKERS = min(32, (os.cpu_count() or 1) + 4)  # the default of both
CONCURRENT = ConcurrentTaskRunner(max_workers=WORKERS)
LOGGED_RUNS = 1_000  # of one task, by a flow run
LINES = logging.Formatter("%(asctime)s.%(msecs)03d | %(message)s", datefmt="%H:%M:%S")

plain_log = logging.getLogger("benchmarks.plain")


@task
def noop() -> None:
    pass


def plain_noop() -> None:
    pass


def logged_noop(name: str) -> None:
    plain_log.info("Task run %r finished in state %s", name, "Completed(message=None)")


@flow(task_runner=CONCURRENT)
def noops(count: int) -> None:
    for future in [noop.submit() for _ in range(count)]:
        future.result()


def noops_on_pool(count: int) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(plain_noop) for _ in range(count)]:
            future.result()


def noop_calls(count: int) -> None:
    for _ in range(count):
        plain_noop()


@flow(task_runner=CONCURRENT)
def logged_noops(tasks: Sequence[Task[[], None]], runs: int) -> None:
    for future in [named.submit() for named in tasks for _ in range(runs)]:
        future.result()


def logged_noops_on_pool(tasks: Sequence[Task[[], None]], runs: int) -> None:
    """The same two lines for each run, with a name of the same form."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = []
        for named in tasks:
            for number in range(runs):
                name = f"{named.name}-{named.key}-{number}"
                plain_log.info("Submitting task run %r to task runner...", name)
                futures.append(pool.submit(logged_noop, name))
        for future in futures:
            future.result()


@contextmanager
def logging_to_file(log: logging.Logger) -> Iterator[Path]:
    """Have a logger write what is at least INFO to a new file, and nowhere else."""
    level, propagates = log.level, log.propagate
    with tempfile.TemporaryDirectory() as folder:
        handler = logging.FileHandler(Path(folder, "log"))
        handler.setFormatter(LINES)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            yield Path(folder, "log")
        finally:
            log.propagate = propagates
            log.setLevel(level)
            log.removeHandler(handler)
            handler.close()


def with_log(log: logging.Logger, work: partial[None], lines: int) -> float:
    """How long the work takes while a logger writes to a file; it has to write so many lines."""
    seconds = timed(work)
    with logging_to_file(log) as file:
        taken = seconds()
        assert file.read_text().count(" Task run ") >= lines, "not all runs are logged"
    return taken


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    runs = 3 if quick else 15
    count = 200 if quick else 20_000
    runs_each = 20 if quick else LOGGED_RUNS
    tasks = [noop.with_options(name=f"noop{number}") for number in range(10)]
    logged = len(tasks) * runs_each
    log = logging.getLogger("runnerstone")
    return [
        Comparison(
            name="thread_noop",
            what=f"a task that does nothing, one of {count:,} in a flow that logs nothing; a "
            "`ThreadPoolExecutor` of as many threads, `submit` and `result`",
            unit="us/task",
            ours=timed(partial(noops, count), 1e6 / count),
            reference=timed(partial(noops_on_pool, count), 1e6 / count),
            runs=runs,
            bar=Bar(limit=1.0),
        ),
        Comparison(
            name="thread_noop_logged",
            what=f"the same, one of {logged:,}, logged at INFO to a file; a `ThreadPoolExecutor` "
            "that logs the same two lines for each",
            unit="us/task",
            ours=timed(
                partial(with_log, log, partial(logged_noops, tasks, runs_each), logged),
                1e6 / logged,
            ),
            reference=timed(
                partial(
                    with_log, plain_log, partial(logged_noops_on_pool, tasks, runs_each), logged
                ),
                1e6 / logged,
            ),
            obstacle="The median is near the bar and moves with the load: most of the time goes "
            "into switching threads, since whoever writes a line lets others run.",
            runs=3 if quick else 9,
            bar=Bar(limit=1.2),
        ),
        Comparison(
            name="thread_sequential",
            what=f"the same on the sequential task runner, one of {count:,}; a plain call",
            unit="us/task",
            ours=timed(partial(noops.with_options(task_runner="sequential"), count), 1e6 / count),
            reference=timed(partial(noop_calls, count), 1e6 / count),
            runs=3 if quick else 5,
        ),
    ]
