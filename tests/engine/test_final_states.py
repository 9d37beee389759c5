"""The final state of a flow run: `design.md`, "Final state of a flow run"."""

import threading
from dataclasses import dataclass
from threading import Event
from typing import Any

import pytest

from runnerstone import Cancelled, Completed, Crashed, Failed, StateType, flow, task
from runnerstone.errors import (
    FlowCancelledError,
    FlowFailedError,
    TaskCancelledError,
    TaskCrashedError,
    TaskFailedError,
    UpstreamNotCompletedError,
)
from runnerstone.states import PENDING, RUNNING
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner, TaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)


class BrokenError(Exception):
    """What tasks and flows fail with here."""


class LosingTaskRunner(TaskRunner):
    """Loses every call."""

    def submit(self, call, report):
        report.crashed(None, f"{call.name} is lost")


@dataclass
class Box:
    content: Any


@task
def give(value, after=None):
    return value


@task
def fail(text="broken", after=None):
    raise BrokenError(text)


@task
def give_up(text="given up"):
    return Cancelled(text)


@task
def hold(event):
    event.wait()


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


def run_of(body, runner="sequential"):
    return flow(task_runner=runner)(body).run()


def notes_of(error):
    return getattr(error, "__notes__", [])


# 1. It raised


def test_body_that_raises_fails_with_its_exception(runner):
    error = BrokenError("in the body")

    def body():
        give(1)
        raise error

    run = run_of(body, runner)

    assert str(run.state) == ("Failed(message='Flow run encountered an exception.', type=FAILED)")
    with pytest.raises(BrokenError, match="in the body") as caught:
        run.result()
    assert caught.value is error


def test_calling_a_flow_raises_what_its_body_raises(runner):
    @flow(task_runner=runner)
    def failing():
        raise BrokenError("in the body")

    with pytest.raises(BrokenError, match="in the body"):
        failing()


def test_exception_of_the_body_goes_before_failures_of_tasks(runner):
    def body():
        fail("in a task")
        raise ValueError("in the body")

    run = run_of(body, runner)

    assert run.state.message == "Flow run encountered an exception."
    with pytest.raises(ValueError, match="in the body"):
        run.result()


def test_exception_of_the_body_does_not_stop_the_tasks_that_it_submitted():
    may_end = Event()

    def body():
        futures.append(give.submit(1, after=hold.submit(may_end)))
        may_end.set()
        raise BrokenError

    futures = []
    run_of(body, "concurrent")

    assert futures[0].result() == 1


def test_task_failure_that_the_body_asks_for_is_the_body_s_exception(runner):
    def body():
        return fail.submit("asked for").result()

    run = run_of(body, runner)

    assert run.state.message == "Flow run encountered an exception."
    with pytest.raises(BrokenError, match="asked for"):
        run.result()


def test_flow_that_exits_fails_and_exits(runner):
    @flow(task_runner=runner)
    def exiting():
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        exiting()
    with pytest.raises(SystemExit):
        exiting.run()

    assert caught.value.code == 3


# 2. It returned None


def test_body_without_tasks_that_returns_nothing_completes_without_a_message(runner):
    run = run_of(lambda: None, runner)

    assert str(run.state) == "Completed(message=None, type=COMPLETED)"
    assert run.result() is None


def test_all_completed_tasks_complete_the_flow(runner):
    def body():
        give(1)
        give(2)

    run = run_of(body, runner)

    assert str(run.state) == "Completed(message='All states completed.', type=COMPLETED)"
    assert run.result() is None


def test_failed_tasks_are_counted(runner):
    def body():
        give(1)
        fail()
        give(3)

    run = run_of(body, runner)

    assert str(run.state) == "Failed(message='1/3 states failed.', type=FAILED)"


def test_crashed_tasks_count_as_failed():
    def body():
        give(1)
        give(2)

    run = run_of(body, LosingTaskRunner())

    assert str(run.state) == "Failed(message='2/2 states failed.', type=FAILED)"
    with pytest.raises(TaskCrashedError, match=r"give-\w{8}-0 is lost"):
        run.result()


def test_skipped_tasks_do_not_count_as_failed(runner):
    def body():
        give(1, after=fail.submit())
        give(2)

    run = run_of(body, runner)

    assert run.state.message == "1/3 states failed."


def test_skipped_tasks_are_counted_where_nothing_else_failed(runner):
    def sub(upstream):
        give(give(1, after=upstream))
        give(2)

    def body():
        upstream = fail.submit()
        inner.append(run_of(lambda: sub(upstream), runner))
        return 0

    inner = []
    run_of(body, runner)

    assert str(inner[0].state) == "Failed(message='2/3 states skipped.', type=FAILED)"


def test_cancelled_tasks_and_what_they_held_up_cancel_the_flow(runner):
    def body():
        give(1)
        give(2, after=give_up.submit())

    run = run_of(body, runner)

    assert str(run.state) == "Cancelled(message='2/3 states cancelled.', type=CANCELLED)"


def test_failed_goes_before_cancelled_and_skipped(runner):
    def body():
        give(2, after=give_up.submit())
        fail()
        give(3)

    run = run_of(body, runner)

    assert run.state.message == "1/4 states failed."


def test_run_skipped_by_a_failure_elsewhere_goes_before_a_cancelled_one(runner):
    def body():
        upstream = fail.submit()

        def sub():
            give_up()
            give(1, after=upstream)

        inner.append(run_of(sub, runner))
        return 0

    inner = []
    run_of(body, runner)

    assert inner[0].state.message == "1/2 states skipped."


def test_flow_with_cancelled_tasks_raises_that_it_is_cancelled(runner):
    @flow(task_runner=runner)
    def cancelled():
        give_up()

    with pytest.raises(FlowCancelledError, match=r"^1/1 states cancelled\.$"):
        cancelled()


def test_run_cancelled_by_its_future_cancels_the_flow():
    may_end = Event()

    def body():
        held = hold.submit(may_end)
        waiting = give.submit(1, after=held)
        assert waiting.cancel()
        may_end.set()

    run = run_of(body, ONE_THREAD)

    assert run.state.message == "1/2 states cancelled."
    assert run.counts == {StateType.COMPLETED: 1, StateType.CANCELLED: 1}


def test_states_of_subflows_count_beside_those_of_tasks(runner):
    @flow(task_runner=runner)
    def failing_subflow():
        fail()
        fail()

    def body():
        give(1)
        failing_subflow.run()
        give(2)

    run = run_of(body, runner)

    assert run.state.message == "1/3 states failed."
    assert run.counts == {StateType.COMPLETED: 2, StateType.FAILED: 1}


def test_completed_subflow_alone_completes_the_flow(runner):
    @flow(task_runner=runner)
    def subflow():
        return 5

    def body():
        subflow()

    run = run_of(body, runner)

    assert run.state.message == "All states completed."


def test_cancelled_subflow_cancels_the_flow(runner):
    @flow(task_runner=runner)
    def subflow():
        give_up()

    def body():
        subflow.run()

    run = run_of(body, runner)

    assert str(run.state) == "Cancelled(message='1/1 states cancelled.', type=CANCELLED)"


def test_subflow_held_up_by_a_cancelled_task_cancels_the_flow(runner):
    @flow(task_runner=runner)
    def subflow(value):
        return value

    def body():
        subflow.run(give_up.submit())

    run = run_of(body, runner)

    assert str(run.state) == "Cancelled(message='2/2 states cancelled.', type=CANCELLED)"


# 3. It returned futures or states


def test_returned_future_is_replaced_by_its_value(runner):
    run = run_of(lambda: give.submit("value"), runner)

    assert str(run.state) == "Completed(message='All states completed.', type=COMPLETED)"
    assert run.result() == "value"


def test_futures_are_replaced_at_any_depth(runner):
    def body():
        one = give.submit(1)
        return {"box": Box([one, {"two": (give.submit(2), one)}]), give.submit("key"): None}

    run = run_of(body, runner)

    assert run.result() == {"box": Box([1, {"two": (2, 1)}]), "key": None}
    assert run.state.message == "All states completed."


def test_only_what_is_returned_is_judged(runner):
    def body():
        fail()
        return [give(1), give(2)]

    run = run_of(body, runner)

    assert run.state.message == "All states completed."
    assert run.result() == [1, 2]
    assert run.counts == {StateType.COMPLETED: 2, StateType.FAILED: 1}


def test_failed_future_in_what_is_returned_fails_the_flow(runner):
    def body():
        return {"a": [give(1), Box(fail("deep inside"))], "b": give(2)}

    run = run_of(body, runner)

    assert str(run.state) == "Failed(message='1/3 states failed.', type=FAILED)"
    with pytest.raises(BrokenError, match="deep inside"):
        run.result()


def test_future_returned_twice_counts_once(runner):
    def body():
        one = give.submit(1)
        return [one, one, fail()]

    run = run_of(body, runner)

    assert run.state.message == "1/2 states failed."


def test_cancelled_future_that_is_returned_cancels_the_flow(runner):
    def body():
        return [give(1), give_up()]

    run = run_of(body, runner)

    assert run.state.message == "1/2 states cancelled."
    with pytest.raises(FlowCancelledError, match="1/2 states cancelled"):
        run.result()


def test_skipped_future_that_is_returned_fails_the_flow_with_the_root_failure(runner):
    def body():
        return give(1, after=give(2, after=fail("at the root")))

    run = run_of(body, runner)

    assert run.state.message == "1/1 states skipped."
    with pytest.raises(BrokenError, match="at the root"):
        run.result()


def test_future_skipped_by_cancelling_that_is_returned_cancels_the_flow(runner):
    run = run_of(lambda: [give(1, after=give_up())], runner)

    assert run.state.message == "1/1 states cancelled."


def test_states_that_are_returned_are_judged(runner):
    def body():
        return [Completed(), Failed("by hand"), Crashed("lost"), Completed()]

    run = run_of(body, runner)

    assert run.state.message == "2/4 states failed."
    with pytest.raises(FlowFailedError, match="2/4 states failed"):
        run.result()


def test_completed_states_that_are_returned_stay_in_the_value(runner):
    states = [Completed(), Completed("by hand")]

    run = run_of(lambda: states, runner)

    assert run.state.message == "All states completed."
    assert run.result() == states


def test_state_of_a_subflow_that_is_returned_is_judged(runner):
    @flow(task_runner=runner)
    def subflow():
        fail()

    def body():
        return {"sub": subflow.run().state, "own": give(1)}

    run = run_of(body, runner)

    assert run.state.message == "1/2 states failed."


def test_exception_in_a_returned_state_is_raised(runner):
    run = run_of(lambda: [Failed("by hand", result=BrokenError("told"))], runner)

    with pytest.raises(BrokenError, match="told"):
        run.result()


@pytest.mark.parametrize("state", [PENDING, RUNNING], ids=str)
def test_state_that_is_not_final_among_others_counts_as_failed(runner, state):
    run = run_of(lambda: [Completed(), state], runner)

    assert run.state.message == "1/2 states failed."


def test_flow_judges_futures_of_another_flow_run_that_it_returns(runner):
    def body():
        failed, given = fail.submit("elsewhere"), give.submit(1)
        inner.append(run_of(lambda: [given, failed], runner))
        return 0

    inner = []
    run_of(body, runner)

    assert inner[0].state.message == "1/2 states failed."
    with pytest.raises(BrokenError, match="elsewhere"):
        inner[0].result()


def test_flow_waits_for_futures_of_another_flow_run_that_it_returns():
    may_end = Event()

    def body():
        late = give.submit(5, after=hold.submit(may_end))

        def sub():
            threading.Timer(0.05, may_end.set).start()  # when the subflow's body is over
            return late

        inner.append(run_of(sub, ONE_THREAD))
        return 0

    inner = []
    run_of(body, ONE_THREAD)

    assert inner[0].state.message == "All states completed."
    assert inner[0].result() == 5


# A State by itself


def test_returned_state_is_the_flow_s(runner):
    def body():
        fail()
        return Completed("good enough", result=5)

    run = run_of(body, runner)

    assert str(run.state) == "Completed(message='good enough', type=COMPLETED)"
    assert run.result() == 5
    assert run.state.result is None


def test_returned_failed_state_raises_its_exception(runner):
    error = BrokenError("told")

    run = run_of(lambda: Failed("by hand", result=error), runner)

    assert str(run.state) == "Failed(message='by hand', type=FAILED)"
    with pytest.raises(BrokenError, match="told") as caught:
        run.result()
    assert caught.value is error


def test_returned_failed_state_without_an_exception_raises_its_message(runner):
    run = run_of(lambda: Failed("by hand"), runner)

    with pytest.raises(FlowFailedError, match=r"^by hand$"):
        run.result()


def test_returned_cancelled_state_raises_that_the_flow_is_cancelled(runner):
    run = run_of(lambda: Cancelled("not today"), runner)

    assert run.state == Cancelled("not today")
    with pytest.raises(FlowCancelledError, match=r"^not today$"):
        run.result()


@pytest.mark.parametrize("state", [PENDING, RUNNING], ids=str)
def test_returned_state_that_is_not_final_fails_the_flow(runner, state):
    run = run_of(lambda: state, runner)

    assert run.state.is_failed()
    with pytest.raises(FlowFailedError, match=r"a state that is not final: (Pend|Runn)ing\("):
        run.result()


# A task's State


def test_task_may_complete_with_a_state(runner):
    @task
    def chosen():
        return Completed("by hand", result=5)

    def body():
        future = chosen.submit()
        return future.result(), str(future.state)

    run = run_of(body, runner)

    assert run.result() == (5, "Completed(message='by hand', type=COMPLETED)")


def test_task_may_fail_with_a_state(runner):
    @task
    def chosen():
        return Failed("by hand", result=BrokenError("told"))

    def body():
        states.append(chosen.submit().state)

    states = []
    run = run_of(body, "sequential")

    assert str(states[0]) == "Failed(message='by hand', type=FAILED)"
    assert run.state.message == "1/1 states failed."
    with pytest.raises(BrokenError, match="told"):
        run.result()


def test_task_that_fails_with_a_state_without_an_exception_raises_its_message(runner):
    @task
    def chosen():
        return Failed("by hand")

    def body():
        chosen()

    run = run_of(body, runner)

    with pytest.raises(TaskFailedError, match="by hand"):
        run.result()


def test_cancelled_task_raises_its_message_from_its_future(runner):
    def body():
        with pytest.raises(TaskCancelledError, match=r"^given up"):
            give_up.submit().result()

    run = run_of(body, runner)

    assert run.state.is_cancelled()


def test_task_that_returns_a_state_that_is_not_final_fails(runner):
    @task
    def unsure():
        return RUNNING

    def body():
        unsure()

    run = run_of(body, runner)

    with pytest.raises(TaskFailedError, match="Task returned a state that is not final: Running"):
        run.result()


# 4. Anything else


@pytest.mark.parametrize("value", [0, "", [], {"a": 1}, False, StateType.FAILED], ids=repr)
def test_plain_value_hides_failures(runner, value):
    def body():
        fail()
        give(1, after=give_up())
        return value

    run = run_of(body, runner)

    assert str(run.state) == "Completed(message=None, type=COMPLETED)"
    assert run.result() == value
    assert [str(error) for _, error in run.failures] == ["broken"]


def test_value_without_futures_is_returned_as_it_is(runner):
    value = {"deep": [Box((1, 2))]}

    run = run_of(lambda: value, runner)

    assert run.result() is value


def test_exception_that_is_returned_is_a_value(runner):
    error = BrokenError("returned")

    run = run_of(lambda: error, runner)

    assert run.state.is_completed()
    assert run.result() is error


# Which failure is raised, and its note


def test_failure_with_the_lowest_submission_number_is_raised_whichever_came_first():
    second_failed = Event()

    @task
    def first():
        second_failed.wait()
        raise ValueError("submitted first")

    def body():
        first()
        fail.submit("failed first").add_done_callback(lambda _: second_failed.set())

    run = run_of(body, ConcurrentTaskRunner(max_workers=2))

    with pytest.raises(ValueError, match="submitted first"):
        run.result()


def test_raised_failure_is_the_task_s_own_exception_with_its_traceback(runner):
    def body():
        fail("own")

    run = run_of(body, runner)

    with pytest.raises(BrokenError, match="own") as caught:
        run.result()
    assert caught.traceback[-1].name == "fail"


def test_single_failure_has_one_note_that_names_the_run(runner):
    def body():
        give(1)
        fail("alone")

    run = run_of(body, runner)

    with pytest.raises(BrokenError, match="alone") as caught:
        run.result()
    (note,) = notes_of(caught.value)
    assert note.startswith(f"Task run 'fail-{fail.key}-0' of flow run {run.name!r} failed on ")
    assert note.endswith(f"on {type(runner).__name__}")


@pytest.mark.parametrize(("others", "counted"), [(1, "1 other run"), (7, "7 other runs")])
def test_note_counts_the_other_failures(runner, others, counted):
    def body():
        for number in range(others + 1):
            fail(f"number {number}")

    run = run_of(body, runner)

    with pytest.raises(BrokenError, match="number 0") as caught:
        run.result()
    first, second = notes_of(caught.value)
    assert first.startswith(f"Task run 'fail-{fail.key}-0' of flow run {run.name!r} failed on ")
    assert second == f"{counted} failed in flow run {run.name!r}"


def test_note_counts_no_skipped_and_no_cancelled_runs(runner):
    def body():
        give(1, after=fail())
        give_up()

    run = run_of(body, runner)

    with pytest.raises(BrokenError) as caught:
        run.result()
    (note,) = notes_of(caught.value)
    assert "other" not in note


def test_asking_for_the_result_again_adds_no_note(runner):
    def body():
        fail()

    run = run_of(body, runner)

    for _ in range(3):
        with pytest.raises(BrokenError) as caught:
            run.result()
    assert len(notes_of(caught.value)) == 1


def test_first_failure_is_raised_though_it_is_not_among_the_ones_that_are_kept(runner):
    first_may_fail = Event()

    @task
    def fail_at_last():
        first_may_fail.wait()
        raise ValueError("submitted first")

    def body():
        fail_at_last()
        rest = [fail.submit() for _ in range(150)]
        for future in rest:
            future.wait()
        first_may_fail.set()

    run = run_of(body, ConcurrentTaskRunner(max_workers=2))

    assert len(run.failures) == 100
    with pytest.raises(ValueError, match="submitted first"):
        run.result()


# Skipped runs


def test_skipped_run_raises_that_its_upstream_did_not_complete_from_the_root_failure(runner):
    def body():
        first = give.submit(1, after=fail.submit("at the root"))
        second = give.submit(2, after=first)
        with pytest.raises(UpstreamNotCompletedError) as caught:
            second.result()
        return str(caught.value), caught.value.__cause__, first.name

    message, cause, first = run_of(body, runner).result()

    assert message == (
        f"Upstream task run '{first}' did not reach a 'COMPLETED' state. "
        f"It began at 'fail-{fail.key}-0'."
    )
    assert isinstance(cause, BrokenError)
    assert str(cause) == "at the root"


def test_flow_whose_tasks_were_skipped_raises_the_root_failure_of_another_flow_run(runner):
    def body():
        upstream = fail.submit("in the parent")

        def sub():
            give(1, after=upstream)

        inner.append(run_of(sub, runner))
        return 0

    inner = []
    run_of(body, runner)

    assert inner[0].state.message == "1/1 states skipped."
    with pytest.raises(BrokenError, match="in the parent"):
        inner[0].result()


# Subflows that fail


def test_failure_passes_through_nested_subflows_as_it_is(runner):
    @flow(task_runner=runner)
    def innermost():
        give(1)
        fail("far down")

    @flow(task_runner=runner)
    def middle():
        innermost()

    @flow(task_runner=runner)
    def outer():
        middle()

    run = outer.run()

    assert run.state.message == "Flow run encountered an exception."
    with pytest.raises(BrokenError, match="far down"):
        run.result()


def test_caught_failure_of_a_subflow_still_counts_where_nothing_is_returned(runner):
    @flow(task_runner=runner)
    def subflow():
        fail("caught")

    def body():
        give(1)
        with pytest.raises(BrokenError, match="caught"):
            subflow()

    run = run_of(body, runner)

    assert run.state.message == "1/2 states failed."
    with pytest.raises(BrokenError, match="caught") as again:
        run.result()
    assert f"Subflow run {run.subflow_runs[0].name!r} of flow run {run.name!r} failed" in notes_of(
        again.value
    )


def test_caught_failure_of_a_subflow_is_handled_where_a_value_is_returned(runner):
    @flow(task_runner=runner)
    def subflow():
        raise BrokenError("caught")

    def body():
        with pytest.raises(BrokenError, match="caught"):
            subflow()
        return "handled"

    run = run_of(body, runner)

    assert run.state == Completed()
    assert run.result() == "handled"


def test_subflow_that_fails_by_a_state_fails_the_flow_with_its_message(runner):
    @flow(task_runner=runner)
    def subflow():
        return Failed("by hand")

    def body():
        subflow.run()

    run = run_of(body, runner)

    assert run.state.message == "1/1 states failed."
    with pytest.raises(FlowFailedError, match="by hand"):
        run.result()


def test_failure_of_a_subflow_submitted_before_a_failing_task_is_the_first(runner):
    @flow(task_runner=runner)
    def subflow():
        fail("in the subflow")

    def body():
        subflow.run()
        fail("after it")

    run = run_of(body, runner)

    assert run.state.message == "2/2 states failed."
    with pytest.raises(BrokenError, match="in the subflow"):
        run.result()


def test_subflow_held_up_by_a_failure_of_an_older_flow_run_fails_the_flow_with_it(runner):
    @flow(task_runner=runner)
    def subflow(value):
        return value

    def body():
        upstream = fail.submit("in the oldest")

        def middle():
            subflow.run(upstream)

        inner.append(run_of(middle, runner))
        return 0

    inner = []
    run_of(body, runner)

    assert str(inner[0].state) == "Failed(message='1/1 states skipped.', type=FAILED)"
    with pytest.raises(BrokenError, match="in the oldest"):
        inner[0].result()


# What cannot be put together


def test_value_that_cannot_be_rebuilt_crashes_the_flow_and_says_why(runner):
    def body():
        return {give.submit([1])}  # a set of a list

    run = run_of(body, runner)

    assert run.state.is_crashed()
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        run.result()
