"""The cluster: one of the task runner's own, one that was there before, one that is not there."""

import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runnerstone import flow, task
from runnerstone.errors import TaskRunnerStartError
from runnerstone_ray import RayTaskRunner

pytestmark = pytest.mark.timeout(120)

ONE_CPU = {"num_cpus": 1, "object_store_memory": 100_000_000}


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def tell_process() -> int:
    return os.getpid()


@task
def run_inner_flow() -> list[int]:
    """Run a flow on Ray in a task on Ray."""

    @flow(task_runner=RayTaskRunner())
    def inner() -> list[int]:
        sums = [add(number, 1) for number in range(10)]  # more than there are CPUs
        return [add(sums[0], sums[9]), tell_process()]

    return [*inner(), os.getpid()]


def ray_variables() -> dict[str, str]:
    return {name: os.environ[name] for name in os.environ if name.startswith(("RAY", "PYTHON"))}


def folders() -> list[Path]:
    return sorted(Path(tempfile.gettempdir()).glob("runnerstone-*"))


@pytest.fixture
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for temporary files that no other process uses; its path is short, as Ray needs."""
    folder = tempfile.mkdtemp(prefix="rs")
    monkeypatch.setattr(tempfile, "tempdir", folder)
    yield
    Path(folder).rmdir()  # if it is empty


def children() -> set[int]:
    """Processes below this one, but for Python's resource tracker."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if state != "Z" and "resource_tracker" not in command:
            parents[int(stat.parent.name)] = int(parent)
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


@pytest.mark.usefixtures("own_folder")
def test_own_cluster_leaves_nothing_behind():
    before = (ray_variables(), folders(), children(), sys.excepthook)
    inside = []

    @flow(task_runner=RayTaskRunner(init_kwargs=ONE_CPU))
    def adding() -> list[int]:
        inside.append(len(children()))
        return [add(number, 1) for number in range(5)]

    assert adding() == [1, 2, 3, 4, 5]
    assert adding() == [1, 2, 3, 4, 5]

    assert inside[0] > 3
    assert (ray_variables(), folders(), children(), sys.excepthook) == before
    assert {thread.name for thread in threading.enumerate()} <= {
        *("MainThread", "shielded"),
        *(thread.name for thread in threading.enumerate() if thread.name.startswith("pytest")),
    }


@pytest.mark.usefixtures("own_folder")
def test_cluster_that_cannot_start_leaves_nothing_behind():
    before = (ray_variables(), folders(), children(), sys.excepthook)

    @flow(task_runner=RayTaskRunner(init_kwargs={"num_cpus": 1, "no_such_option": 1}))
    def adding() -> int:
        return add(1, 2)

    record = adding.run()

    assert record.state.is_crashed()
    assert "no_such_option" in str(record.state.message)
    assert (ray_variables(), folders(), children(), sys.excepthook) == before


def test_flow_runs_with_equal_settings_share_a_cluster():
    runner = RayTaskRunner(init_kwargs=ONE_CPU)

    @flow(task_runner=runner)
    def child() -> int:
        return tell_process()

    @flow(task_runner=runner)
    def parent() -> list[int]:
        return [tell_process(), child()]

    assert len(set(parent())) == 1


def test_flow_run_with_other_settings_is_refused_and_told_of_both():
    @flow(task_runner=RayTaskRunner(address="10.255.255.1:1234"))
    def child() -> int:
        return add(1, 2)

    @flow(task_runner=RayTaskRunner(init_kwargs=ONE_CPU))
    def parent() -> str:
        record = child.run()
        add(3, 4)
        return str(record.state.message)

    message = parent()

    assert "a process can use one Ray cluster at a time" in message
    assert "a local cluster with init_kwargs={'num_cpus': ..." in message
    assert "the cluster at 10.255.255.1:1234 with init_kwargs={}" in message


def test_address_in_the_environment_is_not_followed(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")

    @flow(task_runner=RayTaskRunner(init_kwargs=ONE_CPU))
    def adding() -> int:
        return add(1, 2)

    assert adding() == 3


def test_given_cluster_is_left_running(ray_cluster):
    before = ray_variables()

    @flow(task_runner=RayTaskRunner(address=ray_cluster.address))
    def adding() -> list[int]:
        return [add(number, 1) for number in range(5)]

    for _ in range(2):
        assert adding() == [1, 2, 3, 4, 5]
        assert ray_cluster.is_running()
    assert ray_variables() == before


def test_flow_on_ray_may_run_in_every_task_that_has_a_cpu(ray_cluster):
    @flow(task_runner=RayTaskRunner(address=ray_cluster.address))
    def outer() -> list[list[int]]:
        return [run_inner_flow(), run_inner_flow(), run_inner_flow()]

    for value, process, outer_process in outer():
        assert value == 11
        assert process != outer_process


def test_connection_that_was_there_before_is_used_and_kept(script):
    printed = script.run(
        """
        import ray

        from runnerstone import flow, task
        from runnerstone_ray import RayTaskRunner

        ray.init("local", num_cpus=1, object_store_memory=100_000_000, log_to_driver=False)

        @task
        def add(first, second):
            return first + second

        @flow(task_runner="ray")
        def adding():
            return add(1, 2)

        @flow(task_runner=RayTaskRunner(address="127.0.0.1:9"))
        def elsewhere():
            return add(1, 2)

        print("value", adding())
        print("state", elsewhere.run().state)
        print("still there", ray.get(ray.put("yes")))
        """
    )

    assert "value 3" in printed
    assert "still there yes" in printed
    assert re.search(r"Using the connection to Ray that is there already, to \S+:\d+", printed)
    assert re.search(r"state Crashed.*called ray.init\(\) already", printed)


def test_address_where_nothing_listens_is_named_in_time():
    started = time.monotonic()

    @flow(task_runner=RayTaskRunner(address="127.0.0.1:9", start_timeout_seconds=1))
    def adding() -> int:
        return add(1, 2)

    record = adding.run()

    assert record.state.is_crashed()
    with pytest.raises(
        TaskRunnerStartError, match=r"no Ray cluster answers at 127\.0\.0\.1:9 within 1"
    ):
        record.result()
    assert time.monotonic() - started < 5


def test_address_of_something_else_is_named_in_time(script):
    # In a process of its own, where what Ray keeps trying for some time is in nobody's way.
    with socket.create_server(("127.0.0.1", 0)) as server:
        printed = script.run(
            f"""
            import time

            from runnerstone import flow, task
            from runnerstone_ray import RayTaskRunner

            @task
            def add(first, second):
                return first + second

            @flow(
                task_runner=RayTaskRunner(
                    address="127.0.0.1:{server.getsockname()[1]}", start_timeout_seconds=3
                )
            )
            def adding():
                return add(1, 2)

            begun = time.monotonic()
            print("state", adding.run().state)
            print("after", round(time.monotonic() - begun), "s")
            print("value", adding.with_options(task_runner="ray")())
            """
        )

    assert re.search(r"state Crashed.*has not let this driver in within 3 s", printed)
    assert int(re.search(r"after (\d+) s", printed)[1]) < 10
    assert "value 3" in printed


def test_cluster_with_another_token_refuses_the_driver_in_words(script, cluster_with_token):
    printed = script.run(
        f"""
        from runnerstone import flow, task
        from runnerstone_ray import RayTaskRunner

        address = "{cluster_with_token.address}"

        @flow(task_runner=RayTaskRunner(address=address, start_timeout_seconds=3))
        def empty():
            pass

        print("state", empty.run().state)
        """,
        RAY_AUTH_TOKEN="b" * 64,
    )

    assert re.search(r"state Crashed.*a cluster that wants a token takes its own", printed)


def test_token_of_the_environment_is_shown_to_a_given_cluster(script, cluster_with_token):
    printed = script.run(
        f"""
        import os

        from runnerstone import flow, task
        from runnerstone_ray import RayTaskRunner

        @task
        def add(first, second):
            return first + second

        @flow(task_runner=RayTaskRunner(address="{cluster_with_token.address}"))
        def adding():
            return add(1, 2)

        print("value", adding())
        print("mode", os.environ.get("RAY_AUTH_MODE"))
        """,
        RAY_AUTH_TOKEN="a" * 64,
    )

    assert "value 3" in printed
    assert "mode None" in printed
