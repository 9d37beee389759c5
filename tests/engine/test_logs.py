"""What a flow run logs: the seed's script prints the seed's log."""

import logging
import os
import re
import subprocess
import sys
from threading import Event

import pytest

from runnerstone import Cancelled, flow, task
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

# `seed/mixed_runners.py`, with "sequential" for the subflow's `DaskTaskRunner()`.
SEED_SCRIPT = """\
from runnerstone import flow, task
from runnerstone.task_runners import SequentialTaskRunner


@task
def hello_local():
    print("Hello!")


@task
def hello_dask():
    print("Hello from Dask!")


@flow(task_runner=SequentialTaskRunner())
def sequential_flow():
    hello_local()
    dask_subflow()
    hello_local()


@flow(task_runner="sequential")
def dask_subflow():
    hello_dask()


if __name__ == "__main__":
    sequential_flow()
"""
# `seed/mixed_runners.log` without the two lines that are Dask's, and with that runner's name.
SEED_LOG = """\
HH:MM:SS.mmm | Beginning flow run 'olivine-swan' for flow 'sequential-flow'...
HH:MM:SS.mmm | Starting task runner `SequentialTaskRunner`...
HH:MM:SS.mmm | Submitting task run 'hello_local-a087a829-0' to task runner...
Hello!
HH:MM:SS.mmm | Task run 'hello_local-a087a829-0' finished in state Completed(message=None, type=COMPLETED)
HH:MM:SS.mmm | Beginning subflow run 'discreet-peacock' for flow 'dask-subflow'...
HH:MM:SS.mmm | Starting task runner `SequentialTaskRunner`...
HH:MM:SS.mmm | Submitting task run 'hello_dask-e80d21db-0' to task runner...
Hello from Dask!
HH:MM:SS.mmm | Task run 'hello_dask-e80d21db-0' finished in state Completed(message=None, type=COMPLETED)
HH:MM:SS.mmm | Shutting down task runner `SequentialTaskRunner`...
HH:MM:SS.mmm | Subflow run 'discreet-peacock' finished in state Completed(message='All states completed.', type=COMPLETED)
HH:MM:SS.mmm | Submitting task run 'hello_local-a087a829-1' to task runner...
Hello!
HH:MM:SS.mmm | Task run 'hello_local-a087a829-1' finished in state Completed(message=None, type=COMPLETED)
HH:MM:SS.mmm | Shutting down task runner `SequentialTaskRunner`...
HH:MM:SS.mmm | Flow run 'olivine-swan' finished in state Completed(message='All states completed.', type=COMPLETED)
"""  # noqa: E501  # the log's lines are as long as they are
FAILED = "Failed(message='Task run encountered an exception.', type=FAILED)"
RUNS = {"sequential-flow": "olivine-swan", "dask-subflow": "discreet-peacock"}


class BrokenError(Exception):
    """What tasks and flows fail with here."""


@task
def give(value, after=None):
    return value


@task
def fail(text="broken"):
    raise BrokenError(text)


@pytest.fixture(params=[SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
def runner(request):
    return request.param


@pytest.fixture
def run_script(tmp_path):
    """Run a script by a Python of its own, its two streams together or apart."""

    def run(source, *, together=False):
        file = tmp_path / "script.py"
        file.write_text(source, encoding="utf-8")
        path = os.pathsep.join(filter(None, sys.path))
        return subprocess.run(
            [sys.executable, "-W", "error", file.name],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if together else subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )

    return run


def masked(text):
    """A log without what differs from run to run: times and the names of flow runs."""
    text = re.sub(r"^\d\d:\d\d:\d\d\.\d\d\d \|", "HH:MM:SS.mmm |", text, flags=re.MULTILINE)
    for name, flow_name in re.findall(r"run '([a-z]+-[a-z]+)' for flow '([a-z-]+)'", text):
        text = text.replace(repr(name), repr(RUNS[flow_name]))
    return text


def run_of(body, runner):
    return flow(task_runner=runner)(body).run()


def lines_about(log, logger):
    return [it.getMessage() for it in log.records if it.name == f"runnerstone.{logger}"]


# The seed


def test_seed_s_script_prints_the_seed_s_log(run_script):
    finished = run_script(SEED_SCRIPT, together=True)

    assert masked(finished.stdout) == SEED_LOG


def test_tasks_print_to_stdout_and_the_log_goes_to_stderr(run_script):
    finished = run_script(SEED_SCRIPT)

    assert finished.stdout == "Hello!\nHello from Dask!\nHello!\n"
    assert "Hello" not in finished.stderr
    assert len(finished.stderr.splitlines()) == len(SEED_LOG.splitlines()) - 3


def test_names_of_task_runs_count_each_task_in_each_flow_run():
    @flow(task_runner="sequential")
    def twice():
        return [give.submit(0).name, give.submit(0).name, fail.submit().name]

    names = [twice(), twice()]

    assert names == [[f"give-{give.key}-0", f"give-{give.key}-1", f"fail-{fail.key}-0"]] * 2


# Whose handlers


def test_script_that_configures_logging_gets_its_own_format_alone(run_script):
    finished = run_script(
        """
import logging
from runnerstone import flow, task

logging.basicConfig(level=logging.INFO, format="mine: %(name)s %(message)s")

@task
def give():
    return 5

@flow(task_runner="sequential")
def five():
    return give()

assert five() == 5
assert not logging.getLogger("runnerstone").handlers
"""
    )

    lines = finished.stderr.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("mine: runnerstone.") for line in lines)


def test_application_that_configures_the_library_s_logger_gets_no_handler_of_ours(run_script):
    finished = run_script(
        """
import logging
from runnerstone import flow

logger = logging.getLogger("runnerstone")
logger.addHandler(logging.NullHandler())

@flow
def five():
    return 5

assert five() == 5
assert len(logger.handlers) == 1
assert logger.level == logging.NOTSET
"""
    )

    assert finished.stderr == ""


def test_application_that_configures_logging_after_a_flow_takes_over(run_script):
    finished = run_script(
        """
import logging
from runnerstone import flow

@flow
def five():
    return 5

five()
logging.basicConfig(level=logging.INFO, format="mine: %(message)s")
five()
"""
    )

    lines = finished.stderr.splitlines()
    assert [line.startswith("mine: ") for line in lines] == [False] * 4 + [True] * 4


def test_level_that_the_script_sets_is_kept(run_script):
    finished = run_script(
        """
import logging
from runnerstone import flow

logging.getLogger("runnerstone").setLevel(logging.WARNING)

@flow
def five():
    return 5

five()
"""
    )

    assert finished.stderr == ""


def test_log_goes_to_what_stderr_is_at_the_time(run_script):
    finished = run_script(
        """
import contextlib, io
from runnerstone import flow

@flow
def five():
    return 5

five()
with contextlib.redirect_stderr(io.StringIO()) as caught:
    five()
assert len(caught.getvalue().splitlines()) == 4
"""
    )

    assert len(finished.stderr.splitlines()) == 4


def test_importing_the_library_touches_no_logger(run_script):
    finished = run_script(
        """
import logging
import runnerstone, runnerstone.task_runners

assert not logging.getLogger("runnerstone").handlers
assert not logging.root.handlers
"""
    )

    assert finished.stderr == ""


# Folding


def test_runs_of_a_task_are_folded_after_a_thousand(log, runner):
    def body():
        for _ in range(1_005):
            give(0)
        return [fail.with_options(name="other").submit().state]

    run_of(body, runner)

    lines = lines_about(log, "task_runs")
    submitted = [it for it in lines if it.startswith("Submitting task run 'give-")]
    finished = [it for it in lines if it.startswith("Task run 'give-")]
    assert len(submitted) == len(finished) == 1_000
    assert submitted[-1] == (f"Submitting task run 'give-{give.key}-999' to task runner...")
    assert [it for it in lines if it.startswith("Task 'give'")] == [
        "Task 'give' was submitted 1000 times: further runs are logged only if they do not complete"
    ]
    assert any(it.startswith("Submitting task run 'other-") for it in lines)


def test_thousand_runs_are_not_folded(log):
    def body():
        for _ in range(1_000):
            give(0)

    run_of(body, "sequential")

    assert not any("further runs" in it for it in lines_about(log, "task_runs"))


def test_failures_are_logged_with_their_traceback_however_many_there_are(log, runner):
    @task
    def fail_at_times(number):
        if number in {3, 1_000, 1_003}:
            raise BrokenError(f"run {number}")

    def body():
        for number in range(1_010):
            fail_at_times(number)

    run_of(body, runner)

    troubles = [it for it in log.records if it.levelno >= logging.ERROR]
    prefix = f"Task run 'fail_at_times-{fail_at_times.key}"
    about_tasks = [it for it in troubles if it.getMessage().startswith(prefix)]
    for number in (3, 1_000, 1_003):
        name = f"{prefix}-{number}'"
        told, ended = (it for it in about_tasks if it.getMessage().startswith(name))
        assert told.getMessage() == f"{name} encountered an exception:"
        assert str(told.exc_info[1]) == f"run {number}"
        assert told.exc_info[2] is not None
        assert ended.getMessage().endswith(f"finished in state {FAILED}")
    assert len(about_tasks) == 6


def test_skipped_and_cancelled_runs_are_logged_however_many_there_are(log):
    @task
    def give_up():
        return Cancelled("enough")

    def body():
        for _ in range(1_000):
            give(0)
        give(1, after=give_up())

    run_of(body, "sequential")

    warnings = [it for it in log.records if it.levelno == logging.WARNING]
    cancelled, skipped = (it.getMessage() for it in warnings)
    assert cancelled == (
        f"Task run 'give_up-{give_up.key}-0' finished in state "
        "Cancelled(message='enough', type=CANCELLED)"
    )
    assert skipped.startswith(f"Task run 'give-{give.key}-1000' finished in state NotReady(")


# Levels and order


def test_failed_flow_run_is_logged_with_its_traceback_as_an_error(log, runner):
    def body():
        raise BrokenError("in the body")

    run = run_of(body, runner)

    told, ended = (it for it in log.records if it.levelno == logging.ERROR)
    assert told.getMessage() == f"Flow run {run.name!r} encountered an exception:"
    assert str(told.exc_info[1]) == "in the body"
    assert ended.getMessage() == (
        f"Flow run {run.name!r} finished in state "
        "Failed(message='Flow run encountered an exception.', type=FAILED)"
    )


def test_failed_attempts_are_logged_with_their_traceback_and_what_follows(log, runner):
    stubborn = fail.with_options(retries=1, retry_delay_seconds=0.01)

    run_of(lambda: [stubborn()], runner)

    lines = lines_about(log, "task_runs")
    name = f"'fail-{fail.key}-0'"
    assert [it for it in lines if "Submitting" not in it] == [
        f"Task run {name} encountered an exception:",
        f"Task run {name} failed in attempt 1 of 2 and will be retried in 0.01 s",
        f"Task run {name} encountered an exception:",
        f"Task run {name} finished in state {FAILED}",
    ]


def test_runner_that_fails_to_start_is_logged_with_its_traceback_and_shut_down(log):
    class BrokenTaskRunner(SequentialTaskRunner):
        def start(self):
            raise OSError("no room")

    run_of(lambda: 5, BrokenTaskRunner())

    lines = lines_about(log, "flow_runs")
    assert lines[1:4] == [
        "Starting task runner `BrokenTaskRunner`...",
        "Task runner `BrokenTaskRunner` failed to start:",
        "Shutting down task runner `BrokenTaskRunner`...",
    ]
    assert "OSError: no room" in log.text


def test_shutting_down_is_logged_before_the_runner_stops(log):
    class NotingTaskRunner(SequentialTaskRunner):
        def stop(self):
            super().stop()
            before.extend(lines_about(log, "flow_runs"))

    before = []
    run_of(lambda: 5, NotingTaskRunner())

    assert before[-1] == "Shutting down task runner `NotingTaskRunner`..."


def test_flow_run_s_end_is_logged_after_those_of_its_tasks():
    records = []

    class Keeping(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    logger, handler = logging.getLogger("runnerstone"), Keeping()
    may_end = Event()

    @task
    def hold():
        may_end.wait(20)

    def body():
        for _ in range(20):
            hold()
        may_end.set()

    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        run_of(body, ConcurrentTaskRunner(max_workers=8))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

    ends = [it for it in records if "finished in state" in it]
    assert len(ends) == 21
    assert ends[-1].startswith("Flow run")


def test_log_filter_that_raises_does_not_hold_up_the_flow():
    class RaisingFilter(logging.Filter):
        def filter(self, record):
            if "finished in state" in record.getMessage():
                raise BrokenError("in a filter")
            return True

    logger, raising = logging.getLogger("runnerstone.task_runs"), RaisingFilter()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addFilter(raising)
    try:
        run = run_of(lambda: give(5), "sequential")
    finally:
        logger.removeFilter(raising)
        logger.setLevel(level)

    assert run.result() == 5


@pytest.mark.parametrize("logger", ["flow_runs", "task_runs"])
def test_filter_that_raises_ends_no_run(logger, capsys):
    def raise_always(record):
        raise LookupError("no such attribute")

    inner = flow(task_runner=ConcurrentTaskRunner(max_workers=1))(give.submit)
    log = logging.getLogger(f"runnerstone.{logger}")
    log.addFilter(raise_always)
    try:
        run = run_of(lambda: [inner(5), fail.with_options(retries=1)()], ConcurrentTaskRunner())
    finally:
        log.removeFilter(raise_always)

    assert run.state.is_failed()
    assert [it.state.name for it in run.subflow_runs] == ["Completed"]
    assert [(it.state.name, it.attempts) for it in run.task_runs] == [("Failed", 2)]
    assert "LookupError: no such attribute" in capsys.readouterr().err
