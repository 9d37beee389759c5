"""Code that is interrupted from another thread."""

import random
import threading
import time
from contextlib import suppress
from threading import Event, Lock

import pytest

from runnerstone._interruptions import Interruptible, Interruption

PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


class Worker:
    """A thread that executes an interruptible stretch of code."""

    def __init__(self, code):
        self.stretch = Interruptible()
        self.seen = []
        self.begun = Event()
        self.may_end = Event()
        self._thread = threading.Thread(target=self._run, args=(code,))
        self._thread.start()
        assert self.begun.wait(PATIENCE)

    def _run(self, code):
        try:
            self.stretch.enter()
            try:
                self.begun.set()
                self.seen.append(code(self))
            finally:
                self.stretch.leave()
        except Interruption:
            self.seen.append("interrupted")

    def ends(self):
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.seen


def spin(worker):
    end = time.monotonic() + PATIENCE
    while not worker.may_end.is_set() and time.monotonic() < end:
        pass
    return "ended"


def spin_again(worker):
    try:
        spin(worker)
    except Interruption:
        worker.seen.append("caught")
    return spin(worker)


def test_code_that_is_interrupted_ends_with_that():
    worker = Worker(spin)

    worker.stretch.interrupt()

    assert worker.ends() == ["interrupted"]
    assert worker.stretch.is_interrupted


def test_code_that_nobody_interrupts_ends_by_itself():
    worker = Worker(spin)

    worker.may_end.set()

    assert worker.ends() == ["ended"]
    assert not worker.stretch.is_interrupted


def test_interruption_is_no_exception_that_code_catches_unawares():
    assert not issubclass(Interruption, Exception)


def test_code_that_waits_in_c_is_interrupted_once_that_returns():
    lock = Lock()
    lock.acquire()

    def wait(worker):
        lock.acquire(timeout=PATIENCE)
        return "went on"

    worker = Worker(wait)
    worker.stretch.interrupt()
    assert worker.seen == []
    lock.release()

    assert worker.ends() == ["interrupted"]


def test_interrupting_twice_raises_once():
    worker = Worker(spin_again)
    worker.stretch.interrupt()
    while not worker.seen:
        time.sleep(0.001)

    worker.stretch.interrupt()
    time.sleep(0.05)  # in which it would be raised
    worker.may_end.set()

    assert worker.ends() == ["caught", "ended"]


def test_code_that_was_interrupted_before_it_begins_never_does():
    stretch = Interruptible()
    stretch.interrupt()

    with pytest.raises(Interruption):
        stretch.enter()
    for _ in range(1000):  # in which what was left over would be raised
        pass


def test_interrupting_after_the_end_reaches_nobody():
    stretch = Interruptible()
    stretch.enter()
    stretch.leave()

    interrupter = threading.Thread(target=stretch.interrupt)
    interrupter.start()
    interrupter.join()
    for _ in range(1000):
        pass

    assert stretch.is_interrupted


class Slow(Interruptible):
    """Is interrupted just when it is left: who interrupts it has looked whom before that."""

    __slots__ = ("has_left", "looked_up", "thread")

    def __init__(self):
        self.has_left, self.looked_up = Event(), Event()
        super().__init__()
        self.has_left.clear()

    @property
    def _thread(self):
        thread = self.thread
        self.looked_up.set()
        assert self.has_left.wait(PATIENCE)
        return thread

    @_thread.setter
    def _thread(self, thread):
        self.thread = thread
        if thread is None:
            self.has_left.set()


def test_interruption_that_comes_too_late_is_taken_back():
    stretch, stray = Slow(), None
    interrupter = threading.Thread(target=stretch.interrupt)
    try:
        with suppress(Interruption):
            stretch.enter()
            interrupter.start()
            assert stretch.looked_up.wait(PATIENCE)
            stretch.leave()
        interrupter.join()
        for _ in range(1000):
            pass
    except Interruption as raised:
        stray = raised

    assert stray is None
    assert stretch.is_interrupted


def test_leaving_is_harmless_twice():
    stretch = Interruptible()
    stretch.enter()

    stretch.leave()
    stretch.leave()


class Runner:
    """Enters and leaves one stretch after another, and tells how each ended."""

    def __init__(self):
        self.current = Interruptible()
        self.interrupted = self.ended = 0
        self.strays = []

    def run(self, many, seconds):
        end = time.monotonic() + seconds
        while min(self.interrupted, self.ended) < many and time.monotonic() < end:
            try:
                self._try_one()
                for _ in range(50):
                    pass
            except Interruption:
                self.strays.append("late")

    def _try_one(self):
        stretch = self.current = Interruptible()
        try:
            stretch.enter()
            try:
                for _ in range(10):
                    pass
            finally:
                stretch.leave()
        except Interruption:
            self.interrupted += 1
            if not stretch.is_interrupted:
                self.strays.append("another's")
        else:
            self.ended += 1


@pytest.mark.usefixtures("restless_threads")
def test_nothing_of_an_interruption_is_ever_raised_after_the_end():
    runner = Runner()
    thread = threading.Thread(target=runner.run, kwargs={"many": 500, "seconds": 5})
    thread.start()
    dice = random.Random(1)

    while thread.is_alive():
        runner.current.interrupt()
        for _ in range(dice.randrange(30)):
            pass

    assert runner.strays == []
    assert min(runner.interrupted, runner.ended) > 0
