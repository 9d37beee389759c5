"""The conformance suite: what every task runner has to do, as tests that its author inherits.

This is all that a runner's tests need::

    import pytest

    from runnerstone.testing import TaskRunnerContract


    class TestMyTaskRunner(TaskRunnerContract):
        @pytest.fixture
        def task_runner(self):
            return MyTaskRunner()

It needs the extra ``runnerstone[testing]``, in the driver and on the workers, which import from here
the tasks that the tests run. Where workers are other processes, they share the driver's machine or
at least its loopback interface and the folder for temporary files.
"""

import pytest

# Before they are imported: pytest then tells what an assertion compared.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "_exceptions",
            "_flow_runs",
            "_lifecycles",
            "_orders",
            "_reports",
            "_upstreams",
            "_values",
        )
    )
)

from runnerstone.testing._contract import TaskRunnerContract  # noqa: E402

__all__ = ["TaskRunnerContract"]
