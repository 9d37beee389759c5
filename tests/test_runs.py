import gc
import time
import traceback
import weakref
from threading import Event

import pytest

from runnerstone import Cancelled, Completed, Failed, FlowRun, TaskRun, flow, task
from runnerstone._context import where
from runnerstone._problems import NoValue, Skip
from runnerstone.errors import (
    FlowCancelledError,
    FlowFailedError,
    TaskCancelledError,
    TaskCrashedError,
    TaskFailedError,
    UpstreamNotCompletedError,
)
from runnerstone.labels import FlowRunInfo
from runnerstone.outcomes import Crash, Failure
from runnerstone.programs import Program
from runnerstone.states import COMPLETED, Crashed, NotReady, StateType


@task
def parse(x):
    return x


@task
def fail(text="no"):
    raise ValueError(text)


def new_task_run():
    return TaskRun(Program.of(parse), 4, 7, 1000.0)


def new_flow_run():
    return FlowRun("olivine-swan", "census", 1000.0)


# Task runs


def test_a_task_run_is_named_after_its_task_with_key_and_number():
    run = new_task_run()

    assert run.name == f"parse-{parse.key}-4"
    assert run.task_name == "parse"
    assert repr(run) == f"<TaskRun 'parse-{parse.key}-4' Pending>"


def test_a_task_run_goes_through_its_states_in_order():
    run = new_task_run()

    states = [run.state.name]
    run.begin("worker-1")
    states.append(run.state.name)
    run.await_retry()
    states.append(run.state.name)
    run.begin("worker-2")
    states.append(run.state.name)
    run.finish(COMPLETED, 1001.0, "worker-2")
    states.append(run.state.name)

    assert states == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
    assert run.attempts == 2


def test_a_task_run_that_begins_tells_when_and_where():
    run, before = new_task_run(), time.time()

    run.begin("worker-1")

    assert before <= run.started <= time.time()
    assert run.where == "worker-1"
    assert run.ended is None


def test_a_task_run_that_ends_takes_the_workers_word_for_its_beginning():
    run, before = new_task_run(), time.time()
    run.begin(None)

    run.finish(COMPLETED, 1001.0, "worker-1")

    assert (run.started, run.where, run.attempts) == (1001.0, "worker-1", 1)
    assert before <= run.ended <= time.time()


def test_a_task_run_that_ends_before_it_begins_has_made_no_attempt():
    run = new_task_run()

    run.finish(Cancelled(), None, None)

    assert (run.started, run.where, run.attempts) == (None, None, 0)
    assert run.state == Cancelled()


def test_a_task_run_of_a_flow_tells_when_and_where_it_ran():
    before = time.time()

    run = flow(task_runner="sequential")(lambda: parse(where)).run()
    (task_run,) = run.task_runs

    assert before <= task_run.submitted <= task_run.started <= task_run.ended <= time.time()
    assert task_run.where == where()
    assert (task_run.index, task_run.number, task_run.attempts) == (0, 0, 1)


# What a run without a value raises


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        (Failed("Bad data."), TaskFailedError, "Bad data."),
        (Crashed("Worker gone."), TaskCrashedError, "Worker gone."),
        (Cancelled("Not needed."), TaskCancelledError, "Not needed."),
        (Failed(), TaskFailedError, "the run ended Failed"),
        (Cancelled(), TaskCancelledError, "the run ended Cancelled"),
    ],
)
def test_a_state_without_an_exception_raises_its_message(state, kind, text):
    error = NoValue(state).error()

    assert type(error) is kind
    assert str(error) == text


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Failure.of(ValueError("no"), travels=False), ValueError),
        (Crash("worker gone"), TaskCrashedError),
        (NoValue(Cancelled()), TaskCancelledError),
    ],
)
def test_a_skipped_run_raises_from_what_went_wrong_first(cause, kind):
    skip = Skip(NotReady("load-1").message, new_task_run(), "an-id", cause)

    error = skip.error()

    assert type(error) is UpstreamNotCompletedError
    assert str(error) == (
        "Upstream task run 'load-1' did not reach a 'COMPLETED' state. "
        f"It began at 'parse-{parse.key}-4'."
    )
    assert type(error.__cause__) is kind


@pytest.mark.parametrize(("state", "expected"), [(Cancelled(), True), (Failed(), False)])
def test_a_skip_knows_whether_anything_failed(state, expected):
    root = new_task_run()
    root.finish(state, None, None)

    assert Skip("message", root, "an-id", NoValue(state)).by_cancelling is expected


# Flow runs


def test_a_flow_run_has_an_id_of_its_own():
    ids = {new_flow_run().id for _ in range(100)}

    assert len(ids) == 100
    assert all(len(bytes.fromhex(id_)) == 8 for id_ in ids)


def test_a_flow_run_tells_its_calls_who_it_is():
    run = new_flow_run()

    assert run.info(20) == FlowRunInfo(run.id, "olivine-swan", "census", 20)


def test_calls_of_another_attempt_belong_to_another_id():
    run = new_flow_run()
    run.begin_attempt()

    assert run.info(20).id == f"{run.id}-2"


def test_a_flow_run_prints_its_name_flow_and_state():
    run = new_flow_run()

    assert repr(run) == "<FlowRun 'olivine-swan' of 'census' Pending>"


def test_a_completed_flow_run_returns_its_value_each_time():
    run = flow(lambda: [parse(1), 2]).run()

    assert run.result() == [1, 2]
    assert run.result() is run.result()
    assert run.error is None
    assert run.state == Completed("All states completed.")


def test_a_flow_run_is_timed():
    before = time.time()

    run = flow(lambda: None).run()

    assert before <= run.started <= run.ended <= time.time()


def test_a_failed_flow_run_raises_the_bodys_exception_itself():
    error = ValueError("no")

    def body():
        raise error

    run = flow(body).run()

    assert run.error is error
    with pytest.raises(ValueError, match="no") as raised:
        run.result()
    assert raised.value is error
    assert raised.traceback[-1].name == "body"


def test_the_traceback_of_a_failed_flow_run_does_not_grow_with_each_raise():
    run = flow(lambda: [fail()]).run()

    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as raised:
            run.result()
        lengths.append(len(traceback.extract_tb(raised.tb)))

    assert len(set(lengths)) == 1


def test_an_exception_that_result_raised_keeps_no_flow_run_alive():
    run = flow(lambda: [fail()]).run()
    alive = weakref.ref(run)
    try:
        run.result()
    except ValueError as error:
        kept = error

    del run
    gc.collect()

    assert kept.args == ("no",)
    assert alive() is None


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        (Cancelled("Not needed."), FlowCancelledError, "Not needed."),
        (Failed("Bad data."), FlowFailedError, "Bad data."),
        (Failed(), FlowFailedError, "flow run '{}' ended Failed"),
    ],
)
def test_a_flow_run_that_a_state_ended_raises_its_message(state, kind, text):
    run = flow(lambda: state).run()

    with pytest.raises(kind) as raised:
        run.result()

    assert str(raised.value) == text.format(run.name)


def test_a_flow_run_records_its_task_runs_in_order():
    def body():
        return [parse.submit(1), parse.submit(2), fail.submit()]

    run = flow(body).run()

    assert [task_run.name for task_run in run.task_runs] == [
        f"parse-{parse.key}-0",
        f"parse-{parse.key}-1",
        f"fail-{fail.key}-0",
    ]
    assert [task_run.index for task_run in run.task_runs] == [0, 1, 2]
    assert [task_run.state.name for task_run in run.task_runs] == ["Completed"] * 2 + ["Failed"]


def test_a_flow_run_counts_the_task_runs_that_it_does_not_record():
    @flow(keep_task_runs=2)
    def body():
        for number in range(5):
            parse(number)

    run = body.run()

    assert len(run.task_runs) == 2
    assert run.submitted == 5
    assert run.counts == {StateType.COMPLETED: 5}


def test_a_flow_run_counts_states_of_task_runs_and_subflow_runs():
    gate = Event()

    @flow
    def inner():
        return Cancelled()

    @flow
    def body():
        failed = fail.submit()
        parse.submit(failed)
        waiting = task(gate.wait).submit()
        parse.submit(waiting).cancel()
        gate.set()
        inner.run()
        parse(1)

    run = body.run()

    assert run.counts == {
        StateType.COMPLETED: 2,
        StateType.FAILED: 1,
        StateType.SKIPPED: 1,
        StateType.CANCELLED: 2,
    }
    assert run.submitted == 6
    assert [subflow.flow_name for subflow in run.subflow_runs] == ["inner"]


def test_a_flow_run_without_task_runs_has_nothing_to_count():
    assert flow(lambda: 1).run().counts == {}


def test_a_flow_run_keeps_the_first_failures_whole_and_counts_the_rest():
    @flow(task_runner="sequential")
    def body():
        for number in range(103):
            fail(str(number))

    run = body.run()

    assert [str(error) for _, error in run.failures] == [str(n) for n in range(100)]
    assert run.failures[7][0] == f"fail-{fail.key}-7"
    assert run.further_failures == {("fail", "FAILED"): 3}


def test_a_flow_run_keeps_no_skipped_run_as_a_failure():
    @flow(task_runner="sequential")
    def body():
        parse(fail())

    run = body.run()

    assert [name for name, _ in run.failures] == [f"fail-{fail.key}-0"]


def test_a_flow_run_keeps_the_failure_of_a_subflow():
    def inner():
        raise KeyError("it")

    @flow
    def body():
        flow(inner).run()

    run = body.run()

    assert [(name, type(error)) for name, error in run.failures] == [
        (run.subflow_runs[0].name, KeyError)
    ]
