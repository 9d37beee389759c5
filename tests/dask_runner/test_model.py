"""Flows at random end on Dask as the model of the rules says, with every run in them."""

import pytest
from hypothesis import given

from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from runnerstone_dask import DaskTaskRunner
from tests.engine.executions import Execution
from tests.engine.models import Model, told
from tests.engine.strategies import plans_of_flows, searching

pytestmark = pytest.mark.timeout(400)  # what fails is searched for the smallest plan that does so

OTHERS = SequentialTaskRunner(), ConcurrentTaskRunner(max_workers=2)  # of some subflows


@searching(15)
@given(plan=plans_of_flows(10, 30))
def test_every_run_ends_by_the_rules(dask_cluster, plan):
    expected = Model(plan).ends

    found = Execution(plan, (DaskTaskRunner(address=dask_cluster.address), *OTHERS)).ends

    assert told(found) == told(expected)
