"""Ctrl-C: in processes of their own, each sent the signal by its own number."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from textwrap import dedent

import pytest

from runnerstone import flow, task
from runnerstone._engine.interrupts import guarding
from runnerstone._engine.steps import Until
from runnerstone.errors import TaskFailedError
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")

# How often the engine is interrupted at a random time; the default is a sample.
ROUNDS = int(os.environ.get("RUNNERSTONE_TEST_INTERRUPTS", "4"))
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong
PREAMBLE = """
import asyncio, faulthandler, logging, os, signal, sys, threading, time
from threading import Event

faulthandler.dump_traceback_later(20, exit=True)  # rather than hang

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever was inherited

from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

ONE_THREAD = ConcurrentTaskRunner(max_workers=1)
futures = []

def say(line):
    os.write(1, f"{line}\\n".encode())  # at one go, whatever other threads say

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

class Watch(logging.Handler):
    '''Does something when the library logs a certain text.'''

    def __init__(self, text, act):
        super().__init__()
        self.text, self.act = text, act
        logging.getLogger("runnerstone").addHandler(self)
        logging.getLogger("runnerstone").setLevel(logging.INFO)

    def emit(self, record):
        message = record.getMessage()
        if self.text in message:
            self.act()

class Print(logging.Handler):
    def emit(self, record):
        print(record.getMessage(), file=sys.stderr, flush=True)

logging.getLogger("runnerstone").addHandler(Print())
logging.getLogger("runnerstone").setLevel(logging.INFO)

@task
def give(value, after=None):
    return value

@task
def hold(event, after=None):
    say("holding")
    event.wait()
    return "held"

def tell():
    for future in futures:
        say(f"{future.task_run.task_name} {future.state.name}")
"""


class Child:
    """A Python of its own that runs a script."""

    def __init__(self, folder, source):
        file = folder / "script.py"
        file.write_text(PREAMBLE + dedent(source), encoding="utf-8")
        path = os.pathsep.join(filter(None, sys.path))
        self._stderr = folder / "stderr"
        with self._stderr.open("w", encoding="utf-8") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", str(file)],
                env=os.environ | {"PYTHONPATH": path},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def expect(self, *lines):
        """Wait until it has said some lines, in any order."""
        missing = list(lines)
        while missing:
            said = self._process.stdout.readline()
            assert said, f"it never said {missing}, but ended: {self.log}"
            if said.rstrip() in missing:
                missing.remove(said.rstrip())

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def lines(self):
        """Wait for its end; return what it said since the last look."""
        with self._process.stdout:
            said = self._process.stdout.read().splitlines()
        self._process.wait(PATIENCE)
        return said

    @property
    def is_alive(self):
        return self._process.poll() is None

    @property
    def code(self):
        return self._process.wait(PATIENCE)

    @property
    def log(self):
        return self._stderr.read_text(encoding="utf-8")

    def close(self):
        if self.is_alive:
            self._process.kill()
        self._process.stdout.close()
        self._process.wait()
        print(self.log)  # for pytest to show where the test failed


@pytest.fixture
def start(tmp_path):
    children = []

    def start(source):
        children.append(Child(tmp_path, source))
        return children[-1]

    yield start
    for child in children:
        child.close()


# The first


def test_ctrl_c_in_the_body_cancels_what_waits_and_waits_for_what_runs(start):
    child = start("""
        may_end = Event()
        Watch("is interrupted and waits for", may_end.set)

        @flow(task_runner=ONE_THREAD)
        def body():
            futures.extend([hold.submit(may_end), give.submit(1)])
            futures.append(give.submit(2, after=futures[1]))
            say("submitted")
            Event().wait()

        try:
            body()
        except KeyboardInterrupt:
            tell()
            raise
    """)

    child.expect("holding", "submitted")
    child.interrupt()

    assert child.lines() == ["hold Completed", "give Cancelled", "give Cancelled"]
    assert child.code == -signal.SIGINT
    assert "is interrupted and waits for 1 running task runs: hold-" in child.log
    assert "finished in state Cancelled(message='Flow run was interrupted.'" in child.log
    assert "Shutting down task runner `ConcurrentTaskRunner`..." in child.log


def test_ctrl_c_while_the_flow_waits_cancels_what_waits_and_waits_for_what_runs(start):
    child = start("""
        may_end = Event()
        Watch("is interrupted and waits for", may_end.set)

        @flow(task_runner=ONE_THREAD)
        def body():
            futures.extend([hold.submit(may_end), give.submit(1)])
            say("submitted")

        try:
            body()
        except KeyboardInterrupt:
            tell()
            raise
    """)

    child.expect("holding", "submitted")
    child.interrupt()

    assert child.lines() == ["hold Completed", "give Cancelled"]
    assert child.code == -signal.SIGINT


def test_ctrl_c_while_the_body_waits_for_a_result_reaches_the_body(start):
    child = start("""
        may_end = Event()

        @flow(task_runner=ONE_THREAD)
        def body():
            future = hold.submit(may_end)
            try:
                say("submitted")
                future.result()
            except KeyboardInterrupt:
                may_end.set()
                return [future, give.submit("after it")]

        say(body())
    """)

    child.expect("holding", "submitted")
    child.interrupt()

    assert child.lines() == ["['held', 'after it']"]
    assert child.code == 0
    assert "interrupted" not in child.log


def test_ctrl_c_that_finds_nothing_running_ends_the_flow_at_once(start):
    child = start("""
        @flow
        def body():
            say("waiting")
            Event().wait()

        body()
    """)

    child.expect("waiting")
    child.interrupt()

    assert child.code == -signal.SIGINT
    assert "waits for" not in child.log
    assert "finished in state Cancelled(message='Flow run was interrupted.'" in child.log


def test_flow_run_s_record_raises_ctrl_c_too(start):
    child = start("""
        @flow
        def body():
            say("waiting")
            Event().wait()

        try:
            body.run()
        except KeyboardInterrupt:
            say("raised")
    """)

    child.expect("waiting")
    child.interrupt()

    assert child.lines() == ["raised"]


def test_ctrl_c_in_a_subflow_ends_it_and_its_parent(start):
    child = start("""
        @flow
        def inner():
            say("waiting")
            Event().wait()

        @flow
        def outer():
            give(1)
            inner()

        outer()
    """)

    child.expect("waiting")
    child.interrupt()

    assert child.code == -signal.SIGINT
    ends = [line for line in child.log.splitlines() if "Flow run was interrupted." in line]
    assert [line.partition(" ")[0] for line in ends] == ["Subflow", "Flow"]


# In the calls of the sequential runner


def test_ctrl_c_in_a_sequential_task_cancels_its_run_and_ends_the_flow(start):
    child = start("""
        @flow(task_runner="sequential")
        def body():
            futures.append(give.submit(1))
            hold(Event())
            say("goes on")

        try:
            run = body.run()
        except KeyboardInterrupt:
            tell()
            raise
    """)

    child.expect("holding")
    child.interrupt()

    assert child.lines() == ["give Completed"]
    assert child.code == -signal.SIGINT
    assert "finished in state Cancelled(message='Interrupted.', type=CANCELLED)" in child.log
    assert "encountered an exception" not in child.log


def test_interrupted_sequential_task_is_not_tried_again(start):
    child = start("""
        @flow(task_runner="sequential")
        def body():
            hold.with_options(retries=3)(Event())

        body()
    """)

    child.expect("holding")
    child.interrupt()

    assert child.lines() == []
    assert child.code == -signal.SIGINT


def test_ctrl_c_that_a_sequential_task_swallows_still_ends_the_flow(start):
    child = start("""
        @task
        def swallow():
            try:
                say("holding")
                Event().wait()
            except BaseException:
                return "swallowed"

        @flow(task_runner="sequential")
        def body():
            swallow()
            say("goes on")

        body()
    """)

    child.expect("holding")
    child.interrupt()

    assert child.lines() == []
    assert child.code == -signal.SIGINT


def test_ctrl_c_ends_a_sequential_retry_s_delay(start):
    child = start("""
        Watch("will be retried", lambda: say("delayed"))

        @task(retries=1, retry_delay_seconds=3600)
        def fail():
            raise ValueError

        @flow(task_runner="sequential")
        def body():
            fail()
            say("goes on")

        body()
    """)

    child.expect("delayed")
    child.interrupt()

    assert child.lines() == []
    assert child.code == -signal.SIGINT
    assert "Task run 'fail-" in child.log
    assert "finished in state Cancelled(message=None, type=CANCELLED)" in child.log


def test_ctrl_c_cancels_a_sequential_coroutine(start):
    child = start("""
        @task
        async def endless():
            say("awaiting")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                say("cancelled")
                raise

        @flow(task_runner="sequential")
        def body():
            endless()
            say("goes on")

        body()
    """)

    child.expect("awaiting")
    child.interrupt()

    assert child.lines() == ["cancelled"]
    assert child.code == -signal.SIGINT
    assert "waits for" not in child.log


def test_ctrl_c_in_a_flow_inside_of_a_sequential_task_ends_both(start):
    child = start("""
        @flow(task_runner="sequential")
        def inner():
            hold(Event())
            say("inner goes on")

        @task
        def call():
            inner()

        @flow(task_runner="sequential")
        def outer():
            call()
            say("outer goes on")

        outer()
    """)

    child.expect("holding")
    child.interrupt()

    assert child.lines() == []
    assert child.code == -signal.SIGINT
    assert child.log.count("Flow run was interrupted.") == 2


# The second


def test_second_ctrl_c_ends_the_waiting_though_a_thread_is_stuck(start):
    child = start("""
        Watch("is interrupted and waits for", lambda: say("waiting"))

        @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
        def body():
            futures.extend(hold.submit(Event()) for _ in range(2))
            futures.append(give.submit(1))
            say("submitted")

        try:
            body()
        except KeyboardInterrupt:
            tell()
            raise
    """)
    child.expect("holding", "holding", "submitted")
    child.interrupt()
    child.expect("waiting")
    began = time.monotonic()

    child.interrupt()

    assert child.lines() == ["hold Cancelled", "hold Cancelled", "give Cancelled"]
    assert child.code == -signal.SIGINT
    assert time.monotonic() - began < 4
    assert "waits no longer and leaves behind what still runs: hold-" in child.log
    assert "failed to stop" not in child.log


def test_second_ctrl_c_ends_the_waiting_though_a_coroutine_holds_up_its_loop(start):
    child = start("""
        Watch("is interrupted and waits for", lambda: say("waiting"))

        @task
        async def stuck():
            say("stuck")
            Event().wait()

        @flow
        def body():
            futures.append(stuck.submit())
            say("submitted")

        try:
            body()
        except KeyboardInterrupt:
            tell()
            raise
    """)
    child.expect("stuck", "submitted")
    child.interrupt()
    child.expect("waiting")

    child.interrupt()

    assert child.lines() == ["stuck Cancelled"]
    assert child.code == -signal.SIGINT
    assert "still run 5.0 s after they were cancelled; they are left behind" in child.log


def test_two_at_once_end_the_waiting(start):
    child = start("""
        @flow(task_runner=ONE_THREAD)
        def body():
            hold(Event())
            give(1)

        body()
    """)
    child.expect("holding")

    while child.is_alive:
        child.interrupt()  # signals that come too fast for Python count as one
        time.sleep(0.05)

    assert child.code == -signal.SIGINT


# In the engine


@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
@pytest.mark.parametrize("moment", ["Submitting task run", "Task run 'give-"])
def test_ctrl_c_that_comes_while_the_engine_is_at_work_waits_for_its_end(start, runner, moment):
    child = start(f"""
        @flow(task_runner={runner!r})
        def body():
            try:
                for number in range(5):
                    futures.append(give.submit(number))
                    futures[-1].wait()
                    say("submitted")
                time.sleep(10)
            except KeyboardInterrupt:
                say("interrupted")
                raise

        def once():
            if not interrupted:
                interrupted.append(1)
                interrupt()

        interrupted = []
        Watch({moment!r}, once)
        try:
            body()
        except KeyboardInterrupt:
            tell()
            raise
    """)

    said = child.lines()

    assert said.count("interrupted") == 1
    assert child.code == -signal.SIGINT
    assert not any("Pending" in line or "Running" in line for line in said)
    assert "waits for" not in child.log


def test_ctrl_c_that_comes_before_the_body_keeps_it_from_running(start):
    child = start("""
        @flow
        def body():
            say("the body runs")

        Watch("Starting task runner", interrupt)
        body()
    """)

    assert child.lines() == []
    assert child.code == -signal.SIGINT
    assert "Shutting down" in child.log


def test_ctrl_c_while_the_runner_starts_ends_that_and_stops_it(start):
    child = start("""
        class SlowTaskRunner(SequentialTaskRunner):
            def start(self):
                say("starting")
                Event().wait()

            def stop(self):
                say("stopped")

        @flow(task_runner=SlowTaskRunner())
        def body():
            say("the body runs")

        body()
    """)

    child.expect("starting")
    child.interrupt()

    assert child.lines() == ["stopped"]
    assert child.code == -signal.SIGINT


def test_ctrl_c_while_the_runner_stops_lets_it_stop_first(start):
    child = start("""
        class SlowTaskRunner(SequentialTaskRunner):
            def stop(self):
                threading.Timer(0.1, may_stop.set).start()
                interrupt()
                may_stop.wait()
                super().stop()
                say("stopped")

        @flow(task_runner=SlowTaskRunner())
        def body():
            give(1)

        may_stop = Event()
        body()
        say("goes on")
    """)

    assert child.lines() == ["stopped"]
    assert child.code == -signal.SIGINT
    assert "Flow run" in child.log.splitlines()[-2] or "finished in state Completed" in child.log


def test_third_ctrl_c_strikes_at_once_also_while_the_runner_stops(start):
    child = start("""
        class StuckTaskRunner(SequentialTaskRunner):
            def stop(self):
                say("stopping")
                for _ in range(3):
                    interrupt()
                    time.sleep(0.01)
                Event().wait()

        @flow(task_runner=StuckTaskRunner())
        def body():
            give(1)

        body()
    """)

    child.expect("stopping")

    assert child.code == -signal.SIGINT


@pytest.mark.parametrize(
    "runner", ['"sequential"', "ONE_THREAD", "ConcurrentTaskRunner(max_workers=4)"]
)
def test_one_ctrl_c_at_any_time_ends_the_flow_and_leaves_no_run_without_an_end(start, runner):
    source = f"""
        logging.getLogger("runnerstone").setLevel(logging.CRITICAL)
        sys.setswitchinterval(1e-5)

        @task
        def add(one, other=0):
            return one

        @flow(task_runner={runner})
        def body():
            say("running")
            while True:
                first = add.submit(1)
                futures.extend([first, add.submit(first), add.submit(2, other=first)])
                del futures[:-100]

        @flow(task_runner={runner})
        def outer():
            body()

        try:
            outer()
        except KeyboardInterrupt:
            say(f"left {{[it.name for it in futures if not it.done()]}}")
            for thread in threading.enumerate()[1:]:
                thread.join(10)  # what began when it was cancelled was not waited for
            say(f"threads {{[it.name for it in threading.enumerate()]}}")
            raise
    """

    for _ in range(ROUNDS):
        child = start(source)
        child.expect("running")
        time.sleep(random.uniform(0, 0.03))  # any time is right
        child.interrupt()

        assert child.lines() == ["left []", "threads ['MainThread']"], child.log
        assert child.code == -signal.SIGINT


# Coroutines


def test_ctrl_c_in_an_async_flow_cancels_what_waits_and_waits_for_what_runs(start):
    child = start("""
        may_end = Event()
        Watch("is interrupted and waits for", may_end.set)

        @flow(task_runner=ONE_THREAD)
        async def body():
            futures.extend([hold.submit(may_end), give.submit(1)])
            say("submitted")
            await futures[-1]

        try:
            asyncio.run(body())
        except KeyboardInterrupt:
            tell()
            raise
    """)

    child.expect("holding", "submitted")
    child.interrupt()

    assert child.lines() == ["hold Completed", "give Cancelled"]
    assert child.code == -signal.SIGINT


def test_second_ctrl_c_in_an_async_flow_ends_the_waiting(start):
    child = start("""
        Watch("is interrupted and waits for", lambda: say("waiting"))

        @flow(task_runner=ONE_THREAD)
        async def body():
            futures.append(hold.submit(Event()))
            say("submitted")

        try:
            asyncio.run(body())
        except KeyboardInterrupt:
            tell()
            raise
    """)
    child.expect("holding", "submitted")
    child.interrupt()
    child.expect("waiting")
    time.sleep(0.1)  # it says so while it logs, which the handler of `asyncio.run` does not spare

    child.interrupt()

    assert child.lines() == ["hold Cancelled"]
    assert child.code == -signal.SIGINT


# Whose handler


@pytest.fixture
def python_s_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_not_lost_that_comes_while_the_engine_begins_to_wait(python_s_handler):
    engine = {"__name__": "runnerstone._engine.books", "signal": signal}
    exec("def when_idle(fn): signal.raise_signal(signal.SIGINT); return True", engine)

    with pytest.raises(KeyboardInterrupt), guarding():
        Until(engine["when_idle"]).run()


def test_python_s_handler_is_put_back(python_s_handler):
    @flow(task_runner="sequential")
    def inner():
        return signal.getsignal(signal.SIGINT)

    @flow(task_runner="sequential")
    def outer():
        return signal.getsignal(signal.SIGINT), inner(), signal.getsignal(signal.SIGINT)

    before, within, after = outer()

    assert before == within == after
    assert before is not python_s_handler
    assert signal.getsignal(signal.SIGINT) is python_s_handler


def test_python_s_handler_is_put_back_after_a_failure(python_s_handler):
    @flow(task_runner="sequential")
    def failing():
        raise ValueError("in the body")

    with pytest.raises(ValueError, match="in the body"):
        failing()

    assert signal.getsignal(signal.SIGINT) is python_s_handler


def test_handler_that_the_body_installs_stays(python_s_handler):
    def own(signum, frame):
        """Heed nothing."""

    @flow(task_runner="sequential")
    def installing():
        signal.signal(signal.SIGINT, own)

    installing()

    assert signal.getsignal(signal.SIGINT) is own


def test_flow_in_another_thread_leaves_the_handler_alone(python_s_handler):
    handlers = []

    @flow(task_runner="sequential")
    def looking():
        handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=looking)
    thread.start()
    thread.join()

    assert handlers == [python_s_handler]


def test_application_s_own_handler_is_respected(start):
    child = start("""
        signal.signal(signal.SIGINT, lambda *_: may_end.set())
        may_end = Event()

        @flow(task_runner=ONE_THREAD)
        def body():
            return [hold(may_end), give(1)]

        say(body())
    """)

    child.expect("holding")
    child.interrupt()

    assert child.lines() == ["['held', 1]"]
    assert child.code == 0


def test_application_s_own_handler_may_raise(start):
    child = start("""
        class Enough(BaseException):
            pass

        def stop(*_):
            raise Enough

        signal.signal(signal.SIGINT, stop)
        may_end = Event()
        Watch("is interrupted and waits for", may_end.set)

        @flow(task_runner=ONE_THREAD)
        def body():
            futures.extend([hold.submit(may_end), give.submit(1)])
            say("submitted")
            futures[0].wait()

        try:
            body()
        except Enough:
            tell()
    """)

    child.expect("submitted")
    child.interrupt()

    assert child.lines()[-2:] == ["hold Completed", "give Cancelled"]
    assert child.code == 0


# Not Ctrl-C


@pytest.mark.parametrize("runner", [SequentialTaskRunner(), ConcurrentTaskRunner()], ids=repr)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupt_that_a_task_raises_by_itself_ends_its_run_alone(runner, kind):
    @task
    def raising():
        raise kind("by itself")

    @task
    async def raising_async():
        await asyncio.sleep(0)
        raise kind("by itself")

    @task
    def give():
        return 5

    @flow(task_runner=runner)
    def body():
        futures.extend([raising.submit(), raising_async.submit()])
        return give()

    futures = []

    assert body() == 5
    for future in futures:
        assert future.state.is_failed()
        with pytest.raises(TaskFailedError, match=rf"the task raised {kind.__name__}\('by itself"):
            future.result()
