"""Cancelling on Ray takes one call, and no other."""

import os
import random
import socket
import time

import pytest

from runnerstone import flow, task

pytestmark = pytest.mark.timeout(180)


@task
def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@task
def hold(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as seat:
        seat.sendall(b"here")
        while True:
            try:
                time.sleep(1000)
            except BaseException:  # stubborn: only its process's end ends it
                continue


def test_running_call_is_ended_whatever_it_does(attached):
    with socket.create_server(("127.0.0.1", 0)) as server:

        @flow(task_runner=attached)
        def cancelling() -> int:
            held = hold.submit(server.getsockname())
            with server.accept()[0] as seat:
                assert seat.recv(4) == b"here"
                held.cancel()
                seat.settimeout(60)
                assert seat.recv(1) == b""
            return nap(0)

        assert cancelling() > 0


def test_cancelling_calls_at_any_time_spares_their_neighbours(attached):
    rng = random.Random(7)
    futures = []

    @flow(task_runner=attached)
    def cancelling() -> str:
        for _ in range(10):
            some = [nap.submit(rng.choice([0, 0.001, 0.02])) for _ in range(30)]
            futures.extend(some)
            for future in rng.sample(some, 8):
                time.sleep(rng.choice([0, 0.002, 0.01]))
                future.cancel()
        return "plain value"

    assert cancelling() == "plain value"
    states = [future.state.type.name for future in futures]
    assert set(states) <= {"COMPLETED", "CANCELLED"}
    assert states.count("COMPLETED") >= 220


def test_interrupted_flow_run_leaves_no_call_on_a_cluster_that_stays(attached):
    seats = []

    with socket.create_server(("127.0.0.1", 0)) as server:

        @flow(task_runner=attached)
        def interrupted() -> None:
            for _ in range(4):  # two of which wait
                hold.submit(server.getsockname())
            seats.extend(server.accept()[0] for _ in range(2))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()

        for seat in seats:
            with seat:
                seat.settimeout(60)
                assert seat.recv(4) == b"here"
                assert seat.recv(1) == b""
        server.settimeout(1)
        with pytest.raises(TimeoutError):
            server.accept()
