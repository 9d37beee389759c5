"""The pytest plugin, in test sessions of their own."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

pytest_plugins = ["pytester"]

SETTINGS = Path(__file__).parents[1] / "core" / "pyproject.toml"
FLOWS = """
    import logging
    import threading

    import pytest

    from runnerstone import FlowRun, flow, task
    from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

    @task
    def place(prefix="on ", *, suffix=""):
        return prefix + threading.current_thread().name.partition("-")[0] + suffix

    @flow(task_runner="no-such-runner")
    def where(*args, **kwargs):
        return place(*args, **kwargs)

    @flow
    async def where_async():
        return await place.submit()

    @flow
    def failing():
        raise ValueError("no folder today")
"""


@pytest.fixture
def session(pytester, monkeypatch):
    """Runs tests in a session that has the plugin and no other; returns its result."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def session(tests, *arguments, settings=""):
        pytester.makepyfile(dedent(FLOWS) + dedent(tests))
        pytester.makeini(f"[pytest]\n{settings}\n")
        return pytester.runpytest("-p", "pytest_runnerstone", "--strict-config", *arguments)

    return session


@pytest.fixture
def start_session(python, tmp_path):
    """Runs tests in a process of its own, with text on its standard input; returns its output."""

    def start_session(tests, *arguments, typed=""):
        (tmp_path / "test_flows.py").write_text(dedent(tests), encoding="utf-8")
        return subprocess.run(
            [sys.executable, *arguments, "-p", "pytest_runnerstone", "test_flows.py"],
            cwd=tmp_path,
            env=python.environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    return start_session


# --- run_flow


def test_flow_runs_one_task_after_another_in_the_test_s_thread(session):
    result = session("""
        def test_where(run_flow):
            flow_run = run_flow(where)

            assert isinstance(flow_run, FlowRun)
            assert flow_run.result() == "on MainThread"
    """)

    result.assert_outcomes(passed=1)


def test_flow_gets_the_arguments(session):
    result = session("""
        def test_where(run_flow):
            assert run_flow(where, "in ", suffix="!").result() == "in MainThread!"
    """)

    result.assert_outcomes(passed=1)


def test_async_flow_is_run(session):
    result = session("""
        def test_where(run_flow):
            assert run_flow(where_async).result() == "on MainThread"
    """)

    result.assert_outcomes(passed=1)


def test_what_fails_is_in_the_record(session):
    result = session("""
        def test_failing(run_flow):
            flow_run = run_flow(failing)

            assert flow_run.state.is_failed()
            with pytest.raises(ValueError, match="no folder today"):
                flow_run.result()
    """)

    result.assert_outcomes(passed=1)


# --- flow_task_runner


WHERE = """
    def test_where(run_flow):
        assert run_flow(where).result() == "on ConcurrentTaskRunner"
"""


def test_option_chooses_the_task_runner(session):
    result = session(WHERE, "--flow-task-runner", "concurrent")

    result.assert_outcomes(passed=1)


def test_setting_chooses_the_task_runner(session):
    result = session(WHERE, settings="flow_task_runner = concurrent")

    result.assert_outcomes(passed=1)


def test_option_goes_before_the_setting(session):
    result = session(
        WHERE, "--flow-task-runner=concurrent", settings="flow_task_runner = sequential"
    )

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "choice", ["'concurrent'", "ConcurrentTaskRunner", "ConcurrentTaskRunner()"]
)
def test_fixture_that_is_overridden_goes_before_both(session, choice):
    overriding = f"""
    @pytest.fixture
    def flow_task_runner():
        return {choice}
    """

    result = session(overriding + WHERE, "--flow-task-runner=sequential")

    result.assert_outcomes(passed=1)


def test_fixture_may_be_parametrized(session):
    result = session("""
        PLACES = {"sequential": "on MainThread", "concurrent": "on ConcurrentTaskRunner"}

        @pytest.fixture(params=PLACES)
        def flow_task_runner(request):
            return request.param

        def test_where(run_flow, flow_task_runner):
            assert run_flow(where).result() == PLACES[flow_task_runner]
    """)

    result.assert_outcomes(passed=2)


def test_wrong_name_fails_the_test_and_says_the_nearest(session):
    result = session(WHERE, "--flow-task-runner", "sequentail")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*UnknownTaskRunnerError: no task runner named 'sequentail'; did you mean 'sequential'?*"]
    )


def test_help_tells_of_the_option_and_the_setting(session):
    result = session("", "--help")

    result.stdout.fnmatch_lines(["runnerstone:", "*--flow-task-runner*NAME*"])
    result.stdout.fnmatch_lines(["  flow_task_runner (string):*"])


# --- a session that does not use it


def test_loading_the_plugin_imports_nothing_of_the_package(python):
    loaded = python.imports("import pytest_runnerstone")

    assert not {name for name in loaded if name.partition(".")[0] in {"runnerstone", "attr"}}


def test_plugin_imports_nothing_that_pytest_does_not(python):
    with_it = python.imports("import pytest, pytest_runnerstone")

    assert with_it - python.imports("import pytest") == {"pytest_runnerstone"}


def test_distribution_announces_the_plugin(python, tmp_path):
    project = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["project"]
    [(name, value)] = project["entry-points"]["pytest11"].items()
    metadata = tmp_path / "runnerstone_as_declared-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: runnerstone-as-declared\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{name} = {value}\n")

    listed = python.run(["-m", "pytest", "--fixtures"]).stdout

    assert name == "runnerstone"
    assert re.search(r"^run_flow -- .*pytest_runnerstone\.py", listed, re.MULTILINE)


# --- the debugger


BREAKING = """
    from runnerstone import flow, task

    @task
    def add(one, other):
        breakpoint()
        return one + other

    @flow
    def census():
        return add(1, 2)

    def test_census(run_flow):
        assert run_flow(census).result() == 3

    def test_another():
        print("another test")
"""


def test_debugger_of_pytest_stops_in_a_task(start_session):
    output = start_session(BREAKING, "-m", "pytest", typed="p one, other\nc\n")

    assert "(Pdb) (1, 2)\n" in output
    assert "2 passed" in output


def test_quitting_the_debugger_in_a_task_ends_the_session(start_session):
    output = start_session(BREAKING, "-m", "pytest", typed="q\n")

    assert "Quitting debugger" in output
    assert "no tests ran" in output


def test_debugger_after_a_failure_stands_where_the_task_raised(start_session):
    output = start_session(
        """
        from runnerstone import flow, task

        @task
        def fail():
            raise ValueError("no folder today")

        @flow
        def census():
            return fail()

        def test_census(run_flow):
            run_flow(census).result()
        """,
        *("-m", "pytest", "--pdb"),
        typed="q\n",
    )

    assert re.search(r"^> .*test_flows\.py\(6\)fail\(\)$", output, re.MULTILINE)
