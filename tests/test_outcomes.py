import gc
import importlib
import pickle
import sys
import threading
import traceback
import weakref

import pytest

from runnerstone._pickles import dump
from runnerstone.errors import TaskCrashedError, TaskFailedError
from runnerstone.outcomes import EXCEPTION_LIMIT, Crash, Failure, Outcome


def failure_of(fn, args, *, travels):
    """The failure of calling a function."""
    error = None
    try:
        fn(*args)
    except Exception as raised:
        error = raised
    return Failure.of(error, travels=travels)


def live_failure(fn, /, *args):
    return failure_of(fn, args, travels=False)


def travelled_failure(fn, /, *args):
    """A failure as another process gets it."""
    return pickle.loads(pickle.dumps(failure_of(fn, args, travels=True)))


def raise_one(kind, *args):
    raise kind(*args)


# Live failures


def test_a_live_failure_keeps_the_exception_itself():
    error = ValueError("no")

    def raise_it():
        raise error

    failure = live_failure(raise_it)

    assert failure.error() is error
    assert (failure.type_name, failure.text) == ("ValueError", "ValueError('no')")


def test_a_live_failures_traceback_ends_where_it_was_raised():
    failure = live_failure(raise_one, ValueError, "no")

    frames = traceback.extract_tb(failure.error().__traceback__)

    assert frames[-1].name == "raise_one"
    assert frames[-1].line == "raise kind(*args)"


def test_a_live_failures_traceback_does_not_grow_with_each_raise():
    failure = live_failure(raise_one, ValueError, "no")

    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="no") as raised:
            raise failure.error()
        lengths.append(len(raised.traceback))

    assert len(set(lengths)) == 1


class Big:
    """A value that a frame's local variable would keep alive."""


def test_a_live_failure_keeps_no_local_variables_alive():
    alive = []

    def use_much():
        big = Big()
        alive.append(weakref.ref(big))
        raise ValueError(str(big))

    failure = live_failure(use_much)
    gc.collect()

    assert failure.type_name == "ValueError"
    assert alive[0]() is None


def test_exceptions_that_came_from_one_another_are_a_failure():
    def raise_it():
        first, second = ValueError("first"), ValueError("second")
        first.__cause__, second.__cause__ = second, first
        raise first

    failure = live_failure(raise_it)

    assert str(failure.error()) == "first"


@pytest.mark.parametrize("link", ["__cause__", "__context__", "exceptions"])
def test_a_live_failure_keeps_no_local_variables_of_what_it_came_from_alive(link):
    alive = []

    def use_much():
        big = Big()
        alive.append(weakref.ref(big))
        raise ValueError(str(big))

    def translate():
        origin = None
        try:
            use_much()
        except ValueError as error:
            origin = error
        other = ExceptionGroup("several", [origin]) if link == "exceptions" else KeyError("it")
        if link != "exceptions":
            setattr(other, link, origin)
        raise other

    failure = live_failure(translate)
    gc.collect()

    assert failure.error() is not None
    assert alive[0]() is None


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("travels", [False, True])
def test_an_exception_meant_for_the_whole_process_becomes_a_task_failure(kind, travels):
    failure = Failure.of(kind(3), travels=travels)

    error = failure.error()

    assert type(error) is TaskFailedError
    assert str(error) == f"the task raised {kind.__name__}(3)"
    assert type(error.__cause__) is kind


@pytest.mark.parametrize(("kind", "interrupted"), [(KeyboardInterrupt, True), (ValueError, False)])
def test_a_failure_tells_an_interrupt_from_others(kind, interrupted):
    failure = Failure.of(kind(), travels=True)

    assert failure.interrupted is interrupted


def test_an_exception_whose_repr_raises_is_still_a_failure():
    class ShyError(Exception):
        def __repr__(self):
            raise OSError("hidden")

    failure = Failure.of(ShyError(), travels=False)

    assert failure.text.endswith("ShyError whose repr raised OSError>")


# Failures that travel


class PlainError(Exception):
    """Travels well."""


class RewordedError(Exception):
    """Comes back with another text."""

    def __reduce__(self):
        return RewordedError, ("other", "words")


class RetypedError(Exception):
    """Comes back as another type."""

    def __reduce__(self):
        return PlainError, self.args


class UnmadeError(Exception):
    """Cannot be made of its text alone."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def test_a_failure_that_travelled_raises_the_users_exception():
    failure = travelled_failure(raise_one, PlainError, "no", 1)

    error = failure.error()

    assert type(error) is PlainError
    assert error.args == ("no", 1)


def test_a_failure_that_travelled_shows_the_workers_traceback():
    failure = travelled_failure(raise_one, PlainError, "no")

    shown = "".join(traceback.format_exception(failure.error()))

    assert "in raise_one\n    raise kind(*args)\n" in shown
    assert shown.count("PlainError: no\n") == 2


def test_a_failure_that_travelled_tells_type_text_and_traceback():
    failure = travelled_failure(raise_one, PlainError, "no")

    assert failure.type_name == f"{__name__}.PlainError"
    assert failure.text == "PlainError('no')"
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert failure.traceback.endswith("PlainError: no\n")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param((ValueError, threading.Lock), id="unpicklable"),
        pytest.param((RewordedError, "first", "second"), id="another text"),
        pytest.param((RetypedError, "no"), id="another type"),
        pytest.param((UnmadeError, 1, 2), id="not to be made again"),
        pytest.param((ValueError, "x" * EXCEPTION_LIMIT), id="too big"),
    ],
)
def test_an_exception_that_does_not_survive_travelling_is_told_by_text(error):
    kind, *args = error

    def raise_it():
        raise kind(*(arg() if callable(arg) else arg for arg in args))

    failure = travelled_failure(raise_it)
    told = failure.error()

    assert type(told) is TaskFailedError
    assert str(told) == f"the task raised {failure.text}"
    assert "in raise_it\n" in str(told.__cause__)


def test_an_exception_of_a_local_class_survives_travelling():
    class LocalError(Exception):
        pass

    failure = travelled_failure(raise_one, LocalError, "no")

    assert type(failure.error()).__name__ == "LocalError"


def test_an_exception_that_only_the_worker_knows_is_told_by_text(site):
    site.add_module("worker_only", "class WorkerError(Exception): pass")
    kind = importlib.import_module("worker_only").WorkerError
    failure = travelled_failure(raise_one, kind, "no")
    del sys.modules["worker_only"]
    sys.path.remove(str(site.folder))

    error = failure.error()

    assert type(error) is TaskFailedError
    assert str(error) == "the task raised WorkerError('no')"
    assert "worker_only.WorkerError: no" in str(error.__cause__)


# Crashes


def test_a_crash_raises_its_message_from_its_cause():
    cause = OSError("worker gone")

    error = Crash("worker 3 died", cause).error()

    assert type(error) is TaskCrashedError
    assert str(error) == "worker 3 died"
    assert error.__cause__ is cause


def test_a_crash_travels_with_its_lost_values():
    crashed = Outcome(problem=Crash("lost", OSError("gone"), lost=(0, 2)))

    copy = pickle.loads(pickle.dumps(crashed))

    assert copy.problem.lost == (0, 2)
    assert str(copy.problem.cause) == "gone"


# Parting with a value


def test_an_outcome_keeps_a_small_value_and_parts_with_a_large_one():
    small, large = Outcome(dump(b"x" * 10), started=1.0), Outcome(dump(b"x" * 1000), started=2.0)

    assert small.parted(100) == (small, None)
    sent, kept = large.parted(100)
    assert sent == Outcome(started=2.0)
    assert kept is large.value


def test_an_outcome_without_a_value_has_nothing_to_part_with():
    outcome = Outcome(problem=Crash("lost"))

    assert outcome.parted(0) == (outcome, None)
