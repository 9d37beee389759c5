"""What is lost on Ray: worker processes, the values they made, the cluster's own processes."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from runnerstone import flow, task
from runnerstone_ray import RayTaskRunner

pytestmark = pytest.mark.timeout(180)


@task(crash_retries=0)
def die(file: Path) -> None:
    with file.open("a") as lines:
        lines.write("begun\n")
    os.kill(os.getpid(), signal.SIGKILL)


@task(crash_retries=0)
def give(value: object) -> object:
    return value


@task(crash_retries=0)
def hold(address: tuple[str, int]) -> int:
    """Wait until the test closes the connection."""
    with socket.create_connection(address) as seat:
        seat.sendall(str(os.getpid()).encode())
        seat.recv(1)
    return os.getpid()


@task(crash_retries=0)
def make(size: int) -> bytes:
    return bytes(size)


@task(crash_retries=0)
def measure(value: bytes) -> int:
    return len(value)


def test_worker_that_dies_ends_its_call_alone_and_nothing_is_run_twice(ray_cluster, tmp_path):
    file = tmp_path / "lines"
    futures = []

    @flow(task_runner=RayTaskRunner(address=ray_cluster.address))
    def dying() -> list[object]:
        values = [give(number) for number in range(20)]
        futures.append(die.submit(file))
        return values + [give(number) for number in range(20, 40)]

    assert dying() == [*range(40)]
    assert file.read_text().splitlines() == ["begun"]
    assert futures[0].state.is_crashed()
    assert "the Ray worker process that ran it died" in futures[0].state.message


def test_worker_that_is_killed_leaves_the_call_beside_it_alone(ray_cluster):
    futures = []

    with socket.create_server(("127.0.0.1", 0)) as server:

        @flow(task_runner=RayTaskRunner(address=ray_cluster.address))
        def killing() -> int:
            futures.extend(hold.submit(server.getsockname()) for _ in range(2))
            with server.accept()[0] as first, server.accept()[0] as second:
                os.kill(int(first.recv(20)), signal.SIGKILL)
                survivor = int(second.recv(20))
                while not any(future.done() for future in futures):
                    futures[0].wait(0.1)
            return survivor

        survivor = killing()

    crashed = [future for future in futures if future.state.is_crashed()]
    completed = [future for future in futures if future.state.is_completed()]
    assert len(crashed) == len(completed) == 1
    assert completed[0].task_run.where.partition("/")[0].endswith(f":{survivor}")


def test_value_whose_machine_is_lost_is_named_and_not_computed_again(lone_head):
    futures = []
    errors = []

    @flow(task_runner=RayTaskRunner(address=lone_head.address))
    def losing() -> object:
        lone_head.add_machine("--num-cpus", "1")
        made = make.submit(1_000_000)
        made.wait()
        lone_head.end_machine()
        lone_head.add_machine("--num-cpus", "1")
        futures.extend([made, measure.submit(made)])
        try:
            made.result()
        except LookupError as error:
            errors.append(error)
        return give.submit("unharmed").result()

    assert losing() == "unharmed"
    made, measured = futures
    assert made.state.is_completed()
    assert measured.state.is_crashed()
    assert made.name in str(measured.state.message)
    assert "is gone" in str(errors[0])


def test_cluster_without_processors_is_said_to_have_none(lone_head, caplog):
    @flow(task_runner=RayTaskRunner(address=lone_head.address))
    def waiting() -> object:
        future = give.submit("at last")
        while "has no CPU" not in caplog.text:
            assert not future.wait(0.1)
        lone_head.add_machine("--num-cpus", "1")
        return future

    assert waiting() == "at last"
    assert f"ray start --address={lone_head.address.replace('127.0.0.1', '')}"[-6:] in caplog.text


LOSING = """
    import os
    import signal
    import time

    import psutil

    from runnerstone import flow, task

    @task
    def give(value):
        return value

    @task
    def sleep():
        time.sleep(1000)

    def kill(name):
        for process in psutil.Process().children(recursive=True):
            if name in process.name():
                process.kill()

    @flow(task_runner="ray")
    def losing():
        give("early").wait()
        futures = [sleep.submit() for _ in range(3)]
        begun = time.monotonic()
        kill("{victim}")
        for future in futures:
            future.wait()
        print("after", round(time.monotonic() - begun), "s")
        futures.append(give.submit("too late"))
        for future in futures:
            future.wait()
            print("message", future.state.type, future.state.message)

    print("state", losing.run().state)
    left = [process.name() for process in psutil.Process().children(recursive=True)]
    print("left", [name for name in left if "python" not in name])
"""


@pytest.mark.parametrize(
    ("victim", "message"),
    [
        ("gcs_server", "is lost: its control process (GCS) has not answered for"),
        ("raylet", "Ray's raylet process on this machine died"),
    ],
)
def test_lost_cluster_crashes_what_waits_and_spares_the_driver(script, victim, message):
    printed = script.run(LOSING.replace("{victim}", victim))

    assert printed.count("message CRASHED") == 4, printed
    assert printed.count(message) >= 4, printed
    assert int(re.search(r"after (\d+) s", printed)[1]) < 40
    assert "state Failed" in printed
    assert "left []" in printed
