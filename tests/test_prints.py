"""What is printed in runs, and who else prints meanwhile."""

import asyncio
import builtins
import io
import logging
import sys
import threading
from contextlib import redirect_stdout
from contextvars import copy_context
from threading import Barrier, Event

import pytest

from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner

PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


@pytest.fixture(autouse=True)
def _print_is_restored():
    before = builtins.print
    yield
    assert builtins.print is before


def printed(log):
    """What runs printed, by whose it was."""
    return [it.getMessage() for it in log.records if " - " in it.getMessage()]


@task(task_run_name="greeting")
def greet(text):
    print(text)


@task(task_run_name="greeting")
async def greet_async(text):
    await asyncio.sleep(0)
    print(text)
    await asyncio.sleep(0)


@pytest.mark.parametrize("task", [greet, greet_async])
def test_what_a_task_prints_is_logged_if_it_says_so(runner, log, capsys, task):
    logging_task = task.with_options(log_prints=True)

    flow(task_runner=runner)(lambda: logging_task("hello"))()

    assert printed(log) == ["Task run 'greeting' - hello"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("task", [greet, greet_async])
def test_what_a_task_prints_is_printed_if_nobody_says_otherwise(runner, log, capsys, task):
    flow(task_runner=runner)(lambda: task("hello"))()

    assert printed(log) == []
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize("says", [True, False])
def test_a_task_decides_for_itself_whatever_the_flow_says(runner, log, capsys, says):
    @flow(task_runner=runner, flow_run_name="today", log_prints=not says)
    def body():
        print("body")
        greet.with_options(log_prints=says)("task")

    body()

    assert printed(log) == (["Task run 'greeting' - task"] if says else ["Flow run 'today' - body"])
    assert capsys.readouterr().out == ("body\n" if says else "task\n")


def test_a_subflow_says_it_for_itself_and_else_does_as_the_flow_around(runner, log, capsys):
    @flow(task_runner=runner, flow_run_name="inner")
    def inner(number):
        print(number)
        greet(number)

    @flow(task_runner=runner, flow_run_name="outer", log_prints=True)
    def outer():
        inner(1)
        inner.with_options(log_prints=False)(2)
        print(3)

    outer()

    assert printed(log) == [
        "Flow run 'inner' - 1",
        "Task run 'greeting' - 1",
        "Flow run 'outer' - 3",
    ]
    assert capsys.readouterr().out == "2\n2\n"


def test_a_record_is_made_of_what_print_would_have_joined(log):
    @flow(flow_run_name="today", log_prints=True)
    def body():
        print("a", 1, None, sep="-")
        print("b", 2, sep=None)
        print("c", end="", flush=True)
        print()
        print("100%", "%s")

    body()

    assert printed(log) == [
        "Flow run 'today' - a-1-None",
        "Flow run 'today' - b 2",
        "Flow run 'today' - c",
        "Flow run 'today' - ",
        "Flow run 'today' - 100% %s",
    ]


def test_a_record_tells_where_it_was_printed(runner, log):
    @task(log_prints=True, task_run_name="here")
    def here():
        print("in the task")

    @flow(task_runner=runner, flow_run_name="there", log_prints=True)
    def there():
        print("in the body")
        here()

    there()

    found = {it.funcName: it for it in log.records if " - " in it.getMessage()}
    assert set(found) == {"there", "here"}
    assert {it.levelname for it in found.values()} == {"INFO"}
    assert found["there"].pathname == __file__  # a function by value has lost its file


def test_what_is_printed_to_a_file_goes_there(runner, log):
    @task(log_prints=True)
    def write():
        file = io.StringIO()
        print("to a file", file=file)
        print("to stderr", file=sys.stderr)
        print("to stdout", file=sys.stdout)
        return file.getvalue()

    assert flow(task_runner=runner)(write.submit)() == "to a file\n"
    assert [it.partition(" - ")[2] for it in printed(log)] == ["to stderr", "to stdout"]


def test_what_is_written_by_other_means_stays_what_it_was(log, capsys):
    @flow(log_prints=True)
    def body():
        sys.stdout.write("written\n")

    body()

    assert printed(log) == []
    assert capsys.readouterr().out == "written\n"


def test_a_level_above_info_drops_what_is_printed(caplog, capsys):
    caplog.set_level(logging.WARNING, logger="runnerstone")

    flow(log_prints=True)(lambda: print("hello"))()

    assert caplog.records == []
    assert capsys.readouterr().out == ""


# Who prints meanwhile


@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
def test_print_is_replaced_only_while_a_run_wants_it(runner):
    before, seen = builtins.print, []

    @task(log_prints=True)
    def note():
        seen.append(builtins.print is before)

    @flow(task_runner=runner)
    def body():
        note.submit().wait()
        seen.append(builtins.print is before)

    body()

    assert seen == [False, True]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_print_is_put_back_whatever_is_raised(error):
    before = builtins.print

    @flow(log_prints=True)
    def body():
        raise error

    with pytest.raises(error):
        body()

    assert builtins.print is before


def test_a_thread_without_the_runs_context_prints_on(log, capsys):
    def hello(text):
        print(text)

    @flow(log_prints=True, flow_run_name="today")
    def body():
        for target, args in ((hello, ("outside",)), (copy_context().run, (hello, "inside"))):
            thread = threading.Thread(target=target, args=args)
            thread.start()
            thread.join()

    body()

    assert printed(log) == ["Flow run 'today' - inside"]
    assert capsys.readouterr().out == "outside\n"


def test_two_flows_at_once_print_each_as_it_says(log, capsys):
    barrier = Barrier(2, timeout=PATIENCE)

    def body(text):
        barrier.wait()
        print(text)
        barrier.wait()

    flows = {
        "logged": flow(log_prints=True, flow_run_name="one")(body),
        "printed": flow(flow_run_name="other")(body),
    }
    threads = [threading.Thread(target=run, args=(text,)) for text, run in flows.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert printed(log) == ["Flow run 'one' - logged"]
    assert capsys.readouterr().out == "printed\n"


def test_the_first_of_two_to_end_leaves_the_other_its_print(log, capsys):
    both_are_there, one_is_over = Barrier(2, timeout=PATIENCE), Event()

    @task(log_prints=True)
    def first():
        both_are_there.wait()

    @task(log_prints=True, task_run_name="second")
    def second():
        both_are_there.wait()
        assert one_is_over.wait(PATIENCE)
        print("still logged")

    @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
    def body():
        first.submit().add_done_callback(lambda future: one_is_over.set())
        second()

    body()

    assert printed(log) == ["Task run 'second' - still logged"]
    assert capsys.readouterr().out == ""


def test_a_print_that_the_user_puts_there_stays(capsys):
    before = builtins.print

    def loud(*values, **options):
        before(*(str(it).upper() for it in values), **options)

    @flow(log_prints=True)
    def body():
        builtins.print = loud

    try:
        body()
        found = builtins.print
        found("hello")
    finally:
        builtins.print = before

    assert found is loud
    assert capsys.readouterr().out == "HELLO\n"


def test_a_print_that_the_user_has_put_there_prints_elsewhere_meanwhile():
    before, said = builtins.print, []
    builtins.print = lambda *values, **options: said.append(values)
    try:
        flow(log_prints=True)(lambda: print("to a file", file=io.StringIO()))()
        print("after")
    finally:
        builtins.print = before

    assert said == [("to a file",), ("after",)]


def test_redirected_output_is_redirected_in_tasks_that_do_not_log(log):
    file = io.StringIO()

    with redirect_stdout(file):
        flow(task_runner="sequential")(lambda: greet("hello"))()

    assert file.getvalue() == "hello\n"
