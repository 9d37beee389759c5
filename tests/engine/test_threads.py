"""The threads that a flow run starts when it first needs them."""

import gc
import random
import sys
import threading
import time
import weakref
from queue import SimpleQueue
from threading import Event

import pytest

from runnerstone._engine.threads import FORGOTTEN, SerialThread, TimerThread

LONG = 3600.0
PATIENCE = 20  # seconds, for what takes no time at all unless something is wrong


@pytest.fixture
def timer():
    timer = TimerThread("timer of a test")
    yield timer
    timer.stop()


@pytest.fixture
def serial():
    serial = SerialThread("serial thread of a test")
    yield serial
    serial.stop()


def named(name):
    return [it for it in threading.enumerate() if it.name == name]


# Timers


def test_callables_are_called_in_the_order_of_their_times(timer):
    called = SimpleQueue()

    for delay in (0.06, 0.02, 0.04):
        timer.call_later(delay, lambda delay=delay: called.put(delay))

    assert [called.get(timeout=PATIENCE) for _ in range(3)] == [0.02, 0.04, 0.06]


def test_callables_of_one_time_are_called_in_the_order_given(timer, monkeypatch):
    called = SimpleQueue()
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)

    for number in range(100):
        timer.call_later(0, lambda number=number: called.put(number))

    assert [called.get(timeout=PATIENCE) for _ in range(100)] == [*range(100)]


def test_nothing_is_called_before_its_time(timer):
    called = SimpleQueue()
    begin = time.monotonic()

    timer.call_later(0.05, lambda: called.put(time.monotonic()))

    assert called.get(timeout=PATIENCE) >= begin + 0.05


def test_what_is_due_sooner_than_what_is_waited_for_does_not_wait_for_that(timer):
    called = Event()
    timer.call_later(LONG, called.set)

    timer.call_later(0, called.set)

    assert called.wait(PATIENCE)


def test_what_is_called_off_is_not_called(timer):
    called = SimpleQueue()
    off = timer.call_later(0.01, lambda: called.put("called off"))

    timer.call_off(off)
    timer.call_later(0.02, lambda: called.put("the other"))

    assert called.get(timeout=PATIENCE) == "the other"
    assert called.empty()


def test_calling_off_is_harmless_twice_and_too_late(timer):
    called = Event()
    alarm = timer.call_later(0, called.set)
    assert called.wait(PATIENCE)
    off = timer.call_later(LONG, called.set)

    for _ in range(2):
        timer.call_off(alarm)
        timer.call_off(off)

    assert timer._called_off in {0, 1}


def test_what_is_called_may_call_off_and_call_again(timer):
    called = SimpleQueue()

    def first():
        timer.call_off(second)
        timer.call_later(0, lambda: called.put("third"))

    second = timer.call_later(LONG, lambda: called.put("second"))
    timer.call_later(0, first)

    assert called.get(timeout=PATIENCE) == "third"


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_what_a_callable_raises_is_logged_and_the_next_are_called(timer, caplog, error):
    def fail():
        raise error("broken")

    called = Event()
    timer.call_later(0, fail)
    timer.call_later(0.01, called.set)

    assert called.wait(PATIENCE)
    [told] = caplog.records
    assert told.getMessage() == "The thread 'timer of a test' goes on after an exception:"
    assert isinstance(told.exc_info[1], error)


def test_what_is_called_off_is_dropped_however_late_it_would_be(timer):
    kept = timer.call_later(LONG, int)

    for _ in range(50):
        for alarm in [timer.call_later(LONG, int) for _ in range(200)]:
            timer.call_off(alarm)

    assert len(timer._due) <= 2 * FORGOTTEN
    assert kept in [entry[2] for entry in timer._due]


def test_what_is_called_off_holds_nothing(timer):
    class Held:
        def __call__(self):
            pass

    held = Held()
    seen = weakref.ref(held)
    alarm = timer.call_later(LONG, held)

    del held
    timer.call_off(alarm)
    gc.collect()

    assert seen() is None


def test_of_many_some_of_which_are_called_off_the_others_are_called_in_order(timer):
    dice = random.Random(1)
    called, wanted = [], []
    is_over = Event()

    alarms = []
    for number in range(2_000):
        delay = dice.uniform(0.05, 0.2)
        due = time.monotonic() + delay
        alarms.append((due, timer.call_later(delay, lambda number=number: called.append(number))))
    for number, (due, alarm) in enumerate(alarms):
        if dice.random() < 0.7:
            timer.call_off(alarm)
        else:
            wanted.append((due, number))
    timer.call_later(0.3, is_over.set)

    assert is_over.wait(PATIENCE)
    assert sorted(called) == sorted(number for _, number in wanted)


def test_a_timer_that_is_stopped_forgets_what_is_not_due_and_ends():
    timer, called = TimerThread("short timer"), []
    alarm = timer.call_later(LONG, lambda: called.append(1))
    assert len(named("short timer")) == 1

    timer.stop()
    timer.stop()
    timer.call_later(0, lambda: called.append(2))
    timer.call_off(alarm)

    assert named("short timer") == []
    assert called == []


def test_a_timer_without_alarms_has_no_thread():
    timer = TimerThread("idle timer")

    assert named("idle timer") == []
    timer.stop()


def test_a_timer_may_be_stopped_by_what_it_calls():
    timer, called = TimerThread("short timer"), Event()
    timer.call_later(0, lambda: (timer.stop(), called.set()))

    assert called.wait(PATIENCE)
    for thread in named("short timer"):
        thread.join(PATIENCE)


def test_many_threads_set_alarms_and_call_them_off(timer):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    called = SimpleQueue()

    def use(seed):
        dice = random.Random(seed)
        for _ in range(500):
            alarm = timer.call_later(LONG, lambda: called.put("too early"))
            if dice.random() < 0.1:
                timer.call_later(0, lambda: called.put("in time"))
            timer.call_off(alarm)

    try:
        threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    timer.call_later(0.01, lambda: called.put("the end"))

    said = iter(lambda: called.get(timeout=PATIENCE), "the end")
    assert set(said) == {"in time"}
    assert len(timer._due) <= 2 * FORGOTTEN


# Serial threads


def test_callables_are_called_one_after_another_in_the_order_given(serial):
    called = []

    for number in range(100):
        serial.call(lambda number=number: called.append((number, threading.current_thread())))
    serial.stop()

    assert [number for number, _ in called] == [*range(100)]
    assert {thread.name for _, thread in called} == {"serial thread of a test"}


def test_what_is_raised_is_logged_and_the_next_are_called(serial, caplog):
    called = Event()

    serial.call(lambda: 1 / 0)
    serial.call(called.set)

    assert called.wait(PATIENCE)
    assert "The thread 'serial thread of a test' goes on after an exception:" in caplog.messages


def test_what_is_given_after_the_end_is_ignored(serial):
    called = []
    serial.call(lambda: called.append("before"))
    serial.stop()

    serial.call(lambda: called.append("after"))

    assert called == ["before"]
    assert named("serial thread of a test") == []


def test_what_is_called_may_give_more_until_the_end(serial):
    called = Event()

    serial.call(lambda: serial.call(called.set))

    assert called.wait(PATIENCE)
