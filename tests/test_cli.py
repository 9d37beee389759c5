import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner, Result

from runnerstone.cli import main

FileWriter = Callable[..., Path]

CENSUS = """
    import threading

    from runnerstone import flow, task

    @task
    def place():
        return threading.current_thread().name

    @flow
    def census(folder="here", top: int = 3):
        print("runs on", place.submit().result())
        print("gets", repr(folder), repr(top))
"""


@pytest.fixture
def write(tmp_path: Path, modules_restored: None) -> FileWriter:
    def write(source: str, name: str = "flow_file.py") -> Path:
        file = tmp_path / name
        file.write_text(dedent(source), encoding="utf-8")
        return file

    return write


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# --- what a run is given


def test_a_completed_flow_is_0(write):
    result = invoke("run", write(CENSUS))

    assert result.exit_code == 0
    assert "gets 'here' 3\n" in result.output


def test_parameters_get_the_types_of_their_annotations(write):
    result = invoke("run", write(CENSUS), "--param", "top=5", "--param", "folder=a=b c")

    assert "gets 'a=b c' 5\n" in result.output


def test_a_parameter_may_be_empty(write):
    result = invoke("run", write(CENSUS), "--param", "folder=")

    assert "gets '' 3\n" in result.output


def test_a_flow_that_names_no_runner_runs_on_threads(write):
    result = invoke("run", write(CENSUS))

    assert "runs on ConcurrentTaskRunner-0\n" in result.output


def test_the_runner_can_be_chosen(write):
    result = invoke("run", write(CENSUS), "--runner", "sequential")

    assert "runs on MainThread\n" in result.output


def test_the_runner_can_be_a_path(write):
    path = "runnerstone.task_runners:SequentialTaskRunner"

    result = invoke("run", write(CENSUS), "--runner", path)

    assert "runs on MainThread\n" in result.output


def test_a_plugin_s_runner_can_be_chosen(write, site):
    site.add_plugin("at-once", "some-plugin")

    result = invoke("run", write(CENSUS), "--runner", "at-once", "--set", "size=2")

    assert "runs on MainThread\n" in result.output


def test_a_subflow_keeps_its_runner(write):
    file = write("""
        import threading

        from runnerstone import flow, task
        from runnerstone.task_runners import ConcurrentTaskRunner

        @task
        def place():
            return threading.current_thread().name

        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        def inner():
            return place()

        @flow
        def outer():
            print("outside on", place(), "inside on", inner(), flush=True)
            print("outside on", place.submit().result(), "inside on", inner())
    """)

    result = invoke("run", f"{file}:outer", "--runner", "sequential")

    assert "outside on MainThread inside on ConcurrentTaskRunner-0\n" in result.output


def test_settings_alone_go_to_the_runner_of_the_flow(write):
    file = write("""
        from runnerstone import flow
        from runnerstone.task_runners import ConcurrentTaskRunner, TaskRunner

        class SmallTaskRunner(TaskRunner):
            size: int = 1
            colour: str = "red"

            def start(self):
                print("started", self)

            def submit(self, call, report):
                raise NotImplementedError

        @flow(task_runner=SmallTaskRunner(colour="blue"))
        def census():
            return 1
    """)

    result = invoke("run", file, "--set", "size=7")

    assert "started SmallTaskRunner(size=7, colour='blue')\n" in result.output


def test_settings_alone_go_to_the_default_runner(write):
    result = invoke("run", write(CENSUS), "--set", "max_workers=none")

    assert "runs on ConcurrentTaskRunner-0\n" in result.output


def test_an_async_flow_is_run(write):
    file = write("""
        from runnerstone import flow, task

        @task
        async def two():
            return 2

        @flow
        async def census():
            print("got", await two.submit())
    """)

    result = invoke("run", file)

    assert (result.exit_code, "got 2\n" in result.output) == (0, True)


# --- the file


def test_the_file_is_imported_under_its_own_name(write):
    file = write(
        """
        from runnerstone import flow

        @flow
        def census():
            print("module", __name__)

        if __name__ == "__main__":
            print("run as a script")
        """,
        "my-flows.py",
    )

    result = invoke("run", file)

    assert "module my-flows\n" in result.output
    assert "run as a script" not in result.output


def test_the_file_finds_its_neighbours(write):
    write("WORD = 'found'", "neighbour_of_flow_file.py")
    file = write("""
        from runnerstone import flow
        from neighbour_of_flow_file import WORD

        @flow
        def census():
            import neighbour_of_flow_file
            print(WORD, neighbour_of_flow_file.WORD)
    """)

    result = invoke("run", file)

    assert "found found\n" in result.output


def test_what_the_file_defines_travels_by_value(write, python, tmp_path):
    file = write("""
        from pathlib import Path

        import cloudpickle
        from runnerstone import flow

        def double(number):
            return 2 * number

        @flow
        def census(target: Path):
            target.write_bytes(cloudpickle.dumps(double))
    """)
    pickled = tmp_path / "double.pickle"
    invoke("run", file, "--param", f"target={pickled}")
    file.unlink()

    finished = python.run(
        ["-c", f"import pickle; print(pickle.load(open({str(pickled)!r}, 'rb'))(21))"]
    )

    assert finished.stdout == "42\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such folders")
def test_a_folder_may_have_a_colon(write, tmp_path):
    (tmp_path / "a:b").mkdir()

    result = invoke("run", write(CENSUS, "a:b/flow_file.py"))

    assert result.exit_code == 0


def test_one_flow_of_several_is_named(write):
    file = write("""
        from runnerstone import flow

        @flow
        def first():
            print("first")

        @flow
        def second():
            print("second")
    """)

    result = invoke("run", f"{file}:second")

    assert "second\n" in result.output
    assert "first\n" not in result.output


def test_several_flows_have_to_be_named(write):
    file = write("""
        from runnerstone import flow

        @flow
        def first(): ...

        @flow
        def second(): ...
    """)

    result = invoke("run", file)

    assert result.exit_code == 2
    assert f"{file}:first; its flows: first, second" in result.output


def test_an_imported_flow_is_not_the_file_s(write):
    write(CENSUS, "library_of_flow_file.py")
    file = write("""
        from runnerstone import flow
        from library_of_flow_file import census

        @flow
        def own():
            print("own")
    """)

    result = invoke("run", file)

    assert (result.exit_code, "own\n" in result.output) == (0, True)


def test_an_imported_flow_can_be_named(write):
    write(CENSUS, "library_of_flow_file.py")
    file = write("from library_of_flow_file import census")

    result = invoke("run", f"{file}:census")

    assert (result.exit_code, "gets 'here' 3\n" in result.output) == (0, True)


def test_a_flow_of_two_names_is_one_flow(write):
    result = invoke("run", write(dedent(CENSUS) + "\nalias = census\n"))

    assert result.exit_code == 0


# --- usage errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runner", "sequental"], "no task runner named 'sequental'; did you mean 'sequential'?"),
        (["--runner", "math:sin"], "is no TaskRunner"),
        (["--runner", "sequential", "--set", "a=1"], "SequentialTaskRunner has no setting 'a'"),
        (["--set", "max_workers=many"], "setting max_workers='many' does not fit"),
        (["--set", "max_workers=0"], "'max_workers' must be >= 1"),
        (["--set", "max_workers"], "'max_workers' is not of the form name=value"),
        (["--param", "=1"], "'=1' is not of the form name=value"),
        (["--param", "top=1", "--param", "top=2"], "'top' is given twice"),
        (
            ["--param", "tpo=1"],
            "census() has no parameter 'tpo', given as '1'; did you mean 'top'?",
        ),
        (["--param", "top=many"], "parameter top='many' does not fit census(): int is expected"),
        (["--nonsense"], "No such option"),
    ],
)
def test_bad_use_is_2_without_a_traceback(write, arguments, message):
    result = invoke("run", write(CENSUS), *arguments)

    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_missing_parameter_is_2(write):
    file = write("""
        from runnerstone import flow

        @flow
        def census(folder): ...
    """)

    result = invoke("run", file)

    assert result.exit_code == 2
    assert "census() needs a value for folder; its parameters: folder" in result.output


@pytest.mark.parametrize("target", ["absent.py", "absent.py:census", ".", "notes.txt", "census"])
def test_what_is_no_python_file_is_2(write, tmp_path, monkeypatch, target):
    write("no code", "notes.txt")
    monkeypatch.chdir(tmp_path)

    result = invoke("run", target)

    assert result.exit_code == 2
    assert "there is no Python file" in result.output


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (CENSUS, "cenus", "has no flow 'cenus'; did you mean 'census'? its flows: census"),
        (CENSUS, "place", "'place' in {file} is of type Task, and no flow; its flows: census"),
        ("", "", "defines no flow: decorate a function with @flow"),
    ],
)
def test_a_flow_that_is_not_there_is_2(write, source, name, message):
    file = write(source)

    result = invoke("run", f"{file}:{name}" if name else file)

    assert result.exit_code == 2
    assert message.format(file=file) in result.output


def test_a_file_with_the_name_of_a_module_in_use_is_2(write):
    result = invoke("run", write(CENSUS, "json.py"))

    assert result.exit_code == 2
    assert "json.py has the name of a module that is in use" in result.output


def test_a_flow_s_own_runner_that_cannot_be_had_is_2(write):
    file = write("""
        from runnerstone import flow

        @flow(task_runner="no-such-runner")
        def census(): ...
    """)

    result = invoke("run", file)

    assert result.exit_code == 2
    assert "no task runner named 'no-such-runner'" in result.output
    assert "Traceback" not in result.output


# --- failures


def test_a_failed_flow_is_1_with_its_traceback(write):
    file = write("""
        from runnerstone import flow

        @flow
        def census():
            raise ValueError("no folder today")
    """)

    result = invoke("run", file)

    assert result.exit_code == 1
    assert "Traceback (most recent call last):" in result.output
    assert 'raise ValueError("no folder today")' in result.output
    assert result.output.endswith("ValueError: no folder today\n")


def test_a_cancelled_flow_is_1(write):
    file = write("""
        from runnerstone import Cancelled, flow

        @flow
        def census():
            return Cancelled("not today")
    """)

    result = invoke("run", file)

    assert result.exit_code == 1
    assert "FlowCancelledError" in result.output


def test_a_file_that_raises_is_1_with_a_traceback_that_begins_in_it(write):
    file = write("""
        def fail():
            raise ValueError("broken file")

        fail()
    """)

    result = invoke("run", file)

    assert result.exit_code == 1
    assert result.output.startswith(f'Traceback (most recent call last):\n  File "{file}", line 5')
    assert result.output.endswith("ValueError: broken file\n")


def test_a_file_that_does_not_parse_is_1_with_its_line(write):
    file = write("def census(:\n")

    result = invoke("run", file)

    assert result.exit_code == 1
    assert result.output.startswith(f'  File "{file}", line 1')
    assert "SyntaxError" in result.output


def test_a_file_that_needs_a_plugin_says_what_to_install(write):
    file = write("""
        from runnerstone._plugins import resolve_task_runner
        from runnerstone.errors import TaskRunnerNotInstalledError

        raise TaskRunnerNotInstalledError("pip install some-plugin")
    """)

    result = invoke("run", file)

    assert result.exit_code == 2
    assert "Error: pip install some-plugin" in result.output
    assert "Traceback" not in result.output


def test_a_file_that_exits_decides_the_code(write):
    assert invoke("run", write("raise SystemExit(7)")).exit_code == 7


# --- the listing


def test_the_listing_is_aligned(site):
    site.add_plugin("a", "some-plugin-of-a-long-name")

    lines = invoke("runners").output.splitlines()

    columns = {
        line.index(text)
        for line in lines
        for text in ("Runs calls at once.", "On threads of this process", "One after another")
        if text in line
    }
    assert len(columns) == 1
    assert lines[0].startswith("a           some-plugin-of-a-long-name 1.0  ")


def test_plugins_that_failed_are_listed_at_the_end(site):
    site.add_plugin("a-broken", "broken-plugin", hooks="import no_such_module")
    site.add_plugin("at-once", "some-plugin")

    result = invoke("runners")

    assert result.exit_code == 0
    assert result.output.splitlines()[-1].startswith(
        "a-broken cannot be used: task runner 'a-broken' of broken-plugin 1.0: 'broken_plugin"
    )


def test_the_version_is_told():
    assert invoke("--version").output.startswith("runnerstone ")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_the_help_has_examples(arguments):
    result = invoke(*arguments)

    assert result.exit_code == 0
    assert "  runnerstone run census.py --runner concurrent --set max_workers=4\n" in result.output


# --- as a process


def test_a_process_ends_with_the_code_and_its_output_alone_on_stdout(write, python):
    file = write(CENSUS)

    finished = python.run(["-m", "runnerstone", "run", str(file), "--runner", "sequential"])

    assert finished.returncode == 0
    assert finished.stdout == "runs on MainThread\ngets 'here' 3\n"


def test_a_failed_process_tells_on_stderr(write, python):
    file = write("""
        from runnerstone import flow

        @flow
        def census():
            raise ValueError("no folder today")
    """)

    finished = python.run(["-m", "runnerstone", "run", str(file)])

    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.endswith("ValueError: no folder today\n")


def test_bad_use_of_a_process_is_told_on_stderr(python):
    finished = python.run(["-m", "runnerstone", "run", "absent.py"])

    assert (finished.returncode, finished.stdout) == (2, "")
    assert "there is no Python file 'absent.py'" in finished.stderr


def test_listing_loads_no_event_loop_and_no_converter(python):
    statement = "from runnerstone.cli import main\nmain(['runners'], standalone_mode=False)"

    loaded = python.imports(statement)

    assert not {"asyncio", "cattrs"} & loaded


# --- Ctrl-C, and SIGTERM, which does the same

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
SIGNALS = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda it: it.name)
# How often a flow is ended at a random time; the default is a sample.
ROUNDS = int(os.environ.get("RUNNERSTONE_TEST_INTERRUPTS", "4"))
PREAMBLE = """
import asyncio, atexit, faulthandler, logging, os, signal, sys, threading, time
from threading import Event

faulthandler.dump_traceback_later(20, exit=True)  # rather than hang

# Ignored, by inheritance, where the tests run as a shell's background job.
signal.signal(signal.SIGINT, signal.default_int_handler)

from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner

futures = []

def say(line):
    os.write(1, f"{line}\\n".encode())  # at one go, whatever other threads say

class Watch(logging.Handler):
    def __init__(self, text, act):
        super().__init__()
        self.text, self.act = text, act
        logging.getLogger("runnerstone").addHandler(self)
        logging.getLogger("runnerstone").setLevel(logging.INFO)

    def emit(self, record):
        print(record.getMessage(), file=sys.stderr)
        if self.text in record.getMessage():
            self.act()

@task
def give(value, other=None):
    return value

@task
def hold(event):
    say("holding")
    event.wait()

@atexit.register
def tell():
    for future in futures:
        say(f"{future.task_run.task_name} {future.state.name}")
    for thread in threading.enumerate():
        if thread.name.startswith("ConcurrentTaskRunner"):
            thread.join(10)  # what began when it was cancelled was not waited for
            say(f"{thread.name} is alive: {thread.is_alive()}")
"""


# Python does not wake an event loop for a signal that comes when that is just about to wait.
AWAITING = "while True: await asyncio.sleep(0.2)"


class Command:
    """The command, running a file in a process of its own."""

    def __init__(self, file, environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runnerstone", "run", str(file)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def expect(self, *lines):
        """Wait until it has said some lines, in any order."""
        missing = list(lines)
        while missing:
            said = self.process.stdout.readline()
            assert said, f"it never said {missing}, but ended: {self.process.stderr.read()}"
            if said.rstrip() in missing:
                missing.remove(said.rstrip())

    def finish(self):
        """Wait for its end; return the lines that it said since the last look, and its log."""
        said, log = self.process.communicate(timeout=30)
        print(log)  # for pytest to show where the test failed
        return said.splitlines(), log


@pytest.fixture
def start(write, python):
    started = []

    def start(source):
        file = write(PREAMBLE + dedent(source))
        started.append(Command(file, python.environment))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.communicate()


@needs_signals
@SIGNALS
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_signal_is_130(start, kind, signum):
    waiting = {"def": "Event().wait()", "async def": AWAITING}
    command = start(f"""
        @flow
        {kind} census():
            say("waiting")
            {waiting[kind]}
    """)

    command.expect("waiting")
    command.process.send_signal(signum)
    _, log = command.finish()

    assert command.process.returncode == 130
    assert log.endswith("Interrupted.\n")
    assert "Traceback" not in log


@needs_signals
@SIGNALS
@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("ending", ["", "Event().wait()"], ids=["waiting", "in the body"])
def test_first_signal_cancels_what_waits_and_waits_for_what_runs(start, kind, ending, signum):
    if kind == "async def" and ending:
        ending = AWAITING
    command = start(f"""
        may_end = Event()
        Watch("is interrupted and waits for", may_end.set)

        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        {kind} census():
            futures.extend([hold.submit(may_end), give.submit(1)])
            say("submitted")
            {ending}
    """)

    command.expect("holding", "submitted")
    command.process.send_signal(signum)
    said, log = command.finish()

    assert said == ["hold Completed", "give Cancelled"]
    assert command.process.returncode == 130
    assert "finished in state Cancelled(message='Flow run was interrupted.'" in log
    assert "Shutting down task runner `ConcurrentTaskRunner`..." in log
    assert log.endswith("Interrupted.\n")


@needs_signals
@SIGNALS
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_second_signal_waits_no_longer(start, kind, signum):
    command = start(f"""
        may_end = Event()
        atexit.register(may_end.set)
        Watch("is interrupted and waits for", lambda: say("interrupted"))

        @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
        {kind} census():
            futures.append(hold.submit(may_end))
            say("submitted")
    """)

    command.expect("holding", "submitted")
    command.process.send_signal(signum)
    command.expect("interrupted")
    time.sleep(0.1)  # it says so while it logs, which the handler of `asyncio.run` does not spare
    command.process.send_signal(signum)
    said, log = command.finish()

    assert said[0] == "hold Cancelled"
    assert command.process.returncode == 130
    assert "waits no longer and leaves behind what still runs: hold-" in log
    assert log.endswith("Interrupted.\n")


@needs_signals
@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_sigterm_at_any_time_ends_the_flow_and_leaves_no_run_without_an_end(start, kind, runner):
    pause = "pass" if kind == "def" else "await asyncio.sleep(0)"
    source = f"""
        logging.getLogger("runnerstone").setLevel(logging.CRITICAL)
        sys.setswitchinterval(1e-5)

        @flow(task_runner={runner!r})
        {kind} census():
            say("running")
            while True:
                first = give.submit(1)
                futures.extend([first, give.submit(first), give.submit(2, other=first)])
                del futures[:-100]
                {pause}
    """

    for _ in range(ROUNDS):
        command = start(source)
        command.expect("running")
        time.sleep(random.uniform(0, 0.03))  # any time is right
        command.process.terminate()
        said, log = command.finish()

        assert {line.partition(" ")[2] for line in said} <= {"Completed", "Cancelled"}
        assert (command.process.returncode, log) == (130, "Interrupted.\n")


@needs_signals
def test_sigterm_goes_to_the_handler_that_the_file_installs(start):
    command = start("""
        may_end = Event()
        signal.signal(signal.SIGTERM, lambda *_: may_end.set())

        @flow
        def census():
            hold(may_end)
    """)

    command.expect("holding")
    command.process.terminate()
    command.finish()

    assert command.process.returncode == 0


@needs_signals
def test_sigterm_ends_a_process_that_ignores_ctrl_c(start):
    command = start("""
        signal.signal(signal.SIGINT, signal.SIG_IGN)

        @flow
        def census():
            hold(Event())
    """)

    command.expect("holding")
    command.process.terminate()
    command.finish()

    assert command.process.returncode == -signal.SIGTERM


@needs_signals
@pytest.mark.parametrize("runner", ["sequential", "concurrent"])
def test_sigterm_ends_what_a_task_forks(start, runner):
    command = start(f"""
        @task
        def fork():
            told, telling = os.pipe()
            child = os.fork()
            if not child:
                try:
                    os.write(telling, b"!")
                    time.sleep(5)
                finally:
                    os._exit(0)
            os.read(told, 1)
            os.kill(child, signal.SIGTERM)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        @flow(task_runner={runner!r})
        def census():
            say(f"ended by {{fork.submit().result()}}")
    """)

    said, _ = command.finish()

    assert f"ended by {-signal.SIGTERM}" in said


@pytest.fixture
def no_handler():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)


HANDLERS = """
    import signal

    from runnerstone import flow

    before = signal.getsignal(signal.SIGTERM)

    @flow
    def census():
        print("changed:", signal.getsignal(signal.SIGTERM) is not before)
"""


def test_sigterm_is_handled_only_while_the_flow_runs(write, no_handler):
    result = invoke("run", write(HANDLERS))

    assert "changed: True\n" in result.output
    assert signal.getsignal(signal.SIGTERM) is no_handler


def test_sigterm_handler_that_the_flow_installs_stays(write, no_handler):
    file = write("""
        import signal

        from runnerstone import flow

        @flow
        def census():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    """)

    invoke("run", file)

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_sigterm_is_left_alone_outside_of_the_main_thread(write, no_handler):
    file = write(HANDLERS)

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(invoke, "run", file).result()

    assert result.exit_code == 0
    assert "changed: False\n" in result.output


# --- a reader that left


@pytest.mark.skipif(sys.platform == "win32", reason="has no broken pipes")
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_reader_that_left_is_no_news(write, python, size):
    file = write(f"""
        import logging

        from runnerstone import flow

        logging.disable()

        @flow
        def census():
            input()
            print("x" * {size})
    """)
    command = [sys.executable, "-m", "runnerstone", "run", str(file)]

    with subprocess.Popen(
        command,
        env=python.environment | {"PYTHONUNBUFFERED": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        told = process.stderr.read()
        process.wait(timeout=30)

    assert process.returncode == 1
    assert told == ""
