"""What it takes to begin: importing, the command, an empty flow, a task runner by its name."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.comparisons import Comparison, timed
from benchmarks.interpreters import ask, run
from benchmarks.rows import Bar
from runnerstone import flow
from runnerstone.task_runners import ConcurrentTaskRunner

ONE_TASK = """\
from runnerstone import flow, task


@task
def answer():
    return 42


@flow
def one_task():
    return answer()
"""
FIRST_RESOLUTION = """
import time
from runnerstone.task_runners import resolve_task_runner
started = time.perf_counter()
resolve_task_runner({name!r})
print(time.perf_counter() - started)
"""
ATTRS = (
    "Importing `attrs`, with `inspect`, `typing`, `re` and `enum`, and `logging` takes two thirds "
    "of it; making our own classes of options and records most of the rest."
)
PLUGINS = (
    "Importing `importlib_metadata` and reading the entry points of all that is installed takes "
    "most of it, and more the more is installed. Importing the class takes 7 to 10 ms, Dask's 45: "
    "it brings `asyncio` and `packaging`."
)
ENTRY_POINTS = """
import time
import runnerstone.task_runners
started = time.perf_counter()
from importlib_metadata import entry_points
entry_points(group="runnerstone.task_runners")
print(time.perf_counter() - started)
"""


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


def command() -> None:
    """Run a flow of one task as users do."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "one_task.py")
        script.write_text(ONE_TASK)
        run("-m", "runnerstone", "run", str(script))


def told(statement: str) -> float:
    """The seconds that a statement prints in a fresh process."""
    return float(ask(statement))


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    count = 10 if quick else 1_000
    runs = 3 if quick else 9
    processes = 2 if quick else 15
    names = ["concurrent"]
    names += [name for name in ("process", "dask", "ray") if find_spec(f"runnerstone_{name}")]
    return [
        Comparison(
            name="start_import",
            what="how much longer an interpreter lives that imports runnerstone; a bare one. The "
            "ratio is that of whole lives",
            unit="ms",
            ours=timed(partial(run, "-c", "import runnerstone"), 1e3),
            reference=timed(partial(run, "-c", "pass"), 1e3),
            runs=processes,
            is_surplus=True,
            bar=Bar(limit=50, of="value"),
            obstacle=ATTRS,
        ),
        Comparison(
            name="start_command",
            what="`runnerstone run` of a flow with one task, the whole process; a bare interpreter",
            unit="ms",
            ours=timed(command, 1e3),
            reference=timed(partial(run, "-c", "pass"), 1e3),
            runs=processes,
            bar=Bar(limit=250, of="value"),
        ),
        Comparison(
            name="start_flow",
            what="a run of a flow that does nothing; a `ThreadPoolExecutor` that does nothing",
            unit="ms",
            ours=timed(partial(times, count, empty), 1e3 / count),
            reference=timed(partial(times, count, empty_pool), 1e3 / count),
            runs=runs,
            bar=Bar(limit=0.5, of="value"),
        ),
        Comparison(
            name="start_flow_by_name",
            what="a run of a flow that does nothing and names its task runner; one that has an "
            "instance",
            unit="ms",
            ours=timed(partial(times, count, empty_by_name), 1e3 / count),
            reference=timed(partial(times, count, empty), 1e3 / count),
            runs=runs,
        ),
        *(
            Comparison(
                name=f"start_resolution_{name}",
                what=f"finding the task runner {name!r} by its name, the first time in a process; "
                "reading the entry points of its group, with the library for it",
                unit="ms",
                ours=timed(partial(told, FIRST_RESOLUTION.format(name=name)), 1e3),
                reference=timed(partial(told, ENTRY_POINTS), 1e3),
                runs=processes,
                bar=Bar(limit=5, of="value"),
                obstacle=PLUGINS,
            )
            for name in names
        ),
    ]
