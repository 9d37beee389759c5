import os
import signal
import subprocess
import sys
import threading

import pytest

from runnerstone.shields import shielded


def blocked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_is_shielded_runs_on_one_thread_that_goes_on_living():
    threads = {shielded(threading.current_thread) for _ in range(3)}

    [thread] = threads
    assert thread is not threading.current_thread()
    assert thread.is_alive()


def test_ctrl_c_is_blocked_there_and_nowhere_else():
    assert signal.SIGINT in shielded(blocked)
    assert signal.SIGINT not in blocked()


def test_processes_and_threads_that_are_started_there_inherit_it():
    masks = []

    def start():
        thread = threading.Thread(target=lambda: masks.append(blocked()))
        thread.start()
        thread.join()
        code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout

    assert shielded(start).split() == [b"True"]
    assert signal.SIGINT in masks[0]


def test_what_is_raised_there_is_raised_here():
    def fail():
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        shielded(fail)


def test_shielded_may_be_used_by_what_is_shielded():
    assert shielded(lambda: shielded(threading.current_thread).name) == "shielded"


def test_calls_wait_for_one_another():
    running = []

    def alone():
        running.append(True)
        assert len(running) == 1
        running.pop()

    threads = [threading.Thread(target=shielded, args=(alone,)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    shielded(alone)
    assert not running


def test_forked_child_has_a_thread_of_its_own():
    shielded(int)
    child = os.fork()
    if not child:
        os._exit(shielded(os.getpid) != os.getpid())

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_ctrl_c_ends_the_waiting_and_not_what_is_waited_for():
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go_on.wait(30)
        ended.set()

    main = threading.main_thread().ident
    thread = threading.Thread(target=lambda: (begun.wait(30), signal.pthread_kill(main, 2)))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        shielded(work)
    thread.join()

    assert not ended.is_set()
    go_on.set()
    assert ended.wait(30)
