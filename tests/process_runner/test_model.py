"""Flows at random end on processes as the model of the rules says, with every run in them."""

import pytest
from hypothesis import given

from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from runnerstone_process import ProcessTaskRunner
from tests.engine.executions import Execution
from tests.engine.models import Model, told
from tests.engine.strategies import plans_of_flows, searching

pytestmark = pytest.mark.timeout(400)  # what fails is searched for the smallest plan that does so

OTHERS = SequentialTaskRunner(), ConcurrentTaskRunner(max_workers=2)  # of some subflows


@searching(15)
@given(plan=plans_of_flows(10, 30))
def test_every_run_ends_by_the_rules(plan):
    expected = Model(plan).ends

    found = Execution(plan, (ProcessTaskRunner(max_workers=2), *OTHERS)).ends

    assert told(found) == told(expected)
