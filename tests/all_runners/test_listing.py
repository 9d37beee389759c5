"""All plugins installed: their names, their classes, and what finding them imports."""

import subprocess
import sys

import pytest

from runnerstone.task_runners import TaskRunner, installed_task_runners, resolve_task_runner

ENGINES = {"dask", "distributed", "loky", "ray"}
NAMES = ["concurrent", "dask", "process", "ray", "sequential"]


def loaded_by(code: str) -> set[str]:
    """The names of the modules that are loaded once some code has run."""
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(finished.stdout.splitlines()[-1].split())


def test_installing_a_plugin_brings_its_name():
    installed = installed_task_runners()

    assert [it.name for it in installed] == NAMES
    assert [it.error for it in installed] == [None] * 5


def test_listing_the_task_runners_imports_no_engine():
    loaded = loaded_by(
        "from runnerstone.cli import runners; runners.main([], standalone_mode=False)"
    )

    assert loaded >= {f"runnerstone_{name}.hooks" for name in ("dask", "process", "ray")}
    assert not loaded & ENGINES
    assert not loaded & {f"runnerstone_{name}.runner" for name in ("dask", "process", "ray")}


@pytest.mark.parametrize("name", NAMES)
def test_name_gives_a_task_runner_with_defaults_and_imports_no_engine(name):
    loaded = loaded_by(
        f"from runnerstone.task_runners import resolve_task_runner; resolve_task_runner({name!r})"
    )

    assert isinstance(resolve_task_runner(name), TaskRunner)
    assert not loaded & ENGINES


@pytest.mark.parametrize("name", ["dask", "process", "ray"])
def test_class_of_a_plugin_is_behind_the_public_door(name):
    import runnerstone.task_runners as door

    cls = getattr(door, f"{name.capitalize()}TaskRunner")

    assert cls.__module__ == f"runnerstone_{name}.runner"
    assert resolve_task_runner(name) == cls()


def test_plugins_load_in_no_time():
    for it in installed_task_runners():
        assert it.load_seconds < 1  # it would take longer to load an engine than all of them
