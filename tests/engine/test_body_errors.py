"""What becomes of task runs when the body raises, and of marks and states in what it returns."""

import asyncio
from threading import Event

import pytest

from runnerstone import (
    Completed,
    Failed,
    StateType,
    allow_failure,
    flow,
    quote,
    task,
)
from runnerstone.errors import TaskCancelledError, UpstreamNotCompletedError
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


class BrokenError(Exception):
    """What tasks and flows fail with here."""


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


@task
def give(value):
    return value


@task
def fail(text="broken"):
    raise BrokenError(text)


def run_of(body, runner="sequential", **options):
    return flow(task_runner=runner, **options)(body).run()


# A body that raises


class Raising:
    """A body that raises while one task runs, and others wait."""

    def __init__(self):
        self.begun, self.may_end = Event(), Event()
        self.futures = []

    def hold(self):
        self.begun.set()
        assert self.may_end.wait(PATIENCE)

    def raise_(self):
        held = task(self.hold).submit()
        assert self.begun.wait(PATIENCE)
        waiting = give.submit(1)
        waiting.add_done_callback(lambda future: self.may_end.set())
        self.futures += [held, waiting, give.submit(waiting)]
        raise BrokenError("in the body")


@pytest.mark.parametrize("is_async", [False, True])
def test_what_has_not_begun_is_cancelled_if_the_flow_says_so(is_async):
    raising = Raising()

    async def raise_async():
        await asyncio.sleep(0)
        raising.raise_()

    body = raise_async if is_async else raising.raise_
    made = flow(task_runner=ONE_THREAD, on_body_error="cancel")(body)
    run = asyncio.run(made.run()) if is_async else made.run()

    assert [it.state.name for it in raising.futures] == ["Completed", "Cancelled", "Cancelled"]
    assert (type(run.error), str(run.error)) == (BrokenError, "in the body")
    assert run.counts == {StateType.COMPLETED: 1, StateType.CANCELLED: 2}
    with pytest.raises(TaskCancelledError):
        raising.futures[1].result()


@pytest.mark.parametrize("options", [{}, {"on_body_error": "wait"}])
def test_all_is_waited_for_otherwise(options):
    may_end, futures = Event(), []

    @flow(task_runner=ONE_THREAD, **options)
    def body():
        futures.append(task(may_end.wait).submit(PATIENCE))
        futures.append(give.submit(futures[0]))
        may_end.set()
        raise BrokenError("in the body")

    run = body.run()

    assert [it.result() for it in futures] == [True, True]
    assert str(run.error) == "in the body"
    assert run.counts == {StateType.COMPLETED: 2}


def test_a_retry_that_is_waited_for_is_cancelled_if_the_flow_says_so():
    def body():
        flaky = fail.with_options(retries=1, retry_delay_seconds=3600)
        future = flaky.submit()
        while future.state.name != "AwaitingRetry":
            future.wait(0.001)
        raise BrokenError("in the body")

    run = run_of(body, ONE_THREAD, on_body_error="cancel")

    assert run.counts == {StateType.CANCELLED: 1}


def test_a_body_that_returns_cancels_nothing():
    def body():
        return [give(1), give(give(2))]

    assert run_of(body, ONE_THREAD, on_body_error="cancel").result() == [1, 2]


def test_each_flow_says_it_for_itself():
    raising = Raising()
    inner = flow(task_runner=ONE_THREAD, on_body_error="cancel")(raising.raise_)

    def outer():
        future = give.submit("goes on")
        with pytest.raises(BrokenError):
            inner()
        return future

    run = run_of(outer, ONE_THREAD)

    assert run.result() == "goes on"
    assert run.subflow_runs[0].counts == {StateType.COMPLETED: 1, StateType.CANCELLED: 2}


def test_what_is_neither_is_refused():
    with pytest.raises(ValueError, match="on_body_error is 'wait' or 'cancel', not 'ignore'"):
        flow(on_body_error="ignore")


# Marks in what a body returns


def test_a_failure_that_is_allowed_is_its_exception_in_what_is_returned(runner):
    def body():
        failed = fail.submit("no luck")
        return [allow_failure(failed), allow_failure(give(failed)), allow_failure(give(1))]

    run = run_of(body, runner)

    first, second, third = run.result()
    assert run.state.is_completed()
    assert (type(first), str(first)) == (BrokenError, "no luck")
    assert isinstance(second, UpstreamNotCompletedError)
    assert third == 1


def test_a_failure_that_is_allowed_does_not_hide_one_that_is_not(runner):
    def body():
        return [allow_failure(fail.submit("allowed")), fail.submit("not allowed")]

    run = run_of(body, runner)

    assert run.state.message == "1/1 states failed."
    assert str(run.error) == "not allowed"


def test_allowing_failure_marks_all_futures_of_a_collection(runner):
    def body():
        futures = [give.submit(1), fail.submit()]
        return allow_failure({"list": futures, "tuple": tuple(futures), "one": futures[0]})

    result = run_of(body, runner).result()

    assert (result["list"][0], result["tuple"][0], result["one"]) == (1, 1, 1)
    assert isinstance(result["list"][1], BrokenError)
    assert result["list"][1] is result["tuple"][1]


def test_what_is_no_future_is_allowed_to_fail_as_it_is():
    value = object()

    assert allow_failure(value) is value
    assert allow_failure([value]) == [value]


def test_a_quoted_value_is_returned_as_it_is(runner):
    value = {"a": [1]}

    def body():
        return [quote(value), give(2)]

    first, second = run_of(body, runner).result()

    assert first is value
    assert second == 2


def test_outside_of_a_flows_body_quoting_changes_nothing():
    value = [1]

    assert quote(value) is value
    assert run_of(lambda: task(lambda: quote(value) is value).submit()).result() is True


# States in what a body returns


def test_a_state_with_futures_in_it_is_completed_with_their_values(runner):
    def body():
        return Completed("done", result={"a": give(1), "b": [give(give(2))]})

    run = run_of(body, runner)

    assert run.result() == {"a": 1, "b": [2]}
    assert str(run.state) == "Completed(message='done', type=COMPLETED)"


def test_a_completed_state_with_a_failed_future_in_it_has_failed(runner):
    run = run_of(lambda: Completed("done", result=[give(1), fail("no luck")]), runner)

    assert run.state.message == "1/2 states failed."
    assert (type(run.error), str(run.error)) == (BrokenError, "no luck")


def test_a_completed_state_may_allow_a_failure(runner):
    run = run_of(lambda: Completed("done", result=allow_failure(fail.submit())), runner)

    assert isinstance(run.result(), BrokenError)
    assert run.state.message == "done"


def test_a_failed_state_needs_no_values(runner):
    run = run_of(lambda: Failed("chosen", result=KeyError("mine")), runner)

    assert run.state.message == "chosen"
    assert isinstance(run.error, KeyError)


# Notes


def test_notes_tell_which_run_failed_and_how_many_others(runner):
    named = fail.with_options(task_run_name="run {text}")

    def body():
        return named.map(["a", "b", "c"])

    run = run_of(body, runner, flow_run_name="today")

    assert run.error.__notes__ == [
        "Task run 'run a' (map index 0) of flow run 'today' failed on " + type(runner).__name__,
        "2 other runs failed in flow run 'today'",
    ]


def test_notes_tell_the_way_through_subflows(runner):
    named = fail.with_options(task_run_name="it")
    inner = flow(flow_run_name="inner", task_runner=runner)(named.submit)

    def outer():
        return inner()

    run = run_of(outer, runner, flow_run_name="outer")

    assert run.error.__notes__ == [
        "Task run 'it' of flow run 'inner' failed on " + type(runner).__name__,
        "Subflow run 'inner' of flow run 'outer' failed",
    ]


def test_asking_again_adds_no_note(runner):
    def body():
        future = fail.submit()
        errors = [future.exception() for _ in range(3)]
        with pytest.raises(BrokenError):
            future.result()
        return len(errors[0].__notes__)

    assert run_of(body, runner).result() == 1
