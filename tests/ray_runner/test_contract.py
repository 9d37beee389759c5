"""The conformance suite, on a Ray cluster that is there already."""

import pytest

from runnerstone.task_runners import TaskRunner
from runnerstone.testing import TaskRunnerContract

pytestmark = pytest.mark.timeout(120)  # a worker process that died is started again


class TestRayTaskRunner(TaskRunnerContract):
    @pytest.fixture
    def task_runner(self, attached) -> TaskRunner:
        return attached
