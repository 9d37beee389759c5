"""Processes, Dask and Ray: flows on them, and the same without runnerstone.

An engine is started once for all rows of a subject. Flows and what they are measured against start
and connect for themselves; what is timed begins when every worker has done something.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self

from benchmarks.comparisons import lack_of
from benchmarks.ways import BareWay, FlowWay, Way
from runnerstone import flow
from runnerstone.task_runners import TaskRunner

WORKERS = 2


class Engine(ABC):
    """Something that executes calls; it runs inside of a ``with`` block.

    Attributes:
        title: What tables call it.
        modules: What has to be installed.
        distributed: Whether it is an engine for several machines, and takes its time.
        runner: The task runner that flows have, inside of the block.
    """

    title: str
    modules: tuple[str, ...] = ()
    distributed = False
    runner: TaskRunner

    def lack(self) -> str:
        """Why it cannot be used here; empty if it can."""
        return lack_of(*self.modules)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self, stack: ExitStack) -> None:
        """Start it, set the runner, and have the stack end what was started."""

    @abstractmethod
    def bare(self, work: Callable[[Way], float]) -> float:
        """Work on the bare engine; what `work` returns."""

    def ours(self, work: Callable[[Way], float], *, packed: bool = True) -> float:
        """Work in a flow; what `work` returns.

        Args:
            work: What is done, in the flow's body.
            packed: Whether calls may travel several together.
        """

        @flow(task_runner=self.runner)
        def measured() -> float:
            return work(FlowWay(packed=packed))

        return measured()


class Processes(Engine):
    """Processes of this machine; the bare ones are the standard library's."""

    title = "process"
    modules = ("runnerstone_process", "loky")

    def _start(self, stack: ExitStack) -> None:
        from runnerstone_process import ProcessTaskRunner

        self.runner = ProcessTaskRunner(max_workers=WORKERS)

    def bare(self, work: Callable[[Way], float]) -> float:
        # Not forked: this process has threads.
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
            return work(PoolWay(pool))


class Loky(Processes):
    """The same; the bare ones are loky's."""

    title = "loky"

    def bare(self, work: Callable[[Way], float]) -> float:
        import loky

        with loky.ProcessPoolExecutor(WORKERS) as pool:
            return work(PoolWay(pool))


class Dask(Engine):
    """A cluster of this machine, whose scheduler is in this process."""

    title = "dask"
    distributed = True
    modules = ("runnerstone_dask", "distributed")

    def _start(self, stack: ExitStack) -> None:
        from distributed import LocalCluster

        from runnerstone_dask import DaskTaskRunner

        self.cluster = stack.enter_context(
            LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        )
        self.runner = DaskTaskRunner(cluster=self.cluster)

    def bare(self, work: Callable[[Way], float]) -> float:
        from distributed import Client

        with Client(self.cluster, set_as_default=False) as client:
            return work(DaskWay(client))


class Ray(Engine):
    """A session of this machine, which flows find in the process."""

    title = "ray"
    distributed = True
    modules = ("runnerstone_ray", "ray")

    def _start(self, stack: ExitStack) -> None:
        from runnerstone_ray import RayTaskRunner

        self.runner = RayTaskRunner(init_kwargs={"num_cpus": WORKERS})
        stack.enter_context(_held(self.runner))

    def bare(self, work: Callable[[Way], float]) -> float:
        return work(RayWay())


@contextmanager
def _held(runner: TaskRunner) -> Iterator[None]:
    """Keep what a task runner has started, so that others with the same settings share it."""
    started = runner.copy_for_run()
    try:
        started.start()
        yield
    finally:
        started.stop()


@dataclass(frozen=True)
class PoolWay(BareWay):
    """On an executor with the standard library's methods."""

    pool: Executor

    def _loop(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        futures = [self.pool.submit(fn, number) for number in numbers]
        return [future.result() for future in futures]

    def _map(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        return list(self.pool.map(fn, numbers, chunksize=1))


@dataclass(frozen=True)
class DaskWay(BareWay):
    """On a Dask client."""

    client: Any

    def _loop(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        futures = [self.client.submit(fn, number, pure=False) for number in numbers]
        return list(self.client.gather(futures))

    def _map(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        return list(self.client.gather(self.client.map(fn, numbers, pure=False)))


class RayWay(BareWay):
    """On the Ray of this process."""

    def __init__(self) -> None:
        self._remotes: dict[Callable[[int], int], Any] = {}

    def _references(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[Any]:
        import ray

        remote = self._remotes.setdefault(fn, ray.remote(fn))
        return [remote.remote(number) for number in numbers]

    def _loop(self, fn: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        import ray

        return list(ray.get(self._references(fn, numbers)))

    _map = _loop
