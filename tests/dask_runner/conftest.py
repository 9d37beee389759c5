"""A Dask cluster, started as its users start one."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest


@attrs.frozen
class DaskCluster:
    """A scheduler and its workers, in processes of their own."""

    address: str
    processes: list[subprocess.Popen[bytes]]

    def is_running(self) -> bool:
        return all(process.poll() is None for process in self.processes)

    def add_workers(self, *options: str) -> subprocess.Popen[bytes]:
        """Start workers; they join in their own time."""
        arguments = ["worker", self.address, "--host", "127.0.0.1", "--no-dashboard", *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)


def start_scheduler() -> DaskCluster:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free again; who connects waits for the scheduler
    arguments = ["scheduler", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments, "--dashboard-address", "127.0.0.1:0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return DaskCluster(f"tcp://127.0.0.1:{port}", [process])


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[DaskCluster]:
    """A cluster with two workers of one thread each, which are restarted if they die."""
    cluster = start_scheduler()
    try:
        cluster.add_workers("--nworkers", "2", "--nthreads", "1")
        yield cluster
        assert cluster.is_running(), "a task runner has ended a cluster that is not its own"
    finally:
        cluster.end()


@pytest.fixture
def lone_scheduler() -> Iterator[DaskCluster]:
    """A cluster without workers."""
    cluster = start_scheduler()
    try:
        yield cluster
    finally:
        cluster.end()
