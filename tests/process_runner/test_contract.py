"""The conformance suite, on processes."""

import pytest

from runnerstone.task_runners import TaskRunner
from runnerstone.testing import TaskRunnerContract
from runnerstone_process import ProcessTaskRunner


class TestProcessTaskRunner(TaskRunnerContract):
    @pytest.fixture
    def task_runner(self) -> TaskRunner:
        return ProcessTaskRunner(max_workers=2)
