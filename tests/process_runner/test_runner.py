"""What is peculiar to processes: deaths, the initializer, files, scripts, Ctrl-C."""

import multiprocessing
import os
import random
import select
import signal
import tempfile
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from runnerstone import flow, get_run_context, task
from runnerstone.errors import TaskCrashedError, ValueLostError
from runnerstone.testing._leftovers import Census
from runnerstone.testing._meetings import Meeting, attend
from runnerstone_process import ProcessTaskRunner
from runnerstone_process.processes import GRACE_SECONDS, WorkerProcess

initialized: list[str] = []


@task
def tell_process() -> int:
    return os.getpid()


@task
def give(value: object) -> object:
    return value


@task
def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


@task
def leave(code: int) -> None:
    os._exit(code)


@task
def meet(address: tuple[str, int], name: str) -> str:
    attend(address, name)
    return name


@task
def add_one(array: np.ndarray) -> np.ndarray:
    return array + 1


@task
def tell_initialized() -> list[str]:
    return initialized


@task
def tell_signal_mask() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def initialize(name: str) -> None:
    initialized.append(name)


def fail_to_initialize() -> None:
    raise OSError("no licence")


# Deaths


def test_process_that_is_killed_ends_its_call_alone():
    futures = []

    with Meeting(30) as meeting:

        @flow(task_runner=ProcessTaskRunner(max_workers=2))
        def dying() -> list[object]:
            beside = meet.submit(meeting.address, "beside")
            meeting.wait_for(1)
            queued = [give.submit(number) for number in range(50)]
            futures.append(kill_self.submit(signal.SIGKILL))
            futures[0].wait()
            meeting.close()
            return [beside, *queued, give("afterwards")]

        assert dying() == ["beside", *range(50), "afterwards"]

    assert futures[0].state.is_crashed()
    message = futures[0].state.message
    assert "was killed by SIGKILL" in message
    assert futures[0].name in message
    assert isinstance(futures[0].exception(), TaskCrashedError)


def test_process_that_exits_tells_its_code():
    futures = []

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def leaving() -> object:
        futures.append(leave.submit(7))
        return give("afterwards")

    assert leaving() == "afterwards"
    assert "exited with code 7" in futures[0].state.message


def test_idle_process_that_is_killed_costs_no_call():
    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def killing() -> list[object]:
        pids = []
        for _ in range(5):
            pid = tell_process.submit().result()
            pids.append(pid)
            handle = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            select.select([handle], [], [])  # it is dead
            os.close(handle)
        return pids

    pids = killing()

    assert len(set(pids)) == 5


def test_process_that_leaves_children_behind_is_noticed():
    futures = []

    @task(crash_retries=0)
    def fork_and_die(file: Path) -> None:
        child = os.fork()
        if not child:
            os.read(os.pipe()[0], 1)  # for ever, with all that it has inherited
        file.write_text(str(child))
        os._exit(1)

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def forking(file: Path) -> object:
        futures.append(fork_and_die.submit(file))
        return give("afterwards")

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "child"
        try:
            assert forking(file) == "afterwards"
        finally:
            os.kill(int(file.read_text()), signal.SIGKILL)

    assert futures[0].state.is_crashed()


def test_cancelling_kills_what_runs_and_nothing_else():
    with Meeting(30) as meeting:

        @flow(task_runner=ProcessTaskRunner(max_workers=2))
        def cancelling() -> list[object]:
            doomed = meet.submit(meeting.address, "doomed")
            beside = meet.submit(meeting.address, "beside")
            queued = [give.submit(number) for number in range(10)]
            meeting.wait_for(2)
            assert doomed.cancel()
            assert meeting.has_left("doomed")
            values = [future.result() for future in queued]
            meeting.close()
            return [beside, values]

        assert cancelling() == ["beside", [*range(10)]]


# The initializer


def test_initializer_is_called_once_in_each_process():
    runner = ProcessTaskRunner(max_workers=1, initializer=partial(initialize, "once"))

    @flow(task_runner=runner)
    def asking() -> list[object]:
        return [tell_initialized() for _ in range(3)]

    assert asking() == [["once"]] * 3
    assert initialized == []


def test_initializer_that_raises_crashes_the_calls_and_is_named():
    @flow(task_runner=ProcessTaskRunner(max_workers=1, initializer=fail_to_initialize))
    def asking() -> object:
        return give(1)

    with pytest.raises(TaskCrashedError, match=r"initializer .* OSError\('no licence'\)"):
        asking()


def test_initializer_that_cannot_travel_is_named():
    lock = threading.Lock()

    @flow(task_runner=ProcessTaskRunner(initializer=lambda: lock))
    def asking() -> object:
        return give(1)

    with pytest.raises(TypeError, match=r"the initializer .*<lambda>.* cannot be pickled"):
        asking()


@pytest.mark.parametrize(
    "settings", [{"max_workers": 0}, {"max_workers": 1.5}, {"initializer": "name"}]
)
def test_settings_that_do_not_fit_are_refused(settings):
    with pytest.raises((TypeError, ValueError)):
        ProcessTaskRunner(**settings)


# Values


def test_large_values_stay_in_files_until_nobody_needs_them():
    folders = []

    @flow(task_runner=ProcessTaskRunner(max_workers=2))
    def chain() -> object:
        array = add_one.submit(np.zeros(100_000))
        for _ in range(5):
            array = add_one.submit(array)
        array.wait()
        folder = Path(array._content.handle.path).parent
        folders.append(folder)
        deadline = time.monotonic() + 30
        while len([*folder.iterdir()]) > 1:  # threads let go of the values before it in their time
            assert time.monotonic() < deadline, "they are needed no more"
            time.sleep(0.01)
        assert not array.result().flags.writeable
        return array

    array = chain()

    assert array.tolist() == [6.0] * 100_000
    assert not folders[0].exists()


def test_value_whose_file_is_gone_is_named():
    futures = []
    errors = []

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def losing() -> str:
        made = give.submit(bytes(100_000))
        made.wait()
        Path(made._content.handle.path).unlink()
        futures.extend([made, give.submit(made)])
        try:
            made.result()
        except ValueLostError as error:
            errors.append(error)
        return "plain value"

    assert losing() == "plain value"
    assert errors
    assert f"the value of task run {futures[0].name!r}" in futures[1].state.message


def test_value_that_cannot_be_written_crashes_its_run(tmp_path, monkeypatch):
    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def full() -> object:
        small = give.submit(bytes(100_000))
        small.wait()
        folder = Path(small._content.handle.path).parent
        folder.rename(tmp_path / "elsewhere")
        return give(bytes(100_000))

    with pytest.raises(TaskCrashedError, match=r"its value, of 1000\d\d bytes, could not be kept"):
        full()


def test_value_that_cannot_be_written_crashes_no_other_run(tmp_path):
    @task
    def make(number: int) -> bytes:
        return bytes(100_000 if number == 150 else 1)

    futures = []

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def full() -> str:
        large = give.submit(bytes(100_000))
        large.wait()
        Path(large._content.handle.path).parent.rename(tmp_path / "elsewhere")
        futures.extend(make.map(range(300)))
        return "done"

    assert full() == "done"
    assert [n for n, it in enumerate(futures) if not it.state.is_completed()] == [150]


# Scripts


UNGUARDED = """
    from runnerstone import flow, task

    class Box:
        def __init__(self, value):
            self.value = value

    def helper(value):
        return Box(value + 1)

    @task
    def box(value):
        return helper(value)

    @task
    def unbox(box):
        assert isinstance(box, Box)
        return (lambda: box.value)()

    @flow(task_runner="process")
    def boxes():
        return [unbox(box(number)) for number in range(3)]

    print(boxes())
"""


def test_script_needs_no_guard(start_script):
    out, err = start_script(UNGUARDED).finish()

    assert out == "[1, 2, 3]\n", err
    assert err.count("Beginning flow run") == 1


INTERRUPTED = """
    import tempfile, time
    from runnerstone import flow, task
    from runnerstone_process import ProcessTaskRunner

    tempfile.tempdir = "."

    @task
    def wait(number):
        print("begun", number, flush=True)
        time.sleep(1)
        return bytes(100_000)

    @flow(task_runner=ProcessTaskRunner(max_workers=2))
    def waiting():
        return [wait(number) for number in range(1000)]

    waiting()
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_flow_and_leaves_nothing(start_script, tmp_path, times):
    script = start_script(INTERRUPTED)
    assert script.process.stdout.readline().startswith("begun")

    script.press_ctrl_c()
    if times == 2:
        for line in script.process.stderr:
            if "waits for" in line:
                break
        script.press_ctrl_c()
    _, err = script.finish()

    assert err.rstrip().endswith("KeyboardInterrupt"), err
    assert not script.left_behind()
    assert [file.name for file in (tmp_path / "script").iterdir()] == ["script.py"]


def test_workers_do_not_hear_ctrl_c():
    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def asking() -> object:
        return tell_signal_mask()

    assert asking()


def test_driver_that_is_killed_leaves_nothing(start_script, tmp_path):
    script = start_script(INTERRUPTED)
    assert script.process.stdout.readline().startswith("begun")

    script.process.kill()
    script.finish()

    assert not script.left_behind()
    assert [file.name for file in (tmp_path / "script").iterdir()] == ["script.py"]


def test_environment_and_folders_are_as_before():
    @flow(task_runner=ProcessTaskRunner(max_workers=2))
    def failing() -> None:
        give.submit(bytes(1_000_000)).wait()
        raise ValueError("in the body")

    failing.run()
    census, environment = Census(), dict(os.environ)
    folders = {*Path(tempfile.gettempdir()).glob("runnerstone-*")}

    failing.run()

    assert not census.newcomers(30)
    assert dict(os.environ) == environment
    assert {*Path(tempfile.gettempdir()).glob("runnerstone-*")} <= folders


def test_thousands_of_calls_from_several_threads_end_once_each():
    @flow(task_runner=ProcessTaskRunner(max_workers=2))
    def many() -> list[object]:
        futures: list[object] = []

        def submit(start: int) -> None:
            futures.extend(give.submit(number) for number in range(start, start + 1000))

        threads = [
            threading.Thread(target=copy_context().run, args=(submit, start))
            for start in (0, 1000, 2000)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return futures

    assert sorted(many()) == [*range(3000)]


# What tasks and initializers may do


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_tasks_may_start_processes_of_their_own(method):
    @task
    def use_pool() -> list[int]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(abs, [-1, -2])

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def pooling() -> object:
        return use_pool()

    assert pooling() == [1, 2]


def leave_at_once() -> None:
    os._exit(9)


def test_initializer_that_ends_its_process_crashes_the_calls():
    futures = []

    @flow(task_runner=ProcessTaskRunner(max_workers=2, initializer=leave_at_once))
    def asking() -> str:
        futures.extend(give.submit(number) for number in range(5))
        return "plain value"

    assert asking() == "plain value"
    for future in futures:
        assert "exited with code 9 before it could begin" in future.state.message


def wait_unless_first(file: Path, address: tuple[str, int]) -> None:
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        attend(address, "second")


def test_process_that_is_slow_to_begin_holds_up_nothing(tmp_path):
    with Meeting(30) as meeting:
        slow = partial(wait_unless_first, tmp_path / "first", meeting.address)

        @flow(task_runner=ProcessTaskRunner(max_workers=2, initializer=slow))
        def giving() -> list[object]:
            futures = [give.submit(bytes(1_000_000)) for _ in range(20)]
            meeting.wait_for(1)
            values = [future.result() for future in futures]
            meeting.close()
            return [len(value) for value in values]

        assert giving() == [1_000_000] * 20


def test_processes_that_cannot_be_started_are_done_without(caplog, monkeypatch):
    original = WorkerProcess.__init__
    started = []

    def start(self, settings) -> None:
        if started:
            raise OSError(24, "Too many open files")
        started.append(self)
        original(self, settings)

    monkeypatch.setattr(WorkerProcess, "__init__", start)

    @flow(task_runner=ProcessTaskRunner(max_workers=4))
    def giving() -> list[object]:
        return [give(number) for number in range(30)]

    assert giving() == [*range(30)]
    assert "could not be started" in caplog.text
    assert caplog.text.count("Too many open files") <= 3


def test_process_that_cannot_be_started_at_all_crashes_the_calls(monkeypatch):
    def start(self, settings) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(WorkerProcess, "__init__", start)

    @flow(task_runner=ProcessTaskRunner(max_workers=4))
    def giving() -> list[object]:
        return [give(number) for number in range(5)]

    run = giving.run()

    assert [task_run.state.name for task_run in run.task_runs] == ["Crashed"] * 5
    assert "Too many open files" in run.task_runs[4].state.message


def test_stopping_waits_for_all_lingering_processes_together():
    @task
    def linger() -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()
        time.sleep(0.5)  # so that each process gets one

    @flow(task_runner=ProcessTaskRunner(max_workers=4))
    def lingering() -> None:
        for _ in range(8):
            linger()

    started = time.monotonic()
    assert lingering.run().state.is_completed()
    assert time.monotonic() - started < 3 * GRACE_SECONDS  # and not four times


def test_call_that_runs_ends_with_its_driver(start_script):
    script = start_script("""
        import time
        from runnerstone import flow, task

        @task
        def wait():
            print("begun", flush=True)
            time.sleep(600)

        @flow(task_runner="process")
        def waiting():
            wait()

        waiting()
    """)
    assert script.process.stdout.readline() == "begun\n"

    script.process.kill()
    script.finish(30)

    assert not script.left_behind()


def test_calls_run_at_most_once_while_processes_are_killed_at_random(tmp_path):
    @task(crash_retries=0)
    def leave_a_mark(number: int, padding: bytes) -> int:
        with (tmp_path / str(number)).open("a") as file:
            file.write("x")
        return os.getpid()

    def kill_some(stop: threading.Event) -> None:
        choice = random.Random(0)
        while not stop.wait(0.01):
            for child in multiprocessing.active_children():
                if choice.random() < 0.3:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)

    @flow(task_runner=ProcessTaskRunner(max_workers=2))
    def marking() -> str:
        for number in range(300):
            leave_a_mark(number, bytes(number % 3 * 100_000))
        return "plain value"

    stop = threading.Event()
    killer = threading.Thread(target=kill_some, args=(stop,))
    killer.start()
    try:
        run = marking.run()
    finally:
        stop.set()
        killer.join()

    for number, task_run in enumerate(run.task_runs):
        file = tmp_path / str(number)
        marks = file.read_text() if file.exists() else ""
        assert marks == "x" or (task_run.state.is_crashed() and not marks), (number, task_run)
    names = [task_run.state.name for task_run in run.task_runs]
    assert set(names) == {"Completed", "Crashed"}


def test_call_that_is_cancelled_while_it_is_sent_is_sent_nowhere_else(tmp_path, monkeypatch):
    file = tmp_path / "mark"
    futures, runners = [], []
    original = WorkerProcess.execute

    def execute(self, job) -> None:
        if job.call.program.task_name == "leave_a_mark" and not job.refusals:
            runners[0].cancel(job.call)
            raise BrokenPipeError("killed")
        original(self, job)

    monkeypatch.setattr(WorkerProcess, "execute", execute)

    @task
    def leave_a_mark() -> None:
        file.touch()

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def cancelling() -> object:
        runners.append(get_run_context().task_runner)
        give.submit("first").wait()
        futures.append(leave_a_mark.submit())
        futures[0].wait()
        return give("afterwards")

    assert cancelling() == "afterwards"
    assert futures[0].state.is_crashed()
    assert not file.exists()
