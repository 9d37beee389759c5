"""Values and threads that must not outlive their use."""

import asyncio
import gc
import threading
import weakref
from contextvars import ContextVar
from threading import Event

import pytest

from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong
variable: ContextVar[object] = ContextVar("variable", default=None)


class Value:
    """Something that can be referred to weakly."""


@task
def make():
    return Value()


@task
def look(value):
    return weakref.ref(value)


@task
def give(value, after=None):
    return value


@task
def fail(value):
    raise ValueError(repr(value))


@task
def hold(event):
    assert event.wait(PATIENCE)


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner(max_workers=2)], ids=repr)
def runner(request):
    return request.param


@pytest.fixture
def _no_cycles_collected():
    """Only what no reference cycle holds is dropped."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def _quiet(caplog):
    """Log records keep what they tell of: exceptions, and with them frames."""
    caplog.set_level("CRITICAL", logger="runnerstone")


def is_dropped(reference):
    """Whether a value is gone, or goes once a worker's thread has come to the end of its call."""
    gone = Event()
    value = reference()
    if value is None:
        return True
    weakref.finalize(value, gone.set)
    del value
    return gone.wait(PATIENCE)


# Values, while the flow runs


@pytest.mark.usefixtures("_no_cycles_collected")
def test_value_is_dropped_while_the_flow_runs_once_nobody_can_ask_for_it(runner):
    @flow(task_runner=runner)
    def body():
        value = look.submit(make.submit()).result()
        look.submit(make.submit()).result()  # the worker's next call
        return is_dropped(value)

    assert body()


@pytest.mark.usefixtures("_no_cycles_collected")
def test_argument_is_dropped_while_the_flow_runs_once_the_call_is_over(runner):
    @flow(task_runner=runner)
    def body():
        value = Value()
        seen = look.submit(value)
        seen.wait()
        del value
        look.submit(Value()).wait()  # the worker's next call
        return is_dropped(seen.result())

    assert body()


@pytest.mark.usefixtures("_no_cycles_collected")
def test_coroutine_s_argument_is_dropped_while_the_flow_runs_once_the_call_is_over(runner):
    @task
    async def look_async(value):
        await asyncio.sleep(0)
        return weakref.ref(value)

    @flow(task_runner=runner)
    def body():
        seen = look_async.submit(Value())
        seen.wait()
        look_async.submit(Value()).wait()  # the loop's next call
        return is_dropped(seen.result())

    assert body()


@pytest.mark.usefixtures("_no_cycles_collected")
def test_context_of_a_call_is_dropped_while_the_flow_runs_once_the_call_is_over(runner):
    @flow(task_runner=runner)
    def body():
        value = Value()
        seen = weakref.ref(value)
        token = variable.set(value)
        future = give.submit(1)
        variable.reset(token)
        del value, token
        future.wait()
        give.submit(2).wait()  # the worker's next call
        return is_dropped(seen)

    assert body()


def test_value_stays_as_long_as_its_future(runner):
    @flow(task_runner=runner)
    def body():
        future = make.submit()
        value = look.submit(future).result()
        gc.collect()
        return value() is future.result()

    assert body()


@pytest.mark.usefixtures("_no_cycles_collected")
def test_value_waits_for_its_last_dependent():
    may_end = Event()

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
    def body():
        made = make.submit()
        early = look.submit(made)
        late = task(lambda value, after: value is not None).submit(made, hold(may_end))
        del made
        value = early.result()
        was_there = value() is not None
        may_end.set()
        is_there = late.result()
        del late
        give.submit(1).wait()  # the workers' next calls
        give.submit(2).wait()
        return was_there, is_there

    assert body() == (True, True)


@pytest.mark.usefixtures("_no_cycles_collected")
def test_long_chain_holds_few_values_at_a_time(runner):
    alive, most = weakref.WeakSet(), []

    @task
    def link(previous):
        value = Value()
        alive.add(value)
        most.append(len(alive))
        return value

    @flow(task_runner=runner)
    def chain():
        future = link.submit(None)
        for _ in range(500):
            future = link.submit(future)
            if runner.capabilities.parallel:
                future.wait()
        return True

    assert chain()
    assert max(most) <= 4


@pytest.mark.usefixtures("_no_cycles_collected")
def test_values_of_many_unreferenced_runs_are_dropped_as_they_end(runner):
    alive = weakref.WeakSet()

    @task
    def count():
        value = Value()
        alive.add(value)
        return value

    @flow(task_runner=runner)
    def stream():
        for _ in range(1_000):
            count()
        give.submit(1).wait()
        give.submit(2).wait()

    stream()

    assert len(alive) == 0


# Values, once the flow is over


@pytest.mark.usefixtures("_no_cycles_collected")
def test_record_of_a_flow_run_keeps_no_value_of_a_task(runner):
    seen = []

    @flow(task_runner=runner)
    def body():
        seen.append(look.submit(make.submit()).result())
        seen.append(look.submit(Value()).result())

    run = body.run()

    assert run.state.is_completed()
    assert len(run.task_runs) == 3
    assert [value() for value in seen] == [None, None]


@pytest.mark.usefixtures("_no_cycles_collected")
def test_record_keeps_the_flow_s_own_value_until_it_goes(runner):
    run = flow(task_runner=runner)(lambda: [make()]).run()
    value = weakref.ref(run.result()[0])

    assert value() is not None
    del run
    assert value() is None


def test_future_that_is_kept_keeps_its_own_value_alone(runner):
    seen = []

    @flow(task_runner=runner)
    def body():
        kept = make.submit()
        seen.append(look.submit(kept).result())
        seen.append(look.submit(make.submit()).result())
        return [kept], kept

    kept = []
    flow(task_runner=runner)(lambda: kept.append(make.submit()))()
    body()
    gc.collect()

    assert isinstance(kept[0].result(), Value)
    assert [value() for value in seen] == [None, None]


@pytest.mark.usefixtures("_quiet")
def test_failure_keeps_no_upstream_value_alive():
    seen = []

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
    def body():
        made = make.submit()
        seen.append(look.submit(made).result())
        fail(made)

    run = body.run()
    gc.collect()

    assert run.state.is_failed()
    assert isinstance(run.failures[0][1], ValueError)
    assert seen[0]() is None


@pytest.mark.usefixtures("_quiet")
def test_what_a_failed_flow_run_held_goes_with_its_exception(runner):
    seen = []

    @flow(task_runner=runner)
    def inner():
        value = Value()
        seen.append(weakref.ref(value))
        fail(value)
        raise KeyError("in the body")

    @flow(task_runner=runner)
    def outer():
        inner()

    with pytest.raises(KeyError):
        outer()
    gc.collect()

    assert seen[0]() is None


@pytest.mark.usefixtures("_quiet")
def test_arguments_of_runs_that_never_ran_go_with_the_flow_run():
    may_end, seen = Event(), []

    def value():
        made = Value()
        seen.append(weakref.ref(made))
        return made

    @task(retries=1, retry_delay_seconds=3600)
    def fail_late(value):
        raise ValueError

    @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
    def body():
        awaiting = fail_late.submit(value())
        while awaiting.state.name != "AwaitingRetry":
            awaiting.wait(0.001)
        awaiting.cancel()
        held = hold(may_end)
        give.submit(value(), after=held).cancel()
        give(value(), after=awaiting)
        may_end.set()

    run = body.run()
    gc.collect()

    assert run.state.is_cancelled()
    assert [it() for it in seen] == [None] * 3


# Threads


class BrokenTaskRunner(ConcurrentTaskRunner):
    """Has started all that it can when starting fails."""

    def start(self):
        super().start()
        self._add_thread()
        self._event_loop()
        raise OSError("no room")


class BrokenAtTheEndTaskRunner(ConcurrentTaskRunner):
    """Stops, and fails then."""

    def stop(self):
        super().stop()
        raise OSError("not yet")


def threads_left(run):
    """The threads that a function leaves running."""
    before = set(threading.enumerate())
    run()
    return set(threading.enumerate()) - before


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("ends", ["completes", "fails", "raises", "is cancelled", "exits"])
def test_no_thread_is_left_however_a_flow_run_ends(runner, ends):
    called_back = Event()

    @task
    async def coroutine():
        return 1

    @task(retries=1, retry_delay_seconds=0.001)
    def once_more(broken):
        if broken:
            raise ValueError

    @flow(task_runner=runner)
    def body():
        coroutine.submit().add_done_callback(lambda _: called_back.set())
        once_more.submit(broken=ends == "fails")
        if ends == "is cancelled":
            once_more.submit(broken=True).cancel()
        if ends == "raises":
            raise KeyError
        if ends == "exits":
            raise SystemExit

    def run():
        try:
            body.run()
        except SystemExit:
            assert ends == "exits"

    assert threads_left(run) == set()
    assert called_back.is_set()


@pytest.mark.usefixtures("_quiet")
def test_no_thread_is_left_by_a_runner_that_fails_to_start():
    body = flow(task_runner=BrokenTaskRunner())(lambda: None)

    assert threads_left(body.run) == set()


@pytest.mark.usefixtures("_quiet")
def test_no_thread_is_left_of_the_engine_s_by_a_runner_that_fails_to_stop():
    @flow(task_runner=BrokenAtTheEndTaskRunner())
    def body():
        flaky = fail.with_options(retries=1, retry_delay_seconds=0.001)
        flaky.submit(1).add_done_callback(repr)

    assert threads_left(body.run) == set()


@pytest.mark.usefixtures("_quiet")
def test_thread_that_executes_what_was_cancelled_ends_with_that():
    begun, may_end = Event(), Event()

    @task
    def begin_and_hold():
        begun.set()
        assert may_end.wait(PATIENCE)

    @flow(task_runner=ConcurrentTaskRunner(max_workers=3))
    def body():
        future = begin_and_hold.submit()
        begun.wait(PATIENCE)
        future.cancel()
        return [give(1), give(2)]

    left = threads_left(body)
    may_end.set()
    for thread in left:
        thread.join(PATIENCE)

    assert len(left) == 1
    assert not any(thread.is_alive() for thread in left)


@pytest.mark.usefixtures("_quiet")
def test_no_thread_is_left_by_an_async_flow_whose_awaiter_is_cancelled():
    @task
    async def endless():
        await asyncio.Event().wait()

    @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
    async def body():
        endless()
        give(1)
        await asyncio.Event().wait()

    async def main():
        running = asyncio.create_task(body())
        await asyncio.sleep(0.01)
        for _ in range(2):
            running.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait([running])

    assert threads_left(lambda: asyncio.run(main())) == set()
