"""Ray clusters, started as their users start them."""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from runnerstone_ray import RayTaskRunner

# A shell that ends at once, so that the cluster's processes are not below the tests' process, where
# those that a task runner may not leave are counted. What it leaves looks after that process, its
# first argument: tests that are killed shall not leave a cluster.
LAUNCH = """
tests=$1; shift
"$@" >/dev/null 2>&1 & cluster=$!
echo $cluster
{
    while kill -0 $tests; do kill -0 $cluster || exit; sleep 5; done
    kill $cluster
} >/dev/null 2>&1 &
"""


@attrs.frozen
class RayCluster:
    """A head, and further machines if there are any; each is a process with those below it."""

    address: str
    folder: str
    processes: list[int] = attrs.field(factory=list)

    def add(self, *options: str) -> int:
        """Start the head, or a machine that joins in its own time; return its process."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        launched = subprocess.run(
            ["sh", "-c", LAUNCH, "sh", str(os.getpid()), *command, "--disable-usage-stats"],
            capture_output=True,
            text=True,
            check=True,
            start_new_session=True,
        )
        self.processes.append(int(launched.stdout))
        return self.processes[-1]

    def add_machine(self, *options: str) -> int:
        return self.add("--address", self.address, *options)

    def end_machine(self) -> None:
        """End the machine that was added last; asked in kindness, it would take its time."""
        end(self.processes.pop(), signal.SIGKILL)

    def is_running(self) -> bool:
        return all(Path(f"/proc/{process}").exists() for process in self.processes)

    def end(self) -> None:
        while len(self.processes) > 1:
            self.end_machine()
        end(self.processes.pop(), signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)


def end(process: int, signal_number: int) -> None:
    """Send a process a signal, and wait for its end."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        os.kill(process, signal_number)
        select.select([handle], [], [], 30)
    finally:
        os.close(handle)


def start_head(*options: str) -> RayCluster:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free again; who connects waits for the head
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")  # its sockets' paths have to be short
    cluster = RayCluster(f"127.0.0.1:{port}", folder)
    arguments = ["--port", str(port), "--temp-dir", folder, "--include-dashboard", "false"]
    cluster.add("--head", *arguments, *options)
    return cluster


@pytest.fixture
def cluster_with_token() -> Iterator[RayCluster]:
    """A cluster that wants the token of 64 letters ``a``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "a" * 64)
        cluster = start_head("--num-cpus", "1")
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def lone_head() -> Iterator[RayCluster]:
    """A cluster without processors."""
    cluster = start_head("--num-cpus", "0")
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A cluster with two processors."""
    cluster = start_head("--num-cpus", "2")
    try:
        yield cluster
        assert cluster.is_running(), "a task runner has ended a cluster that is not its own"
    finally:
        cluster.end()


@pytest.fixture(scope="module")
def attached(ray_cluster) -> Iterator[RayTaskRunner]:
    """A task runner for that cluster; the connection stays while the module's tests run."""
    runner = RayTaskRunner(address=ray_cluster.address)
    keeper = runner.copy_for_run()
    try:
        keeper.start()
        yield runner
    finally:
        keeper.stop()


@attrs.frozen
class Script:
    """A script of a user's, run in a process of its own."""

    path: Path

    def start(self, text: str, **variables: str) -> subprocess.Popen[str]:
        self.path.write_text(textwrap.dedent(text))
        return subprocess.Popen(
            [sys.executable, str(self.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **variables},
            start_new_session=True,
        )

    def run(self, text: str, **variables: str) -> str:
        """Run it to its end; return what it printed."""
        process = self.start(text, **variables)
        printed, _ = process.communicate(timeout=100)
        assert process.returncode == 0, printed
        return printed


@pytest.fixture
def script(tmp_path) -> Script:
    return Script(tmp_path / "script.py")
