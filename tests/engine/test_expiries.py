"""Flow runs whose time is up."""

import asyncio
import logging
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from threading import Event

import pytest

from runnerstone import StateType, flow, get_run_context, task
from runnerstone._context import current_run
from runnerstone._engine.interrupts import FlowExpired
from runnerstone.contexts import ambient_tags
from runnerstone.errors import FlowTimeoutError, TaskCancelledError
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
LIMIT = 0.1
LONG = 3600.0
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong
MESSAGE = f"Flow run exceeded timeout of {LIMIT} seconds."


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """Each test leaves Python's own handler of Ctrl-C, no run, no tag and no thread behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threads = set(threading.enumerate())
    yield
    handler = signal.signal(signal.SIGINT, before)
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= threads
    assert handler is signal.default_int_handler
    assert current_run.get() is None
    assert ambient_tags.get() == frozenset()


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


@task
def give(value):
    return value


def spin_for(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def wait_for_ever():
    assert not Event().wait(PATIENCE)


def in_thread(fn, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(fn, *args).result()


# The body


@pytest.mark.parametrize(
    "wait",
    [
        lambda: time.sleep(PATIENCE),
        lambda: spin_for(PATIENCE),
        wait_for_ever,
        lambda: task(asyncio.sleep).submit(PATIENCE).result(),
    ],
    ids=["sleeping", "spinning", "waiting", "asking"],
)
def test_a_body_in_the_main_thread_is_interrupted_where_it_stands(wait):
    cleaned_up = []

    @flow(timeout_seconds=LIMIT)
    def body():
        try:
            wait()
        except Exception as error:
            raise AssertionError from error
        finally:
            cleaned_up.append(1)

    run = body.run()

    assert str(run.state) == f"TimedOut(message={MESSAGE!r}, type=FAILED)"
    assert run.state.is_timed_out()
    assert run.state.is_failed()
    assert (type(run.error), str(run.error)) == (FlowTimeoutError, MESSAGE)
    assert LIMIT <= run.ended - run.started < PATIENCE / 2
    assert cleaned_up == [1]


def test_calling_a_flow_whose_time_is_up_raises_a_timeout():
    with pytest.raises(TimeoutError, match="Flow run exceeded timeout"):
        flow(timeout_seconds=LIMIT)(wait_for_ever)()


def test_a_flow_that_ends_in_time_has_its_value(runner):
    @flow(timeout_seconds=LONG, task_runner=runner)
    def body():
        return [give(1), give(give(2))]

    assert body() == [1, 2]
    assert in_thread(body) == [1, 2]


def test_a_flow_that_fails_in_time_raises_its_own_exception():
    @flow(timeout_seconds=LONG)
    def body():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        body()


def test_a_body_in_another_thread_ends_when_it_next_submits():
    passed = []

    @flow(timeout_seconds=LIMIT)
    def body():
        time.sleep(3 * LIMIT)
        passed.append("slept")
        give(1)
        passed.append("submitted")

    run = in_thread(body.run)

    assert run.state.is_timed_out()
    assert passed == ["slept"]


def test_a_body_in_another_thread_that_submits_no_more_ends_by_itself():
    @flow(timeout_seconds=LIMIT)
    def body():
        time.sleep(3 * LIMIT)
        return "too late"

    run = in_thread(body.run)

    assert (run.state.message, type(run.error)) == (MESSAGE, FlowTimeoutError)


def test_a_body_that_catches_everything_ends_when_it_next_submits(runner):
    passed = []

    @flow(timeout_seconds=LIMIT, task_runner=runner)
    def body():
        with suppress(BaseException):
            wait_for_ever()
        passed.append("caught")
        give(1)
        passed.append("submitted")

    run = body.run()

    assert run.state.is_timed_out()
    assert passed == ["caught"]
    assert run.submitted == 0


def test_a_body_that_catches_everything_and_returns_is_timed_out():
    @flow(timeout_seconds=LIMIT)
    def body():
        with suppress(BaseException):
            wait_for_ever()
        return "caught"

    assert body.run().state.is_timed_out()


def test_what_a_body_raises_instead_is_timed_out_all_the_same():
    @flow(timeout_seconds=LIMIT)
    def body():
        try:
            wait_for_ever()
        except BaseException:
            raise KeyError("instead") from None

    assert body.run().state.is_timed_out()


@pytest.mark.parametrize("wait", [None, "task", "subflow"])
def test_a_coroutine_is_interrupted_at_its_next_await(wait):
    cleaned_up = []

    @flow
    async def inner():
        await asyncio.sleep(PATIENCE)

    @flow(timeout_seconds=LIMIT)
    async def body():
        try:
            if wait == "task":
                await task(asyncio.sleep).submit(PATIENCE)
            elif wait == "subflow":
                await inner()
            await asyncio.sleep(PATIENCE)
        finally:
            cleaned_up.append(1)

    async def main():
        run = await body.run()
        await asyncio.sleep(0)  # nothing of the timeout is left in the caller
        return run

    run = asyncio.run(main())

    assert run.state.is_timed_out()
    assert run.ended - run.started < PATIENCE / 2
    assert cleaned_up == [1]
    assert not any(it.state.is_completed() for it in run.subflow_runs)


def test_a_coroutine_whose_time_is_not_up_may_time_something_out_itself():
    @flow(timeout_seconds=LONG)
    async def body():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(PATIENCE)
        return "in time"

    assert asyncio.run(body()) == "in time"


def test_two_coroutines_end_each_at_its_own_time():
    @flow
    async def body(seconds):
        await asyncio.sleep(seconds)
        return seconds

    async def main():
        quick = body.with_options(timeout_seconds=LIMIT)
        return await asyncio.gather(quick.run(PATIENCE), body.run(3 * LIMIT), quick.run(0))

    states = [run.state.name for run in asyncio.run(main())]

    assert states == ["TimedOut", "Completed", "Completed"]


# What was submitted


def test_what_was_submitted_is_cancelled():
    futures = []

    @task
    def hold():
        spin_for(PATIENCE)

    @flow(timeout_seconds=LIMIT, task_runner=ONE_THREAD)
    def body():
        futures.append(give.submit(1))
        futures[0].wait()
        futures.append(hold.submit())
        futures.append(give.submit(2))
        futures.append(give.submit(futures[2]))
        wait_for_ever()

    run = body.run()

    assert [it.state.name for it in futures] == ["Completed", "Cancelled", "Cancelled", "Cancelled"]
    assert run.counts == {StateType.COMPLETED: 1, StateType.CANCELLED: 3}
    with pytest.raises(TaskCancelledError):
        futures[1].result()


def test_time_counts_until_all_that_was_submitted_is_final():
    @flow(timeout_seconds=LIMIT)
    def body():
        task(asyncio.sleep).submit(PATIENCE)
        return "the body is over"

    run = body.run()

    assert run.state.is_timed_out()
    assert run.counts == {StateType.CANCELLED: 1}
    assert run.ended - run.started < PATIENCE / 2


def test_retries_that_wait_are_cancelled(runner):
    @task(retries=1, retry_delay_seconds=PATIENCE)
    def fail():
        raise KeyError

    run = flow(timeout_seconds=LIMIT, task_runner=runner)(lambda: fail.submit().result()).run()

    assert run.state.is_timed_out()
    assert run.ended - run.started < PATIENCE / 2
    assert run.counts == {StateType.CANCELLED: 1}


# Subflows


def test_the_time_of_the_flow_around_ends_a_subflow_with_all_that_it_submitted(runner):
    @task
    async def sleep():
        await asyncio.sleep(PATIENCE)

    @flow(task_runner=ConcurrentTaskRunner())
    def inner():
        sleep()
        wait_for_ever()

    @flow(timeout_seconds=LIMIT, task_runner=runner)
    def outer():
        inner()
        raise AssertionError

    run = outer.run()

    assert run.state.is_timed_out()
    [subflow_run] = run.subflow_runs
    assert not subflow_run.state.is_completed()
    assert [it.state.name for it in subflow_run.task_runs] == ["Cancelled"]


def test_a_subflow_whose_own_time_is_up_raises_in_the_body_around(runner):
    inner = flow(timeout_seconds=LIMIT, task_runner=runner)(wait_for_ever)

    @flow(timeout_seconds=LONG, task_runner=runner)
    def outer():
        with pytest.raises(FlowTimeoutError):
            inner()
        return give("goes on")

    run = outer.run()

    assert run.result() == "goes on"
    assert run.subflow_runs[0].state.is_timed_out()


def test_a_subflow_that_has_more_time_ends_with_the_flow_around():
    inner = flow(timeout_seconds=LONG)(wait_for_ever)

    @flow(timeout_seconds=LIMIT)
    def outer():
        inner()

    run = outer.run()

    assert run.state.message == MESSAGE
    assert not run.subflow_runs[0].state.is_timed_out()


def test_a_subflow_that_is_retried_is_not_tried_again_when_the_time_around_is_up():
    bodies = []

    @flow(retries=5)
    def inner():
        bodies.append(1)
        wait_for_ever()

    @flow(timeout_seconds=LIMIT)
    def outer():
        inner()

    assert outer.run().state.is_timed_out()
    assert len(bodies) == 1


def test_a_subflow_that_begins_when_the_time_is_up_does_not():
    begun = []

    @flow
    def inner():
        begun.append(1)

    @flow(timeout_seconds=LIMIT)
    def outer():
        with suppress(BaseException):
            wait_for_ever()
        inner()
        begun.append(2)

    assert outer.run().state.is_timed_out()
    assert begun == []


def test_a_subflow_in_a_thread_ends_with_the_flow_around():
    seen, begun = [], Event()

    @flow(task_runner="sequential")
    def inner():
        begun.set()
        time.sleep(3 * LIMIT)
        seen.append("slept")
        give(1)
        seen.append("submitted")

    def call():
        try:
            inner()
        except BaseException as error:
            seen.append(type(error))

    @flow(timeout_seconds=LIMIT)
    def outer():
        threading.Thread(target=copy_context().run, args=(call,)).start()
        assert begun.wait(PATIENCE)
        return "the thread is waited for"

    assert outer.run().state.is_timed_out()
    assert seen == ["slept", FlowExpired]


# Retries


@pytest.mark.parametrize("is_async", [False, True])
def test_each_attempt_has_all_the_time(is_async):
    def begin():
        return get_run_context().attempt

    def body():
        if begin() < 3:
            wait_for_ever()
        return begin()

    async def body_async():
        if begin() < 3:
            await asyncio.sleep(PATIENCE)
        return begin()

    retried = flow(timeout_seconds=LIMIT, retries=2)(body_async if is_async else body)
    run = asyncio.run(retried.run()) if is_async else retried.run()

    assert run.result() == 3
    assert run.ended - run.started >= 2 * LIMIT


# Ctrl-C


def test_ctrl_c_before_the_time_is_up_is_ctrl_c():
    @flow(timeout_seconds=LONG)
    def body():
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        body()


def test_ctrl_c_after_the_time_is_up_is_ctrl_c():
    body = flow(timeout_seconds=LIMIT)(wait_for_ever)

    assert body.run().state.is_timed_out()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        flow(lambda: signal.raise_signal(signal.SIGINT))()


def test_ctrl_c_of_a_terminal_ends_a_script_after_a_flow_whose_time_was_up(start_script):
    script = start_script("""
        import time
        from runnerstone import flow

        @flow(timeout_seconds=0.05)
        def body():
            time.sleep(30)

        print(body.run().state.name, flush=True)
        time.sleep(30)
    """)

    assert script.process.stdout.readline() == "TimedOut\n"
    script.press_ctrl_c()
    _, log = script.finish()

    assert script.process.returncode == -signal.SIGINT
    assert log.rstrip().endswith("KeyboardInterrupt")


def test_a_handler_of_the_programs_own_hears_nothing_of_a_timeout():
    heard = []

    @flow(timeout_seconds=LIMIT)
    def body():
        time.sleep(3 * LIMIT)
        heard.append("slept")
        give(1)
        heard.append("submitted")

    before = signal.signal(signal.SIGINT, lambda *_: heard.append("signal"))
    try:
        run = body.run()
    finally:
        signal.signal(signal.SIGINT, before)

    assert run.state.is_timed_out()
    assert heard == ["slept"]


# Around the end of the body


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as Ctrl-C may be
@pytest.mark.parametrize("kind", ["plain", "with a task", "with a subflow"])
def test_a_timeout_about_when_the_body_ends_is_a_timeout_or_none(caplog, kind):
    caplog.set_level(logging.CRITICAL, logger="runnerstone")
    dice = random.Random(kind)
    ends = {"in time": 0, "timed out": 0}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def body(seconds):
        spin_for(seconds)
        return "in time"

    def body_with_task(seconds):
        return task(body).submit(seconds)

    def body_with_subflow(seconds):
        return flow(body)(seconds)

    bodies = {"plain": body, "with a task": body_with_task, "with a subflow": body_with_subflow}
    try:
        for _ in range(150):
            seconds = dice.uniform(0.001, 0.003)
            limit = max(seconds + dice.uniform(-0.0005, 0.001), 1e-4)
            try:
                ends[flow(timeout_seconds=limit)(bodies[kind])(seconds)] += 1
            except FlowTimeoutError:
                ends["timed out"] += 1
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert current_run.get() is None
    except FlowExpired as stray:
        raise AssertionError("it is none of the caller's business") from stray
    finally:
        sys.setswitchinterval(interval)

    assert sum(ends.values()) == 150
    assert min(ends.values()) > 0
