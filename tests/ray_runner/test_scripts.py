"""Scripts of users', and Ctrl-C."""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)


def test_script_without_a_guard_runs_once_and_what_it_defines_travels(script):
    printed = script.run(
        """
        import attrs

        from runnerstone import flow, task

        print("begins")

        @attrs.frozen
        class Point:
            x: int

            def moved(self, by):
                return Point(self.x + by)

        def helper(x):
            return x + 1

        @task
        def move(point, by):
            return point.moved(helper(by))

        def scaled(factor):
            return task(lambda x: x * factor, name="scale")

        @flow(task_runner="ray")
        def moving():
            return [move(Point(1), 2), scaled(10)(4)]

        print("value", moving())
        """
    )

    assert printed.count("begins") == 1
    assert "value [Point(x=4), 40]" in printed


INTERRUPTED = """
    import os
    import sys
    import time

    import psutil

    from runnerstone import flow, task

    @task
    def give(value):
        return value

    @task
    def sleep():
        time.sleep(1000)

    @flow(task_runner="ray")
    def sleeping():
        give(1).wait()
        for _ in range(3):
            sleep.submit()
        processes = psutil.Process().children(recursive=True)
        print("pids", *[process.pid for process in processes], flush=True)
        time.sleep(1000)

    sleeping()
"""


def test_ctrl_c_ends_the_flow_in_order_and_leaves_no_process(script):
    process = script.start(INTERRUPTED)
    line = ""
    while not line.startswith("pids"):
        line = process.stdout.readline()
    handles = [os.pidfd_open(int(pid)) for pid in line.split()[1:]]

    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)

    assert len(handles) > 3
    assert process.returncode not in {None, 0}
    assert "Flow run was interrupted." in printed
    assert printed.count("Traceback") == 1, printed
    assert "KeyboardInterrupt" in printed
    assert have_ended(handles)


def test_ctrl_c_while_the_cluster_starts_leaves_no_process(script):
    process = script.start(
        """
        import os
        import threading
        import time

        from runnerstone import flow

        @flow(task_runner="ray")
        def empty():
            pass

        def interrupt():
            time.sleep(1)
            print("now", flush=True)

        threading.Thread(target=interrupt, daemon=True).start()
        empty()
        """
    )
    while not process.stdout.readline().startswith("now"):
        pass

    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)

    assert process.returncode != 0, printed
    assert have_ended(members_of(process.pid))


def members_of(session: int) -> list[int]:
    """Handles of the processes of a session that are still there."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z" and int(its_session) == session:
                members.append(os.pidfd_open(int(folder.name)))
    return members


def have_ended(handles: list[int]) -> bool:
    """Whether processes end by themselves, soon; those of Python's own follow their parent."""
    ended = [bool(select.select([handle], [], [], 10)[0]) for handle in handles]
    for handle in handles:
        os.close(handle)
    return all(ended)
