"""A stranger's task runner, installed as its users install it, is as good as our own."""

import os
import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import attrs
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "core", ROOT / "tests" / "third_party"]

pytestmark = pytest.mark.timeout(300)  # pip asks the package index

SCRIPT = """
    import threading

    from runnerstone import flow, task


    @task
    def whereabouts():
        return threading.current_thread().name


    @flow(task_runner={runner!r})
    def survey(size: int = 20):
        names = [whereabouts() for _ in range(size)]
        print_names(names)


    @task
    def print_names(names):
        print(*sorted(set(names)))


    if __name__ == "__main__":
        survey()
"""

SUITE = """
    import pytest
    from acme_runners.runner import AcmeTaskRunner
    from runnerstone.testing import TaskRunnerContract


    class TestAcmeTaskRunner(TaskRunnerContract):
        @pytest.fixture
        def task_runner(self):
            return AcmeTaskRunner(threads=3)
"""


@attrs.frozen
class Environment:
    """A virtual environment, and a folder to work in."""

    folder: Path
    wheels: Path
    work: Path

    def program(self, name: str) -> Path:
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin") / name

    def run(
        self, arguments: Sequence[str | Path], *, returns: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, and see nothing of the one that runs the tests."""
        own = {name: it for name, it in os.environ.items() if not name.startswith("PYTHON")}
        program, *rest = arguments
        finished = subprocess.run(
            [self.program(str(program)), *rest],
            env=own,
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert finished.returncode == returns, f"{finished.stdout}\n{finished.stderr}"
        return finished

    def pip(self, *arguments: str | Path) -> None:
        self.run(["python", "-m", "pip", "--disable-pip-version-check", "-q", *arguments])

    def wheel(self, distribution: str) -> Path:
        (wheel,) = self.wheels.glob(f"{distribution}-*.whl")
        return wheel


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("third_party")
    environment = Environment(folder / "venv", folder / "wheels", folder)
    venv.create(environment.folder, with_pip=True)
    environment.pip("wheel", "--no-deps", "--wheel-dir", environment.wheels, *SOURCES)
    core, plugin = map(environment.wheel, ("runnerstone", "acme_runners"))
    environment.pip("install", f"runnerstone[testing] @ {core.as_uri()}", plugin)
    return environment


@pytest.fixture
def here(installed: Environment, tmp_path: Path) -> Environment:
    return attrs.evolve(installed, work=tmp_path)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "survey.py"
    file.write_text(dedent(SCRIPT.format(runner="acme")))
    return file


def test_listing_tells_distribution_version_and_summary(here):
    listed = here.run(["runnerstone", "runners"]).stdout

    assert re.search(
        r"^acme +acme-runners 2\.5 +On threads of the Acme Corporation\.$", listed, re.MULTILINE
    )


def test_listing_does_not_import_the_runner(here):
    statement = (
        "import sys; from runnerstone.task_runners import installed_task_runners; "
        "print([it.name for it in installed_task_runners()], 'acme_runners.runner' in sys.modules)"
    )

    assert here.run(["python", "-c", statement]).stdout == (
        "['acme', 'concurrent', 'sequential'] False\n"
    )


def test_importing_runnerstone_imports_no_plugin(here):
    statement = "import sys, runnerstone; print(*(name for name in sys.modules if 'acme' in name))"

    assert here.run(["python", "-c", statement]).stdout.split() == []


def test_flow_chooses_it_by_name(here, script):
    printed = here.run(["python", script]).stdout

    assert set(printed.split()) <= {"acme-0", "acme-1"}
    assert printed.split()


@pytest.mark.parametrize(
    "name", ["acme", "acme@acme-runners", "acme_runners.runner:AcmeTaskRunner"]
)
def test_command_chooses_it_by(here, tmp_path, name):
    script = tmp_path / "survey.py"
    script.write_text(dedent(SCRIPT.format(runner="sequential")))

    command = ["runnerstone", "run", script, "--runner", name, "--set", "threads=1"]
    printed = here.run(command).stdout

    assert printed == "acme-0\n"


def test_it_passes_the_conformance_suite(here, tmp_path):
    (tmp_path / "test_acme.py").write_text(dedent(SUITE))

    reported = here.run(["python", "-m", "pytest", "-q", "-rs", "-W", "error"]).stdout

    assert re.search(r"^\d{3,} passed, \d+ skipped in ", reported, re.MULTILINE), reported
    assert "no installed distribution announces the class" not in reported


def test_misspelt_name_is_told_with_the_nearest(here, script):
    told = here.run(["runnerstone", "run", script, "--runner", "acne"], returns=2).stderr

    assert "no task runner named 'acne'; did you mean 'acme'?" in told
    assert "installed: acme, concurrent, sequential\n" in told


@pytest.fixture
def uninstalled(here):
    here.pip("uninstall", "-y", "acme-runners")
    yield here
    here.pip("install", "--no-deps", here.wheel("acme_runners"))


def test_name_is_unknown_once_it_is_uninstalled(uninstalled, script):
    told = uninstalled.run(["runnerstone", "run", script], returns=2).stderr

    assert "no task runner named 'acme'" in told
    assert "installed: concurrent, sequential\n" in told
