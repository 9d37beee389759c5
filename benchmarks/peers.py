"""The same loop in other libraries, beside a flow on the comparable task runner."""

import os
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

from benchmarks import threads
from benchmarks.comparisons import Comparison, timed
from benchmarks.engines import WORKERS, Engine, PoolWay, Processes
from benchmarks.ways import ECHO, BareWay, Way, seconds

# Read when Prefect is imported: no telemetry, nothing in the user's folders, no log to its server.
PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    "PREFECT_CLI_PROMPT": "false",
}


class Peer(Engine):
    """Another library.

    Attributes:
        how: What is compared, as tables tell it.
        workers: How many threads or processes both have.
        tasks: How many calls a loop has.
    """

    how: ClassVar[str]
    workers: ClassVar[int] = threads.WORKERS
    tasks: ClassVar[int] = 3_000

    def _start(self, stack: ExitStack) -> None:
        self.runner = threads.CONCURRENT
        self._way = self._make_way(stack)

    @abstractmethod
    def _make_way(self, stack: ExitStack) -> Way: ...

    def bare(self, work: Callable[[Way], float]) -> float:
        return work(self._way)


@dataclass(frozen=True)
class JoblibWay(BareWay):
    """Through a ``joblib.Parallel`` that stays."""

    joblib: Any
    parallel: Any

    def _loop(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        return list(self.parallel(self.joblib.delayed(fn)(number) for number in numbers))

    _map = _loop


class JoblibThreads(Peer):
    """joblib on threads."""

    title = "joblib_threads"
    modules: tuple[str, ...] = ("joblib",)
    how = "joblib, `Parallel(backend='threading')`"
    backend = "threading"

    def _make_way(self, stack: ExitStack) -> Way:
        joblib = import_module("joblib")
        parallel = joblib.Parallel(n_jobs=self.workers, backend=self.backend)
        return JoblibWay(joblib, stack.enter_context(parallel))


class JoblibProcesses(JoblibThreads):
    """joblib on processes."""

    title = "joblib_processes"
    modules = ("joblib", "runnerstone_process")
    how = "joblib, `Parallel(backend='loky')`"
    workers = WORKERS
    backend = "loky"

    def _start(self, stack: ExitStack) -> None:
        self._way = self._make_way(stack)
        self.runner = stack.enter_context(Processes()).runner


@dataclass(frozen=True)
class AppWay(BareWay):
    """Through functions that are made of functions, and give futures."""

    made: Callable[[Callable[[int], int]], Any]

    def _loop(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        app = self.made(fn)
        return [future.result() for future in [app(number) for number in numbers]]

    _map = _loop


class Parsl(Peer):
    """Parsl on threads."""

    title = "parsl"
    modules = ("parsl",)
    how = "Parsl, its `ThreadPoolExecutor`"

    def _make_way(self, stack: ExitStack) -> Way:
        parsl = import_module("parsl")
        pool = import_module("parsl.executors.threads").ThreadPoolExecutor
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        executor = pool(max_threads=self.workers)
        parsl.load(parsl.Config(executors=[executor], run_dir=folder, initialize_logging=False))
        stack.callback(parsl.clear)
        stack.callback(lambda: parsl.dfk().cleanup())
        return AppWay(parsl.python_app)


class Executorlib(Peer):
    """executorlib on processes."""

    title = "executorlib"
    modules = ("executorlib", "runnerstone_process")
    how = "executorlib, `SingleNodeExecutor(block_allocation=True)`"
    workers = WORKERS
    tasks = 500

    def _make_way(self, stack: ExitStack) -> Way:
        executor = import_module("executorlib").SingleNodeExecutor
        pool = executor(max_workers=self.workers, block_allocation=True)
        return PoolWay(stack.enter_context(pool))

    def _start(self, stack: ExitStack) -> None:
        self._way = self._make_way(stack)
        self.runner = stack.enter_context(Processes()).runner


class Prefect(Peer):
    """Prefect on threads, with a server that it starts and ends."""

    title = "prefect"
    modules = ("prefect",)
    how = "Prefect, its `ThreadPoolTaskRunner` and a server of its own"
    tasks = 50

    def _make_way(self, stack: ExitStack) -> Way:
        home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        os.environ.update(PREFECT, PREFECT_HOME=home)
        self._prefect: Any = import_module("prefect")
        return AppWay(lambda fn: self._prefect.task(fn).submit)

    def bare(self, work: Callable[[Way], float]) -> float:
        runners: Any = import_module("prefect.task_runners")

        def measured() -> float:
            return work(self._way)

        runner = runners.ThreadPoolTaskRunner(max_workers=self.workers)
        made = self._prefect.flow(task_runner=runner, validate_parameters=False)(measured)
        return float(made())


def comparisons(*, quick: bool) -> list[Comparison]:
    """The rows of this subject; the short ones if `quick`."""
    peers = (JoblibThreads(), Parsl(), Prefect(), JoblibProcesses(), Executorlib())
    return [_comparison(peer, quick=quick) for peer in peers]


def _comparison(peer: Peer, *, quick: bool) -> Comparison:
    count = 10 if quick else peer.tasks
    in_processes = peer.workers == WORKERS
    # Threads are all in one process, and warm at once.
    workers = WORKERS if in_processes else 1
    work = partial(seconds, work=ECHO, how="loop", count=count, workers=workers)
    return Comparison(
        name=f"peer_{peer.title}",
        what=f"a task that does nothing, in a loop of {count:,} and the result of each, on "
        f"{'processes' if in_processes else 'threads'}; {peer.how}, on as many",
        unit="us/task",
        ours=timed(partial(peer.ours, work), 1e6 / count),
        reference=timed(partial(peer.bare, work), 1e6 / count),
        runs=1 if quick else 5,
        engine=peer,
    )
