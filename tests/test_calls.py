import asyncio
import gc
import importlib
import pickle
import sys
import threading
import time
import traceback
import uuid
import weakref
from contextlib import suppress
from contextvars import ContextVar, copy_context

import pytest

from runnerstone import Cancelled, Completed, Failed, Task, task
from runnerstone._arguments import extract
from runnerstone._context import current_run, where
from runnerstone._pickles import Pickled, dump
from runnerstone.calls import FlowRunInfo, TaskCall
from runnerstone.errors import NotInFlowError, TaskCrashedError, TaskFailedError
from runnerstone.outcomes import EXCEPTION_LIMIT, Crash, Failure, Outcome
from runnerstone.programs import PROGRAMS_KEPT, Program
from runnerstone.states import RUNNING

FLOW_RUN = FlowRunInfo("0123456789abcdef", "olivine-swan", "census")


def new_call(fn, /, *args, travels=False, **kwargs):
    """A call of a function or a task, made as the engine makes it."""
    arguments = dump((args, kwargs)) if travels else (args, kwargs)
    context = None if travels else copy_context()
    program = Program.of(fn if isinstance(fn, Task) else task(fn))
    return TaskCall(program, FLOW_RUN, 3, 1, arguments, (), context, travels)


def arrived(sent):
    """A call, a program or an outcome as another process gets it."""
    return pickle.loads(pickle.dumps(sent))


def add(x, y):
    return x + y


def fail(*args):
    raise ValueError(*args)


class Slot:
    """Stands for another task run's value."""


# Executing


@pytest.mark.parametrize("travels", [False, True])
def test_a_call_that_is_executed_gives_an_outcome(travels):
    outcome = new_call(add, 1, y=2, travels=travels)()

    assert outcome.problem is None
    assert outcome.state is None
    assert (outcome.value.load() if travels else outcome.value) == 3


def test_a_live_call_passes_values_as_they_are():
    value = object()

    outcome = new_call(lambda x: x, value)()

    assert outcome.value is value


def test_a_value_that_travels_is_pickled_by_the_call():
    outcome = new_call(add, [1], [2], travels=True)()

    assert type(outcome.value) is Pickled
    assert arrived(outcome).value.load() == [1, 2]


def test_upstream_values_take_their_slots():
    slots = [Slot(), Slot()]
    found, template = extract((([slots[0], 2],), {"y": [slots[1]]}), frozenset({Slot}))
    program = Program.of(task(add))
    call = TaskCall(program, FLOW_RUN, 0, 1, template, (1, 3), copy_context(), False)

    outcome = call(*call.upstream)

    assert found == slots
    assert outcome.value == [1, 2, 3]


def test_upstream_values_that_travel_are_loaded_by_the_call():
    slots = [Slot(), Slot()]
    _, template = extract((tuple(slots), {}), frozenset({Slot}))
    upstream = (dump([1]), dump([2]))
    call = TaskCall(Program.of(task(add)), FLOW_RUN, 0, 1, dump(template), upstream, None, True)

    outcome = arrived(call)(*call.upstream)

    assert outcome.value.load() == [1, 2]


def test_the_outcome_tells_when_and_where():
    before = time.time()

    outcome = new_call(time.time)()

    assert before <= outcome.started <= outcome.value <= outcome.ended <= time.time()
    assert outcome.where == where()


def test_the_outcome_of_a_failure_tells_when_and_where():
    before = time.time()

    outcome = new_call(fail)()

    assert before <= outcome.started <= outcome.ended <= time.time()
    assert outcome.where == where()


def test_the_outcome_names_the_thread_that_ran_the_call():
    call, outcomes = new_call(add, 1, 2), []
    thread = threading.Thread(target=lambda: outcomes.append(call()), name="worker-7")

    thread.start()
    thread.join()

    assert outcomes[0].where.endswith("/worker-7")


def test_a_call_is_named_after_its_task_run_and_its_attempt():
    call = TaskCall(Program.of(task(add)), FLOW_RUN, 3, 2, ((), {}), (), None, False)
    key = task(add).key

    assert call.name == f"add-{key}-3"
    assert call.id == f"add-{key}-3-0123456789abcdef-2"
    assert repr(call) == f"<TaskCall {call.id}>"


def test_a_call_is_the_innermost_run_while_it_is_executed():
    call = new_call(current_run.get)

    outcome = call()

    assert outcome.value is call
    assert current_run.get() is None


def test_a_task_called_inside_a_call_is_a_plain_function():
    inner = task(add)

    outcome = new_call(lambda: inner(1, 2))()

    assert outcome.value == 3


def test_a_submission_inside_a_call_is_refused():
    inner = task(add)

    outcome = new_call(lambda: inner.submit(1, 2))()

    with pytest.raises(NotInFlowError, match=r"'add' was submitted inside a task: submit it in"):
        raise outcome.problem.error()


# Live failures


def test_a_live_failure_keeps_the_exception_itself():
    error = ValueError("no")

    def raise_it():
        raise error

    failure = new_call(raise_it)().problem

    assert failure.error() is error
    assert (failure.type_name, failure.text) == ("ValueError", "ValueError('no')")


def test_a_live_failures_traceback_ends_where_it_was_raised():
    failure = new_call(fail, "no")().problem

    frames = traceback.extract_tb(failure.error().__traceback__)

    assert frames[-1].name == "fail"
    assert frames[-1].line == "raise ValueError(*args)"


def test_a_live_failures_traceback_does_not_grow_with_each_raise():
    failure = new_call(fail, "no")().problem

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

    outcome = new_call(use_much)()
    gc.collect()

    assert outcome.problem is not None
    assert alive[0]() is None


def test_exceptions_that_came_from_one_another_are_a_failure():
    def raise_it():
        first, second = ValueError("first"), ValueError("second")
        first.__cause__, second.__cause__ = second, first
        raise first

    failure = new_call(raise_it)().problem

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

    outcome = new_call(translate)()
    gc.collect()

    assert outcome.problem is not None
    assert alive[0]() is None


def on_loop(call, *upstream):
    return asyncio.run(call.run_async(*upstream))


def raise_of(*values):
    raise ValueError(len(values))


async def raise_later_of(*values):
    raise_of(*values)


@pytest.mark.parametrize(
    ("execute", "fn"),
    [
        (TaskCall.__call__, raise_of),
        (TaskCall.__call__, raise_later_of),
        (on_loop, raise_later_of),
    ],
)
def test_a_live_failure_keeps_neither_arguments_nor_upstream_values_alive(execute, fn):
    values = [Big(), Big()]
    alive = [weakref.ref(value) for value in values]
    slot = Slot()
    _, template = extract((([slot, values[0]],), {}), frozenset({Slot}))
    program = Program.of(task(fn))
    call = TaskCall(program, FLOW_RUN, 0, 1, template, (values[1],), copy_context(), False)

    outcome = execute(call, *call.upstream)
    del values, template, call
    gc.collect()

    assert outcome.problem.text == "ValueError(1)"
    assert [ref() for ref in alive] == [None, None]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("travels", [False, True])
def test_an_exception_meant_for_the_whole_process_becomes_a_task_failure(kind, travels):
    def leave():
        raise kind(3)

    failure = new_call(leave, travels=travels)().problem
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


def raise_one(kind, *args):
    raise kind(*args)


def travelled_failure(fn, /, *args):
    return arrived(new_call(fn, *args, travels=True)()).problem


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


# States that a function returns


@pytest.mark.parametrize("travels", [False, True])
def test_a_returned_state_is_the_outcomes_and_its_result_the_value(travels):
    outcome = new_call(Completed, "Early.", result=5, travels=travels)()

    assert outcome.state == Completed("Early.")
    assert (outcome.value.load() if travels else outcome.value) == 5
    assert outcome.problem is None


@pytest.mark.parametrize("travels", [False, True])
def test_a_returned_failed_state_fails_with_its_exception(travels):
    outcome = new_call(Failed, "Bad data.", result=PlainError("no"), travels=travels)()

    assert outcome.state == Failed("Bad data.")
    assert outcome.value is None
    assert outcome.problem.error().args == ("no",)
    assert type(outcome.problem.error()) is PlainError


@pytest.mark.parametrize("state", [Failed("Bad data."), Cancelled("Not needed."), RUNNING])
def test_a_returned_state_without_an_exception_is_left_to_the_engine(state):
    outcome = new_call(lambda: state)()

    assert (outcome.state, outcome.value, outcome.problem) == (state, None, None)


def test_a_state_inside_of_a_value_is_a_value():
    outcome = new_call(lambda: [Failed()])()

    assert (outcome.state, outcome.value) == (None, [Failed()])


# Crashes


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: Completed(result=value)])
def test_a_value_that_cannot_be_pickled_is_a_crash(wrap):
    call = new_call(lambda: wrap(threading.Lock()), travels=True)

    outcome = call()

    assert outcome.problem == Crash(
        f"the value that task run {call.name!r} returned cannot be pickled: "
        "TypeError(\"cannot pickle '_thread.lock' object\")"
    )
    assert (outcome.value, outcome.state) == (None, None)


class Locked:
    """Pickles, and does not unpickle."""

    def __reduce__(self):
        return fail, ("locked",)

    def __call__(self):
        return 1


@pytest.mark.parametrize("place", ["program", "arguments", "upstream"])
def test_what_cannot_be_unpickled_is_a_crash(place):
    fn = Locked() if place == "program" else add
    call = new_call(fn, Locked() if place == "arguments" else 1, travels=True)
    upstream = [dump(Locked())] if place == "upstream" else []

    outcome = arrived(call)(*upstream)

    assert outcome.problem == Crash(
        f"the call could not be unpickled in {where()}: ValueError('locked')"
    )


def test_a_crash_raises_its_message_from_its_cause():
    cause = OSError("worker gone")

    error = Crash("worker 3 died", cause).error()

    assert type(error) is TaskCrashedError
    assert str(error) == "worker 3 died"
    assert error.__cause__ is cause


def test_a_crash_travels_with_its_lost_values():
    crashed = Outcome(problem=Crash("lost", OSError("gone"), lost=(0, 2)))

    copy = arrived(crashed)

    assert copy.problem.lost == (0, 2)
    assert str(copy.problem.cause) == "gone"


# Programs


@task
def by_name(x):
    return x


PICKLED, LOADED = [], []  # tokens


class Counted:
    """A callable that records when one of its token is pickled and unpickled."""

    def __init__(self, token):
        self.token = token

    def __reduce__(self):
        PICKLED.append(self.token)
        return Counted.load, (self.token,)

    @classmethod
    def load(cls, token):
        LOADED.append(token)
        return cls(token)

    def __call__(self, x):
        return x


class Met(Counted):
    """Likewise; unpickling it waits a little for another thread that does."""

    meeting = threading.Barrier(2)

    @classmethod
    def load(cls, token):
        with suppress(threading.BrokenBarrierError):
            cls.meeting.wait(timeout=0.2)
        return super().load(token)

    def __reduce__(self):
        return Met.load, (self.token,)


def calls_of(counted, count):
    program = Program.of(task(counted))
    return [
        TaskCall(program, FLOW_RUN, number, 1, dump(((number,), {})), (), None, True)
        for number in range(count)
    ]


def test_a_program_is_pickled_once_for_all_its_calls():
    token = str(uuid.uuid4())

    sent = [pickle.dumps(call) for call in calls_of(Counted(token), 3)]

    assert len(sent) == 3
    assert PICKLED.count(token) == 1


def test_a_program_is_unpickled_once_a_worker():
    token = str(uuid.uuid4())
    sent = [pickle.dumps(call) for call in calls_of(Counted(token), 3)]

    values = [pickle.loads(call)().value.load() for call in sent]

    assert values == [0, 1, 2]
    assert LOADED.count(token) == 1


def test_a_program_is_unpickled_once_though_two_threads_need_it_at_once():
    token = str(uuid.uuid4())
    calls = [arrived(call) for call in calls_of(Met(token), 2)]
    threads = [threading.Thread(target=call) for call in calls]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert LOADED.count(token) == 1


def test_a_program_that_runs_here_is_never_pickled():
    token = str(uuid.uuid4())

    new_call(Counted(token), 1)()

    assert token not in PICKLED


def test_a_worker_keeps_a_limited_number_of_programs():
    token = str(uuid.uuid4())
    (first,) = calls_of(Counted(token), 1)
    arrived(first)()

    for number in range(PROGRAMS_KEPT):
        arrived(Program.of(task(name=f"{token}-{number}")(add)))
    arrived(first)()

    assert LOADED.count(token) == 2


def test_equal_programs_have_equal_digests_and_others_have_not():
    def digest(fn):
        return Program.of(task(fn)).digest

    assert digest(add) == digest(add)
    assert digest(add) != digest(fail)
    assert len(digest(add)) == 16


def test_a_program_tells_what_it_is_where_it_arrives():
    program = Program.of(by_name)

    copy = arrived(program)

    assert copy.task_name == "by_name"
    assert copy.key == by_name.key
    assert copy.is_async is False
    assert (copy.digest, copy.payload) == (program.digest, program.payload)


def test_a_task_that_can_be_imported_travels_by_name():
    copy = arrived(Program.of(by_name))

    assert copy.function() is by_name.fn


def test_a_task_whose_name_leads_elsewhere_travels_by_value():
    changed = by_name.with_options(retries=1)

    copy = arrived(Program.of(changed))

    assert copy.function() is not by_name.fn
    assert copy.function()(5) == 5


def test_a_task_without_an_importable_name_travels_by_value():
    step = 2

    copy = arrived(Program.of(task(lambda x: x + step)))

    assert copy.function()(1) == 3


def test_a_variable_that_changed_between_flow_runs_is_seen():
    step = 1
    adding = task(lambda x: x + step)
    before = Program.of(adding).digest
    step = 2

    program = Program.of(adding)

    assert program.digest != before
    assert arrived(program).function()(1) == 3


def test_a_task_that_calls_itself_travels():
    @task
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    outcome = arrived(new_call(factorial, 5, travels=True))()

    assert outcome.value.load() == 120


def test_tasks_of_the_main_module_travel_by_value_with_what_they_use(python):
    worker = (
        "import pickle, sys\n"
        "call = pickle.load(sys.stdin.buffer)\n"
        "outcome = call()\n"
        "print(outcome.value.load(), call.name, file=sys.stderr)"
    )
    script = f"""if True:
        import pickle, subprocess, sys
        from runnerstone import task
        from runnerstone._pickles import dump
        from runnerstone.calls import FlowRunInfo, TaskCall
        from runnerstone.programs import Program

        class Number:
            def __init__(self, value):
                self.value = value

        @task
        def factorial(n):
            return n * factorial(n - 1) if n else Number(1).value

        arguments = dump(((5,), {{}}))
        info = FlowRunInfo("0" * 16, "olivine-swan", "main")
        call = TaskCall(Program.of(factorial), info, 0, 1, arguments, (), None, True)
        subprocess.run([sys.executable, "-c", {worker!r}], input=pickle.dumps(call), check=True)
    """

    finished = python.run(["-c", script])

    assert finished.stderr.startswith("120 factorial-")


# Coroutine functions


async def add_later(x, y):
    await asyncio.sleep(0)
    return x + y


@pytest.mark.parametrize("travels", [False, True])
def test_a_coroutine_function_is_run_to_its_end(travels):
    call = new_call(add_later, 1, y=2, travels=travels)

    outcome = call()

    assert call.is_async
    assert (outcome.value.load() if travels else outcome.value) == 3


def test_a_coroutine_function_runs_in_the_thread_of_the_call():
    async def thread():
        return threading.current_thread()

    outcome = new_call(thread)()

    assert outcome.value is threading.current_thread()


def test_a_coroutine_function_runs_where_the_thread_has_a_running_loop():
    call = new_call(add_later, 1, 2)

    async def execute():
        return call()

    assert asyncio.run(execute()).value == 3


def test_a_coroutine_function_runs_on_loop_of_the_callers():
    call = new_call(add_later, 1, 2)

    outcome = asyncio.run(call.run_async())

    assert outcome.value == 3
    assert outcome.where == where()


def test_a_coroutine_function_that_raises_is_a_failure():
    async def fail_later():
        await asyncio.sleep(0)
        raise ValueError("no")

    outcomes = [new_call(fail_later)(), asyncio.run(new_call(fail_later).run_async())]

    assert [str(outcome.problem.error()) for outcome in outcomes] == ["no", "no"]
    assert [outcome.value for outcome in outcomes] == [None, None]


def test_a_coroutine_function_is_the_innermost_run_on_loop_of_the_callers():
    async def innermost():
        return current_run.get()

    call = new_call(innermost)

    outcome = asyncio.run(call.run_async())

    assert outcome.value is call


def test_a_callable_whose_call_is_a_coroutine_function_is_run_to_its_end():
    class Adder:
        async def __call__(self, x):
            return x + 1

    outcome = new_call(Adder(), 1)()

    assert outcome.value == 2


# Context variables

COLOUR = ContextVar("COLOUR", default="none")


def colour():
    return COLOUR.get()


async def colour_later():
    return COLOUR.get()


@pytest.mark.parametrize("fn", [colour, colour_later])
def test_a_live_call_sees_its_callers_context_variables(fn):
    token = COLOUR.set("red")
    call = new_call(fn)
    COLOUR.reset(token)

    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(call()))
    thread.start()
    thread.join()

    assert outcomes[0].value == "red"


@pytest.mark.parametrize("travels", [False, True])
def test_a_context_variable_that_a_call_sets_is_set_for_it_alone(travels):
    new_call(lambda: COLOUR.set("blue") and None, travels=travels)()

    assert COLOUR.get() == "none"
    assert new_call(colour)().value == "none"


def test_a_call_that_travels_sees_the_context_variables_of_its_worker():
    call = arrived(new_call(colour, travels=True))
    token = COLOUR.set("green")

    outcome = call()
    COLOUR.reset(token)

    assert outcome.value.load() == "green"
