"""The conformance suite, on a Ray cluster of the task runner's own."""

from collections.abc import Iterator

import pytest

from runnerstone.task_runners import TaskRunner
from runnerstone.testing import TaskRunnerContract
from runnerstone_ray import RayTaskRunner

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def own() -> Iterator[RayTaskRunner]:
    """A task runner whose cluster stays while the tests run: starting one takes seconds."""
    runner = RayTaskRunner(init_kwargs={"num_cpus": 2})
    keeper = runner.copy_for_run()
    try:
        keeper.start()
        yield runner
    finally:
        keeper.stop()


class TestRayTaskRunner(TaskRunnerContract):
    @pytest.fixture
    def task_runner(self, own) -> TaskRunner:
        return own
