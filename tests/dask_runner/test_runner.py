"""Settings, what is refused, and where values stay."""

import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from runnerstone import flow, task
from runnerstone.errors import TaskCrashedError, TaskRunnerSettingError, TaskRunnerStartError
from runnerstone.task_runners import resolve_task_runner
from runnerstone.testing._meetings import Meeting, attend
from runnerstone_dask import DaskTaskRunner, versions
from runnerstone_dask.entries import key_of


@task
def give(value: object) -> object:
    return value


def test_address_of_a_page_is_refused():
    with pytest.raises(ValueError, match=r"'http://my-dask-cluster'.*tcp://my-dask-cluster:8786"):
        DaskTaskRunner(address="http://my-dask-cluster")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"address": "tcp://a:1", "cluster_class": "b.C"}, "address and cluster_class are given"),
        ({"address": "tcp://a:1", "cluster_kwargs": {"x": 1}}, "cluster_kwargs are for a new"),
        ({"address": "tcp://a:1", "adapt_kwargs": {"x": 1}}, "adapt_kwargs are for a new cluster"),
        ({"start_timeout_seconds": 0}, "start_timeout_seconds"),
        ({"start_timeout_seconds": "5"}, "start_timeout_seconds is '5'"),
        ({"start_timeout_seconds": float("inf")}, "start_timeout_seconds is inf"),
        ({"address": 8786}, "address is 8786"),
        ({"cluster": "tcp://a:1"}, "cluster is 'tcp://a:1'.*cluster_class.*address"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, text):
    with pytest.raises((TypeError, ValueError), match=text):
        DaskTaskRunner(**settings)


def test_settings_are_given_as_text():
    runner = resolve_task_runner(
        "dask",
        {
            "cluster_class": "distributed.LocalCluster",
            "cluster_kwargs": '{"n_workers": 3}',
            "start_timeout_seconds": "5",
        },
    )

    assert runner == DaskTaskRunner(
        cluster_class="distributed.LocalCluster",
        cluster_kwargs={"n_workers": 3},
        start_timeout_seconds=5,
    )


def test_text_that_does_not_fit_is_refused():
    with pytest.raises(TaskRunnerSettingError, match="http://my-dask-cluster"):
        resolve_task_runner("dask", {"address": "http://my-dask-cluster"})


def test_secrets_are_not_shown():
    runner = DaskTaskRunner(
        client_kwargs={"security": "s3cret"}, cluster_kwargs={"token": "s3cret"}
    )

    assert "s3cret" not in repr(runner)


def test_address_where_nothing_listens_is_told_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    runner = DaskTaskRunner(address=address, start_timeout_seconds=1.5)

    @flow(task_runner=runner)
    def asking() -> object:
        return give(1)

    with pytest.raises(TaskRunnerStartError, match=rf"{address} within 1\.5 s.*start_timeout"):
        asking()


@pytest.mark.parametrize("scheme", ["tcp://", ""])
def test_address_where_something_else_listens_is_told_in_time(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        runner = DaskTaskRunner(
            address=f"{scheme}127.0.0.1:{server.getsockname()[1]}", start_timeout_seconds=1.5
        )

        @flow(task_runner=runner)
        def asking() -> object:
            return give(1)

        with pytest.raises(TaskRunnerStartError, match=r"within 1\.5 s"):
            asking()


@pytest.mark.parametrize("address", ["localhost", "foo://bar:1"])
def test_address_that_is_none_is_told_at_once(start_script, address):
    script = start_script(f"""
        from runnerstone import flow
        from runnerstone_dask import DaskTaskRunner

        @flow(task_runner=DaskTaskRunner(address={address!r}, start_timeout_seconds=60))
        def asking():
            pass

        asking()
    """)

    _, err = script.finish(40)  # and the exit is not held up

    assert "TaskRunnerStartError: no Dask scheduler answers at" in err


def test_call_that_runs_is_said_to_run(dask_cluster):
    with Meeting(30) as meeting:

        @task
        def meet(address: tuple[str, int]) -> str:
            attend(address, "here")
            return "met"

        @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
        def meeting_flow() -> tuple[str, bool, str]:
            future = meet.submit(meeting.address)
            meeting.wait_for(1)
            while future.state.name == "Pending":
                time.sleep(0.01)  # the news is on its way
            state, place = future.state.name, future.task_run.where
            meeting.close()
            return state, place == future.task_run.where, future.result()

        assert meeting_flow() == ("Running", True, "met")


@pytest.mark.parametrize("version", ["2024.1.0", "2031.1.0"])
def test_dask_of_another_time_is_said_to_be_so(monkeypatch, version):
    monkeypatch.setattr(versions, "version", lambda name: version)

    @flow(task_runner="dask")
    def asking() -> object:
        return give(1)

    with pytest.raises(TaskRunnerStartError, match=rf"distributed {version} is installed.*pip ins"):
        asking()


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"Python": "3.99"}, r"the scheduler runs Python 3\.99 and this is Python 3\."),
        (
            {"runnerstone-dask": None},
            r"the scheduler .* has no runnerstone-dask.*pip install",
        ),
    ],
)
def test_cluster_that_cannot_run_what_it_is_sent_is_said_to_be_so(
    dask_cluster, monkeypatch, told, text
):
    here = os.getpid()
    tell_truly = versions._teller()

    def tell() -> dict[str, str | None]:
        return tell_truly() if os.getpid() == here else tell_truly() | told

    monkeypatch.setattr(versions, "_teller", lambda: tell)

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def asking() -> object:
        return give(1)

    with pytest.raises(TaskRunnerStartError, match=text):
        asking()


def test_unpicklable_argument_is_named_at_once(dask_cluster):
    lock = threading.Lock()

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def stuck() -> object:
        return give({"key": [lock]})

    with pytest.raises(
        TaskCrashedError, match=r"give-.*argument 'value'\['key'\]\[0\].*_thread.lock"
    ):
        stuck()


def test_unpicklable_function_is_named_at_once(dask_cluster):
    lock = threading.Lock()

    @task
    def locked() -> object:
        return lock

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def stuck() -> object:
        return locked()

    with pytest.raises(TaskCrashedError, match=r"'locked' .*its variable 'lock'.*_thread.lock"):
        stuck()


def test_cluster_that_is_cancelled_from_outside_crashes_what_it_had(dask_cluster):
    from distributed import Client

    futures = []

    @task(crash_retries=0)
    def wait() -> None:
        time.sleep(60)

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def restarted() -> str:
        futures.append(wait.submit())
        with Client(dask_cluster.address, set_as_default=False) as client:
            while not any(client.processing().values()):
                time.sleep(0.05)
            client.restart(wait_for_workers=False)
        futures[0].wait()
        return "plain value"

    assert restarted() == "plain value"
    assert futures[0].state.is_crashed()


def test_task_is_executed_by_workers_that_were_restarted(dask_cluster):
    from distributed import Client

    @task(crash_retries=0)
    def double(number: int) -> int:
        return 2 * number

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def restarted() -> list[int]:
        first = double.submit(1).result()
        with Client(dask_cluster.address, set_as_default=False) as client:
            client.restart()
        return [first, double.submit(2).result()]

    assert restarted() == [2, 4]


def test_outcome_that_cannot_be_read_crashes_its_call_and_no_other(dask_cluster):
    with Meeting(30) as meeting:

        @task
        def meet(address: tuple[str, int]) -> None:
            attend(address, "here")

        @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
        def garbled() -> object:
            future = meet.submit(meeting.address)
            meeting.wait_for(1)
            key = key_of(future._attempt.call)
            future._owner.runner._pump.hear((0.0, ["ended", key, b"garbage", 0]))
            future.wait()
            meeting.close()
            return future.state.message, give.submit("unharmed").result()

        message, unharmed = garbled()

    assert "cannot be read here" in message
    assert unharmed == "unharmed"


def test_trouble_with_the_cluster_does_not_end_the_pump(dask_cluster, caplog):
    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def troubled() -> object:
        first = give.submit("first")
        first.wait()
        first._owner.runner._pump.hear((0.0, ["no such message"]))
        return give("second")

    assert troubled() == "second"
    assert "gives trouble" in caplog.text


def test_large_arguments_travel(dask_cluster):
    array = np.arange(4_000_000, dtype="f8")

    @task
    def total(array: np.ndarray) -> float:
        assert not array.flags.writeable
        return float(array.sum())

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def totals() -> list[float]:
        return [total(array) for _ in range(3)]

    assert totals() == [float(array.sum())] * 3


def test_large_functions_travel_once(dask_cluster):
    table = bytes(1_000_000)

    @task
    def look_up(number: int) -> int:
        return table[number]

    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def looking() -> list[int]:
        return [look_up(number) for number in range(100)]

    assert looking() == [0] * 100


def test_ten_thousand_calls_and_a_cancelled_rest(dask_cluster):
    @flow(task_runner=DaskTaskRunner(address=dask_cluster.address))
    def many() -> int:
        futures = [give.submit(number) for number in range(3000)]
        futures[0].wait()
        return sum(future.cancel() for future in futures[1000:])

    run = many.run()

    assert run.state.is_completed()
    assert run.counts.keys() <= {*run.counts}


CHAIN = """
import resource
import sys
import threading

import numpy as np
from runnerstone import flow, task


@task
def make(count):
    return np.ones(count)


@task
def step(array):
    return array + 1


@task
def first(array):
    return float(array[0])


@flow(task_runner=sys.argv[1])
def chain(count):
    array = make(count)
    for _ in range(10):
        array = step(array)
    return first(array)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


chain(100_000)
before = peak()
assert chain(25_000_000) == 11
print(peak() - before)
"""


@pytest.mark.timeout(180)
def test_driver_does_not_grow_with_what_stays_on_the_cluster(tmp_path):
    script = tmp_path / "chain.py"
    script.write_text(CHAIN, encoding="utf-8")

    finished = subprocess.run(
        [sys.executable, str(script), "dask"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) < 50, "MiB more for an array of 200 MB"
