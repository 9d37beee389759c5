"""What is lost on Dask: workers, the values they held, the scheduler."""

import logging
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from runnerstone import flow, task
from runnerstone.errors import TaskCrashedError
from runnerstone_dask import DaskTaskRunner

pytestmark = pytest.mark.timeout(120)  # a worker that died is started again


@task(crash_retries=0)
def die(file: Path) -> None:
    with file.open("a") as lines:
        lines.write("begun\n")
    os.kill(os.getpid(), signal.SIGKILL)


@task(crash_retries=0)
def give(value: object) -> object:
    return value


@task(crash_retries=0)
def make(size: int, file: Path) -> bytes:
    with file.open("a") as lines:
        lines.write("made\n")
    return bytes(size)


@task(crash_retries=0)
def tell_process() -> int:
    return os.getpid()


@task(crash_retries=0)
def measure(value: bytes, file: Path) -> int:
    with file.open("a") as lines:
        lines.write("measured\n")
    return len(value)


@task(crash_retries=0)
def hold(value: bytes, address: tuple[str, int]) -> int:
    """Wait until the test closes the connection."""
    with socket.create_connection(address) as seat:
        seat.sendall(str(os.getpid()).encode())
        seat.recv(1)
    return len(value)


def test_worker_that_dies_ends_what_it_ran_and_nothing_is_run_twice(dask_cluster, tmp_path):
    file = tmp_path / "lines"
    futures = []

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def dying() -> list[object]:
        futures.append(die.submit(file))
        futures[0].wait()
        return [give(number) for number in range(20)]

    assert dying() == [*range(20)]
    assert file.read_text().splitlines() == ["begun"]
    assert futures[0].state.is_crashed()
    assert re.match(r"worker tcp://.* died", futures[0].state.message)
    assert isinstance(futures[0].exception(), TaskCrashedError)


def test_value_whose_worker_died_is_named_and_not_computed_again(dask_cluster, tmp_path):
    file = tmp_path / "lines"
    futures = []

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def losing() -> str:
        made = make.submit(1_000_000, file)
        made.wait()
        os.kill(int(re.search(r":(\d+)/", made.task_run.where)[1]), signal.SIGKILL)
        futures.extend([made, measure.submit(made, file)])
        futures[1].wait()  # now it is noticed: what is sent to a dying worker dies with it
        return give.submit("unharmed").result()

    assert losing() == "unharmed"
    made, measured = futures
    assert made.state.is_completed()
    assert measured.state.is_crashed()
    assert f"the value of task run {made.name!r}" in measured.state.message
    assert file.read_text().splitlines() == ["made"]


def test_value_that_is_lost_while_it_is_used_is_not_computed_again(dask_cluster, tmp_path):
    file = tmp_path / "lines"
    futures = []

    with socket.create_server(("127.0.0.1", 0)) as server:

        @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
        def losing() -> None:
            made = make.submit(1_000_000, file)
            held = hold.submit(made, server.getsockname())
            futures.extend([made, held])
            seat, _ = server.accept()
            with seat:
                os.kill(int(seat.recv(20)), signal.SIGKILL)
            held.wait()
            futures.append(give.submit("unharmed"))

        record = losing.run()

    made, held, unharmed = futures
    assert [made.state.name, held.state.name, unharmed.state.name] == [
        *("Completed", "Crashed", "Completed")
    ]
    assert file.read_text().splitlines() == ["made"]
    assert record.state.is_failed()


def test_asking_for_a_lost_value_says_that_it_is_lost(dask_cluster, tmp_path):
    errors = []

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def losing() -> str:
        made = make.submit(1_000_000, tmp_path / "lines")
        made.wait()
        os.kill(int(re.search(r":(\d+)/", made.task_run.where)[1]), signal.SIGKILL)
        give.submit("later").wait()
        try:
            made.result()
        except LookupError as error:
            errors.append(error)
        return "plain value"

    assert losing() == "plain value"
    assert "gone" in str(errors[0])


def test_lost_scheduler_crashes_what_waits(lone_scheduler, caplog):
    lone_scheduler.add_workers("--nworkers", "1", "--nthreads", "1")
    futures = []

    with socket.create_server(("127.0.0.1", 0)) as server:

        @flow(task_runner=DaskTaskRunner(address=lone_scheduler.address))
        def losing() -> None:
            futures.append(hold.submit(b"", server.getsockname()))
            seat, _ = server.accept()
            with seat:
                lone_scheduler.processes[0].kill()
                futures[0].wait()
                futures.append(give.submit("too late"))

        record = losing.run()

    assert record.state.is_failed()
    for future in futures:
        assert future.state.is_crashed()
        assert f"the connection to the Dask scheduler at {lone_scheduler.address} is lost" in str(
            future.state.message
        )


def test_cluster_without_workers_is_said_to_have_none(lone_scheduler, caplog):
    said = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "wait for a worker" in record.getMessage():
                said.set()

    listener = Listener()
    logging.getLogger("runnerstone.dask").addHandler(listener)

    @flow(task_runner=DaskTaskRunner(address=lone_scheduler.address))
    def waiting_flow() -> object:
        future = give.submit("at last")
        assert said.wait(60)
        lone_scheduler.add_workers("--nworkers", "1", "--nthreads", "1")
        return future

    try:
        assert waiting_flow() == "at last"
    finally:
        logging.getLogger("runnerstone.dask").removeHandler(listener)
    assert f"dask worker {lone_scheduler.address}" in caplog.text
