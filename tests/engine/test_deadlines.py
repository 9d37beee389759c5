"""Task runs that take longer than they may, and code that goes on after its run."""

import asyncio
import builtins
import logging
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import pytest

from runnerstone import StateType, flow, get_run_context, task
from runnerstone._engine.threads import FORGOTTEN
from runnerstone._interruptions import Interruption
from runnerstone.contexts import current_run
from runnerstone.errors import TaskCancelledError, TaskTimeoutError
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
LONG = 3600.0
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


def spin_for(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@task
def give(value):
    return value


@task(timeout_seconds=0.05)
def spin():
    spin_for(PATIENCE)


@task(timeout_seconds=0.05)
async def sleep():
    await asyncio.sleep(PATIENCE)


def run_of(body, runner):
    return flow(task_runner=runner)(body).run()


def leftovers(log):
    """What the log says of code that goes on."""
    return [it.getMessage() for it in log.records if "still runs" in it.getMessage()]


# How a run ends


@pytest.mark.parametrize("task", [spin, sleep])
def test_a_run_that_takes_too_long_is_timed_out(runner, task):
    run = run_of(task.submit, runner)

    [record] = run.task_runs
    assert record.state.name == "TimedOut"
    assert record.state.type is StateType.FAILED
    assert record.state.message == "Task run exceeded timeout of 0.05 seconds."
    assert record.state.is_timed_out()
    assert record.ended - record.started >= 0.05
    assert isinstance(run.error, TaskTimeoutError)
    assert run.error.__notes__[0].startswith(f"Task run {record.name!r} of flow run {run.name!r}")
    assert run.error.__notes__[0].endswith(f"timed out on {type(runner).__name__}")


@pytest.mark.parametrize("task", [spin, sleep])
def test_a_flow_that_returns_the_future_of_a_run_that_timed_out_raises_its_timeout(runner, task):
    with pytest.raises(TimeoutError, match=r"exceeded timeout of 0\.05 seconds"):
        flow(task_runner=runner)(task.submit)()


def test_a_run_that_ends_in_time_has_its_value(runner):
    in_time = give.with_options(timeout_seconds=LONG)

    assert run_of(lambda: [in_time(1), in_time(in_time(2))], runner).result() == [1, 2]


def test_a_run_that_fails_in_time_fails_with_its_own_exception(runner):
    failing = task(timeout_seconds=LONG)(lambda: 1 / 0)

    assert isinstance(run_of(failing.submit, runner).error, ZeroDivisionError)


def test_what_depends_on_a_run_that_timed_out_is_skipped(runner):
    run = run_of(lambda: give(spin()), runner)

    assert [it.state.name for it in run.task_runs] == ["TimedOut", "NotReady"]


def test_what_interrupts_code_is_no_exception_that_it_catches(runner):
    @task(timeout_seconds=0.05)
    def stubborn():
        while True:
            try:
                spin_for(PATIENCE)
            except Exception:
                raise AssertionError from None

    assert run_of(stubborn.submit, runner).task_runs[0].state.is_timed_out()


def test_a_value_that_comes_too_late_is_none(runner):
    @task(timeout_seconds=0.05)
    def late():
        try:
            spin_for(PATIENCE)
        except Interruption:
            return "late"

    run = run_of(late.submit, runner)

    assert run.task_runs[0].state.is_timed_out()
    assert isinstance(run.error, TaskTimeoutError)


@pytest.mark.parametrize("runner", ["sequential", ONE_THREAD])
def test_code_that_is_interrupted_cleans_up(runner):
    cleaned_up = Event()

    @task(timeout_seconds=0.05)
    def careful():
        try:
            spin_for(PATIENCE)
        finally:
            cleaned_up.set()

    run_of(careful.submit, runner)

    assert cleaned_up.wait(PATIENCE)


def test_each_attempt_has_all_the_time(runner):
    @task(timeout_seconds=0.1, retries=2)
    def lingering():
        attempt = get_run_context().attempt
        spin_for(0.01 if attempt == 3 else PATIENCE)
        return attempt

    assert run_of(lingering.submit, runner).result() == 3


def test_time_in_the_queue_and_before_a_retry_does_not_count():
    @task(timeout_seconds=0.2, retries=1, retry_delay_seconds=0.3)
    def flaky():
        if get_run_context().attempt == 1:
            raise ValueError
        return "in time"

    def body():
        slow = task(lambda: time.sleep(0.3)).submit()
        return [flaky(), give.with_options(timeout_seconds=0.2)(slow)]

    assert run_of(body, ONE_THREAD).result() == ["in time", None]


def test_time_counts_for_each_run_of_a_map_by_itself():
    @task(timeout_seconds=0.1)
    def run_for(seconds):
        spin_for(seconds)
        return seconds

    run = run_of(lambda: run_for.map([0, PATIENCE, 0]), ConcurrentTaskRunner(max_workers=3))

    assert [it.state.name for it in run.task_runs] == ["Completed", "TimedOut", "Completed"]
    assert "(map index 1)" in run.error.__notes__[0]


# Alarms


@pytest.mark.parametrize("runner", ["sequential", ConcurrentTaskRunner(max_workers=2)])
def test_alarms_of_runs_that_end_early_are_called_off(runner):
    quick = give.with_options(timeout_seconds=LONG)
    most = 0

    def body():
        nonlocal most
        timer = current_run.get().timer
        for number in range(10_000):
            quick.submit(number)
            most = max(most, len(timer._due))
        while current_run.get().book.live:
            time.sleep(0.001)
        return len(timer._due)

    run = flow(task_runner=runner, keep_task_runs=0)(body).run()

    assert run.counts == {StateType.COMPLETED: 10_000}
    assert run.result() <= 2 * FORGOTTEN
    assert most <= 2 * FORGOTTEN + 10  # those that run, and those that end just now


def test_alarms_of_runs_that_are_cancelled_are_called_off():
    @task(timeout_seconds=LONG)
    async def wait_for_ever():
        await asyncio.Event().wait()

    def body():
        futures = [wait_for_ever.submit() for _ in range(500)]
        while any(it.state.name == "Pending" for it in futures):
            time.sleep(0.001)
        for future in futures:
            future.cancel()
        return sum(entry[0] > time.monotonic() + 60 for entry in current_run.get().timer._due)

    assert run_of(body, ONE_THREAD).result() <= 2 * FORGOTTEN


# Code that goes on


def test_the_next_task_runs_while_code_in_c_still_sits_there(log):
    lock = Lock()
    lock.acquire()

    @task(timeout_seconds=0.05, task_run_name="sitting")
    def sit():
        lock.acquire(timeout=PATIENCE)

    def body():
        sitting = sit.submit()
        values = [give.submit(number).result() for number in range(3)]
        assert sitting.done()
        for _ in range(3):
            give.submit(0).result()
        time.sleep(1.2)  # longer than the log's patience
        return values

    run = run_of(body, ONE_THREAD)
    lock.release()

    assert run.result() == [0, 1, 2]
    [told] = leftovers(log)
    assert told.startswith(
        "Attempt 1 at task run 'sitting' is over, but its code could not be interrupted and still "
        "runs on "
    )
    assert told.endswith("/ConcurrentTaskRunner-0")


def test_code_that_still_runs_when_the_flow_ends_is_told_of_once(log):
    may_end = Event()

    @task(timeout_seconds=0.05, retries=1, task_run_name="sitting")
    def sit():
        may_end.wait(PATIENCE)

    run_of(sit.submit, ConcurrentTaskRunner())
    told = leftovers(log)
    may_end.set()

    assert sorted(it.partition(" is over")[0] for it in told) == [
        "Attempt 1 at task run 'sitting'",
        "Attempt 2 at task run 'sitting'",
    ]


def test_code_that_ends_when_it_is_interrupted_is_not_told_of(log):
    def body():
        spin.submit().wait()
        time.sleep(0.1)

    run_of(body, ONE_THREAD)

    assert leftovers(log) == []


def test_thread_of_code_that_goes_on_ends_with_that():
    may_end, threads = Event(), []

    @task(timeout_seconds=0.05)
    def sit():
        threads.append(threading.current_thread())
        may_end.wait(PATIENCE)

    def body():
        sit.submit().wait()
        return task(threading.current_thread).submit()

    other = run_of(body, ONE_THREAD).result()
    [sitting] = threads
    was_alive = sitting.is_alive()
    may_end.set()
    sitting.join(PATIENCE)

    assert was_alive
    assert not sitting.is_alive()
    assert sitting is not other


def test_cancelled_code_is_interrupted_like_code_that_timed_out(log):
    begun = Event()

    @task
    def spin_until_cancelled():
        begun.set()
        spin_for(PATIENCE)

    def body():
        future = spin_until_cancelled.submit()
        assert begun.wait(PATIENCE)
        future.cancel()
        with pytest.raises(TaskCancelledError):
            future.result()
        return give(1)

    begin = time.monotonic()
    assert run_of(body, ONE_THREAD).result() == 1
    assert time.monotonic() - begin < PATIENCE / 2
    assert leftovers(log) == []


# Whom an interruption reaches


@pytest.mark.usefixtures("restless_threads")
@pytest.mark.parametrize("workers", [1, 3])
def test_an_interruption_never_reaches_another_call(caplog, workers):
    caplog.set_level(logging.CRITICAL, logger="runnerstone")
    dice = random.Random(workers)
    futures = []

    @task
    def count(number):
        for _ in range(200):
            pass
        return number

    @flow(task_runner=ConcurrentTaskRunner(max_workers=workers))
    def body():
        for number in range(2_000):
            futures.append(count.submit(number))
            if dice.random() < 0.3:
                futures[dice.randrange(max(0, number - 10), number + 1)].cancel()
        for future in futures[-20:]:
            future.cancel()

    run = body.run()

    ends = Counter(future.state.name for future in futures)
    assert set(ends) == {"Completed", "Cancelled"}
    assert ends["Cancelled"] > 20
    assert run.submitted == 2_000
    for number, future in enumerate(futures):
        if not future.cancelled():
            assert future.result() == number


def cancel_at_random(engines, is_over):
    dice = random.Random(1)
    while not is_over.is_set():
        for engine in engines:
            for attempt in tuple(engine.book.live):
                attempt.future.cancel()
        for _ in range(dice.randrange(2_000)):
            pass


@pytest.mark.usefixtures("restless_threads")
@pytest.mark.parametrize("strict", [False, True])
def test_an_interruption_never_reaches_the_thread_after_a_sequential_call(caplog, strict):
    caplog.set_level(logging.CRITICAL, logger="runnerstone")
    engines, is_over, futures = [], Event(), []

    @task
    def count(number):
        for _ in range(200):
            pass
        return number

    @flow(task_runner=SequentialTaskRunner(strict=strict))
    def body():
        engines.append(current_run.get())
        for number in range(1_500):
            futures.append(count.submit(number))
            for _ in range(20):
                pass
        return "no stray"

    canceller = threading.Thread(target=cancel_at_random, args=(engines, is_over))
    canceller.start()
    try:
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(body).result()
    finally:
        is_over.set()
        canceller.join()

    assert result == "no stray"
    assert {future.state.name for future in futures} <= {"Completed", "Cancelled"}
    for number, future in enumerate(futures):
        assert future.cancelled() or future.result() == number


@pytest.mark.usefixtures("restless_threads")
@pytest.mark.parametrize("runner", [SequentialTaskRunner(), ConcurrentTaskRunner(max_workers=2)])
def test_deadlines_around_the_ends_of_calls_end_each_run_one_way(caplog, runner):
    caplog.set_level(logging.CRITICAL, logger="runnerstone")
    dice = random.Random(1)
    futures = []

    @task
    def count(seconds):
        spin_for(seconds)
        return seconds

    @flow(task_runner=runner)
    def body():
        for _ in range(300):
            seconds = dice.uniform(0.001, 0.002)
            limit = max(seconds + dice.uniform(-0.0004, 0.0004), 1e-4)
            futures.append((seconds, count.with_options(timeout_seconds=limit).submit(seconds)))
        return "handled"

    assert body() == "handled"
    for seconds, future in futures:
        if future.state.is_timed_out():
            assert isinstance(future.exception(), TaskTimeoutError)
        else:
            assert future.result() == seconds


@pytest.mark.usefixtures("restless_threads")
def test_main_thread_keeps_what_it_has_after_sequential_deadlines():
    before = signal.getsignal(signal.SIGINT), builtins.print, current_run.get()

    run = run_of(lambda: [spin.submit() for _ in range(5)], "sequential")

    assert {it.state.name for it in run.task_runs} == {"TimedOut"}
    assert (signal.getsignal(signal.SIGINT), builtins.print, current_run.get()) == before
