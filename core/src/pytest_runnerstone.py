"""The pytest plugin: in tests, flows run on the task runner that the test session chooses.

Every pytest session loads this module if runnerstone is installed. So it stands beside the package,
and imports of it nothing until a test runs a flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from runnerstone import FlowRun
    from runnerstone.flows import Flow
    from runnerstone.options import TaskRunnerChoice

__all__ = ["flow_task_runner", "run_flow"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the setting, both named like the fixture that they are read by."""
    group = parser.getgroup("runnerstone")
    group.addoption(
        "--flow-task-runner",
        metavar="NAME",
        help="The task runner that the fixture run_flow uses: a name that `runnerstone runners` "
        "lists, or package.module:Class.",
    )
    parser.addini(
        "flow_task_runner",
        "The same, for all sessions; 'sequential' by default.",
        default="sequential",
    )


@pytest.fixture(scope="session")
def flow_task_runner(pytestconfig: pytest.Config) -> TaskRunnerChoice:
    """The task runner that run_flow uses, by name, type or instance: a fixture to override.

    By default what ``--flow-task-runner`` says, else the setting ``flow_task_runner``, else the
    sequential one: it runs a task in the test's own thread, where pdb, coverage and caplog reach.
    """
    choice: str = pytestconfig.getoption("flow_task_runner") or pytestconfig.getini(
        "flow_task_runner"
    )
    return choice


@pytest.fixture
def run_flow(flow_task_runner: TaskRunnerChoice) -> Callable[..., FlowRun[Any]]:
    """Run a flow, also an ``async def`` one: ``run_flow(flow, *args, **kwargs)``.

    It gives the finished flow run and raises nothing of what failed in it; ``.result()`` does.
    Subflows keep their own task runners.
    """

    def run(flow: Flow[..., Any], /, *args: Any, **kwargs: Any) -> FlowRun[Any]:
        # Late: sessions in which no flow runs need none of it.
        from runnerstone.calls import run_coroutine  # noqa: PLC0415

        __tracebackhide__ = True
        flow_run: Any = flow.with_options(task_runner=flow_task_runner).run(*args, **kwargs)
        finished: FlowRun[Any] = run_coroutine(flow_run) if flow.is_async else flow_run
        return finished

    return run
