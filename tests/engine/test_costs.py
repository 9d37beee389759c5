"""What runs and edges cost: counted, in Python calls and in bytes, never timed."""

import sys
from collections import Counter

import pytest

from runnerstone import flow, task
from runnerstone.task_runners import SequentialTaskRunner


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Nothing is logged."""
    caplog.set_level("WARNING", logger="runnerstone")


@task
def give(value, others=()):
    return value


def calls_of(body):
    """How many calls of Python functions a flow takes in this thread, by code object."""
    calls = Counter()

    def count(frame, event, arg):
        if event == "call":
            calls[frame.f_code] += 1

    run = flow(task_runner=SequentialTaskRunner())(body)
    run()  # what is done but once
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def layers(width, depth, *, connected):
    def body():
        layer = [give(place) for place in range(width)]
        for _ in range(depth):
            layer = [give(place, layer if connected else ()) for place in range(width)]

    return body


def runs(count):
    def body():
        for _ in range(count):
            give(1)

    return body


def test_run_without_upstream_takes_few_calls():
    few, many = (calls_of(runs(count)).total() for count in (100, 200))

    assert (many - few) / 100 <= 50


@pytest.mark.parametrize("width", [10, 50])
def test_edge_takes_few_calls_however_many_there_are(width):
    depth = 4
    without, with_edges = (
        calls_of(layers(width, depth, connected=connected)).total() for connected in (False, True)
    )

    of_runs = 60 * width * depth  # searching a list, whatever is in it
    assert with_edges - without - of_runs <= 3 * width * width * depth
