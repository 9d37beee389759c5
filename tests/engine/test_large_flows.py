"""Flows of many task runs, of long chains, and of much that goes on at once."""

import asyncio
import logging
import threading
import time
from threading import Event

import pytest

from runnerstone import StateType, flow, task
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


@task
def give(value):
    return value


@task
def add(one, other=1):
    return one + other


@task
async def give_async(value):
    await asyncio.sleep(0)
    return value


# Nothing is forgotten, and nothing waits for itself


@pytest.mark.parametrize("is_async", [False, True])
def test_all_that_was_submitted_runs_though_nobody_asks_for_it(runner, is_async):
    ran = []

    @task
    def note(number):
        ran.append(number)

    @task
    async def note_async(number):
        await asyncio.sleep(0.001)
        ran.append(number)

    @flow(task_runner=runner)
    def body():
        for number in range(20):
            (note_async if is_async else note)(number)

    run = body.run()

    assert sorted(ran) == [*range(20)]
    assert run.counts == {StateType.COMPLETED: 20}


def test_all_that_an_async_flow_submitted_runs_though_nobody_awaits_it(runner):
    ran = []

    @flow(task_runner=runner)
    async def body():
        for number in range(20):
            task(ran.append)(number)

    asyncio.run(body())

    assert sorted(ran) == [*range(20)]


def test_one_worker_is_enough_for_a_long_chain():
    @flow(task_runner=ONE_THREAD)
    def body():
        future = give(0)
        for _ in range(2_000):
            future = add(future)
        return future

    assert body() == 2_000


def test_one_worker_is_enough_for_a_diamond():
    @flow(task_runner=ONE_THREAD)
    def body():
        top = give(1)
        sides = [add(top, number) for number in range(100)]
        return task(sum)(sides)

    assert body() == 100 + sum(range(100))


@pytest.mark.parametrize("buffersize", [None, 1, 3])
def test_one_worker_is_enough_for_a_map_of_maps(buffersize):
    @flow(task_runner=ONE_THREAD)
    def body():
        rows = [give.map(range(10 * row, 10 * row + 10)) for row in range(10)]
        sums = task(sum).map(rows)
        if buffersize is None:
            return task(sum)(add.map(sums, 1))
        return sum(it.result() for it in add.map(sums, 1, buffersize=buffersize))

    assert body() == sum(range(100)) + 10


def test_one_worker_is_enough_for_subflows_that_depend_on_tasks():
    @flow(task_runner=ONE_THREAD)
    def inner(value):
        return add(add(value))

    @flow(task_runner=ONE_THREAD)
    def outer():
        value = give(0)
        for _ in range(20):
            value = give(inner(value))
        return value

    assert outer() == 40


def test_an_independent_task_never_waits_behind_those_that_wait():
    may_end, independent_is_done = Event(), Event()

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
    def body():
        held = task(may_end.wait).submit(PATIENCE)
        waiting = [give.submit(held) for _ in range(100)]
        task(independent_is_done.set).submit()
        assert independent_is_done.wait(PATIENCE)
        states = {it.state.name for it in waiting}
        may_end.set()
        return states

    assert body() == {"Pending"}


# Many runs

TEXTS = (
    "Submitting task run",
    "further runs are logged only if they do not complete",
    "finished in state Completed",
    "encountered an exception:",
    "finished in state Failed",
)


@pytest.mark.timeout(300)  # 100 000 runs, on a machine that may be busy
def test_a_hundred_thousand_runs_of_which_some_fail(caplog):
    count, step = 100_000, 1_000
    caplog.set_level(logging.INFO, logger="runnerstone")

    @task
    def divide(number):
        return 1 / (number % step)

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2), flow_run_name="large")
    def large():
        for number in range(count):
            divide(number)

    run = large.run()

    failed = count // step
    assert run.state.message == f"{failed}/{count} states failed."
    assert run.counts == {StateType.COMPLETED: count - failed, StateType.FAILED: failed}
    assert isinstance(run.error, ZeroDivisionError)
    assert run.error.__notes__ == [
        f"Task run 'divide-{divide.key}-0' of flow run 'large' failed on ConcurrentTaskRunner",
        f"{failed - 1} other runs failed in flow run 'large'",
    ]
    assert len(run.failures) == 100
    assert len(run.task_runs) == 10_000
    lines = [it.getMessage() for it in caplog.records]
    found = {text: sum(text in it for it in lines) for text in TEXTS}
    assert [*found.values()] == [1_000, 1, 999, failed, failed + 1]
    assert len(lines) == sum(found.values()) + 3  # how the flow run begins, starts and shuts down


def test_ten_thousand_coroutines_sleep_at_once_without_a_thread_each():
    count = 10_000
    asleep, all_are_asleep, threads = [], asyncio.Event(), []

    @task
    async def sleep(number):
        asleep.append(number)
        if len(asleep) == count:
            threads.append(threading.active_count())
            all_are_asleep.set()
        await asyncio.wait_for(all_are_asleep.wait(), PATIENCE)
        return number

    @flow(task_runner=ConcurrentTaskRunner())
    def body():
        return sleep.map(range(count))

    before = threading.active_count()

    assert body() == [*range(count)]
    assert len(asleep) == count
    assert threads[0] <= before + 5


def test_waiting_for_ten_thousand_runs_takes_no_thread_each():
    may_end, threads = Event(), []

    @flow(task_runner=ONE_THREAD)
    async def body():
        held = task(may_end.wait).submit(PATIENCE)
        futures = give.map([held] * 10_000)
        waiting = asyncio.gather(*futures)
        await asyncio.sleep(0.01)
        threads.append(threading.active_count())
        may_end.set()
        return len(await waiting)

    before = threading.active_count()

    assert asyncio.run(body()) == 10_000
    assert threads[0] <= before + 5


# Coroutines in all combinations


def test_futures_and_subflows_are_gathered_together(runner):
    @flow(task_runner=runner)
    async def inner(number):
        return await give_async.submit(number)

    @flow(task_runner=runner)
    async def outer():
        return await asyncio.gather(
            give.submit(1), inner(2), give_async.submit(3), inner(give.submit(4))
        )

    run = asyncio.run(outer.run())

    assert run.result() == [1, 2, 3, 4]
    assert len(run.subflow_runs) == 2


def test_subflows_run_in_a_task_group(runner):
    arrived = []

    @flow(task_runner=runner)
    async def inner(number, everybody_is_there):
        arrived.append(number)
        if len(arrived) == 5:
            everybody_is_there.set()
        await everybody_is_there.wait()
        return give(number)

    @flow(task_runner=runner)
    async def outer():
        everybody_is_there = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(inner(number, everybody_is_there)) for number in range(5)]
        return [it.result() for it in running]

    assert asyncio.run(outer()) == [0, 1, 2, 3, 4]


def test_a_subflow_that_fails_in_a_task_group_cancels_the_others(runner):
    @flow(task_runner=runner)
    async def wait_for_ever():
        await asyncio.Event().wait()

    @flow(task_runner=runner)
    async def fail():
        await give_async.submit(1)
        raise KeyError("broken")

    @flow(task_runner=runner)
    async def outer():
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_ever())
            group.create_task(fail())

    run = asyncio.run(outer.run())

    assert isinstance(run.error, ExceptionGroup)
    assert [type(it) for it in run.error.exceptions] == [KeyError]
    assert [it.state.name for it in run.subflow_runs] == ["Cancelled", "Failed"]


def test_plain_flows_run_inside_a_running_loop_and_async_tasks_in_plain_flows(runner):
    @flow(task_runner=runner)
    def plain():
        return [give_async(number) for number in range(5)]

    async def main():
        return plain(), await asyncio.to_thread(plain)

    assert asyncio.run(main()) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])


def test_an_event_loop_goes_on_while_many_flows_run_in_it():
    turns = 0

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
    async def body(number):
        return await add.submit(give_async.submit(number))

    async def main():
        nonlocal turns
        running = asyncio.gather(*map(body, range(30)))
        end = time.monotonic() + PATIENCE
        while not running.done() and time.monotonic() < end:
            turns += 1
            await asyncio.sleep(0)
        return await running

    assert asyncio.run(main()) == [*range(1, 31)]
    assert turns > 10
