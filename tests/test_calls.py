import asyncio
import gc
import pickle
import sys
import threading
import time
import weakref
from contextvars import ContextVar, copy_context
from queue import SimpleQueue

import pytest

from runnerstone import Cancelled, Completed, Failed, Task, task
from runnerstone._arguments import extract
from runnerstone._context import current_run, where
from runnerstone._loops import LoopThread
from runnerstone._pickles import dump
from runnerstone.calls import TaskCall
from runnerstone.contents import Pickled, Reference
from runnerstone.errors import NotInFlowError
from runnerstone.labels import FlowRunInfo
from runnerstone.outcomes import Crash
from runnerstone.packs import run_parcel
from runnerstone.programs import Program
from runnerstone.states import RUNNING

FLOW_RUN = FlowRunInfo("0123456789abcdef", "olivine-swan", "census")


def new_call(fn, /, *args, travels=False, **kwargs):
    """A call of a function or a task, made as the engine makes it."""
    arguments = dump((args, kwargs)) if travels else (args, kwargs)
    context = None if travels else copy_context()
    program = Program.of(fn if isinstance(fn, Task) else task(fn))
    return TaskCall(program, FLOW_RUN, 3, 1, arguments, (), context, travels)


def arrived(sent):
    """A call or an outcome as another process gets it."""
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


# Failing


@pytest.mark.parametrize("travels", [False, True])
def test_a_function_that_raises_fails_the_call_and_nothing_else(travels):
    outcome = new_call(fail, "no", travels=travels)()

    error = outcome.problem.error()

    assert type(error) is ValueError
    assert error.args == ("no",)
    assert (outcome.value, outcome.state) == (None, None)


def test_a_function_that_wants_to_end_the_process_fails_the_call():
    outcome = new_call(sys.exit, 3)()

    assert outcome.problem.text == "SystemExit(3)"


class Big:
    """A value that a frame's local variable would keep alive."""


def on_loop(call, *upstream):
    """Execute a call as the task runners with an event loop do."""
    ended = SimpleQueue()
    loop = LoopThread("test loop")
    loop.submit(call, lambda: None, ended.put)
    outcome = ended.get()
    loop.stop()
    call._context = None  # as the engine does, for the call stands in it
    return outcome


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


# States that a function returns


@pytest.mark.parametrize("travels", [False, True])
def test_a_returned_state_is_the_outcomes_and_its_result_the_value(travels):
    outcome = new_call(Completed, "Early.", result=5, travels=travels)()

    assert outcome.state == Completed("Early.")
    assert (outcome.value.load() if travels else outcome.value) == 5
    assert outcome.problem is None


@pytest.mark.parametrize("travels", [False, True])
def test_a_returned_failed_state_fails_with_its_exception(travels):
    outcome = new_call(Failed, "Bad data.", result=KeyError("no"), travels=travels)()

    assert outcome.state == Failed("Bad data.")
    assert outcome.value is None
    assert outcome.problem.error().args == ("no",)
    assert type(outcome.problem.error()) is KeyError


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
        f"the value that task run {call.name!r} returned, of type _thread.lock, cannot be pickled: "
        "TypeError: cannot pickle '_thread.lock' object",
        is_permanent=True,
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
        f"the call could not be unpickled in {where()}: ValueError('locked')", is_permanent=True
    )


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


def test_a_coroutine_function_runs_on_a_loop_of_the_callers():
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


def test_a_coroutine_function_is_the_innermost_run_on_a_loop_of_the_callers():
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


# Parcels


def test_a_parcel_travels_without_the_program_and_runs_like_the_call():
    call = new_call(add, 1, 2, travels=True)

    parcel = call.parcel()
    outcome = run_parcel(call.program, arrived(parcel.contents))

    assert call.program.payload not in parcel.contents.head
    assert parcel.kept == parcel.slots == ()
    assert outcome.value.load() == 3
    assert outcome.where == where()


def test_a_parcel_has_places_for_what_workers_keep():
    reference = Reference("elsewhere")
    upstream = (dump("sent"), reference)
    call = TaskCall(Program.of(task(add)), FLOW_RUN, 3, 1, dump(None), upstream, None, True)

    parcel = call.parcel()

    assert parcel.kept == (reference,)
    assert parcel.slots == (1,)


def test_what_workers_keep_is_filled_in_in_order():
    class Slot:
        pass

    _, template = extract(((Slot(), 1.5, Slot(), 2.5), {}), frozenset({Slot}))
    program = Program.of(task(lambda *parts: parts))
    upstream = (Reference("elsewhere"), dump("sent"))
    call = TaskCall(program, FLOW_RUN, 3, 1, dump(template), upstream, None, True)
    parcel = call.parcel()

    outcome = run_parcel(program, parcel.contents, dump("kept"))

    assert outcome.value.load() == ("kept", 1.5, "sent", 2.5)


def test_a_parcel_that_cannot_be_unpickled_is_a_crash_that_says_so():
    outcome = run_parcel(Program.of(task(add)), Pickled(b"from another version"))

    assert isinstance(outcome.problem, Crash)
    assert "the call could not be unpickled" in outcome.problem.message


def test_what_a_call_printed_is_out_when_a_travelling_call_has_ended(capsys, monkeypatch):
    flushed = []
    monkeypatch.setattr(sys.stdout, "flush", lambda: flushed.append(True))
    call = new_call(print, "here", travels=True)

    call()

    assert flushed


def test_a_module_that_a_worker_lacks_is_named_with_what_to_do():
    packed = b"0123456789abcdef", b"cno_such_module\ntask\n."
    program = Program("census", "01234567", is_async=False, packed=packed)
    contents = new_call(add, 1, 2, travels=True).parcel().contents

    outcome = run_parcel(program, contents)

    assert isinstance(outcome.problem, Crash)
    assert "No module named 'no_such_module'" in outcome.problem.message
    assert "register_pickle_by_value(no_such_module)" in outcome.problem.message
