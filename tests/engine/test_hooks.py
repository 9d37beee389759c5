"""What is called when runs have ended."""

import asyncio
import logging
import signal
import threading
import time
from threading import Event

import pytest

from runnerstone import Cancelled, Failed, TaskFuture, flow, get_run_context, task
from runnerstone.errors import NotInRunError
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong
STRICT = SequentialTaskRunner(strict=True)
KINDS = ("on_completion", "on_failure", "on_crashed")


class BrokenError(Exception):
    """What tasks and flows fail with here."""


class AbsentTaskRunner(SequentialTaskRunner):
    """Cannot be started."""

    def start(self):
        raise ConnectionError("no cluster there")


@pytest.fixture(params=[SequentialTaskRunner(), STRICT, ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


class Notes(list):
    """Which hooks were called, and with what."""

    def hooks(self):
        """A hook of each kind."""
        return {kind: self.hook(kind) for kind in KINDS}

    def hook(self, name):
        return lambda run: self.append((name, run))

    @property
    def names(self):
        return [name for name, _ in self]


@task
def give(value):
    return value


@task
def fail(text="broken"):
    raise BrokenError(text)


@task(timeout_seconds=0.05)
def spin():
    while True:
        pass


# Of tasks


@pytest.mark.parametrize(
    ("made", "args", "called"),
    [
        (give, (1,), "on_completion"),
        (fail, (), "on_failure"),
        (spin, (), "on_failure"),
        (task(lambda: Failed("chosen")), (), "on_failure"),
        (task(lambda: Cancelled("chosen")), (), None),
    ],
    ids=["completed", "failed", "timed out", "chose to fail", "chose to be cancelled"],
)
def test_hooks_are_called_by_how_a_run_ended(runner, made, args, called):
    notes, futures = Notes(), []
    hooked = made.with_options(**notes.hooks())

    flow(task_runner=runner)(lambda: futures.append(hooked.submit(*args))).run()

    assert notes == ([] if called is None else [(called, futures[0])])


def test_a_crashed_run_has_its_own_kind_of_hook():
    notes, futures = Notes(), []
    crashing = task(**notes.hooks())(threading.Lock)  # whose value cannot be pickled

    flow(task_runner=STRICT)(lambda: futures.append(crashing.submit())).run()

    assert notes == [("on_crashed", futures[0])]


def test_a_skipped_run_has_no_hook(runner):
    notes = Notes()

    flow(task_runner=runner)(lambda: give.with_options(**notes.hooks())(fail())).run()

    assert notes == []


def test_a_cancelled_run_has_no_hook():
    notes, may_end = Notes(), Event()

    @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
    def body():
        task(may_end.wait).submit(PATIENCE)
        give.with_options(**notes.hooks()).submit(1).cancel()
        may_end.set()

    body.run()

    assert notes == []


def test_hooks_are_called_once_for_good_and_not_after_each_attempt(runner):
    notes = Notes()
    hooks = notes.hooks()

    @task(retries=2, **hooks)
    def flaky():
        if get_run_context().attempt < 3:
            raise BrokenError

    flow(task_runner=runner)(flaky.submit).run()
    flow(task_runner=runner)(fail.with_options(retries=2, **hooks).submit).run()

    assert notes.names == ["on_completion", "on_failure"]
    assert notes[1][1].task_run.attempts == 3


def test_several_hooks_are_called_in_their_order_and_runs_in_the_order_of_their_ends():
    notes = Notes()
    hooked = give.with_options(on_completion=[notes.hook("first"), notes.hook("second")])

    @flow(task_runner="sequential")
    def body():
        return [hooked(number) for number in range(3)]

    body()

    assert [(name, run.result()) for name, run in notes] == [
        ("first", 0),
        ("second", 0),
        ("first", 1),
        ("second", 1),
        ("first", 2),
        ("second", 2),
    ]


def test_the_future_is_final_when_its_hook_is_called(runner):
    seen = []

    def look(future):
        assert isinstance(future, TaskFuture)
        seen.append((future.done(), future.result(), future.state.name, future.task_run.attempts))

    flow(task_runner=runner)(lambda: give.with_options(on_completion=look)(5))()

    assert seen == [(True, 5, "Completed", 1)]


def test_the_flow_does_not_end_before_the_hooks_of_its_tasks(runner):
    seen = []

    def take_long(future):
        time.sleep(0.05)
        seen.append(future.result())

    flow(task_runner=runner)(lambda: give.with_options(on_completion=take_long)(5))()

    assert seen == [5]


def test_hooks_of_tasks_run_on_one_thread_beside_the_body(runner):
    threads = set()
    hooked = give.with_options(on_completion=lambda future: threads.add(threading.current_thread()))

    @flow(task_runner=runner, flow_run_name="today")
    def body():
        hooked.map(range(5))

    body()

    assert [thread.name for thread in threads] == ["today callbacks"]


def test_no_run_is_around_a_tasks_hook(runner):
    seen = []

    def call(future):
        seen.append(give(future.result() + 1))
        with pytest.raises(NotInRunError):
            get_run_context()
        seen.append("nowhere")

    flow(task_runner=runner)(lambda: give.with_options(on_completion=call)(1))()

    assert seen == [2, "nowhere"]


def test_what_a_tasks_hook_raises_is_logged_and_changes_nothing(runner, caplog):
    notes = Notes()

    def broken(future):
        raise ZeroDivisionError

    @flow(task_runner=runner)
    def body():
        hooked = give.with_options(
            task_run_name="it", on_completion=[broken, notes.hook("after it")]
        )
        return hooked(5)

    assert body() == 5
    assert notes.names == ["after it"]
    [told] = [it for it in caplog.records if it.levelno >= logging.ERROR]
    assert told.getMessage() == "A hook of task run 'it' raised:"
    assert isinstance(told.exc_info[1], ZeroDivisionError)
    assert told.name == "runnerstone.task_runs"


def test_hooks_and_callbacks_of_a_future_are_called_one_after_another():
    running, most, may_end = [], [], Event()

    def alone(future):
        running.append(1)
        most.append(len(running))
        time.sleep(0.002)
        running.pop()

    @flow(task_runner=ConcurrentTaskRunner(max_workers=4))
    def body():
        hooked = task(may_end.wait).with_options(on_completion=[alone, alone])
        for future in hooked.map([PATIENCE] * 10):
            future.add_done_callback(alone)
        may_end.set()

    body()

    assert most == [1] * 30


def test_hooks_do_not_travel():
    class Hook:
        def __call__(self, future):
            called.append(future.result())

        def __reduce__(self):
            raise AssertionError

    called = []

    flow(task_runner=STRICT)(lambda: give.with_options(on_completion=Hook())(5))()

    assert called == [5]


# Of flows


def body_of(flow_state):
    """What ends a flow run so."""

    def body():
        if flow_state == "raises":
            raise BrokenError
        if flow_state == "fails":
            return fail()
        if flow_state == "is cancelled":
            return Cancelled("chosen")
        if flow_state == "times out":
            return time.sleep(PATIENCE)
        return give(1)

    async def body_async():
        if flow_state == "times out":
            return await asyncio.sleep(PATIENCE)
        return body()

    return body, body_async


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("ends", "called"),
    [
        ("completes", ["on_completion"]),
        ("raises", ["on_failure"]),
        ("fails", ["on_failure"]),
        ("times out", ["on_failure"]),
        ("is cancelled", []),
    ],
)
def test_a_flows_hooks_are_called_by_how_its_run_ended(ends, called, is_async):
    notes = Notes()
    limit = 0.05 if ends == "times out" else None
    body = body_of(ends)[is_async]

    hooked = flow(timeout_seconds=limit, task_runner="sequential", **notes.hooks())(body)
    run = asyncio.run(hooked.run()) if is_async else hooked.run()

    assert notes == [(name, run) for name in called]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_flow_whose_runner_does_not_start_is_crashed(is_async):
    notes = Notes()
    body = body_of("completes")[is_async]

    hooked = flow(task_runner=AbsentTaskRunner(), **notes.hooks())(body)
    run = asyncio.run(hooked.run()) if is_async else hooked.run()

    assert notes == [("on_crashed", run)]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_flows_hook_is_given_the_finished_record_before_the_call_ends(is_async):
    seen = []

    def look(run):
        seen.append((run.state.name, run.ended is not None, run.result()))

    body = body_of("completes")[is_async]
    hooked = flow(task_runner="sequential", on_completion=look)(body)
    value = asyncio.run(hooked()) if is_async else hooked()
    seen.append("the call has ended")

    assert (value, seen) == (1, [("Completed", True, 1), "the call has ended"])


def test_a_flows_hooks_are_called_once_for_good():
    notes = Notes()

    @flow(retries=2, **notes.hooks())
    def body():
        if get_run_context().attempt < 3:
            raise BrokenError

    run = body.run()

    assert notes == [("on_completion", run)]
    assert run.attempts == 3


def test_a_flows_hooks_come_after_those_of_its_tasks():
    notes = Notes()
    hooked = give.with_options(on_completion=notes.hook("task"))

    @flow(on_completion=[notes.hook("flow"), notes.hook("flow again")])
    def body():
        hooked(1)

    body()

    assert notes.names == ["task", "flow", "flow again"]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_flows_hook_raises_is_logged_and_changes_nothing(caplog, is_async):
    notes = Notes()

    def broken(run):
        raise ZeroDivisionError

    body = body_of("completes")[is_async]
    hooked = flow(flow_run_name="it", on_completion=[broken, notes.hook("after it")])(body)

    assert (asyncio.run(hooked()) if is_async else hooked()) == 1
    assert notes.names == ["after it"]
    assert "A hook of flow run 'it' raised:" in caplog.messages


def test_the_hooks_of_a_subflow_are_called_while_the_flow_around_goes_on():
    notes = Notes()

    @flow(on_completion=notes.hook("inner"))
    def inner():
        return 1

    @flow(on_completion=notes.hook("outer"))
    def outer():
        inner()
        notes.append(("body", None))

    outer()

    assert notes.names == ["inner", "body", "outer"]


def test_no_run_is_around_a_flows_hook():
    seen = []

    @flow(on_completion=lambda run: seen.append(give(5)))
    def body():
        return 1

    body()

    assert seen == [5]


def test_a_flow_that_is_interrupted_calls_none_of_its_hooks():
    notes = Notes()

    @flow(**notes.hooks())
    def body():
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            body()
    finally:
        signal.signal(signal.SIGINT, before)

    assert notes == []


def test_a_flow_that_exits_has_failed():
    notes = Notes()

    @flow(**notes.hooks())
    def body():
        raise SystemExit

    with pytest.raises(SystemExit):
        body()

    assert notes.names == ["on_failure"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("declare", [task, flow])
def test_a_coroutine_function_is_no_hook(declare, kind):
    async def hook(run):
        pass

    with pytest.raises(TypeError, match="a hook is a plain function, and"):
        declare(**{kind: hook})
