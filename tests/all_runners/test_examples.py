"""The examples, on every task runner there is."""

import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAM = Path(sys.executable).with_name("runnerstone")

# The log that the seed document shows, its times, its run names and the port masked.
MIXED_RUNNERS = """\
Beginning flow run 'NAME' for flow 'sequential-flow'...
Starting task runner `SequentialTaskRunner`...
Submitting task run 'hello_local-a087a829-0' to task runner...
Hello!
Task run 'hello_local-a087a829-0' finished in state Completed(message=None, type=COMPLETED)
Beginning subflow run 'NAME' for flow 'dask-subflow'...
Starting task runner `DaskTaskRunner`...
Creating a new Dask cluster with `distributed.deploy.local.LocalCluster`
The Dask dashboard is available at http://127.0.0.1:PORT/status
Submitting task run 'hello_dask-e80d21db-0' to task runner...
Hello from Dask!
Task run 'hello_dask-e80d21db-0' finished in state Completed(message=None, type=COMPLETED)
Shutting down task runner `DaskTaskRunner`...
Subflow run 'NAME' finished in state Completed(message='All states completed.', type=COMPLETED)
Submitting task run 'hello_local-a087a829-1' to task runner...
Hello!
Task run 'hello_local-a087a829-1' finished in state Completed(message=None, type=COMPLETED)
Shutting down task runner `SequentialTaskRunner`...
Flow run 'NAME' finished in state Completed(message='All states completed.', type=COMPLETED)
"""
GUARD = 'if __name__ == "__main__":\n    sequential_flow()\n'

pytestmark = pytest.mark.timeout(300)


def masked(text: str) -> str:
    """A log without what differs from run to run."""
    text = re.sub(r"^\d\d:\d\d:\d\d\.\d{3} \| ", "", text, flags=re.MULTILINE)
    text = re.sub(r"'[a-z]+-[a-z]+'( for flow| finished)", r"'NAME'\1", text)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)


def test_mixed_runners_prints_the_log_of_the_seed():
    finished = subprocess.run(
        [sys.executable, "-u", EXAMPLES / "mixed_runners.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )

    assert masked(finished.stdout) == MIXED_RUNNERS


def test_mixed_runners_needs_no_guard(tmp_path):
    source = (EXAMPLES / "mixed_runners.py").read_text(encoding="utf-8")
    assert source.endswith(GUARD)
    script = tmp_path / "unguarded.py"
    script.write_text(source.removesuffix(GUARD) + "sequential_flow()\n", encoding="utf-8")

    finished = subprocess.run(
        [sys.executable, "-u", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )

    assert masked(finished.stdout) == MIXED_RUNNERS


def census(*options: str) -> str:
    """What the census of a part of the standard library prints."""
    finished = subprocess.run(
        [
            *(PROGRAM, "run", EXAMPLES / "source_census.py"),
            *("--param", f"folder={sysconfig.get_path('stdlib')}/asyncio", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def expected() -> str:
    return census("--runner", "sequential")


@pytest.mark.parametrize("name", ["concurrent", "process", "dask", "ray"])
def test_census_is_the_same_on_every_task_runner(name, expected):
    assert census("--runner", name) == expected


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def dask_address(free_port: int) -> Iterator[str]:
    """A scheduler and a worker, started as their users start them."""
    address = f"tcp://127.0.0.1:{free_port}"
    host = ["--host", "127.0.0.1"]
    dask = [sys.executable, "-m", "dask"]
    dashboard = ["--dashboard-address", "127.0.0.1:0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [
        subprocess.Popen([*dask, "scheduler", *host, "--port", str(free_port), *dashboard], **quiet)
    ]
    try:
        worker = [*dask, "worker", address, *host, "--no-dashboard", "--nthreads", "1"]
        processes.append(subprocess.Popen(worker, **quiet))
        yield address
        assert [process.poll() for process in processes] == [None, None], "they are not ours to end"
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(30)


def test_census_is_the_same_on_a_dask_cluster_that_goes_on_running(dask_address, expected):
    for _ in range(2):
        assert census("--runner", "dask", "--set", f"address={dask_address}") == expected


@pytest.fixture
def ray_address(free_port: int) -> Iterator[str]:
    """A head, started as its users start one."""
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")  # its sockets' paths have to be short
    head = ["--head", "--block", "--port", str(free_port), "--temp-dir", folder, "--num-cpus", "2"]
    quiet = ["--include-dashboard", "false", "--disable-usage-stats"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *head, *quiet],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{free_port}"
        assert process.poll() is None, "it is not ours to end"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def test_census_is_the_same_on_a_ray_cluster_that_goes_on_running(ray_address, expected):
    for _ in range(2):
        assert census("--runner", "ray", "--set", f"address={ray_address}") == expected
