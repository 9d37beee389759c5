import concurrent.futures
import random
import threading
import weakref
from collections import Counter
from itertools import islice
from threading import Event

import pytest

from runnerstone import flow, task
from runnerstone.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from runnerstone.waits import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    as_completed,
    wait,
)

THREADS = ConcurrentTaskRunner(max_workers=4)
ENDERS = 4


@task
def parse(x):
    return x


@task
def fail(text="no"):
    raise ValueError(text)


@task
def wait_at(gate, value=None):
    gate.wait()
    return value


@task
def fail_at(gate):
    gate.wait()
    raise ValueError("no")


@pytest.fixture
def made():
    """The gates that a test has made."""
    return []


@pytest.fixture
def gates(made):
    """Makes gates for tasks to wait at."""

    def make(count):
        made.extend(Event() for _ in range(count))
        return made[-count:]

    return make


@pytest.fixture
def in_flow(made):
    """Runs a function at once as the body of a flow, and then opens all gates."""

    def in_flow_on(runner):
        def run(body):
            def handled():
                try:
                    body()
                finally:
                    for gate in made:
                        gate.set()
                return "handled"

            flow(task_runner=runner)(handled)()

        return run

    return in_flow_on


@pytest.fixture
def gate(gates):
    return gates(1)[0]


def ended(submit, *args):
    """The future of a run that is final."""
    future = submit(*args)
    future.wait()
    return future


def callbacks_of(futures):
    """What waiters left with futures; no part of the interface."""
    return [it for future in futures for it in future._callbacks or ()]


class Elsewhere:
    """Calls a function on another thread and gives what it returns."""

    def __init__(self, fn, *args):
        self._value = None
        self._thread = threading.Thread(target=self._call, args=(fn, *args))
        self._thread.start()

    def _call(self, fn, *args):
        self._value = fn(*args)

    def value(self):
        self._thread.join()
        return self._value


# wait


def test_constants_are_the_standard_librarys():
    assert ALL_COMPLETED == concurrent.futures.ALL_COMPLETED
    assert FIRST_COMPLETED == concurrent.futures.FIRST_COMPLETED
    assert FIRST_EXCEPTION == concurrent.futures.FIRST_EXCEPTION


@pytest.mark.parametrize("runner", [SequentialTaskRunner(), THREADS], ids=["sequential", "threads"])
@pytest.mark.parametrize("return_when", [ALL_COMPLETED, FIRST_EXCEPTION])
def test_wait_returns_all_in_the_order_given(in_flow, runner, return_when):
    @in_flow(runner)
    def body():
        futures = [parse.submit(number) for number in range(20)]

        done, not_done = wait(reversed(futures), return_when=return_when)

        assert done == futures[::-1]
        assert not_done == []


def test_wait_waits_for_the_last(in_flow, gates):
    @in_flow(THREADS)
    def body():
        first, last = gates(2)
        futures = [wait_at.submit(first), wait_at.submit(last)]
        waiting = Elsewhere(wait, futures)

        last.set()
        futures[1].wait()
        first.set()

        assert waiting.value() == (futures, [])


def test_wait_tells_which_are_not_final_in_time(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), ended(parse.submit, 1), wait_at.submit(gate)]

        waited = wait(futures, timeout=0.01)

        assert waited.done == [futures[1]]
        assert waited.not_done == [futures[0], futures[2]]


@pytest.mark.parametrize("timeout", [0, -1])
def test_wait_without_time_only_looks(in_flow, timeout, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), ended(parse.submit, 1)]

        assert wait(futures, timeout) == ([futures[1]], [futures[0]])


def test_wait_counts_a_future_once(in_flow, gate):
    @in_flow(THREADS)
    def body():
        final, other = ended(parse.submit, 1), wait_at.submit(gate)

        waited = wait([other, final, final, other], timeout=0)

        assert waited == ([final], [other])


@pytest.mark.parametrize("return_when", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_waiting_for_nothing_returns_at_once(return_when):
    assert wait([], return_when=return_when) == ([], [])


def test_wait_takes_the_futures_of_several_flow_runs():
    outer = []

    @flow(task_runner=SequentialTaskRunner)
    def inner():
        done, _ = wait([*outer, parse.submit(2)])
        return [future.result() for future in done]

    @flow(task_runner=THREADS)
    def whole():
        outer.append(parse.submit(1))
        return inner()

    assert whole() == [1, 2]


def test_first_completed_returns_with_the_first_that_is_final(in_flow, gates):
    @in_flow(THREADS)
    def body():
        first, second = gates(2)
        futures = [wait_at.submit(first), wait_at.submit(second)]
        waiting = Elsewhere(wait, futures, None, FIRST_COMPLETED)

        second.set()

        assert waiting.value() == ([futures[1]], [futures[0]])


def test_first_completed_does_not_wait_if_one_is_final(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), ended(fail.submit)]

        assert wait(futures, return_when=FIRST_COMPLETED) == ([futures[1]], [futures[0]])


def test_first_exception_returns_with_the_first_failure(in_flow, gates):
    @in_flow(THREADS)
    def body():
        first, second, third = gates(3)
        futures = [wait_at.submit(first), fail_at.submit(second), wait_at.submit(third)]
        waiting = Elsewhere(wait, futures, None, FIRST_EXCEPTION)

        third.set()
        futures[2].wait()
        second.set()

        assert waiting.value() == ([futures[1], futures[2]], [futures[0]])


def test_first_exception_does_not_wait_if_one_has_failed(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), ended(fail.submit)]

        assert wait(futures, return_when=FIRST_EXCEPTION) == ([futures[1]], [futures[0]])


def test_a_run_that_is_cancelled_or_skipped_is_an_exception_too(in_flow, gate):
    @in_flow(THREADS)
    def body():
        running = wait_at.submit(gate)
        cancelled = wait_at.submit(gate)
        skipped = parse.submit(cancelled)
        waiting = Elsewhere(wait, [running, skipped], None, FIRST_EXCEPTION)

        cancelled.cancel()

        assert waiting.value() == ([skipped], [running])
        assert wait([running, cancelled], return_when=FIRST_EXCEPTION).done == [cancelled]


def test_an_unknown_condition_is_refused():
    reason = "^return_when is one of FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED, not 'SOON'$"

    with pytest.raises(ValueError, match=reason):
        wait([], return_when="SOON")


@pytest.mark.parametrize(("waiter", "name"), [(wait, "wait"), (as_completed, "as_completed")])
@pytest.mark.parametrize("other", [5, [], None])
def test_what_is_no_future_is_refused_at_once(in_flow, waiter, name, other):
    @in_flow(SequentialTaskRunner())
    def body():
        with pytest.raises(TypeError, match=rf"^{name}\(\) takes the futures of task runs, not "):
            waiter([parse.submit(1), other])


@pytest.mark.parametrize("waiter", [wait, as_completed])
def test_a_single_future_is_refused_with_what_to_do(in_flow, waiter):
    @in_flow(SequentialTaskRunner())
    def body():
        future = parse.submit(1)

        with pytest.raises(TypeError, match=f"that of task run '{future.name}': put it in a list"):
            waiter(future)


@pytest.mark.parametrize("return_when", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_a_wait_that_gave_up_leaves_nothing_behind(in_flow, return_when, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), wait_at.submit(gate)]

        for _ in range(3):
            wait(futures, 0.001, return_when)

        assert callbacks_of(futures) == []


def test_a_wait_for_the_first_leaves_nothing_with_the_others(in_flow, gates):
    @in_flow(THREADS)
    def body():
        first, second = gates(2)
        futures = [wait_at.submit(first), wait_at.submit(second)]
        first.set()

        wait(futures, return_when=FIRST_COMPLETED)

        assert callbacks_of(futures[1:]) == []


# as_completed


def test_futures_come_in_the_order_in_which_their_runs_end(in_flow, gates):
    @in_flow(THREADS)
    def body():
        doors = gates(4)
        futures = [wait_at.submit(door) for door in doors]
        coming = as_completed(futures)

        for number in (2, 0, 3, 1):
            doors[number].set()
            assert next(coming) is futures[number]

        assert next(coming, None) is None


def test_futures_that_are_final_come_first_and_in_the_order_given(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [parse.submit(number) for number in range(10)]
        wait(futures)
        other = wait_at.submit(gate)

        coming = list(islice(as_completed([other, *reversed(futures)]), 10))

        assert coming == futures[::-1]


def test_a_future_comes_once(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [parse.submit(1), wait_at.submit(gate)]
        gate.set()

        coming = list(as_completed(futures * 3))

        assert len(coming) == 2
        assert set(coming) == set(futures)


def test_futures_come_however_their_runs_end(in_flow, gate):
    @in_flow(THREADS)
    def body():
        cancelled = wait_at.submit(gate)
        futures = [fail.submit(), cancelled, parse.submit(cancelled), parse.submit(1)]
        cancelled.cancel()

        names = {future.state.name for future in as_completed(futures)}

        assert names == {"Failed", "Cancelled", "NotReady", "Completed"}


def test_nothing_comes_of_nothing():
    assert list(as_completed([])) == []


def test_too_long_a_wait_for_the_next_names_what_is_not_final(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), ended(parse.submit, 1), wait_at.submit(gate)]
        coming = as_completed(futures, timeout=0.01)
        names = f"'{futures[0].name}', '{futures[2].name}'"

        assert next(coming) is futures[1]
        with pytest.raises(
            TimeoutError, match=f"^2 of 3 task runs are not final after 0.01 s: {names}$"
        ):
            next(coming)


def test_only_the_first_of_those_that_are_not_final_are_named(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate) for _ in range(5)]

        with pytest.raises(TimeoutError, match=r"^5 of 5 [^']*'[^']*', '[^']*', '[^']*', \.\.\.$"):
            next(as_completed(futures, timeout=0))


def test_what_has_come_in_time_is_not_lost_to_a_slow_taker(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate) for _ in range(3)]
        coming = as_completed([ended(parse.submit, 1), *futures], timeout=0)
        next(coming)
        gate.set()
        wait(futures)

        assert set(coming) == set(futures)


@pytest.mark.parametrize("leave", ["exhaust", "close", "drop"])
def test_an_iteration_that_ends_early_leaves_nothing_behind(in_flow, leave, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), ended(parse.submit, 1)]
        for _ in range(3):
            coming = as_completed(futures, timeout=0.001)
            next(coming)
            assert len(callbacks_of(futures)) == 1
            if leave == "exhaust":
                with pytest.raises(TimeoutError):
                    next(coming)
            elif leave == "close":
                coming.close()
            del coming

        assert callbacks_of(futures) == []


def test_an_iteration_may_be_collected_while_a_lock_is_held(in_flow, gate):
    @in_flow(THREADS)
    def body():
        futures = [wait_at.submit(gate), ended(parse.submit, 1)]
        coming = as_completed(futures)
        next(coming)

        with futures[0]._lock:  # as it may be wherever the garbage collector runs
            del coming

        assert callbacks_of(futures) == []


def test_an_iteration_does_not_keep_what_it_gave(in_flow):
    @in_flow(SequentialTaskRunner())
    def body():
        coming = as_completed([parse.submit(1), parse.submit(2)])
        alive = weakref.ref(next(coming))

        assert alive() is None
        assert next(coming).result() == 2


# Many


@pytest.mark.parametrize("return_when", [ALL_COMPLETED, FIRST_EXCEPTION])
def test_the_last_of_thousands_ends_a_wait_whichever_thread_ends_it(in_flow, return_when):
    @in_flow(THREADS)
    def body():
        futures = [parse.submit(number) for number in range(5_000)]

        waited = wait(futures, return_when=return_when)

        assert waited == (futures, [])


def test_thousands_come_once_each_though_threads_end_and_take_them_at_once(in_flow):
    @in_flow(ConcurrentTaskRunner(max_workers=1))
    def body():
        held = Event()
        blocker = wait_at.submit(held)
        futures = [parse.submit(blocker) for _ in range(4_000)]
        takers = [Elsewhere(list, as_completed(futures)) for _ in range(3)]
        waiting = Elsewhere(wait, futures)

        def end(share):
            for future in share:
                future.cancel()

        mixed = random.Random(7).sample(futures, len(futures))
        enders = [Elsewhere(end, mixed[number::ENDERS]) for number in range(ENDERS)]
        for ender in enders:
            ender.value()
        held.set()

        for taker in takers:
            assert Counter(taker.value()) == Counter(futures)
        assert waiting.value() == (futures, [])
