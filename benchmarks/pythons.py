"""Whether threads run at once, where a Python without its one lock is found."""

import os
import shutil
import sys
from functools import partial

from benchmarks.comparisons import Comparison
from benchmarks.interpreters import ask
from benchmarks.rows import Bar

NAMES = ("python3.15t", "python3.14t", "python3.13t")
FREE = (
    'import sys; print("true" if not getattr(sys, "_is_gil_enabled", lambda: True)() else "false")'
)
CPU_BOUND = """
import time
from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner

@task
def spin(count):
    total = 0
    for number in range(count):
        total += number * number
    return total

@flow(task_runner=ConcurrentTaskRunner(max_workers={threads}))
def spins():
    spin.map([{count}] * {tasks}).result()

started = time.perf_counter()
spins()
print(time.perf_counter() - started)
"""


def free_threaded() -> str | None:
    """A Python that runs threads at once, and that can import runnerstone; None without one."""
    for python in (sys.executable, *filter(None, map(shutil.which, NAMES))):
        if ask(FREE, python=python):
            return python
    return None


def spin_seconds(python: str, *, threads: int, tasks: int, count: int) -> float:
    """How long a flow of tasks that compute takes on so many threads, with this one's libraries."""
    statement = CPU_BOUND.format(threads=threads, tasks=tasks, count=count)
    path = [folder for folder in sys.path if folder and os.path.isdir(folder)]  # noqa: PTH112  # as text
    return float(ask(statement, python=python, path=() if python == sys.executable else path))


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    python = free_threaded()
    cores = os.cpu_count() or 1
    count = 10_000 if quick else 1_000_000
    measure = partial(spin_seconds, python or sys.executable, tasks=4 * cores, count=count)
    return [
        Comparison(
            name="python_free_threaded",
            what=f"a flow of {4 * cores} tasks that compute, on as many threads as cores, of a "
            "Python that is free-threaded; on one thread (the bar is four fifths of the cores)",
            unit="s",
            ours=partial(measure, threads=cores),
            reference=partial(measure, threads=1),
            runs=2 if quick else 5,
            bar=Bar(limit=round(1 / (0.8 * cores), 3)),
            lack="" if python else "no free-threaded Python here",
        )
    ]
