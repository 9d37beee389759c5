import asyncio
import copy
import pickle
import threading
import traceback
import weakref
from threading import Event

import attrs
import pytest

from runnerstone import Completed, flow, task
from runnerstone.errors import (
    ResultGoneError,
    TaskCancelledError,
    UpstreamNotCompletedError,
    ValueLostError,
)
from runnerstone.states import NotReady
from runnerstone.task_runners import (
    Capabilities,
    ConcurrentTaskRunner,
    Reference,
    SequentialTaskRunner,
    TaskRunner,
)

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)


class KeepingTaskRunner(TaskRunner):
    """Runs copies of calls, as other processes would, and keeps the values that they return."""

    loses: bool = False

    capabilities = Capabilities(parallel=False)

    def start(self):
        self._values = {}

    def submit(self, call, report):
        upstream = [self._values.get(getattr(it, "handle", None), it) for it in call.upstream]
        outcome = pickle.loads(pickle.dumps(call))(*upstream)
        if outcome.problem is None:
            self._values[call.id] = outcome.value
            outcome = attrs.evolve(outcome, value=Reference(call.id, self._values.pop))
        report.done(outcome)

    def fetch(self, references):
        if self.loses:
            raise ValueLostError("worker 3 died")
        return [self._values[reference.handle] for reference in references]


@pytest.fixture(
    params=[SequentialTaskRunner(), ConcurrentTaskRunner(), KeepingTaskRunner()],
    ids=["sequential", "concurrent", "keeping"],
)
def runner(request):
    return request.param


def in_flow(runner):
    """Run a function at once as the body of a flow, whatever becomes of its task runs."""

    def run(body):
        def handled():
            body()
            return "handled"

        flow(task_runner=runner)(handled)()

    return run


def in_async_flow(runner):
    """Likewise a coroutine function."""

    def run(body):
        async def handled():
            await body()
            return "handled"

        asyncio.run(flow(task_runner=runner)(handled)())

    return run


@task
def parse(x):
    return x


@task
def fail(text="no"):
    raise ValueError(text)


class Gate:
    """A door that a task waits at, and tells when it does."""

    def __init__(self):
        self.reached = Event()
        self.opened = Event()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.opened.set()


@task
def pass_gate(gate, value=None):
    gate.reached.set()
    gate.opened.wait()
    return value


# Values and exceptions


def test_result_is_the_tasks_value(runner):
    @in_flow(runner)
    def body():
        assert parse.submit([1, 2]).result() == [1, 2]


def test_result_is_the_value_itself_where_memory_is_shared():
    value = object()

    @in_flow(ONE_THREAD)
    def body():
        assert parse.submit(value).result() is value


def test_result_is_the_same_each_time(runner):
    @in_flow(runner)
    def body():
        future = parse.submit([1, 2])

        assert future.result() is future.result()


def test_result_waits_for_the_value():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate, "through")
            opener = threading.Thread(target=lambda: gate.reached.wait() and gate.opened.set())
            opener.start()

            assert future.result() == "through"
            opener.join()


def test_result_raises_the_tasks_own_exception(runner):
    @in_flow(runner)
    def body():
        with pytest.raises(ValueError, match="why") as raised:
            fail.submit("why").result()

        assert type(raised.value) is ValueError


def test_result_raises_with_the_tasks_traceback_however_often():
    @in_flow(ONE_THREAD)
    def body():
        future, seen = fail.submit(), set()
        for _ in range(3):
            with pytest.raises(ValueError, match="no") as raised:
                future.result()
            frames = traceback.extract_tb(raised.tb)
            seen.add((len(frames), frames[-1].name))

        assert len(seen) == 1
        assert seen.pop()[1] == "fail"


def test_an_exception_that_result_raised_keeps_no_future_alive():
    @in_flow(ONE_THREAD)
    def body():
        future = fail.submit()
        alive = weakref.ref(future)
        try:
            future.result()
        except ValueError as error:
            kept = error

        del future
        parse.submit(1).result()  # for which the one thread has to let go of the call before

        assert kept.args == ("no",)
        assert alive() is None


def test_exception_is_what_result_raises(runner):
    @in_flow(runner)
    def body():
        error = fail.submit("why").exception()

        assert type(error) is ValueError
        assert str(error) == "why"


def test_exception_is_none_where_there_is_a_value(runner):
    @in_flow(runner)
    def body():
        assert parse.submit(1).exception() is None


def test_the_result_of_a_skipped_run_raises_from_the_first_failure(runner):
    @in_flow(runner)
    def body():
        failed = fail.submit("root")
        between = parse.submit(failed)
        skipped = parse.submit(between)
        with pytest.raises(UpstreamNotCompletedError, match=failed.name) as raised:
            skipped.result()

        assert skipped.state == NotReady(between.name)
        assert str(raised.value.__cause__) == "root"


def test_a_future_in_an_argument_is_replaced_by_its_value(runner):
    @in_flow(runner)
    def body():
        first = parse.submit(1)

        assert parse.submit({"deep": [first, 2]}).result() == {"deep": [1, 2]}


# Values that stay with their task runner


def test_a_value_that_stayed_behind_is_fetched_when_it_is_asked_for():
    @in_flow(KeepingTaskRunner())
    def body():
        future = parse.submit(parse.submit([1]))

        assert future.result() == [1]


def test_a_value_that_is_lost_cannot_be_had_though_its_run_completed():
    @in_flow(KeepingTaskRunner(loses=True))
    def body():
        future = parse.submit([1])
        with pytest.raises(ValueLostError, match="worker 3 died"):
            future.result()

        assert future.state == Completed()
        assert future.exception() is None


def test_a_value_goes_away_with_its_task_runner():
    futures = []

    @in_flow(KeepingTaskRunner())
    def body():
        futures.append(parse.submit([1]))

    with pytest.raises(
        ResultGoneError, match=r"'parse-\w+-0' went away .*: return the future from"
    ):
        futures[0].result()


def test_a_value_in_the_driver_outlives_its_task_runner():
    futures = []

    @in_flow(KeepingTaskRunner())
    def body():
        futures.append(parse.submit([1]))
        futures[0].result()

    assert futures[0].result() == [1]


# Waiting


def test_result_that_takes_too_long_is_a_timeout():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            gate.reached.wait()

            with pytest.raises(
                TimeoutError, match=rf"^task run '{future.name}' is Running after 0.0"
            ):
                future.result(timeout=0.01)


def test_exception_that_takes_too_long_is_a_timeout():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            pass_gate.submit(gate)
            future = parse.submit(1)

            with pytest.raises(
                TimeoutError, match=rf"^task run '{future.name}' is Pending after 0 s"
            ):
                future.exception(timeout=0)


@pytest.mark.parametrize("timeout", [0.01, 0, -1])
def test_wait_tells_that_the_run_is_not_final_in_time(timeout):
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)

            assert future.wait(timeout) is False
            assert not future.done()


def test_wait_that_gave_up_leaves_nothing_behind():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)

            for _ in range(3):
                future.wait(timeout=0)

            assert future._waiters == []  # no part of the interface


def test_all_who_wait_are_woken():
    woken = []

    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            waiting = [
                threading.Thread(target=lambda: woken.append(future.wait())) for _ in range(3)
            ]
            for thread in waiting:
                thread.start()
            gate.opened.set()
            for thread in waiting:
                thread.join()

    assert woken == [True, True, True]


@pytest.mark.parametrize("timeout", [None, 0, 1])
def test_wait_returns_at_once_if_the_run_is_final(runner, timeout):
    @in_flow(runner)
    def body():
        future = fail.submit()
        future.wait()

        assert future.wait(timeout) is True


def test_a_run_is_done_once_it_is_final_however_it_ended(runner):
    @in_flow(runner)
    def body():
        futures = [parse.submit(1), fail.submit()]
        futures.append(parse.submit(futures[1]))
        for future in futures:
            future.wait()

        assert [future.done() for future in futures] == [True, True, True]
        assert [future.cancelled() for future in futures] == [False, False, False]


# Cancelling


def test_a_run_that_is_cancelled_before_it_begins_never_does():
    ran = []

    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            pass_gate.submit(gate)
            future = task(ran.append).submit(1)

            assert future.cancel() is True
            assert future.cancelled()
            assert future.done()

    assert ran == []


def test_a_run_that_is_cancelled_while_it_runs_ends_as_cancelled():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            gate.reached.wait()

            assert future.cancel() is True
            assert future.wait(timeout=0)

    # The flow waits for its threads, and the late end of the call changes nothing.


def test_a_cancelled_run_raises_that_it_is():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            future.cancel()

            with pytest.raises(TaskCancelledError, match="the run ended Cancelled"):
                future.result()
            assert type(future.exception()) is TaskCancelledError


def test_what_depends_on_a_cancelled_run_is_skipped():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            dependent = parse.submit(future)

            future.cancel()

            assert dependent.state == NotReady(future.name)


def test_a_cancelled_run_can_be_cancelled_again():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)

            assert [future.cancel(), future.cancel()] == [True, True]


@pytest.mark.parametrize("ended", [parse, fail])
def test_a_run_that_is_final_cannot_be_cancelled(runner, ended):
    @in_flow(runner)
    def body():
        future = ended.submit(1)
        future.wait()
        state = future.state

        assert future.cancel() is False
        assert not future.cancelled()
        assert future.state is state


# Callbacks


def test_a_callback_is_called_with_the_future_once_the_run_is_final():
    called = []

    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate, 1)
            future.add_done_callback(lambda done: called.append((done is future, done.result())))
            called.append("added")

    assert called == ["added", (True, 1)]


def test_callbacks_are_called_in_order_on_one_thread_of_their_own():
    called = []

    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            for number in range(3):
                future.add_done_callback(
                    lambda _, number=number: called.append((number, threading.current_thread()))
                )

    numbers, threads = zip(*called, strict=True)
    assert numbers == (0, 1, 2)
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


def test_a_callback_is_called_before_the_flow_ends():
    called, callbacks_gate = [], Event()

    @flow(task_runner=ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            future.add_done_callback(lambda _: callbacks_gate.wait() and called.append("called"))
            callbacks_gate.set()

    body()

    assert called == ["called"]


def test_a_callback_of_a_final_run_is_called_at_once_and_right_here(runner):
    called = []

    @in_flow(runner)
    def body():
        future = parse.submit(1)
        future.wait()
        future.add_done_callback(lambda done: called.append((done, threading.current_thread())))

        assert called == [(future, threading.current_thread())]


def test_a_callback_is_called_for_a_run_that_is_cancelled():
    called = []

    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            future.add_done_callback(lambda done: called.append(done.cancelled()))
            future.cancel()

    assert called == [True]


@pytest.mark.parametrize("final", [False, True])
def test_a_callback_that_raises_is_logged_and_stops_nothing(final, caplog):
    called = []

    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            if final:
                gate.opened.set()
                future.wait()
            future.add_done_callback(lambda _: fail.fn("in a callback"))
            future.add_done_callback(called.append)

    (record,) = [it for it in caplog.records if "callback" in it.getMessage()]
    assert record.getMessage().startswith("A callback of task run 'pass_gate-")
    assert str(record.exc_info[1]) == "in a callback"
    assert len(called) == 1


def test_a_callback_may_ask_for_the_value_and_add_another_callback():
    called = []

    @in_flow(ONE_THREAD)
    def body():
        def first(done):
            done.add_done_callback(lambda again: called.append(again.result(timeout=0)))

        with Gate() as gate:
            pass_gate.submit(gate, "value").add_done_callback(first)

    assert called == ["value"]


# Awaiting


def test_a_future_can_be_awaited(runner):
    @in_async_flow(runner)
    async def body():
        assert await parse.submit([1]) == [1]


def test_a_future_that_is_not_final_can_be_awaited():
    @in_async_flow(ONE_THREAD)
    async def body():
        with Gate() as gate:
            future = pass_gate.submit(gate, "through")
            asyncio.get_running_loop().call_soon(gate.opened.set)

            assert await future == "through"


def test_futures_can_be_gathered():
    @in_async_flow(ConcurrentTaskRunner())
    async def body():
        futures = [parse.submit(number) for number in range(50)]

        assert await asyncio.gather(*futures) == list(range(50))


def test_awaiting_raises_the_tasks_own_exception(runner):
    @in_async_flow(runner)
    async def body():
        with pytest.raises(ValueError, match="why"):
            await fail.submit("why")


def test_awaiting_a_cancelled_run_raises_that_it_is_and_cancels_nothing_else():
    @in_async_flow(ONE_THREAD)
    async def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)
            asyncio.get_running_loop().call_soon(future.cancel)

            with pytest.raises(TaskCancelledError, match="the run ended Cancelled"):
                await future
            assert not asyncio.current_task().cancelling()


def test_cancelling_the_awaiter_does_not_cancel_the_run():
    @in_async_flow(ONE_THREAD)
    async def body():
        with Gate() as gate:
            future = pass_gate.submit(gate, "through")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(awaited(future), timeout=0.01)

            assert not future.done()
            gate.opened.set()
            assert await future == "through"


def test_an_awaiter_that_was_cancelled_leaves_nothing_behind():
    @in_async_flow(ONE_THREAD)
    async def body():
        with Gate() as gate:
            future = pass_gate.submit(gate)

            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(awaited(future), timeout=0.01)

            assert future._callbacks == []  # no part of the interface


def test_a_run_may_end_when_the_loop_that_awaited_it_is_closed():
    @in_flow(ONE_THREAD)
    def body():
        with Gate() as gate:
            future = pass_gate.submit(gate, "through")
            with pytest.raises(TimeoutError):
                asyncio.run(asyncio.wait_for(awaited(future), timeout=0.01))
            gate.opened.set()

            assert future.result() == "through"


def test_awaiting_a_value_that_stayed_behind_does_not_block_the_loop():
    threads = []

    class TellingTaskRunner(KeepingTaskRunner):
        def fetch(self, references):
            threads.append(threading.current_thread())
            return super().fetch(references)

    @in_async_flow(TellingTaskRunner())
    async def body():
        assert await parse.submit([1]) == [1]

    assert threads != []
    assert threading.current_thread() not in threads


async def awaited(future):
    return await future


# What it is not


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (bool, "has no truth value"),
        (lambda future: 1 if future else 2, "has no truth value"),
        (list, "cannot be iterated over"),
        (lambda future: [*future], "cannot be iterated over"),
    ],
)
def test_a_future_that_is_taken_for_its_value_says_what_to_do(use, reason):
    @in_flow(ONE_THREAD)
    def body():
        future = parse.submit([1])
        message = f"^the future of task run '{future.name}' {reason}; call .result\\(\\) to wait"

        with pytest.raises(TypeError, match=message):
            use(future)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_future_refuses_to_be_pickled_or_copied(duplicate):
    @in_flow(ONE_THREAD)
    def body():
        future = parse.submit(1)

        with pytest.raises(TypeError, match=r"^the future of task run '.*' cannot be pickled or"):
            duplicate(future)


def test_a_future_tells_its_run(runner):
    @in_flow(runner)
    def body():
        future = parse.submit(1)
        future.wait()

        assert future.name == future.task_run.name == f"parse-{parse.key}-0"
        assert future.state is future.task_run.state
        assert repr(future) == f"<TaskFuture '{future.name}' Completed>"
