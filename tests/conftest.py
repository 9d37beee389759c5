"""Fixtures that several test files share."""

import importlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import attrs
import pytest

from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner, TaskRunner

HOOKS = """
    from runnerstone.task_runners import TaskRunnerSpec, hookimpl

    @hookimpl
    def runnerstone_task_runners():
        return [TaskRunnerSpec(name={name!r}, path={path!r}, summary="Runs calls at once.")]
"""
RUNNER = """
    from runnerstone.task_runners import Capabilities, TaskRunner

    class AtOnceTaskRunner(TaskRunner):
        size: int = 3

        capabilities = Capabilities(parallel=False, shares_memory=True)

        def submit(self, call, report):
            report.done(call(*call.upstream))
"""


@attrs.frozen
class Site:
    """A folder on ``sys.path`` to install distributions in."""

    folder: Path

    def add_module(self, name: str, source: str) -> None:
        file = self.folder / f"{name}.py"
        file.write_text(dedent(source), encoding="utf-8")
        importlib.invalidate_caches()

    def add_distribution(
        self, distribution: str, entry_points: Mapping[str, str], *, version: str = "1.0"
    ) -> None:
        metadata = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
        )
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (metadata / "entry_points.txt").write_text(
            "\n".join(["[runnerstone.task_runners]", *lines]), encoding="utf-8"
        )
        importlib.invalidate_caches()

    def add_plugin(
        self, name: str, distribution: str, *, hooks: str = HOOKS, runner: str = RUNNER
    ) -> str:
        """Install a whole plugin; return the name that its modules' names begin with."""
        prefix = distribution.replace("-", "_")
        path = f"{prefix}_runner:AtOnceTaskRunner"
        self.add_module(f"{prefix}_hooks", hooks.format(name=name, path=path))
        self.add_module(f"{prefix}_runner", runner)
        self.add_distribution(distribution, {name: f"{prefix}_hooks"})
        return prefix


@pytest.fixture(
    params=[SequentialTaskRunner(), SequentialTaskRunner(strict=True), ConcurrentTaskRunner()],
    ids=repr,
)
def runner(request: pytest.FixtureRequest) -> TaskRunner:
    """Each of the built-in task runners; some files have another fixture of that name."""
    return request.param


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The library's records from INFO on."""
    caplog.set_level(logging.INFO, logger="runnerstone")
    return caplog


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Have Python switch between threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def modules_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget afterwards what was imported and where from."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("runnerstone."):
            del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, modules_restored: None) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    sys.path.insert(0, str(folder))
    return Site(folder)


@attrs.frozen
class Python:
    """A Python of its own, with a folder in front of its path."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        path = [str(self.folder), *filter(None, sys.path)]
        return os.environ | {"PYTHONPATH": os.pathsep.join(path)}

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def imports(self, statement: str) -> set[str]:
        """Names of all modules that are loaded once `statement` has run."""
        finished = self.run(["-c", f"{statement}\nimport sys; print(*sys.modules)"])
        assert finished.returncode == 0, finished.stderr
        return set(finished.stdout.split())


@pytest.fixture
def python(tmp_path: Path) -> Python:
    return Python(tmp_path)


@attrs.frozen
class Script:
    """A script that runs in a process group of its own, as a terminal starts one."""

    process: subprocess.Popen[str]

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self, timeout: float = 100) -> tuple[str, str]:
        """Wait for its end; return what it wrote to stdout and stderr, from here on."""
        return self.process.communicate(timeout=timeout)

    def left_behind(self, timeout: float = 30) -> list[str]:
        """What still runs of its group and does not end in time, by its command line."""
        deadline = time.monotonic() + timeout
        left = []
        for pid in _group(self.process.pid):
            with suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    if not select.select([handle], [], [], max(deadline - time.monotonic(), 0))[0]:
                        command = Path(f"/proc/{pid}/cmdline").read_bytes()
                        left.append(command.replace(b"\0", b" ").decode())
                finally:
                    os.close(handle)
        return left


def _group(group: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "stat").read_text().rpartition(")")[2].split()[2] == str(group):
                found.append(int(folder.name))
    return found


@pytest.fixture
def start_script(tmp_path: Path) -> Iterator[Callable[..., Script]]:
    """Start a script in a folder that has nothing else in it."""
    folder = tmp_path / "script"
    folder.mkdir()
    started: list[Script] = []

    def start(source: str, *arguments: str) -> Script:
        file = folder / "script.py"
        file.write_text(dedent(source), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "script.py", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(Script(process))
        return started[-1]

    yield start
    for script in started:
        with suppress(ProcessLookupError):
            os.killpg(script.process.pid, signal.SIGKILL)
        script.process.communicate()


@pytest.fixture
def check_counts() -> Callable[[str], None]:
    """Counts what the benchmarks count of an engine, and checks that it keeps within its limits."""

    def check(engine: str) -> None:
        command = [sys.executable, "-m", "benchmarks.counts", engine]
        root = Path(__file__).parents[1]
        ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert f"{engine}_" in ran.stdout

    return check
