"""Task runs and what they wait for: dependencies, retries, cancelling, runners of all manners."""

import sys
import threading
import time
from collections import OrderedDict, namedtuple
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from threading import Barrier, Event
from typing import Any

import attrs
import pytest

from runnerstone import Failed, StateType, flow, task
from runnerstone._engine.interrupts import InterruptGuard
from runnerstone._engine.task_runs import Engine
from runnerstone.errors import (
    FlowRunEndedError,
    TaskCancelledError,
    TaskCrashedError,
    UpstreamNotCompletedError,
)
from runnerstone.options import FlowOptions
from runnerstone.outcomes import Crash, Outcome
from runnerstone.runs import FlowRun
from runnerstone.task_runners import (
    Capabilities,
    ConcurrentTaskRunner,
    SequentialTaskRunner,
    TaskRunner,
)

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
TWO_THREADS = ConcurrentTaskRunner(max_workers=2)
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


class BrokenError(Exception):
    """What tasks fail with here."""


class ThreadTaskRunner(TaskRunner):
    """A thread a call. Derived runners report in manners of their own."""

    capabilities = Capabilities(shares_memory=True)

    def start(self):
        self._threads = []

    def submit(self, call, report):
        thread = threading.Thread(target=self._run, args=(call, report))
        self._threads.append(thread)
        thread.start()

    def _run(self, call, report):
        report.done(call(*call.upstream))

    def stop(self):
        for thread in self._threads:
            thread.join()


class InsideTaskRunner(TaskRunner):
    """Executes and reports inside of ``submit``, though it says that it is parallel."""

    capabilities = Capabilities(shares_memory=True)

    def submit(self, call, report):
        report.started()
        report.done(call(*call.upstream))


class HoardingTaskRunner(TaskRunner):
    """Executes nothing; tests take what it was given."""

    capabilities = Capabilities(shares_memory=True)

    def submit(self, call, report):
        taken.put((call, report))


taken: SimpleQueue[Any] = SimpleQueue()


@pytest.fixture(autouse=True)
def _nothing_taken():
    yield
    assert taken.empty()


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


@task
def give(value, after=None):
    return value


@task
def add(one, other):
    return one + other


@task
def total(numbers):
    return sum(numbers)


@task
def fail(text="broken", after=None):
    raise BrokenError(text)


@task
def hold(event):
    assert event.wait(PATIENCE)


def run_of(body, runner):
    return flow(task_runner=runner)(body).run()


# Dependencies

Pair = namedtuple("Pair", "first second")  # noqa: PYI024  # users have such


@dataclass
class Box:
    content: Any


@attrs.define
class Crate:
    content: Any


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda it: it, lambda it: it),
        (lambda it: [1, it], lambda it: it[1]),
        (lambda it: (it,), lambda it: it[0]),
        (lambda it: {it}, lambda it: it.pop()),
        (lambda it: frozenset([it]), lambda it: next(iter(it))),
        (lambda it: {"key": it}, lambda it: it["key"]),
        (lambda it: {it: "value"}, lambda it: next(iter(it))),
        (lambda it: OrderedDict(key=it), lambda it: it["key"]),
        (lambda it: Pair(1, it), lambda it: it.second),
        (Box, lambda it: it.content),
        (Crate, lambda it: it.content),
        (lambda it: Box([{"deep": (Crate(it),)}]), lambda it: it.content[0]["deep"][0].content),
    ],
    ids=repr,
)
def test_futures_in_arguments_are_replaced_at_any_depth(runner, wrap, unwrap):
    @task
    def unwrapped(positional, *, keyword):
        return unwrap(positional), unwrap(keyword)

    def body():
        return unwrapped(wrap(give(5)), keyword=wrap(give(6)))

    run = run_of(body, runner)

    assert run.result() == (5, 6)


def test_one_future_at_two_places_is_one_value(runner):
    @task
    def is_same(pair, *, other):
        return pair[0] is pair[1] is other

    def body():
        one = give(object())
        return is_same([one, one], other=one)

    assert run_of(body, runner).result() is True


def test_arguments_without_futures_are_passed_as_they_are(runner):
    value = [Box({"deep": []})]

    run = run_of(lambda: give(value), runner)

    assert run.result() is value


def test_task_runs_after_its_upstream():
    may_end = Event()
    order = []

    @task
    def first():
        may_end.wait(PATIENCE)
        order.append("first")
        return 1

    @task
    def second(value):
        order.append("second")
        return value + 1

    def body():
        future = second.submit(first())
        may_end.set()
        return future

    run = run_of(body, TWO_THREADS)

    assert run.result() == 2
    assert order == ["first", "second"]


def test_task_runs_after_what_it_is_to_wait_for():
    may_end = Event()
    order = []

    @task
    def first():
        may_end.wait(PATIENCE)
        order.append("first")

    @task
    def second():
        order.append("second")

    def body():
        second.submit(wait_for=[first()])
        may_end.set()

    run_of(body, TWO_THREADS)

    assert order == ["first", "second"]


def test_future_may_be_an_argument_and_waited_for_at_once(runner):
    def body():
        one = give(1)
        return add.submit(one, one, wait_for=[one, one])

    assert run_of(body, runner).result() == 2


def test_upstream_that_is_final_already_is_not_waited_for(runner):
    def body():
        one = give.submit(1)
        one.wait()
        return add(one, one)

    assert run_of(body, runner).result() == 2


def test_upstream_of_another_flow_run_is_waited_for():
    may_end = Event()

    @task
    def late():
        may_end.wait(PATIENCE)
        return 5

    @flow(task_runner=ONE_THREAD)
    def subflow():
        future = add.submit(upstream[0], 1)
        may_end.set()
        return future

    def body():
        upstream.append(late())
        return subflow()

    upstream = []

    assert run_of(body, ONE_THREAD).result() == 6


def test_upstream_of_a_flow_run_that_is_over_still_has_its_value(runner):
    kept = []

    run_of(lambda: kept.append(give(5)), runner)
    run = run_of(lambda: add(kept[0], 1), runner)

    assert run.result() == 6


def test_upstream_of_another_flow_run_that_failed_skips(runner):
    def body():
        upstream = fail.submit()

        def sub():
            give(1, after=upstream)

        states.append(run_of(sub, runner).task_runs[0].state)
        return 0

    states = []
    run_of(body, runner)

    assert states[0].name == "NotReady"


# Skipping


def test_run_behind_a_failure_is_not_ready_and_names_its_upstream(runner):
    def body():
        upstream = fail.submit()
        skipped = give.submit(1, after=upstream)
        skipped.wait()
        return str(skipped.state), upstream.name

    state, upstream = run_of(body, runner).result()

    message = f"Upstream task run '{upstream}' did not reach a 'COMPLETED' state."
    assert state == f'NotReady(message="{message}", type=SKIPPED)'


def test_skipping_goes_on_and_each_run_names_its_direct_upstream(runner):
    ran = []

    @task
    def never(upstream):
        ran.append(upstream)

    def body():
        futures = [fail.submit()]
        for _ in range(3):
            futures.append(never.submit([futures[-1]]))
        futures[-1].wait()
        return [(future.name, future.state.message) for future in futures]

    named = run_of(body, runner).result()

    assert not ran
    for (upstream, _), (_, message) in pairwise(named):
        assert message == f"Upstream task run {upstream!r} did not reach a 'COMPLETED' state."


def test_first_of_several_upstreams_that_did_not_complete_is_named(runner):
    def body():
        good, first, second = give.submit(1), fail.submit(), fail.submit()
        skipped = give.submit([good, first], after=second)
        skipped.wait()
        return skipped.state.message, first.name

    message, first = run_of(body, runner).result()

    assert repr(first) in message


def test_failure_of_what_is_waited_for_skips(runner):
    def body():
        upstream = fail.submit()
        skipped = give.submit(1, wait_for=[upstream])
        skipped.wait()
        return skipped.state.message, upstream.name

    message, upstream = run_of(body, runner).result()

    assert repr(upstream) in message


def test_run_behind_a_cancelled_one_is_skipped():
    may_end = Event()

    def body():
        held = hold.submit(may_end)
        cancelled = give.submit(1, after=held)
        skipped = give.submit(2, after=cancelled)
        cancelled.cancel()
        may_end.set()
        with pytest.raises(
            UpstreamNotCompletedError, match=r"It began at 'give-\w{8}-0'"
        ) as caught:
            skipped.result(PATIENCE)
        return caught.value.__cause__

    assert isinstance(run_of(body, ONE_THREAD).result(), TaskCancelledError)


def test_skipped_run_has_made_no_attempt(runner):
    run = run_of(lambda: give(1, after=fail()), runner)

    skipped = run.task_runs[1]
    assert skipped.attempts == 0
    assert skipped.started is None
    assert skipped.ended is not None


# Depth and breadth


def test_chain_of_10000_needs_one_worker_and_no_recursion():
    may_begin = Event()

    def body():
        future = give.submit(0, after=hold(may_begin))
        for _ in range(10_000):
            future = add(future, 1)
        may_begin.set()
        return future

    run = run_of(body, ONE_THREAD)

    assert run.result() == 10_000


def test_chain_of_10000_that_fails_is_skipped_without_recursion():
    may_begin = Event()

    def body():
        future = fail(after=hold(may_begin))
        for _ in range(10_000):
            future = add(future, 1)
        may_begin.set()

    run = run_of(body, ONE_THREAD)

    assert run.counts == {StateType.COMPLETED: 1, StateType.FAILED: 1, StateType.SKIPPED: 10_000}


def test_fan_in_of_10000_needs_one_worker():
    def body():
        return total([give(1) for _ in range(10_000)])

    run = run_of(body, ONE_THREAD)

    assert run.result() == 10_000


def test_fan_out_of_10000_needs_one_worker():
    def body():
        one = give(1)
        return total([add(one, 1) for _ in range(10_000)])

    run = run_of(body, ONE_THREAD)

    assert run.result() == 20_000


def test_chain_of_5000_on_a_runner_that_reports_inside_of_submit_does_not_recurse():
    may_begin = Event()

    @task
    def wait_there():
        return may_begin.wait(PATIENCE)

    def body():
        future = give.submit(0, after=elsewhere[0])
        for _ in range(5_000):
            future = add(future, 1)
        may_begin.set()
        return future

    def outer():
        elsewhere.append(wait_there())
        return flow(task_runner=InsideTaskRunner())(body)()

    elsewhere = []
    run = run_of(outer, ONE_THREAD)

    assert sys.getrecursionlimit() < 5_000
    assert run.result() == 5_000


def test_chain_that_alternates_between_two_flow_runs_does_not_recurse():
    may_begin = Event()
    length = 3_000

    @flow(task_runner=InsideTaskRunner())
    def inner():
        links.append(give.submit(0, after=links[0]))
        for _ in range(length):
            outer_submits = outer_context.copy().run(add.submit, links[-1], 1)
            links.append(add.submit(outer_submits, 1))
        may_begin.set()
        return links[-1]

    def body():
        nonlocal outer_context
        outer_context = copy_context()
        return inner()

    def outermost():
        links.append(hold(may_begin))
        return flow(task_runner=InsideTaskRunner())(body)()

    links = []
    outer_context = None
    run = run_of(outermost, ONE_THREAD)

    assert run.result() == 2 * length


def test_diamond_runs_on_one_worker():
    def body():
        top = give(1)
        left, right = add(top, 10), add(top, 100)
        return add(left, right)

    assert run_of(body, ONE_THREAD).result() == 112


def test_independent_task_does_not_wait_behind_one_that_waits_for_its_upstream():
    may_end, order = Event(), []

    @task
    def note(name, after=None):
        order.append(name)
        may_end.set()

    def body():
        note("dependent", after=hold(may_end))
        note("independent")

    run_of(body, TWO_THREADS)

    assert order == ["independent", "dependent"]


def test_no_worker_waits_for_an_upstream():
    may_end = Event()

    @task
    def release(event):
        event.set()

    def body():
        held = hold(may_end)
        waiting = [give(number, after=held) for number in range(50)]
        release(may_end)
        return total(waiting)

    assert run_of(body, TWO_THREADS).result() == sum(range(50))


# Submitting from other threads


def test_thread_with_the_flow_s_context_submits_to_the_flow(runner):
    def body():
        context = copy_context()
        thread = threading.Thread(target=lambda: futures.append(context.run(give.submit, 5)))
        thread.start()
        thread.join()
        return [futures[0], give(6)]

    futures = []
    run = run_of(body, runner)

    assert run.result() == [5, 6]
    assert [it.name for it in run.task_runs] == [f"give-{give.key}-0", f"give-{give.key}-1"]


def test_thread_without_the_flow_s_context_runs_the_function(runner):
    def body():
        thread = threading.Thread(target=lambda: values.append(give(5)))
        thread.start()
        thread.join()

    values = []
    run = run_of(body, runner)

    assert values == [5]
    assert run.submitted == 0


@pytest.mark.parametrize("runner", [SequentialTaskRunner(), TWO_THREADS], ids=repr)
def test_many_threads_submit_at_once_and_each_run_has_a_number_of_its_own(runner):
    threads, each = 8, 200
    together = Barrier(threads)

    def submit_some(into):
        together.wait(PATIENCE)
        into.extend(give.submit(number) for number in range(each))

    def body():
        parts = [[] for _ in range(threads)]
        workers = [
            threading.Thread(target=copy_context().run, args=(submit_some, part)) for part in parts
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return parts

    run = run_of(body, runner)

    assert run.result() == [list(range(each))] * threads
    assert sorted(it.number for it in run.task_runs) == list(range(threads * each))
    assert [it.index for it in run.task_runs] == list(range(threads * each))


def test_flow_waits_for_what_a_thread_submits_while_it_waits():
    body_is_over = Event()

    def submit_late(first):
        first.wait()
        late.append(give.submit(5))
        may_end.set()

    def body():
        first = hold.submit(body_is_over)
        second = hold.submit(may_end)  # keeps the flow waiting until the late one is submitted
        thread = threading.Thread(target=copy_context().run, args=(submit_late, first))
        thread.start()
        started.append(thread)
        body_is_over.set()
        return [first, second]

    may_end, started, late = Event(), [], []
    run = run_of(body, TWO_THREADS)

    started[0].join()
    assert late[0].result() == 5
    assert run.submitted == 3


def test_submission_after_the_end_is_refused(runner):
    contexts = []
    run = run_of(lambda: contexts.append(copy_context()), runner)

    with pytest.raises(FlowRunEndedError, match=rf"'give' was submitted to flow run {run.name!r}"):
        contexts[0].run(give.submit, 5)

    assert run.submitted == 0


def test_subflow_after_the_end_is_refused(runner):
    @flow(task_runner=runner)
    def late():
        return 5

    contexts = []
    run = run_of(lambda: contexts.append(copy_context()), runner)

    with pytest.raises(FlowRunEndedError, match=rf"'late' was called in flow run {run.name!r}"):
        contexts[0].run(late)

    assert run.subflow_runs == []


def test_flow_waits_for_a_subflow_in_another_thread(runner):
    body_is_over, in_subflow = Event(), Event()

    @flow(task_runner=runner)
    def subflow():
        in_subflow.set()
        assert body_is_over.wait(PATIENCE)
        fail("in the subflow")

    def body():
        thread = threading.Thread(target=copy_context().run, args=(subflow.run,))
        thread.start()
        threads.append(thread)
        assert in_subflow.wait(PATIENCE)
        threading.Thread(target=end_the_subflow_once_the_flow_waits, args=(thread,)).start()

    def end_the_subflow_once_the_flow_waits(thread):
        thread.join(0.05)  # the flow is over by then, if it does not wait
        body_is_over.set()

    threads = []
    run = run_of(body, runner)
    threads[0].join()

    assert run.state.message == "1/1 states failed."


# Retries


class Flaky:
    """Fails a number of times, then returns which attempt this is; remembers the threads."""

    def __init__(self, failures):
        self.failures = failures
        self.threads = []

    def __call__(self):
        self.threads.append(threading.current_thread())
        if len(self.threads) <= self.failures:
            raise BrokenError(f"attempt {len(self.threads)}")
        return len(self.threads)


@pytest.mark.parametrize("delay", [0, 0.01])
def test_task_that_fails_is_tried_again(runner, delay):
    flaky = task(name="flaky", retries=2, retry_delay_seconds=delay)(Flaky(2))

    run = run_of(flaky, runner)

    assert run.result() == 3
    assert run.task_runs[0].attempts == 3
    assert run.task_runs[0].state.name == "Completed"


@pytest.mark.parametrize("delay", [0, 0.01])
def test_task_fails_with_its_last_exception_once_the_retries_are_used_up(runner, delay):
    flaky = task(name="flaky", retries=2, retry_delay_seconds=delay)(Flaky(9))

    run = run_of(flaky, runner)

    with pytest.raises(BrokenError, match="attempt 3"):
        run.result()
    assert len(flaky.fn.threads) == 3
    assert run.task_runs[0].attempts == 3
    assert run.counts == {StateType.FAILED: 1}


def test_task_that_returns_a_failed_state_is_tried_again(runner):
    attempts = []

    @task(retries=1)
    def unsure():
        attempts.append(1)
        return Failed("not yet") if len(attempts) == 1 else "done"

    assert run_of(unsure, runner).result() == "done"


def test_crash_takes_nothing_from_the_retries_of_failures():
    class LosingTaskRunner(TaskRunner):
        def submit(self, call, report):
            submitted.append(call)
            report.crashed(None, "lost")

    submitted = []
    patient = give.with_options(retries=3)
    run = run_of(lambda: patient(1), LosingTaskRunner())

    assert [call.attempt for call in submitted] == [1, 2]
    assert run.task_runs[0].state.is_crashed()


def test_each_attempt_is_a_call_with_an_id_of_its_own():
    class NotingTaskRunner(ThreadTaskRunner):
        def submit(self, call, report):
            noted.append((call.id, call.attempt, call.name))
            super().submit(call, report)

    noted = []
    flaky = task(name="flaky", retries=2)(Flaky(2))
    run_of(flaky, NotingTaskRunner())

    assert len({id_ for id_, _, _ in noted}) == 3
    assert [attempt for _, attempt, _ in noted] == [1, 2, 3]
    assert len({name for _, _, name in noted}) == 1


def test_dependents_wait_for_the_retries(runner):
    flaky = task(name="flaky", retries=2, retry_delay_seconds=0.01)(Flaky(2))

    assert run_of(lambda: add(flaky(), 10), runner).result() == 13


def test_attempt_sees_the_context_as_it_was_when_the_task_was_submitted(runner):
    variable = ContextVar("variable", default="before")
    seen = []

    @task(retries=2)
    def changing():
        seen.append(variable.get())
        variable.set("changed")
        raise BrokenError

    run_of(changing, runner)

    assert seen == ["before"] * 3


def test_delay_holds_no_worker():
    flaky = task(name="flaky", retries=1, retry_delay_seconds=0.2)(Flaky(1))

    def body():
        future = flaky.submit()
        while future.state.name != "AwaitingRetry":
            time.sleep(0.001)
        give.submit(1).result()
        return future.state.name, future

    run = run_of(body, ONE_THREAD)

    assert run.result() == ("AwaitingRetry", 2)


def test_states_of_a_run_that_is_retried_are_seen():
    may_go_on = SimpleQueue()
    begun = SimpleQueue()

    @task(retries=1, retry_delay_seconds=0.05)
    def flaky():
        begun.put("begun")
        if may_go_on.get(timeout=PATIENCE) == "fail":
            raise BrokenError

    def body():
        held = hold.submit(free)
        future = flaky.submit()
        seen.append(future.state.name)
        free.set()
        begun.get(timeout=PATIENCE)
        seen.append(future.state.name)
        may_go_on.put("fail")
        while future.state.name == "Running":
            time.sleep(0.001)
        seen.append(str(future.state))
        begun.get(timeout=PATIENCE)
        seen.append(str(future.state))
        may_go_on.put("succeed")
        future.wait()
        seen.append(future.state.name)
        return held

    free, seen = Event(), []
    run_of(body, ONE_THREAD)

    assert seen == [
        "Pending",
        "Running",
        "AwaitingRetry(message=None, type=SCHEDULED)",
        "Retrying(message=None, type=RUNNING)",
        "Completed",
    ]


def test_run_that_awaits_its_retry_can_be_cancelled():
    flaky = task(name="flaky", retries=1, retry_delay_seconds=3600)(Flaky(9))

    def body():
        future = flaky.submit()
        while future.state.name != "AwaitingRetry":
            time.sleep(0.001)
        return future.cancel(), future.state.name

    run = run_of(body, ONE_THREAD)

    assert run.result() == (True, "Cancelled")
    assert len(flaky.fn.threads) == 1


def test_sequential_retries_run_in_the_thread_that_submits():
    flaky = task(name="flaky", retries=2, retry_delay_seconds=0.01)(Flaky(2))

    run_of(flaky, "sequential")

    assert flaky.fn.threads == [threading.current_thread()] * 3


def test_sequential_submission_returns_when_the_run_is_final():
    flaky = task(name="flaky", retries=1, retry_delay_seconds=0.01)(Flaky(1))

    def body():
        return flaky.submit().done(), fail.submit().done(), give.submit(1, after=fail()).done()

    assert run_of(body, "sequential").result() == (True, True, True)


def test_retry_of_a_runner_that_is_not_parallel_but_posts_its_reports_is_not_lost():
    class PostingTaskRunner(TaskRunner):
        capabilities = Capabilities(parallel=False, shares_memory=True)

        def submit(self, call, report):
            report.post(call(*call.upstream))

    tasks = [task(name="flaky", retries=2)(Flaky(2)) for _ in range(200)]

    run = run_of(lambda: [flaky() for flaky in tasks], PostingTaskRunner())

    assert run.result() == [3] * 200


# Cancelling


def test_cancelled_run_that_has_not_begun_never_does():
    may_end, ran = Event(), []

    @task
    def note():
        ran.append(1)

    def body():
        hold(may_end)
        future = note.submit()
        assert future.cancel()
        may_end.set()
        return future.cancelled(), future.cancel()

    run = run_of(body, ONE_THREAD)

    assert run.result() == (True, True)
    assert not ran
    assert run.task_runs[1].state.is_cancelled()


def test_cancelling_a_final_run_changes_nothing(runner):
    def body():
        future = give.submit(1)
        future.wait()
        return future.cancel(), future.cancelled(), future.result()

    assert run_of(body, runner).result() == (False, False, 1)


def test_run_that_is_cancelled_while_it_runs_goes_on_unheeded():
    begun, may_end, ended = Event(), Event(), Event()

    @task
    def stubborn():
        begun.set()
        with suppress(BaseException):  # what interrupts it
            may_end.wait(PATIENCE)
        ended.set()
        return 5

    def body():
        future = stubborn.submit()
        begun.wait(PATIENCE)
        cancelled = future.cancel()
        may_end.set()
        assert ended.wait(PATIENCE)
        return cancelled, future.state.name

    run = run_of(body, ONE_THREAD)

    assert run.result() == (True, "Cancelled")
    assert run.task_runs[0].state.is_cancelled()


def test_cancelling_tells_the_runner():
    class NotingTaskRunner(ThreadTaskRunner):
        def cancel(self, call):
            noted.append(call.name)
            may_end.set()
            raise OSError("cannot be reached")

    def body():
        future = hold.submit(may_end)
        return future.cancel(), future.name

    may_end, noted = Event(), []
    cancelled, name = run_of(body, NotingTaskRunner()).result()

    assert cancelled
    assert noted == [name]


def test_cancelled_coroutine_is_interrupted():
    begun, interrupted = Event(), Event()

    @task
    async def patient():
        import asyncio

        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted.set()
            raise

    def body():
        future = patient.submit()
        begun.wait(PATIENCE)
        return future.cancel()

    assert run_of(body, ONE_THREAD).result()
    assert interrupted.is_set()


def test_coroutine_cancelled_by_another_before_it_began_is_crashed():
    begun, may_go_on = Event(), Event()

    @task
    async def canceller():
        import asyncio

        begun.set()
        assert may_go_on.wait(PATIENCE)  # holds up the loop: when it goes on, the others are there
        await asyncio.sleep(0)
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()

    @task
    async def victim():
        raise AssertionError("it has begun")

    def body():
        canceller()
        assert begun.wait(PATIENCE)
        victims = [victim.submit() for _ in range(3)]
        may_go_on.set()
        return [str(it.exception(PATIENCE)) for it in victims]

    messages = run_of(body, ONE_THREAD).result()

    assert messages == ["the call was cancelled on its event loop before it began"] * 3


# Runners of all manners


def test_runner_that_refuses_a_call_crashes_that_run_alone():
    class PickyTaskRunner(ThreadTaskRunner):
        def submit(self, call, report):
            if call.number == 1:
                raise OSError("no room")
            super().submit(call, report)

    def body():
        return [give.submit(number).exception(PATIENCE) for number in range(3)]

    first, second, third = run_of(body, PickyTaskRunner()).result()

    assert first is third is None
    assert isinstance(second, TaskCrashedError)
    assert str(second) == "PickyTaskRunner did not accept the call: OSError('no room')".replace(
        "PickyTaskRunner", PickyTaskRunner.__qualname__
    )
    assert isinstance(second.__cause__, OSError)


def test_runner_that_refuses_a_batch_crashes_each_of_it():
    class PickyTaskRunner(ThreadTaskRunner):
        def submit_many(self, calls):
            raise OSError("no room")

    may_end = Event()

    def body():
        held = hold(may_end)
        for number in range(3):
            give(number, after=held)
        may_end.set()

    run = run_of(body, PickyTaskRunner())

    assert run.counts == {StateType.COMPLETED: 1, StateType.CRASHED: 3}
    with pytest.raises(TaskCrashedError, match=r"did not accept the call: OSError\('no room'\)"):
        run.result()


def test_end_that_was_reported_before_a_batch_was_refused_stays():
    class PickyTaskRunner(ThreadTaskRunner):
        def submit_many(self, calls):
            call, report = calls[0]
            report.done(call(*call.upstream))
            raise OSError("no room")

    may_end = Event()

    def body():
        held = hold(may_end)
        for number in range(3):
            give(number, after=held)
        may_end.set()

    run = run_of(body, PickyTaskRunner())

    assert run.counts == {StateType.COMPLETED: 2, StateType.CRASHED: 2}


def test_what_becomes_ready_at_once_is_submitted_at_once():
    class NotingTaskRunner(ThreadTaskRunner):
        def submit_many(self, calls):
            batches.append(len(calls))
            super().submit_many(calls)

    may_end, batches = Event(), []

    def body():
        held = hold(may_end)
        for number in range(7):
            give(number, after=held)
        may_end.set()

    run_of(body, NotingTaskRunner())

    assert batches == [7]


@pytest.mark.parametrize("report_it", ["done", "post"])
def test_report_of_what_is_no_outcome_crashes_the_run(report_it):
    class WrongTaskRunner(TaskRunner):
        capabilities = Capabilities(shares_memory=True)

        def submit(self, call, report):
            getattr(report, report_it)("a value")

    run = run_of(lambda: give(1), WrongTaskRunner())

    with pytest.raises(TaskCrashedError, match="reported 'a value', which is no Outcome"):
        run.result()


def test_first_of_two_reported_ends_counts():
    class TwiceTaskRunner(TaskRunner):
        capabilities = Capabilities(shares_memory=True)

        def submit(self, call, report):
            report.done(call(*call.upstream))
            report.done(Outcome("second"))
            report.crashed(None, "third")
            report.post(Outcome("fourth"))
            report.started("late")

    run = run_of(lambda: [give("first"), give("first")], TwiceTaskRunner())

    assert run.result() == ["first", "first"]
    assert run.counts == {StateType.COMPLETED: 2}


def test_end_reported_by_many_threads_at_once_counts_once():
    reporters = 8
    together = Barrier(reporters)

    class ManyTaskRunner(ThreadTaskRunner):
        def submit(self, call, report):
            for number in range(reporters):
                thread = threading.Thread(target=self._report, args=(report, number))
                self._threads.append(thread)
                thread.start()

        def _report(self, report, number):
            together.wait(PATIENCE)
            report.started(f"worker {number}")
            report.done(Outcome(number, started=1.0))

    def body():
        for _ in range(30):
            future = give.submit(None)
            called = []
            future.add_done_callback(called.append)
            after.append(add.submit(future, 0))
            future.wait()
        return 0

    after = []
    run = run_of(body, ManyTaskRunner())

    assert run.counts == {StateType.COMPLETED: 60}
    assert all(it.result() in range(reporters) for it in after)
    assert all(it.attempts == 1 for it in run.task_runs)


def test_failure_reported_by_many_threads_at_once_is_retried_once():
    reporters = 4
    submitted = []

    class ManyTaskRunner(ThreadTaskRunner):
        def submit(self, call, report):
            submitted.append(call.id)
            together = Barrier(reporters)
            outcome = call(*call.upstream)
            for _ in range(reporters):
                thread = threading.Thread(target=self._report, args=(report, outcome, together))
                self._threads.append(thread)
                thread.start()

        def _report(self, report, outcome, together):
            together.wait(PATIENCE)
            report.done(outcome)

    stubborn = fail.with_options(retries=5)
    run = run_of(stubborn, ManyTaskRunner())

    assert len(submitted) == 6
    assert run.task_runs[0].attempts == 6


def test_report_after_cancelling_is_ignored():
    def body():
        future = give.submit(5)
        call, report = taken.get(timeout=PATIENCE)
        future.cancel()
        state = future.state
        report.started("late")
        report.done(call(*call.upstream))
        report.crashed(None, "later")
        return future.state is state, future.task_run.where

    assert run_of(body, HoardingTaskRunner()).result() == (True, None)


def test_report_after_the_end_of_the_flow_is_ignored(caplog):
    def body():
        future = give.submit(5)
        reports.append(taken.get(timeout=PATIENCE))
        future.cancel()

    reports = []
    run = run_of(body, HoardingTaskRunner())
    before, logged = set(threading.enumerate()), len(caplog.records)

    (call, report), *_ = reports
    report.started()
    report.post(call(*call.upstream))
    report.done(call(*call.upstream))

    assert run.task_runs[0].state.is_cancelled()
    assert set(threading.enumerate()) == before
    assert len(caplog.records) == logged


def test_old_attempt_reports_nothing_to_the_new_one():
    def body():
        future = flaky.submit()
        first_call, first = taken.get(timeout=PATIENCE)
        first.done(first_call())
        second_call, second = taken.get(timeout=PATIENCE)
        first.started("the first worker")
        first.done(Outcome("of the first"))
        before = future.state.name
        second.started("the second worker")
        second.done(second_call())
        return before, future

    flaky = task(name="flaky", retries=1)(Flaky(1))
    run = run_of(body, HoardingTaskRunner())

    assert run.result() == ("AwaitingRetry", 2)


def test_what_a_stopped_runner_left_is_crashed():
    run = FlowRun("a-run", "a-flow", time.time())
    runner = HoardingTaskRunner().copy_for_run()
    engine = Engine(run, runner, InterruptGuard(), FlowOptions(), None)
    pending = engine.submit(give, (1,), {})
    behind = [engine.submit(give, (pending,), {}) for _ in range(10)]
    call, report = taken.get(timeout=PATIENCE)

    engine.stop()
    report.done(call())

    assert pending.state.is_crashed()
    assert pending.state.message == (
        f"The task runner stopped before task run {pending.name!r} ended."
    )
    assert {it.state.name for it in behind} == {"NotReady"}
    assert engine.book.close()


def test_runner_that_fails_to_start_is_stopped_and_crashes_the_flow():
    class BrokenTaskRunner(ThreadTaskRunner):
        def start(self):
            done.append("start")
            raise OSError("no room")

        def stop(self):
            done.append("stop")

    done = []
    broken = flow(task_runner=BrokenTaskRunner())(lambda: done.append("body"))
    run = broken.run()

    assert done == ["start", "stop"]
    assert run.state.is_crashed()
    assert "failed to start: OSError('no room')" in run.state.message
    with pytest.raises(OSError, match="no room"):
        run.result()


def test_runner_that_fails_to_stop_is_logged_and_changes_nothing(caplog):
    class BrokenTaskRunner(ThreadTaskRunner):
        def stop(self):
            super().stop()
            raise OSError("not yet")

    run = run_of(lambda: give(5), BrokenTaskRunner())

    assert run.result() == 5
    (record,) = [it for it in caplog.records if "failed to stop" in it.getMessage()]
    assert record.getMessage() == "Task runner `BrokenTaskRunner` failed to stop"
    assert "not yet" in caplog.text


def test_callbacks_that_exit_do_not_silence_those_behind_them(caplog):
    may_end, called = Event(), []

    def body():
        future = hold.submit(may_end)
        future.add_done_callback(lambda _: sys.exit(1))
        future.add_done_callback(called.append)
        may_end.set()

    run_of(body, ONE_THREAD)

    assert len(called) == 1
    assert "SystemExit: 1" in caplog.text


def test_calls_of_a_runner_that_starts_no_thread_run_one_after_another():
    active, order = [], []

    @task
    def note(name, after=None):
        active.append(name)
        assert len(active) == 1
        order.append(active.pop())

    def body():
        for name in "abc":
            note(name)

    run = run_of(body, InsideTaskRunner())

    assert run.state.is_completed()
    assert order == ["a", "b", "c"]


def test_partial_is_a_task_too(runner):
    doubled = task(name="doubled")(partial(max, 2))

    assert run_of(lambda: doubled(1), runner).result() == 2


def test_crash_over_lost_values_names_the_runs_that_made_them():
    class ForgetfulTaskRunner(ThreadTaskRunner):
        def _run(self, call, report):
            lost = tuple(range(len(call.upstream)))
            if lost:
                report.done(Outcome(problem=Crash("worker w died", lost=lost)))
            else:
                report.done(call())

    @flow(task_runner=ForgetfulTaskRunner())
    def body():
        one, two = give.submit(1), give.submit(2)
        return give.submit([one, two])

    run = body.run()

    lost, ones, twos = run.task_runs[2], run.task_runs[0].name, run.task_runs[1].name
    assert lost.state.is_crashed()
    assert lost.state.message == (
        f"worker w died; lost: the values of task runs {ones!r}, {twos!r}"
    )


def test_callbacks_are_called_before_the_runner_stops():
    class NotingTaskRunner(ThreadTaskRunner):
        def stop(self):
            stopped.set()
            super().stop()

    stopped = Event()
    seen = []
    run_of(
        lambda: give.submit(1).add_done_callback(lambda future: seen.append(stopped.wait(0.2))),
        NotingTaskRunner(),
    )

    assert seen == [False]
