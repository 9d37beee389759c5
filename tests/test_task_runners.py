import importlib

import pytest

from runnerstone import task_runners
from runnerstone._plugins import WELL_KNOWN, installed_task_runners
from runnerstone.errors import TaskRunnerNotInstalledError

HEAVY = {"asyncio", "cattrs", "click", "coolname", "importlib_metadata"}


def absent_name() -> str:
    installed = {found.distribution for found in installed_task_runners()}
    absent = (name for name, home in WELL_KNOWN.items() if home not in installed)
    return next(absent, None) or pytest.skip("all that are well known are installed")


@pytest.mark.parametrize("module", ["runnerstone", "runnerstone.task_runners"])
def test_importing_it_loads_nothing_heavy(python, module):
    loaded = python.imports(f"import {module}")

    assert not HEAVY & loaded


def test_all_that_it_offers_is_there_in_order():
    names = task_runners.__all__

    assert names == sorted(names)
    assert all(hasattr(task_runners, name) for name in names)


def test_the_class_of_an_absent_plugin_says_what_to_install():
    name = absent_name()
    message = (
        f"task runner '{name}' is not installed; to install it: pip install runnerstone-{name}"
    )

    with pytest.raises(TaskRunnerNotInstalledError, match=message):
        getattr(task_runners, f"{name.capitalize()}TaskRunner")


def test_importing_the_class_of_an_absent_plugin_says_what_to_install():
    name = absent_name()
    statement = f"from runnerstone.task_runners import {name.capitalize()}TaskRunner"

    with pytest.raises(ImportError, match=f"pip install runnerstone-{name}"):
        exec(statement)


def test_the_class_of_an_installed_plugin_is_the_plugin_s(site, python):
    site.add_plugin("process", "runnerstone-process")
    statement = (
        f"import sys; sys.path.insert(0, {str(site.folder)!r})\n"
        "from runnerstone.task_runners import ProcessTaskRunner\n"
        "from runnerstone_process_runner import AtOnceTaskRunner\n"
        "assert ProcessTaskRunner is AtOnceTaskRunner"
    )

    loaded = python.imports(statement)

    assert "runnerstone_process_hooks" in loaded


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="task_runners' has no attribute 'SparkTaskRunner'"):
        _ = task_runners.SparkTaskRunner


def test_the_manual_of_the_contract_is_where_the_docstring_says():
    contracts = importlib.import_module("runnerstone.contracts")

    assert contracts.__name__ in task_runners.__doc__
