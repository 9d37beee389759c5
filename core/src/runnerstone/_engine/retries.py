"""Whether an attempt is followed by another, and when."""

from runnerstone._engine.attempts import Attempt
from runnerstone._engine.logs import flow_log, log_raised, task_log
from runnerstone._problems import Problem
from runnerstone.options import FlowOptions, TaskOptions
from runnerstone.outcomes import Crash, Failure
from runnerstone.runs import FlowRun
from runnerstone.states import State


def delay_before_retry(attempt: Attempt, state: State, problem: Problem | None) -> float | None:
    """How long after an attempt that ended so another follows, in seconds; None if none does.

    What a callable of the user's raises ends the retries, and is logged.
    """
    options = attempt.task.options
    if state.is_crashed():
        is_loss = isinstance(problem, Crash) and not problem.is_permanent and not problem.lost
        return 0.0 if is_loss and attempt.past.crashes < options.crash_retries else None
    if not state.is_failed() or attempt.past.failures >= options.retries:
        return None
    name = attempt.future.name
    try:
        if problem is not None and not _is_worth_it(options, problem):
            task_log.info("Task run %r is not retried: its retry_on rules that out", name)
            return None
        return options.delay(attempt.past.failures + 1)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it is the user's
        log_raised(task_log, error, "Task run %r is not retried, since this was raised:", name)
        return None


def _is_worth_it(options: TaskOptions, problem: Problem) -> bool:
    retry_on = options.retry_on
    if retry_on is None:
        return True
    if not isinstance(retry_on, tuple):
        return bool(retry_on(problem.error()))
    if isinstance(problem, Failure) and problem.is_a(retry_on):
        return True
    return isinstance(problem.error(), retry_on)


def delay_before_flow_retry(
    options: FlowOptions, run: FlowRun[object], state: State, error: BaseException | None
) -> float | None:
    """The same for an attempt at a flow run."""
    is_meant_for_all = error is not None and not isinstance(error, Exception)
    if not state.is_failed() or is_meant_for_all or run.attempts > options.retries:
        return None
    try:
        return options.delay(run.attempts)
    except (Exception, SystemExit) as raised:  # noqa: BLE001  # as above
        log_raised(flow_log, raised, "Flow run %r is not retried, since this was raised:", run.name)
        return None
