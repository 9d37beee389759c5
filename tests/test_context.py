import os
import socket
import threading

import pytest

from runnerstone._context import current_run, where


def places(names):
    """What `where` says twice on one thread of each name."""
    found = []
    for name in names:
        thread = threading.Thread(target=lambda: found.append((where(), where())), name=name)
        thread.start()
        thread.join()
    return found


def test_where_is_host_process_and_thread():
    name = threading.current_thread().name

    place = where()

    assert place == f"{socket.gethostname()}:{os.getpid()}/{name}"


def test_where_is_each_threads_own():
    prefix = f"{socket.gethostname()}:{os.getpid()}"

    found = places(["one", "two"])

    assert found == [(f"{prefix}/one",) * 2, (f"{prefix}/two",) * 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_where_names_the_forked_process(python):
    # In a process of its own: this one may have threads.
    script = """if True:
        import os
        from runnerstone._context import where

        where()
        child = os.fork()
        if child == 0:
            print(where(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(child, where())
    """

    printed = python.run(["-c", script]).stdout.splitlines()

    child, parents_place = printed[1].split()
    assert printed[0].endswith(f":{child}/MainThread")
    assert parents_place != printed[0]


def test_outside_of_all_runs_there_is_none():
    assert current_run.get() is None


def test_a_new_thread_is_outside_of_all_runs():
    token = current_run.set(object())
    seen = []
    thread = threading.Thread(target=lambda: seen.append(current_run.get()))

    thread.start()
    thread.join()
    current_run.reset(token)

    assert seen == [None]
