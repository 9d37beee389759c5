"""Flow runs: what calling a flow does, subflows, records, coroutines and threads."""

import asyncio
import contextvars
import gc
import logging
import threading
from contextvars import ContextVar, copy_context
from threading import Barrier, Event

import pytest

from runnerstone import FlowRun, StateType, flow, task
from runnerstone.errors import (
    NotInFlowError,
    TaskCancelledError,
    UpstreamNotCompletedError,
)
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
TWO_THREADS = ConcurrentTaskRunner(max_workers=2)
ALL_COMPLETED = "Completed(message='All states completed.', type=COMPLETED)"
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


class BrokenError(Exception):
    """What tasks and flows fail with here."""


class NotingTaskRunner(SequentialTaskRunner):
    """Notes when it starts and stops."""

    label: str
    notes: list[str]

    def start(self):
        super().start()
        self.notes.append(f"{self.label} starts")

    def stop(self):
        super().stop()
        self.notes.append(f"{self.label} stops")


@task
def give(value, after=None):
    return value


@task
def add(one, other):
    return one + other


@task
def fail(text="broken"):
    raise BrokenError(text)


@task
def hold(event):
    assert event.wait(PATIENCE)


@task
async def give_async(value):
    await asyncio.sleep(0)
    return value


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


def run_of(body, runner, *args):
    return flow(task_runner=runner)(body).run(*args)


# Calling


def test_flow_returns_what_its_body_returns(runner):
    @flow(task_runner=runner)
    def sums(one, other, *, factor=1):
        return add(one, other).result() * factor

    assert sums(1, other=2, factor=10) == 30


@pytest.mark.parametrize(
    ("args", "kwargs", "complaint"),
    [
        ((), {}, "missing a required argument: 'path'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"pth": 2}, "got an unexpected keyword argument 'pth'"),
        ((1,), {"path": 2}, "multiple values for argument 'path'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call_and_nothing_begins(
    args, kwargs, complaint, caplog
):
    caplog.set_level(logging.INFO, logger="runnerstone")

    @flow(name="a-census")
    def census(path, limit=3):
        raise AssertionError("the body runs")

    with pytest.raises(TypeError, match=f"flow 'a-census': {complaint}"):
        census(*args, **kwargs)
    with pytest.raises(TypeError, match=f"flow 'a-census': {complaint}"):
        census.run(*args, **kwargs)

    assert not caplog.records


def test_wrong_arguments_of_an_async_flow_are_refused_at_the_call():
    @flow
    async def census(path):
        raise AssertionError("the body runs")

    with pytest.raises(TypeError, match="missing a required argument: 'path'"):
        census()


def test_wrong_arguments_of_a_task_are_refused_at_the_call(runner):
    def body():
        with pytest.raises(TypeError, match=r"task 'add': .*'other'"):
            add(1)
        with pytest.raises(TypeError, match=r"task 'add': .*'third'"):
            add.submit(1, 2, third=3)

    run = run_of(body, runner)

    assert run.submitted == 0
    assert run.state.is_completed()


def test_signature_of_a_flow_is_its_function_s():
    @flow
    def census(path: str, *, limit: int = 3) -> int:
        """Count."""

    assert census.__name__ == "census"
    assert census.__doc__ == "Count."
    assert census.name == "census"


def test_flow_name_has_dashes_for_underscores_unless_it_is_given():
    def a_census_of_all():
        return 0

    assert flow(a_census_of_all).name == "a-census-of-all"
    assert flow(name="All_of_it")(a_census_of_all).name == "All_of_it"


def test_generator_arguments_are_passed_on_unconsumed(runner):
    numbers = iter(range(3))
    generator = (number for number in range(3))

    @flow(task_runner=runner)
    def consume(one, other):
        return list(one), give.submit(other).result() is generator, list(other)

    assert consume(numbers, generator) == ([0, 1, 2], True, [0, 1, 2])


def test_arguments_without_futures_are_passed_as_they_are(runner):
    value = [{"deep": []}]

    assert flow(task_runner=runner)(lambda it: it is value)(value)


def test_flow_with_options_is_another_flow_of_the_same_function():
    notes = []

    @flow(task_runner="concurrent", keep_task_runs=5)
    def five():
        return give(5)

    other = five.with_options(task_runner=NotingTaskRunner(label="own", notes=notes))

    assert other() == 5
    assert notes == ["own starts", "own stops"]
    assert other.options.keep_task_runs == 5
    assert five.task_runner == "concurrent"


# The record


def test_run_gives_the_record(runner):
    def some_sums():
        first = add(1, 2)
        return [first, add(first, 3)]

    run = run_of(some_sums, runner)

    assert isinstance(run, FlowRun)
    assert run.result() == [3, 6]
    assert run.flow_name == "some-sums"
    assert len(run.name.split("-")) == 2
    assert str(run.state) == "Completed(message='All states completed.', type=COMPLETED)"
    assert run.counts == {StateType.COMPLETED: 2}
    assert run.submitted == 2
    assert run.failures == []
    assert run.error is None
    assert [it.name for it in run.task_runs] == [f"add-{add.key}-0", f"add-{add.key}-1"]


def test_record_tells_when_and_where():
    run = run_of(lambda: [give(1)], ONE_THREAD)

    (task_run,) = run.task_runs
    assert run.started <= task_run.submitted <= task_run.started <= task_run.ended <= run.ended
    assert task_run.where.endswith("/ConcurrentTaskRunner-0")
    assert task_run.attempts == 1


def test_run_raises_nothing_of_what_fails(runner):
    def body():
        fail()
        raise ValueError("in the body")

    run = run_of(body, runner)

    assert isinstance(run.error, ValueError)
    assert [(name, str(error)) for name, error in run.failures] == [
        (f"fail-{fail.key}-0", "broken")
    ]


def test_first_100_failures_are_kept_and_the_others_counted(runner):
    def body():
        for number in range(130):
            fail(f"number {number}")

    run = run_of(body, runner)

    assert len(run.failures) == 100
    assert run.further_failures == {("fail", "FAILED"): 30}
    assert run.counts == {StateType.FAILED: 130}
    assert run.state.message == "130/130 states failed."


@pytest.mark.parametrize("kept", [0, 3, 100])
def test_record_keeps_so_many_task_runs_and_counts_all(runner, kept):
    @flow(task_runner=runner, keep_task_runs=kept)
    def ten():
        for number in range(10):
            give(number)

    run = ten.run()

    assert [it.number for it in run.task_runs] == list(range(min(kept, 10)))
    assert run.counts == {StateType.COMPLETED: 10}
    assert run.state.message == "All states completed."


# Where am I?


def test_task_called_outside_of_a_flow_is_its_function():
    assert add(1, 2) == 3


def test_submitting_outside_of_a_flow_is_refused():
    with pytest.raises(
        NotInFlowError, match=r"'add' was submitted outside of a flow: submit it in"
    ):
        add.submit(1, 2)


def test_task_called_in_a_task_is_its_function(runner):
    @task
    def outer():
        return add(1, 2)

    assert run_of(outer, runner).submitted == 1
    assert run_of(outer, runner).result() == 3


def test_submitting_in_a_task_is_refused(runner):
    @task
    def outer():
        add.submit(1, 2)

    run = run_of(outer, runner)

    with pytest.raises(NotInFlowError, match=r"'add' was submitted inside a task: submit it in"):
        run.result()


def test_flow_called_in_a_task_is_a_root_run(runner):
    @flow(task_runner=runner)
    def inner():
        fail()

    @task
    def outer():
        return str(inner.run().state)

    run = run_of(outer, runner)

    assert run.result() == "Failed(message='1/1 states failed.', type=FAILED)"
    assert run.subflow_runs == []
    assert run.counts == {StateType.COMPLETED: 1}


def test_flow_body_is_left_as_it_was_entered(runner):
    @flow(task_runner=runner)
    def inner():
        raise BrokenError

    def body():
        with pytest.raises(BrokenError):
            inner()
        return give.submit(5).name

    assert run_of(body, runner).result() == f"give-{give.key}-0"
    with pytest.raises(NotInFlowError):
        give.submit(5)


# Subflows


def test_subflow_has_a_runner_of_its_own_started_and_stopped_in_the_parent_s():
    notes = []

    @flow(task_runner=NotingTaskRunner(label="inner", notes=notes))
    def inner():
        notes.append("inner body")
        return give(1)

    @flow(task_runner=NotingTaskRunner(label="outer", notes=notes))
    def outer():
        notes.append("outer body")
        result = inner()
        notes.append("outer body goes on")
        return result

    assert outer() == 1
    assert notes == [
        "outer starts",
        "outer body",
        "inner starts",
        "inner body",
        "inner stops",
        "outer body goes on",
        "outer stops",
    ]


def test_subflow_stands_in_its_parent_s_place_in_the_log(caplog):
    caplog.set_level(logging.INFO, logger="runnerstone")

    @flow(task_runner="sequential")
    def inner():
        give(1)

    @flow(task_runner="sequential")
    def outer():
        inner()

    run = outer.run()

    own, sub = run.name, run.subflow_runs[0].name
    name = f"give-{give.key}-0"
    assert caplog.messages == [
        f"Beginning flow run {own!r} for flow 'outer'...",
        "Starting task runner `SequentialTaskRunner`...",
        f"Beginning subflow run {sub!r} for flow 'inner'...",
        "Starting task runner `SequentialTaskRunner`...",
        f"Submitting task run {name!r} to task runner...",
        f"Task run {name!r} finished in state Completed(message=None, type=COMPLETED)",
        "Shutting down task runner `SequentialTaskRunner`...",
        f"Subflow run {sub!r} finished in state {ALL_COMPLETED}",
        "Shutting down task runner `SequentialTaskRunner`...",
        f"Flow run {own!r} finished in state {ALL_COMPLETED}",
    ]


def test_record_has_its_subflow_runs_in_order(runner):
    @flow(task_runner=runner)
    def inner(number):
        return number

    def body():
        give(0)
        return [inner(1), inner(2)]

    run = run_of(body, runner)

    assert [it.result() for it in run.subflow_runs] == [1, 2]
    assert run.submitted == 3


def test_futures_among_a_subflow_s_arguments_are_replaced_by_their_values(runner):
    @flow(task_runner=runner)
    def inner(plain, deep, *, keyword):
        return [plain, deep, keyword]

    def body():
        return inner(give(1), {"deep": [give(2)]}, keyword=give(3))

    assert run_of(body, runner).result() == [1, {"deep": [2]}, 3]


def test_subflow_waits_for_futures_among_its_arguments():
    may_end = Event()

    @flow(task_runner=ONE_THREAD)
    def inner(value):
        return value

    def body():
        late = give.submit(5, after=hold(may_end))
        threading.Timer(0.05, may_end.set).start()
        return inner(late)

    assert run_of(body, ONE_THREAD).result() == 5


def test_subflow_whose_upstream_failed_is_not_ready_and_starts_nothing(runner):
    notes = []

    @flow(task_runner=NotingTaskRunner(label="inner", notes=notes))
    def inner(value):
        raise AssertionError("the body runs")

    def body():
        upstream = fail.submit("upstream")
        run = inner.run([upstream])
        return run, upstream.name

    run, upstream = run_of(body, runner).result()

    assert not notes
    assert str(run.state) == (
        f"NotReady(message=\"Upstream task run '{upstream}' did not reach a 'COMPLETED' state.\", "
        "type=SKIPPED)"
    )
    with pytest.raises(UpstreamNotCompletedError, match="did not reach") as caught:
        run.result()
    assert isinstance(caught.value.__cause__, BrokenError)


def test_subflow_that_is_not_ready_raises_in_its_parent_s_body(runner):
    @flow(task_runner=runner)
    def inner(value):
        return value

    def body():
        inner(fail("upstream"))

    run = run_of(body, runner)

    assert run.state.message == "Flow run encountered an exception."
    with pytest.raises(UpstreamNotCompletedError, match=r"It began at 'fail-"):
        run.result()


def test_subflow_may_use_the_same_runner_instance():
    shared = TWO_THREADS

    @flow(task_runner=shared)
    def inner(value):
        return add(value, 1)

    @flow(task_runner=shared)
    def outer():
        return inner(give(1))

    assert outer() == 2


def test_flow_may_call_itself(runner):
    @flow(task_runner=runner)
    def countdown(number):
        return add(countdown(number - 1), 1) if number else 0

    assert countdown(5) == 5


def test_numbers_of_task_runs_begin_anew_in_each_flow_run(runner):
    @flow(task_runner=runner)
    def inner():
        return give.submit(1).name

    def body():
        return give.submit(1).name, inner(), inner(), give.submit(1).name

    assert run_of(body, runner).result() == (
        f"give-{give.key}-0",
        f"give-{give.key}-0",
        f"give-{give.key}-0",
        f"give-{give.key}-1",
    )


def test_value_of_a_task_that_a_subflow_returned_is_a_value(runner):
    @flow(task_runner=runner)
    def inner():
        return give([1, 2])

    def body():
        return sum(inner())

    assert run_of(body, runner).result() == 3


# Threads and contexts


def test_one_flow_may_run_twice_at_once_in_threads(runner):
    together = Barrier(2)

    @flow(task_runner=runner)
    def pair(letter):
        together.wait(PATIENCE)
        values = [give(f"{letter}{number}") for number in range(3)]
        together.wait(PATIENCE)
        return values

    results = {}
    threads = [
        threading.Thread(target=lambda letter=letter: results.update({letter: pair(letter)}))
        for letter in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == {"a": ["a0", "a1", "a2"], "b": ["b0", "b1", "b2"]}


variable: ContextVar[str] = ContextVar("variable", default="default")


@task
def read_and_change():
    seen = variable.get()
    variable.set("changed in a task")
    return seen


@task
async def read_and_change_async():
    seen = variable.get()
    variable.set("changed in a coroutine")
    await asyncio.sleep(0)
    return seen, variable.get()


def test_tasks_see_context_variables_as_they_are_at_the_submission(runner):
    def body():
        values = [read_and_change()]
        variable.set("changed in the body")
        values.append(read_and_change())
        variable.set("changed again")
        return values

    assert copy_context().run(run_of, body, runner).result() == ["default", "changed in the body"]


def test_what_a_task_does_to_context_variables_stays_in_it(runner):
    def body():
        future = read_and_change.submit()
        coroutine = read_and_change_async.submit()
        future.wait()
        return variable.get(), coroutine

    assert run_of(body, runner).result() == ("default", ("default", "changed in a coroutine"))


def test_context_of_the_body_is_the_caller_s(runner):
    def in_context():
        variable.set("the caller's")
        inner.append(run_of(body, runner).result())
        return variable.get()

    def body():
        seen = variable.get()
        variable.set("the body's")
        return seen

    inner = []

    assert contextvars.copy_context().run(in_context) == "the body's"
    assert inner == ["the caller's"]


# Coroutines


def test_async_flow_returns_a_coroutine(runner):
    @flow(task_runner=runner)
    async def total(numbers):
        futures = [give.submit(number) for number in numbers]
        return sum([await future for future in futures])

    coroutine = total(range(4))

    assert asyncio.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == 6


def test_async_flow_s_record_is_awaited(runner):
    @flow(task_runner=runner)
    async def failing():
        fail()
        return [give(5), await give_async.submit(6)]

    run = asyncio.run(failing.run())

    assert isinstance(run, FlowRun)
    assert run.result() == [5, 6]
    assert len(run.failures) == 1


def test_async_flow_follows_the_same_rules(runner):
    @flow(task_runner=runner)
    async def failing():
        give(1)
        fail("in a task")

    run = asyncio.run(failing.run())

    assert run.state.message == "1/2 states failed."
    with pytest.raises(BrokenError, match="in a task"):
        asyncio.run(failing())


def test_async_flow_raises_what_its_body_raises(runner):
    @flow(task_runner=runner)
    async def failing():
        await asyncio.sleep(0)
        raise BrokenError("in the body")

    with pytest.raises(BrokenError, match="in the body"):
        asyncio.run(failing())


def test_awaiting_a_failed_run_raises_its_exception(runner):
    @flow(task_runner=runner)
    async def handling():
        with pytest.raises(BrokenError, match="awaited"):
            await fail.submit("awaited")
        return "handled"

    assert asyncio.run(handling()) == "handled"


def test_awaiting_a_cancelled_run_raises_an_exception_that_cancels_nothing():
    @flow(task_runner=ONE_THREAD)
    async def cancelling():
        may_end = Event()
        hold(may_end)
        future = give.submit(1)
        future.cancel()
        with pytest.raises(TaskCancelledError):
            await future
        may_end.set()
        return "goes on"

    assert asyncio.run(cancelling()) == "goes on"


def test_coroutine_tasks_run_all_at_once_though_there_is_one_worker():
    count = 500
    arrived, everybody_is_there = [], asyncio.Event()

    @task
    async def meet():
        arrived.append(1)
        if len(arrived) == count:
            everybody_is_there.set()
        await everybody_is_there.wait()

    @flow(task_runner=ONE_THREAD)
    def meeting():
        for _ in range(count):
            meet()

    assert meeting.run().counts == {StateType.COMPLETED: count}


def test_async_task_in_a_plain_flow_gives_its_value(runner):
    assert run_of(lambda: [give_async(5), add(give_async(1), 2)], runner).result() == [5, 3]


def test_async_task_that_fails_in_a_plain_flow_is_retried(runner):
    attempts = []

    @task(retries=2)
    async def flaky():
        await asyncio.sleep(0)
        attempts.append(1)
        if len(attempts) < 3:
            raise BrokenError(f"attempt {len(attempts)}")
        return len(attempts)

    assert run_of(flaky, runner).result() == 3


def test_sequential_coroutines_run_one_after_another():
    active = []

    @task
    async def note(number):
        active.append(number)
        await asyncio.sleep(0.001)
        assert active == [number]
        active.pop()

    def body():
        for number in range(5):
            note(number)

    assert run_of(body, "sequential").counts == {StateType.COMPLETED: 5}


def test_plain_flow_runs_where_an_event_loop_runs(runner):
    @flow(task_runner=runner)
    def plain():
        return [give(1), give_async(2)]

    async def main():
        return plain()

    assert asyncio.run(main()) == [1, 2]


def test_plain_subflow_of_an_async_flow_is_a_subflow(runner):
    @flow(task_runner=runner)
    def inner():
        return give(1)

    @flow(task_runner=runner)
    async def outer():
        return [inner(), await asyncio.to_thread(inner)]

    run = asyncio.run(outer.run())

    assert run.result() == [1, 1]
    assert len(run.subflow_runs) == 2


def test_async_subflows_are_gathered():
    count = 20
    arrived, everybody_is_there = [], asyncio.Event()

    @flow(task_runner=ONE_THREAD)
    async def inner(number):
        arrived.append(number)
        if len(arrived) == count:
            everybody_is_there.set()
        await everybody_is_there.wait()
        return await give.submit(number)

    @flow(task_runner=ONE_THREAD)
    async def outer():
        return await asyncio.gather(*map(inner, range(count)))

    run = asyncio.run(outer.run())

    assert run.result() == list(range(count))
    assert len(run.subflow_runs) == count
    assert run.counts == {StateType.COMPLETED: count}


def test_async_subflows_wait_for_their_tasks_without_a_thread_each():
    count = 100
    everybody_runs = Barrier(count)

    @task
    def meet():
        everybody_runs.wait(PATIENCE)

    @flow(task_runner=ONE_THREAD)
    async def inner():
        meet()

    @flow(task_runner=ONE_THREAD)
    async def outer():
        await asyncio.gather(*(inner() for _ in range(count)))

    assert asyncio.run(outer.run()).counts == {StateType.COMPLETED: count}


def test_async_subflow_takes_futures_as_arguments(runner):
    @flow(task_runner=runner)
    async def inner(value):
        return value

    @flow(task_runner=runner)
    async def outer():
        return [await inner([give(1)]), (await inner.run(fail())).state.name]

    assert asyncio.run(outer()) == [[1], "NotReady"]


def test_async_flow_waits_for_a_subflow_that_nobody_awaits(runner):
    tasks = []

    @flow(task_runner=runner)
    async def inner():
        for _ in range(10):
            await asyncio.sleep(0)
        raise BrokenError("in the subflow")

    @flow(task_runner=runner)
    async def outer():
        tasks.append(asyncio.create_task(inner.run()))
        await asyncio.sleep(0)

    run = asyncio.run(outer.run())

    assert run.state.message == "1/1 states failed."
    assert tasks[0].done()


def test_two_async_flows_run_at_once_in_one_event_loop(runner):
    arrived, both_are_there = [], asyncio.Event()

    @flow(task_runner=runner)
    async def meeting(name):
        arrived.append(name)
        if len(arrived) == 2:
            both_are_there.set()
        await both_are_there.wait()
        return give(name)

    async def main():
        return await asyncio.gather(meeting("a"), meeting("b"))

    assert asyncio.run(main()) == ["a", "b"]


def test_event_loop_goes_on_while_an_async_flow_waits_for_its_tasks():
    may_end = Event()

    @flow(task_runner=ONE_THREAD)
    async def holding():
        hold(may_end)

    async def main():
        running = asyncio.create_task(holding.run())
        await asyncio.sleep(0.01)
        may_end.set()
        return await running

    assert asyncio.run(main()).state.is_completed()


# Cancelling a coroutine


def cancel_while_tasks_run(runner, *, times=1):
    """Cancel the asyncio task of a flow with one run that runs and one that waits behind it."""
    begun, may_end = Event(), Event()
    runs = []

    @task
    def begin_and_hold():
        begun.set()
        assert may_end.wait(PATIENCE)
        return "ran to its end"

    @flow(task_runner=runner)
    async def holding():
        runs.extend([begin_and_hold.submit(), give.submit("waits")])

    async def main():
        running = asyncio.create_task(holding.run())
        await asyncio.to_thread(begun.wait, PATIENCE)
        for _ in range(times):
            running.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        if times == 1:
            may_end.set()
        try:
            await running
        finally:
            ended.append(running.cancelled())

    ended = []
    try:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
    finally:
        may_end.set()
    assert ended == [True]
    return runs


def test_cancelling_the_awaiter_cancels_what_waits_and_waits_for_what_runs():
    held, waiting = cancel_while_tasks_run(ONE_THREAD)

    assert held.result() == "ran to its end"
    assert waiting.cancelled()


def test_cancelling_the_awaiter_twice_waits_no_longer():
    held, waiting = cancel_while_tasks_run(ONE_THREAD, times=2)

    assert held.cancelled()
    assert waiting.cancelled()


def test_cancelling_the_awaiter_stops_the_runner():
    notes = []
    begun = asyncio.Event()

    @flow(task_runner=NotingTaskRunner(label="own", notes=notes))
    async def endless():
        begun.set()
        await asyncio.Event().wait()

    async def main():
        running = asyncio.create_task(endless())
        await begun.wait()
        running.cancel()
        await asyncio.wait([running])
        return running.cancelled()

    assert asyncio.run(main())
    assert notes == ["own starts", "own stops"]


def test_cancelling_the_awaiter_while_the_runner_starts_lets_it_start_and_stops_it():
    starting, may_start = Event(), Event()
    notes = []

    class SlowTaskRunner(NotingTaskRunner):
        def start(self):
            starting.set()
            assert may_start.wait(PATIENCE)
            super().start()

    @flow(task_runner=SlowTaskRunner(label="slow", notes=notes))
    async def never():
        notes.append("body")

    async def main():
        running = asyncio.create_task(never.run())
        await asyncio.to_thread(starting.wait, PATIENCE)
        running.cancel()
        await asyncio.sleep(0.01)
        assert not notes
        may_start.set()
        await asyncio.wait([running])
        return running.cancelled()

    assert asyncio.run(main())
    assert notes == ["slow starts", "slow stops"]


def test_cancelling_the_awaiter_while_the_runner_stops_lets_it_stop():
    stopping, may_stop = Event(), Event()
    notes = []

    class SlowTaskRunner(NotingTaskRunner):
        def stop(self):
            stopping.set()
            assert may_stop.wait(PATIENCE)
            super().stop()

    @flow(task_runner=SlowTaskRunner(label="slow", notes=notes))
    async def five():
        return 5

    async def main():
        running = asyncio.create_task(five.run())
        await asyncio.to_thread(stopping.wait, PATIENCE)
        running.cancel()
        await asyncio.sleep(0.01)
        assert notes == ["slow starts"]
        may_stop.set()
        await asyncio.wait([running])
        return running.cancelled()

    assert asyncio.run(main())
    assert notes == ["slow starts", "slow stops"]


def test_flow_run_whose_awaiter_is_cancelled_ends_cancelled(caplog):
    caplog.set_level(logging.INFO, logger="runnerstone")

    cancel_while_tasks_run(ONE_THREAD)

    assert caplog.messages[-1].endswith(
        "finished in state Cancelled(message='Flow run was interrupted.', type=CANCELLED)"
    )


def test_cancelling_a_subflow_s_awaiter_leaves_its_parent_to_go_on():
    begun = asyncio.Event()

    @flow(task_runner=ONE_THREAD)
    async def endless():
        begun.set()
        await asyncio.Event().wait()

    @flow(task_runner=ONE_THREAD)
    async def outer():
        running = asyncio.create_task(endless())
        await begun.wait()
        running.cancel()
        await asyncio.wait([running])
        return give(5)

    run = asyncio.run(outer.run())

    assert run.result() == 5
    assert run.subflow_runs[0].state.is_cancelled()


def test_coroutine_of_a_flow_that_is_dropped_puts_everything_away():
    begun, may_end = Event(), Event()
    futures, notes = [], []

    class NotingThreads(ConcurrentTaskRunner):
        def stop(self):
            super().stop()
            notes.append("stopped")

    @task
    def begin_and_hold():
        begun.set()
        may_end.wait(PATIENCE)

    @flow(task_runner=NotingThreads(max_workers=1))
    async def endless():
        futures.extend([begin_and_hold.submit(), give.submit(1)])
        await asyncio.Event().wait()

    async def drop():
        coroutine = endless()
        awaited = coroutine.send(None)
        while not futures:
            await asyncio.wait([awaited])
            awaited = coroutine.send(None)
        await asyncio.to_thread(begun.wait, PATIENCE)
        contextvars.Context().run(coroutine.close)  # as by the garbage collector: anywhere

    asyncio.run(drop())
    may_end.set()

    assert notes == ["stopped"]
    assert all(future.cancelled() for future in futures)


def test_coroutine_of_a_flow_that_is_never_awaited_begins_nothing(caplog):
    caplog.set_level(logging.INFO, logger="runnerstone")

    @flow
    async def never():
        raise AssertionError("the body runs")

    coroutine = never()
    coroutine.close()
    del coroutine
    gc.collect()

    assert not caplog.records


# Bodies that end in odd ways


def test_body_that_raises_stop_iteration_fails_with_it(runner):
    def body():
        return next(iter([]))

    run = run_of(body, runner)

    assert run.state.is_failed()
    with pytest.raises(StopIteration):
        run.result()


def test_task_that_raises_stop_iteration_fails_with_it(runner):
    @task
    def exhausted():
        return next(iter([]))

    run = run_of(lambda: [exhausted()], runner)

    assert run.state.message == "1/1 states failed."
    with pytest.raises(StopIteration):
        run.result()


def test_runner_whose_start_exits_is_stopped_and_the_program_exits():
    notes = []

    class ExitingTaskRunner(NotingTaskRunner):
        def start(self):
            super().start()
            raise SystemExit(3)

    @flow(task_runner=ExitingTaskRunner(label="own", notes=notes))
    def never():
        notes.append("body")

    with pytest.raises(SystemExit):
        never()

    assert notes == ["own starts", "own stops"]


def test_arguments_of_a_subflow_that_cannot_be_rebuilt_fail_it(runner):
    @flow(task_runner=runner)
    def inner(values):
        raise AssertionError("the body runs")

    def body():
        return inner.run({give.submit([1])}).error  # a set of a list

    error = run_of(body, runner).result()

    assert isinstance(error, TypeError)
    assert "unhashable type: 'list'" in str(error)
