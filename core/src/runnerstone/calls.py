"""What travels to a worker, to be executed there."""

import sys
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any

import attrs

from runnerstone._arguments import Template
from runnerstone._context import current_run, where
from runnerstone._pickles import Pickled, dump, pack, safe_repr
from runnerstone.outcomes import Crash, Failure, Outcome
from runnerstone.programs import Program
from runnerstone.states import State, StateType

__all__ = ["FlowRunInfo", "Parcel", "TaskCall", "run_parcel"]


@attrs.frozen
class FlowRunInfo:
    """The flow run that a call belongs to, as its workers know it.

    Attributes:
        id: Unique among all flow runs, 16 hexadecimal digits.
        name: The flow run's name.
        flow_name: The flow's name.
    """

    id: str
    name: str
    flow_name: str


class TaskCall:
    """One attempt at a task run, to be executed once, somewhere: ``call(*call.upstream)``.

    It is picklable, but for its upstream: a runner whose calls travel sends the two side by side.
    A runner that brings a program to each worker once, or keeps values there, sends the call's
    `parcel` instead. The call itself catches whatever the function does, so executing it always
    gives an `Outcome`.

    Attributes:
        program: What it shares with the task's other calls.
        flow_run: The flow run that it belongs to.
        number: Which run of the task this is within the flow run, from 0.
        attempt: Which attempt at that run this is, from 1.
        upstream: The values that the call takes from other task runs: the values themselves on
            runners that share memory, else each a `Pickled` or a `Reference` of the same runner.
    """

    __slots__ = (
        "_arguments",
        "_context",
        "_travels",
        "attempt",
        "flow_run",
        "number",
        "program",
        "upstream",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # built once a task run: a record to hold these would cost another
        self,
        program: Program,
        flow_run: FlowRunInfo,
        number: int,
        attempt: int,
        arguments: Any,
        upstream: tuple[Any, ...],
        context: Context | None,
        travels: bool,  # noqa: FBT001
    ) -> None:
        self.program = program
        self.flow_run = flow_run
        self.number = number
        self.attempt = attempt
        self.upstream = upstream
        self._arguments = arguments
        self._context = context
        self._travels = travels

    @property
    def id(self) -> str:
        """Unique among all calls, those of other flow runs and other drivers included."""
        return f"{self.name}-{self.flow_run.id}-{self.attempt}"

    @property
    def name(self) -> str:
        """The task run's name."""
        return f"{self.program.task_name}-{self.program.key}-{self.number}"

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function: `run_async` runs it on a loop of yours."""
        return self.program.is_async

    def context(self) -> Context:
        """The context to run in: a copy of the one that the task was called in, this call's alone.

        In another process, a copy of the calling thread's.
        """
        return copy_context() if self._context is None else self._context

    def __call__(self, *upstream: Any) -> Outcome:
        """Execute the call in this thread, to its end; a coroutine on an event loop of its own."""
        try:
            return self.context().run(self._run, upstream)
        finally:
            # An exception keeps the frames below it alive: nothing of the call shall be in ours.
            del self, upstream

    def parcel(self) -> "Parcel":
        """The call without its program, as `run_parcel` takes it in a worker."""
        upstream = self.upstream
        slots = tuple(i for i, value in enumerate(upstream) if type(value) is not Pickled)
        kept = tuple(upstream[slot] for slot in slots)
        if kept:
            upstream = tuple(value if type(value) is Pickled else None for value in upstream)
        # Of plain parts, since a worker takes long to find the way to each class.
        info, arguments = self.flow_run, self._arguments
        if arguments.is_plain:
            arguments = arguments.head
        state = (info.id, info.name, info.flow_name, self.number, self.attempt, arguments, upstream)
        return Parcel(pack(state), kept, slots)

    async def run_async(self, *upstream: Any) -> Outcome:
        """Execute a call of a coroutine function, in an asyncio task that has its `context()`."""
        current_run.set(self)
        started = time.time()
        function = args = kwargs = value = error = None
        try:
            function, args, kwargs = self._prepare(upstream)
            value = await function(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001  # whatever it is, it is this call's end
            error = raised
        try:
            return self._outcome(value, error, started)
        finally:
            del self, upstream, function, args, kwargs, value, error  # as above

    def _run(self, upstream: tuple[Any, ...]) -> Outcome:
        current_run.set(self)
        started = time.time()
        function = args = kwargs = value = error = None
        try:
            function, args, kwargs = self._prepare(upstream)
            value = function(*args, **kwargs)
            if self.program.is_async:
                value = run_coroutine(value)
        except BaseException as raised:  # noqa: BLE001  # whatever it is, it is this call's end
            error = raised
        try:
            return self._outcome(value, error, started)
        finally:
            del self, upstream, function, args, kwargs, value, error  # as above

    def _prepare(self, upstream: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        arguments = self._arguments
        if not self._travels:
            args, kwargs = arguments.fill(upstream) if type(arguments) is Template else arguments
            return self.program.function(), args, kwargs
        try:
            function = self.program.function()
            arguments = arguments.load()
            upstream = tuple(
                value.load() if type(value) is Pickled else value for value in upstream
            )
        except Exception as error:
            raise _NotLoadedError(_told(error)) from error
        args, kwargs = arguments.fill(upstream) if type(arguments) is Template else arguments
        return function, args, kwargs

    def _outcome(self, value: Any, error: BaseException | None, started: float) -> Outcome:
        ended = time.time()
        if self._travels:
            _flush()
        state: State | None = None
        problem: Failure | Crash | None = None
        if error is not None:
            value = None  # else it may be the coroutine that raised
            if type(error) is _NotLoadedError:
                problem = Crash(f"the call could not be unpickled in {where()}: {error}")
            else:
                problem = Failure.of(error, travels=self._travels)
        elif type(value) is State:
            state, value = attrs.evolve(value, result=None), value.result
            if state.type is not StateType.COMPLETED:
                if isinstance(value, BaseException):
                    problem = Failure.of(value, travels=self._travels)
                value = None
        if self._travels and state is not None and state.message is not None:
            state = attrs.evolve(state, message=str(state.message))  # a subclass may not travel
        if self._travels and problem is None:
            try:
                value = dump(value)
            except Exception as refusal:  # noqa: BLE001  # a user's __reduce__ may raise anything
                value, state = None, None
                problem = Crash(
                    f"the value that task run {self.name!r} returned cannot be pickled: "
                    f"{safe_repr(refusal)}"
                )
        return Outcome(value, problem, state=state, started=started, ended=ended, where=where())

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskCall, (
            self.program,
            self.flow_run,
            self.number,
            self.attempt,
            self._arguments,
            (),
            None,
            self._travels,
        )

    def __repr__(self) -> str:
        return f"<TaskCall {self.id}>"


@attrs.frozen
class Parcel:
    """A call as a runner sends it to a worker that has its program.

    Attributes:
        contents: The call but for its program and for what is kept.
        kept: The `Reference` of each upstream value that a worker keeps, in order.
        slots: Where in the call's upstream each of these stands, for `Crash.lost`.
    """

    contents: Pickled
    kept: tuple[Any, ...]
    slots: tuple[int, ...]


def run_parcel(program: Program, contents: Pickled, *kept: Pickled) -> Outcome:
    """Execute a parcel's call in this thread; in a worker.

    Args:
        program: The call's.
        contents: The parcel's.
        kept: The values that the parcel's references stand for, in the same order.
    """
    try:
        *info, number, attempt, arguments, upstream = contents.load()
    except Exception as error:  # noqa: BLE001  # the driver's runnerstone is another than the worker's
        message = f"the call could not be unpickled in {where()}: {safe_repr(error)}"
        return Outcome(problem=Crash(message), where=where())
    if kept:
        rest = iter(kept)
        upstream = tuple(next(rest) if value is None else value for value in upstream)
    flow_run = FlowRunInfo(*info)
    if type(arguments) is bytes:
        arguments = Pickled(arguments)
    return TaskCall(program, flow_run, number, attempt, arguments, (), None, True)(*upstream)


class _NotLoadedError(Exception):
    """The call, not the user's function, failed: something in it cannot be unpickled here."""


def _told(error: Exception) -> str:
    """What could not be unpickled, and what to do where a module is missing."""
    text = safe_repr(error)
    if not isinstance(error, ModuleNotFoundError):
        return text
    return (
        f"{text}; workers have to be able to import what is not in the main module: install it "
        f"there, or have it travel by value: cloudpickle.register_pickle_by_value({error.name})"
    )


def _flush() -> None:
    """Let out what a call printed, before its end is reported: the driver's log tells of that."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be None, or closed, or replaced by the user's own
            stream.flush()


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on an event loop of its own, also where this thread runs one."""
    import asyncio  # heavy, and flows without coroutines need none of it

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, coroutine).result()
