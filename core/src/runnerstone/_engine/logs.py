"""The engine's log: two loggers, and a handler for scripts that configured none."""

import functools
import logging
import sys
from collections.abc import Callable
from typing import Final, ParamSpec, TextIO

from runnerstone._problems import NoValue, Problem
from runnerstone._tracebacks import hide_frames
from runnerstone.outcomes import Crash, Failure
from runnerstone.runs import TaskRun
from runnerstone.states import TROUBLE, State

P = ParamSpec("P")

# Runs of one task that are logged one by one; of further ones, only those that do not complete.
LOGGED_RUNS: Final = 1000

flow_log: Final = logging.getLogger("runnerstone.flow_runs")
task_log: Final = logging.getLogger("runnerstone.task_runs")

_library_log: Final = logging.getLogger("runnerstone")


class _ScriptHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is then, until the application configures logging."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(
            logging.Formatter("%(asctime)s.%(msecs)03d | %(message)s", datefmt="%H:%M:%S")
        )

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class keeps a stream, this one looks it up
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            super().emit(record)


_script_handler: Final = _ScriptHandler()


def _contained(log: Callable[P, None]) -> Callable[P, None]:
    """Keep what an application's filters and handlers raise from the engine, and print it.

    Otherwise a run would not end, or take with it the thread that ends it.
    """

    @functools.wraps(log)
    def contained(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            log(*args, **kwargs)
        except Exception:  # noqa: BLE001  # whatever they raise
            if logging.raiseExceptions and sys.stderr is not None:
                import traceback  # slow to load

                traceback.print_exc()

    return contained


@_contained
def log_record(record: logging.LogRecord) -> None:
    """Log what was logged in another process."""
    logging.getLogger(record.name).handle(record)


def show_logs() -> None:
    """Show the library's log on stderr, unless the application configured logging."""
    if not _library_log.hasHandlers():
        _library_log.addHandler(_script_handler)  # one, however many flow runs begin at once
        if _library_log.level == logging.NOTSET:
            _library_log.setLevel(logging.INFO)


def log_submission(run: TaskRun) -> None:
    """Log that a task run was submitted, unless there have been too many of its task."""
    if run.number <= LOGGED_RUNS and task_log.isEnabledFor(logging.INFO):
        _log_submission(run)


@_contained
def _log_submission(run: TaskRun) -> None:
    if run.number < LOGGED_RUNS:
        task_log.info("Submitting task run %r to task runner...", run.name)
    else:
        task_log.info(
            "Task %r was submitted %d times: further runs are logged only if they do not complete",
            run.task_name,
            LOGGED_RUNS,
        )


def log_end(run: TaskRun, state: State, problem: Problem | None) -> None:
    """Log that a task run is final, and what its function raised."""
    if problem is not None:
        level = logging.ERROR if state.type in TROUBLE else logging.WARNING
        _log_end(level, run, state, problem)
    elif run.number < LOGGED_RUNS and task_log.isEnabledFor(logging.INFO):
        _log_end(logging.INFO, run, state, problem)


@_contained
def _log_end(level: int, run: TaskRun, state: State, problem: Problem | None) -> None:
    _log_failure(run, problem)
    task_log.log(level, "Task run %r finished in state %s", run.name, state)


@_contained
def log_retry(run: TaskRun, problem: Problem, which: tuple[int, int], delay: float) -> None:
    """Log that an attempt did not complete, and that another follows.

    Args:
        run: The run.
        problem: Why.
        which: The how-manieth attempt that ended so, and how many may.
        delay: How long after, in seconds.
    """
    _log_failure(run, problem)
    if isinstance(problem, Crash):
        how = f"crashed ({problem.message})"
    else:
        how = (
            "timed out"
            if isinstance(problem, NoValue) and problem.state.is_timed_out()
            else "failed"
        )
    task_log.warning(
        "Task run %r %s in attempt %d of %d and will be retried %s",
        run.name,
        how,
        *which,
        told_delay(delay),
    )


def told_delay(seconds: float) -> str:
    """How long it is until something happens, in words."""
    return f"in {seconds:g} s" if seconds else "at once"


def log_raised(log: logging.Logger, error: BaseException, text: str, *args: object) -> None:
    """Log what a callable of the user's raised that is called beside the runs."""
    hide_frames(error)
    log_fault(log, error, text, *args)


@_contained
def log_fault(log: logging.Logger, error: BaseException, text: str, *args: object) -> None:
    """Log what was raised where nothing should be, with our own frames."""
    log.error(text, *args, exc_info=error)


@_contained
def log_flow(level: int, text: str, *args: object, error: BaseException | None = None) -> None:
    """Log something about a flow run."""
    flow_log.log(level, text, *args, exc_info=error)


@_contained
def log_leftover(run: TaskRun, attempt: int, where: str | None) -> None:
    """Log that an attempt is over, and its code goes on."""
    task_log.warning(
        "Attempt %d at task run %r is over, but its code could not be interrupted and still runs%s",
        attempt,
        run.name,
        f" on {where}" if where else "",
    )


def _log_failure(run: TaskRun, problem: object) -> None:
    if isinstance(problem, Failure):
        error = problem.error()
        task_log.error("Task run %r encountered an exception:", run.name, exc_info=error)
