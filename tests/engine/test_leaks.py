"""Values and threads that must not outlive their use."""

import gc
import threading
import weakref

import pytest

from runnerstone import flow, task


class Value:
    """Something that can be referred to weakly."""


@task
def make():
    return Value()


@task
def look(value):
    return weakref.ref(value)


@task
def fail(value):
    raise ValueError(repr(value))


@pytest.mark.parametrize("task_runner", ["sequential", "concurrent"])
def test_value_is_dropped_while_the_flow_runs_once_nobody_can_ask_for_it(task_runner):
    @flow(task_runner=task_runner)
    def body():
        value = look.submit(make.submit()).result()
        look.submit(make.submit()).result()  # the worker's next call
        gc.collect()
        return value() is None

    assert body()


@pytest.mark.parametrize("task_runner", ["sequential", "concurrent"])
def test_value_stays_as_long_as_its_future(task_runner):
    @flow(task_runner=task_runner)
    def body():
        future = make.submit()
        value = look.submit(future).result()
        gc.collect()
        return value() is future.result()

    assert body()


@pytest.mark.parametrize("task_runner", ["sequential", "concurrent"])
def test_record_of_a_flow_run_keeps_no_value_of_a_task(task_runner):
    seen = []

    @flow(task_runner=task_runner)
    def body():
        seen.append(look.submit(make.submit()).result())

    run = body.run()
    gc.collect()

    assert run.state.is_completed()
    assert len(run.task_runs) == 2
    assert seen[0]() is None


def test_failure_keeps_no_upstream_value_alive():
    seen = []

    @flow
    def body():
        made = make.submit()
        seen.append(look.submit(made).result())
        fail(made)

    run = body.run()
    gc.collect()

    assert run.state.is_failed()
    assert isinstance(run.failures[0][1], ValueError)
    assert seen[0]() is None


@pytest.mark.parametrize("ends", ["completes", "fails", "raises", "is cancelled"])
@pytest.mark.parametrize("task_runner", ["sequential", "concurrent"])
def test_no_thread_is_left_however_a_flow_run_ends(task_runner, ends):
    called_back = threading.Event()

    @task
    async def coroutine():
        return 1

    @task(retries=1, retry_delay_seconds=0.001)
    def once_more(broken):
        if broken:
            raise ValueError

    @flow(task_runner=task_runner)
    def body():
        coroutine.submit().add_done_callback(lambda _: called_back.set())
        once_more.submit(broken=ends == "fails")
        if ends == "is cancelled":
            once_more.submit(broken=True).cancel()
        if ends == "raises":
            raise KeyError

    before = threading.enumerate()
    run = body.run()

    assert run.ended is not None
    assert called_back.is_set()
    assert [thread for thread in threading.enumerate() if thread not in before] == []
