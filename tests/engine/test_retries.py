"""Which attempts are followed by others, how many, and when."""

import asyncio
import threading
import time
from threading import Event

import attrs
import pytest

from runnerstone import (
    Cancelled,
    Failed,
    StateType,
    exponential_backoff,
    flow,
    get_run_context,
    task,
)
from runnerstone.errors import TaskFailedError, TaskTimeoutError
from runnerstone.outcomes import Crash, Outcome
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


class BrokenError(Exception):
    """What tasks fail with here."""


class WorseError(BrokenError):
    """What some of them fail with."""


class LosingTaskRunner(SequentialTaskRunner):
    """Loses the calls of some attempts, or cannot pickle them."""

    lost: tuple = ()
    unpicklable: tuple = ()
    seen: list = attrs.field(factory=list)

    def submit(self, call, report):
        self.seen.append(call.attempt)
        if call.attempt in self.lost:
            report.crashed(None, "the worker was lost")
        elif call.attempt in self.unpicklable:
            report.done(Outcome(problem=Crash("cannot be pickled", is_permanent=True)))
        else:
            super().submit(call, report)


@task
def fail_by_attempt(*errors):
    """Raise what each attempt is given to raise; return how many attempts that were."""
    attempt = get_run_context().attempt
    if attempt <= len(errors):
        raise errors[attempt - 1]
    return attempt


def run_of(body, runner="sequential"):
    return flow(task_runner=runner)(body).run()


def attempts_of(task, *errors, runner="sequential"):
    """How many attempts there are at a run."""
    [run] = run_of(lambda: task(*errors), runner).task_runs
    return run.attempts


# Delays


class Clock:
    """Takes the times of the attempts of a task."""

    def __init__(self):
        self.times = []

    def attempt(self):
        self.times.append(time.monotonic())
        raise BrokenError

    @property
    def delays(self):
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


@pytest.mark.parametrize("runner", ["sequential", ONE_THREAD])
@pytest.mark.parametrize(
    ("delay", "least"),
    [
        (0.03, [0.03, 0.03, 0.03]),
        ([0.0, 0.06], [0.0, 0.06, 0.06]),
        (lambda retry: retry / 50, [0.02, 0.04, 0.06]),
        (exponential_backoff(0.01, factor=3, max_seconds=0.05), [0.01, 0.03, 0.05]),
    ],
    ids=["number", "several", "callable", "backoff"],
)
def test_no_attempt_comes_before_its_delay_is_over(runner, delay, least):
    clock = Clock()

    run_of(task(clock.attempt).with_options(retries=3, retry_delay_seconds=delay), runner)

    assert len(clock.times) == 4
    assert all(seconds >= wanted for seconds, wanted in zip(clock.delays, least, strict=True))


def test_jitter_spreads_what_failed_together():
    clocks = [Clock() for _ in range(30)]
    tasks = [
        task(it.attempt).with_options(retries=1, retry_delay_seconds=0.02, retry_jitter=5)
        for it in clocks
    ]

    run_of(lambda: [made.submit() for made in tasks], ConcurrentTaskRunner(max_workers=30))

    delays = [it.delays[0] for it in clocks]
    assert min(delays) >= 0.02
    assert max(delays) - min(delays) > 0.03


def test_the_log_tells_what_follows_and_when(log):
    run_of(
        lambda: fail_by_attempt.with_options(
            retries=2, retry_delay_seconds=[0.01, 0], task_run_name="it"
        )(BrokenError(), BrokenError())
    )

    told = [it.getMessage() for it in log.records if "retried" in it.getMessage()]
    assert told == [
        "Task run 'it' failed in attempt 1 of 3 and will be retried in 0.01 s",
        "Task run 'it' failed in attempt 2 of 3 and will be retried at once",
    ]


@pytest.mark.parametrize("delay", [lambda retry: 1 / 0, lambda retry: -1, lambda retry: "soon"])
def test_a_delay_that_cannot_be_had_ends_the_retries_and_is_logged(log, delay):
    broken = fail_by_attempt.with_options(retries=2, retry_delay_seconds=delay, task_run_name="it")

    run = run_of(lambda: broken(BrokenError("first")))

    assert str(run.error) == "first"
    assert run.task_runs[0].attempts == 1
    [told] = [it for it in log.records if "since this was raised" in it.getMessage()]
    assert told.getMessage() == "Task run 'it' is not retried, since this was raised:"
    assert isinstance(told.exc_info[1], (ZeroDivisionError, ValueError, TypeError))


# Which exceptions


@pytest.mark.parametrize(
    ("retry_on", "errors", "attempts"),
    [
        (BrokenError, [BrokenError(), BrokenError()], 3),
        (BrokenError, [WorseError()], 2),
        (WorseError, [BrokenError()], 1),
        (BrokenError, [BrokenError(), KeyError()], 2),
        ((KeyError, WorseError), [KeyError(), WorseError()], 3),
        ([KeyError, WorseError], [BrokenError()], 1),
        (LookupError, [KeyError()], 2),
        ((), [BrokenError()], 1),
        (TimeoutError, [TimeoutError()], 2),
    ],
)
def test_types_say_which_exceptions_are_worth_a_retry(runner, retry_on, errors, attempts):
    choosy = fail_by_attempt.with_options(retries=5, retry_on=retry_on)

    assert attempts_of(choosy, *errors, runner=runner) == attempts


def test_a_callable_is_given_each_exception_in_the_driver(runner):
    asked = []

    def judge(error):
        asked.append((type(error).__name__, str(error), threading.get_ident()))
        return str(error).count("again")

    choosy = fail_by_attempt.with_options(retries=5, retry_on=judge)
    errors = [BrokenError("again"), KeyError("again"), BrokenError("no more")]

    assert attempts_of(choosy, *errors, runner=runner) == 3
    assert [it[:2] for it in asked] == [
        ("BrokenError", "again"),
        ("KeyError", "'again'"),
        ("BrokenError", "no more"),
    ]


def test_a_callable_that_raises_ends_the_retries_and_is_logged(runner, log):
    def judge(error):
        raise ZeroDivisionError

    choosy = fail_by_attempt.with_options(retries=5, retry_on=judge, task_run_name="it")

    run = run_of(lambda: choosy(BrokenError("first")), runner)

    assert run.task_runs[0].attempts == 1
    assert (type(run.error), str(run.error)) == (BrokenError, "first")
    [told] = [it for it in log.records if "since this was raised" in it.getMessage()]
    assert isinstance(told.exc_info[1], ZeroDivisionError)


def test_the_log_says_that_an_exception_is_not_worth_a_retry(log):
    choosy = fail_by_attempt.with_options(retries=1, retry_on=KeyError, task_run_name="it")

    attempts_of(choosy, BrokenError())

    assert "Task run 'it' is not retried: its retry_on rules that out" in log.messages


def test_a_callable_is_not_asked_once_there_are_no_more_retries():
    asked = []
    choosy = fail_by_attempt.with_options(retries=1, retry_on=lambda error: not asked.append(error))

    assert attempts_of(choosy, BrokenError(), BrokenError()) == 2
    assert len(asked) == 1


def test_a_failed_state_without_an_exception_is_a_task_failed_error(runner):
    asked = []

    @task(retries=1, retry_on=lambda error: not asked.append(error))
    def unsure():
        return Failed("not yet") if get_run_context().attempt == 1 else "done"

    assert run_of(unsure.submit, runner).result() == "done"
    assert [(type(it), str(it)) for it in asked] == [(TaskFailedError, "not yet")]


def test_a_failed_state_with_an_exception_is_judged_by_that(runner):
    @task(retries=3, retry_on=KeyError)
    def unsure():
        return Failed(result=KeyError()) if get_run_context().attempt == 1 else Failed("enough")

    assert attempts_of(unsure, runner=runner) == 2


def test_a_cancelled_state_is_not_retried(runner):
    assert attempts_of(task(retries=3)(lambda: Cancelled("enough")), runner=runner) == 1


def test_an_attempt_that_timed_out_is_a_timeout_error():
    asked = []

    @task(retries=1, retry_on=lambda error: not asked.append(error), timeout_seconds=0.05)
    def spin():
        end = time.monotonic() + PATIENCE
        while get_run_context().attempt == 1 and time.monotonic() < end:
            pass
        return "in time"

    run = run_of(spin.submit, ONE_THREAD)

    assert run.result() == "in time"
    assert [type(it) for it in asked] == [TaskTimeoutError]


@pytest.mark.parametrize(
    ("retry_on", "attempts"), [(TimeoutError, 2), ((TimeoutError,), 2), (ValueError, 1)]
)
@pytest.mark.parametrize("runner", ["sequential", ONE_THREAD])
def test_types_decide_on_attempts_that_timed_out(runner, retry_on, attempts):
    @task(retries=1, retry_on=retry_on, timeout_seconds=0.05)
    def spin():
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            pass

    assert attempts_of(spin, runner=runner) == attempts


def test_code_that_ends_after_its_attempt_is_not_judged(log):
    has_left, asked = Event(), []

    @task(retries=1, retry_on=lambda error: not asked.append(error), timeout_seconds=0.05)
    def spin():
        if get_run_context().attempt == 2:
            assert has_left.wait(PATIENCE)
            return "done"
        try:
            while True:
                pass
        finally:
            has_left.set()

    def body():
        value = spin.submit().result()
        while any(it.name.startswith("ConcurrentTaskRunner-0") for it in threading.enumerate()):
            time.sleep(0.001)
        return value

    assert run_of(body, ONE_THREAD).result() == "done"
    assert [type(it) for it in asked] == [TaskTimeoutError]
    assert "is not retried" not in log.text


# Two budgets


def test_crashes_take_nothing_from_the_retries_of_failures():
    runner = LosingTaskRunner(lost=(1, 3))
    patient = fail_by_attempt.with_options(retries=1, crash_retries=2)

    run = run_of(lambda: patient(None, BrokenError("second")), runner)

    assert run.result() == 4
    assert run.task_runs[0].attempts == 4


def test_failures_take_nothing_from_the_retries_of_crashes():
    runner = LosingTaskRunner(lost=(3,))
    patient = fail_by_attempt.with_options(retries=2, crash_retries=1)

    run = run_of(lambda: patient(BrokenError(), BrokenError()), runner)

    assert run.result() == 4


@pytest.mark.parametrize("crash_retries", [0, 1, 3])
def test_crashes_are_retried_so_often_whatever_the_retries_of_failures_are(crash_retries):
    careful = fail_by_attempt.with_options(retries=7, crash_retries=crash_retries)
    runner = LosingTaskRunner(lost=tuple(range(1, 20)))

    run = run_of(careful.submit, runner)

    assert run.counts == {StateType.CRASHED: 1}
    assert runner.seen == [*range(1, crash_retries + 2)]


def test_failures_are_retried_so_often_whatever_the_retries_of_crashes_are():
    careful = fail_by_attempt.with_options(retries=1, crash_retries=7)

    assert attempts_of(careful, *[BrokenError()] * 5) == 2


def test_a_crash_is_retried_at_once_and_its_exception_not_judged():
    asked = []
    patient = fail_by_attempt.with_options(
        retries=1, retry_delay_seconds=3600, retry_on=asked.append
    )

    assert run_of(patient.submit, LosingTaskRunner(lost=(1,))).result() == 2
    assert asked == []


def test_what_cannot_be_pickled_is_not_tried_again():
    patient = fail_by_attempt.with_options(retries=3, crash_retries=3)

    runner = LosingTaskRunner(unpicklable=(1,))

    run = run_of(patient.submit, runner)

    assert runner.seen == [1]
    assert run.task_runs[0].state.message == "cannot be pickled"


def test_the_log_counts_crashes_and_failures_apart(log):
    patient = fail_by_attempt.with_options(retries=1, crash_retries=2, task_run_name="it")

    run_of(lambda: patient(None, BrokenError()), LosingTaskRunner(lost=(1, 3)))

    told = [it.getMessage() for it in log.records if "will be retried" in it.getMessage()]
    assert told == [
        "Task run 'it' crashed (the worker was lost) in attempt 1 of 3 and will be retried at once",
        "Task run 'it' failed in attempt 1 of 2 and will be retried at once",
        "Task run 'it' crashed (the worker was lost) in attempt 2 of 3 and will be retried at once",
    ]


# The end of the flow run


def test_what_awaits_its_retry_when_the_flow_is_interrupted_is_not_tried_again():
    begun, attempts = Event(), []

    @task(retries=5)
    def flaky():
        attempts.append(1)
        begun.set()
        time.sleep(0.05)  # for the body to raise meanwhile
        raise BrokenError

    def body():
        flaky()
        assert begun.wait(PATIENCE)
        raise SystemExit

    with pytest.raises(SystemExit):
        run_of(body, ONE_THREAD)

    assert len(attempts) == 1


def test_a_delay_ends_with_the_flow_that_is_interrupted():
    def body():
        future = fail_by_attempt.with_options(retries=1, retry_delay_seconds=3600).submit(
            BrokenError()
        )
        while future.state.name != "AwaitingRetry":
            time.sleep(0.001)
        raise SystemExit

    with pytest.raises(SystemExit):
        run_of(body, ONE_THREAD)


# Flow runs


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failed_flow_run_is_tried_again_from_the_start_on_a_runner_started_anew(is_async):
    runners, bodies = [], []

    def begin():
        context = get_run_context()
        runners.append(context.task_runner)
        bodies.append(context.attempt)
        if context.attempt < 3:
            raise BrokenError(context.attempt)
        return fail_by_attempt()

    async def begin_async():
        await asyncio.sleep(0)
        return begin()

    retried = flow(retries=5, task_runner="sequential")(begin_async if is_async else begin)
    run = asyncio.run(retried.run()) if is_async else retried.run()

    assert run.result() == 1
    assert (run.attempts, bodies) == (3, [1, 2, 3])
    assert len({id(it) for it in runners}) == 3
    assert len(run.task_runs) == run.submitted == 1


def test_a_flow_run_whose_task_failed_is_tried_again():
    def body():
        return fail_by_attempt(*[BrokenError()] * (2 - get_run_context().attempt))

    run = flow(retries=1, task_runner="sequential")(body).run()

    assert (run.result(), run.attempts, run.counts) == (1, 2, {StateType.COMPLETED: 1})


def test_the_last_attempt_at_a_flow_run_is_what_it_raises():
    def body():
        raise BrokenError(get_run_context().attempt)

    run = flow(retries=2, task_runner="sequential")(body).run()

    assert str(run.error) == "3"
    assert run.attempts == 3


def test_a_flow_that_returns_a_failed_state_is_tried_again():
    def body():
        return Failed("not yet") if get_run_context().attempt == 1 else "done"

    assert flow(retries=1, task_runner="sequential")(body)() == "done"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_flow_run_that_is_to_end_the_program_is_not_tried_again(error):
    attempts = []

    @flow(retries=3, task_runner="sequential")
    def body():
        attempts.append(1)
        raise error

    with pytest.raises(error):
        body()

    assert len(attempts) == 1


def test_a_cancelled_flow_run_is_not_tried_again():
    run = flow(retries=3)(lambda: Cancelled("enough")).run()

    assert (run.attempts, run.state.message) == (1, "enough")


def test_attempts_at_a_flow_run_are_delayed_and_logged(log):
    clock = Clock()

    retried = flow(
        retries=2, retry_delay_seconds=[0.02, 0.04], flow_run_name="it", task_runner="sequential"
    )(clock.attempt)
    retried.run()

    assert all(it >= least for it, least in zip(clock.delays, (0.02, 0.04), strict=True))
    told = [it.getMessage() for it in log.records if "will be retried" in it.getMessage()]
    assert [it.partition(": ")[0] for it in told] == [
        "Flow run 'it' failed in attempt 1 of 3 and will be retried in 0.02 s",
        "Flow run 'it' failed in attempt 2 of 3 and will be retried in 0.04 s",
    ]


def test_a_flow_runs_delay_that_cannot_be_had_ends_the_retries_and_is_logged(log):
    @flow(retries=2, retry_delay_seconds=lambda retry: 1 / 0, flow_run_name="it")
    def body():
        raise BrokenError("first")

    run = body.run()

    assert (run.attempts, str(run.error)) == (1, "first")
    assert "Flow run 'it' is not retried, since this was raised:" in log.messages


def test_a_subflow_is_retried_by_itself():
    bodies = []

    @flow(retries=1, task_runner="sequential")
    def inner():
        bodies.append(get_run_context().attempt)
        if len(bodies) == 1:
            raise BrokenError
        return "done"

    def outer():
        return inner()

    run = run_of(outer)

    assert run.result() == "done"
    assert (run.attempts, bodies) == (1, [1, 2])
    assert [it.attempts for it in run.subflow_runs] == [2]


def test_a_flow_whose_time_is_up_sleeps_out_no_delay():
    @task(retries=1, retry_delay_seconds=3600)
    def breaks():
        raise BrokenError

    ended = []
    body = flow(timeout_seconds=0.1, task_runner="sequential")(breaks.submit)
    thread = threading.Thread(target=lambda: ended.append(body.run()), daemon=True)
    thread.start()
    thread.join(PATIENCE)

    (run,) = ended
    assert run.state.is_timed_out()
    assert run.task_runs[0].state.is_cancelled()


def test_what_is_no_outcome_is_not_asked_for_again():
    class OddTaskRunner(SequentialTaskRunner):
        seen: list = attrs.field(factory=list)

        def submit(self, call, report):
            self.seen.append(call.attempt)
            report.done("an outcome")

    runner = OddTaskRunner()
    run = run_of(task(print), runner)

    assert runner.seen == [1]
    assert run.task_runs[0].state.is_crashed()
