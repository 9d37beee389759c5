"""The conformance suite: what every task runner has to do, as tests that its author inherits.

This is all that a runner's tests need::

    import pytest

    from runnerstone.testing import TaskRunnerContract


    class TestMyTaskRunner(TaskRunnerContract):
        @pytest.fixture
        def task_runner(self):
            return MyTaskRunner()

It needs the extra ``runnerstone[testing]``, on the workers too: they import the tests' tasks.
Workers that are other processes have to be on the driver's machine: tasks and tests meet on its
loopback interface and in its folder for temporary files.
"""

import pytest

# Before they are imported: pytest then tells what an assertion compared.
pytest.register_assert_rewrite(
    f"{__name__}._calls",
    f"{__name__}._cancellations",
    f"{__name__}._crashes",
    f"{__name__}._deadlines",
    f"{__name__}._endings",
    f"{__name__}._exceptions",
    f"{__name__}._flow_runs",
    f"{__name__}._lifecycles",
    f"{__name__}._marks",
    f"{__name__}._options",
    f"{__name__}._orders",
    f"{__name__}._outcomes",
    f"{__name__}._reports",
    f"{__name__}._upstreams",
    f"{__name__}._values",
)

from runnerstone.testing._contract import TaskRunnerContract  # noqa: E402

__all__ = ["TaskRunnerContract"]
