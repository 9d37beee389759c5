"""What runs and edges cost: counted, in Python calls and in bytes, never timed."""

import gc
import sys
import tracemalloc
from collections import Counter
from threading import Event

import pytest

from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Nothing is logged."""
    caplog.set_level("WARNING", logger="runnerstone")


@pytest.fixture
def _tracing():
    """Memory is traced, as `taken` needs it."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@task
def give(value, others=()):
    return value


def taken():
    """Bytes in use, without garbage."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


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


@pytest.mark.usefixtures("_tracing")
@pytest.mark.parametrize("is_over", [True, False])
def test_run_whose_future_is_held_takes_little_memory(is_over):
    count, may_end = 2_000, Event()

    @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
    def body():
        give(0)
        held = task(may_end.wait).submit(PATIENCE)
        before = taken()
        futures = [give.submit(1) for _ in range(count)]
        if is_over:
            may_end.set()
            futures[-1].wait()
        during = taken()
        may_end.set()
        held.wait()
        return (during - before) / count

    assert body() <= (600 if is_over else 1_200)


@pytest.mark.usefixtures("_tracing")
def test_runs_whose_futures_nobody_holds_take_no_memory():
    kept, many = 100, 5_000

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2), keep_task_runs=kept)
    def body():
        used = [
            taken()
            for place, _ in enumerate(give.map(range(many), buffersize=20))
            if place in {1_000, many - 1}
        ]
        return used[1] - used[0]

    assert body() <= 32 * 1024


@pytest.mark.usefixtures("_tracing")
def test_record_of_a_run_takes_little_memory():
    count = 2_000

    @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
    def body():
        give(0)
        before = taken()
        for place in range(count):
            give([place] * 1_000)
        give.submit(1).wait()
        give.submit(2).wait()
        return (taken() - before) / count

    assert body() <= 350
