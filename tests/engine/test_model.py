"""Flows at random end as the model of the rules says, with every run in them.

``RUNNERSTONE_TEST_PLANS`` asks for that many on each task runner, and for others each time.
"""

import pytest
from hypothesis import given

from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from tests.engine.executions import Execution
from tests.engine.graphs import FlowNode, Plan, Ref, StateOf, TaskNode
from tests.engine.models import Model, told
from tests.engine.strategies import plans_of_flows, searching

SEQUENTIAL = SequentialTaskRunner()
FAILING = TaskNode(plan=Plan(number=1, failures=1))

pytestmark = pytest.mark.timeout(400)  # what fails is searched for the smallest plan that does so


@pytest.mark.parametrize(
    "runner",
    [
        SEQUENTIAL,
        SequentialTaskRunner(strict=True),
        ConcurrentTaskRunner(max_workers=1),
        ConcurrentTaskRunner(max_workers=16),
    ],
    ids=repr,
)
@searching(150)
@given(plan=plans_of_flows(0, 14))
def test_every_run_ends_by_the_rules(runner, plan):
    expected = Model(plan).ends

    found = Execution(plan, (runner, SEQUENTIAL, ConcurrentTaskRunner(max_workers=2))).ends

    assert told(found) == told(expected)


# What once went wrong.


def test_exception_of_a_subflow_names_the_skipped_run_that_held_it_up():
    skipped = TaskNode(plan=Plan(number=2), argument=Ref(1))
    held_up = FlowNode(number=3, argument=Ref(2))
    plan = FlowNode(number=0, nodes=(FAILING, skipped, held_up))

    assert told(Execution(plan, [SEQUENTIAL]).ends) == told(Model(plan).ends)


def test_each_returned_state_counts():
    subflows = [
        FlowNode(number=number, nodes=(TaskNode(plan=Plan(number=number + 1)),))
        for number in (2, 4)
    ]
    returned = [StateOf(2), StateOf(4), Ref(1)]
    plan = FlowNode(number=0, nodes=(FAILING, *subflows), returned=returned)

    assert told(Execution(plan, [SEQUENTIAL]).ends) == told(Model(plan).ends)


def test_failure_elsewhere_comes_in_the_place_of_the_returned_run_that_it_held_up():
    upstream = TaskNode(plan=Plan(number=3, failures=1))
    held_up = TaskNode(plan=Plan(number=5), argument=Ref(3))
    failing = TaskNode(plan=Plan(number=6, failures=1))
    subflow = FlowNode(number=4, nodes=(held_up, failing), returned=[Ref(5), Ref(6)])
    before = (TaskNode(plan=Plan(number=1)), TaskNode(plan=Plan(number=2)))
    plan = FlowNode(number=0, nodes=(*before, upstream, subflow))

    assert told(Execution(plan, [SEQUENTIAL]).ends) == told(Model(plan).ends)
