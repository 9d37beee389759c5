"""The conformance suite, on a Dask cluster that is there already."""

import pytest

from runnerstone.task_runners import TaskRunner
from runnerstone.testing import TaskRunnerContract
from runnerstone_dask import DaskTaskRunner

pytestmark = pytest.mark.timeout(120)  # a worker that died is started again


class TestDaskTaskRunner(TaskRunnerContract):
    @pytest.fixture
    def task_runner(self, dask_cluster) -> TaskRunner:
        return DaskTaskRunner(address=dask_cluster.address)
