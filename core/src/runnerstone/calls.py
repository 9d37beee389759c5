"""What travels to a worker, to be executed there."""

import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import nullcontext, suppress
from contextvars import Context, copy_context
from functools import partial
from logging import Logger, getLogger
from threading import Timer, get_ident
from typing import Any, Final

import attrs

from runnerstone._arguments import Template
from runnerstone._context import current_run, where
from runnerstone._interruptions import Interruptible, Interruption
from runnerstone._pickles import dump, find_unpicklable, pack, safe_repr
from runnerstone._prints import logging_prints
from runnerstone._records import RecordKeeper
from runnerstone.contents import Pickled
from runnerstone.contexts import RunLogger, TaskRunContext
from runnerstone.labels import FlowRunInfo, Labels, name_of_run, tags_of_run
from runnerstone.outcomes import Crash, Failure, Outcome
from runnerstone.programs import Program
from runnerstone.states import State, StateType, exceeded

__all__ = ["Parcel", "TaskCall"]

TASK_LOG: Final = "runnerstone.task_runs"


class TaskCall(Interruptible):
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
        labels: The run's name and tags, if they are not as the task says.
    """

    __slots__ = (
        "_arguments",
        "_canceller",
        "_context",
        "_is_late",
        "_keeper",
        "_travels",
        "_watch",
        "attempt",
        "flow_run",
        "labels",
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
        labels: Labels | None = None,
    ) -> None:
        self._thread = None  # as the base class does
        self._is_interrupted = False
        self.program = program
        self.flow_run = flow_run
        self.number = number
        self.attempt = attempt
        self.upstream = upstream
        self._arguments = arguments
        self._context = context
        self._travels = travels
        self.labels = labels
        if travels:
            self._keeper: RecordKeeper | None = None
        if program.timeout_seconds is not None:
            self._is_late = False  # whether it was interrupted for having used up its time
            self._watch: Callable[[], object] | None = None  # the engine's, where nothing travels
        if program.is_async:
            self._canceller: Callable[[], object] | None = None

    @property
    def id(self) -> str:
        """Unique among all calls, those of other flow runs and other drivers included."""
        return f"{name_of_run(self.program, self.number)}-{self.flow_run.id}-{self.attempt}"

    @property
    def name(self) -> str:
        """The task run's name."""
        return name_of_run(self.program, self.number, self.labels)

    @property
    def tags(self) -> frozenset[str]:
        """The task run's labels."""
        return tags_of_run(self.program, self.labels)

    @property
    def nbytes(self) -> int:
        """Size of the arguments of a call that travels, in bytes; without what is kept."""
        nbytes: int = self._arguments.nbytes
        return nbytes + sum(it.nbytes for it in self.upstream if type(it) is Pickled)

    @property
    def timeout_seconds(self) -> float | None:
        """How long the call may execute; None sets no limit.

        The engine counts from `Report.started`, and cancels the call. A call that travels ends
        itself by then, if its code can be interrupted.
        """
        return self.program.timeout_seconds

    @property
    def logs_prints(self) -> bool:
        """Whether what the function prints is logged."""
        return self.program.logs_prints

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
        context = copy_context() if self._context is None else self._context
        try:
            return context.run(self._run, upstream)
        finally:
            # An exception keeps the frames below it alive: nothing of the call shall be in ours.
            del self, upstream, context

    def parcel(self) -> "Parcel":
        """The call without its program, as a worker's `run_parcel` takes it."""
        upstream = self.upstream
        slots = tuple(i for i, value in enumerate(upstream) if type(value) is not Pickled)
        kept = tuple(upstream[slot] for slot in slots)
        if kept:
            upstream = tuple(value if type(value) is Pickled else None for value in upstream)
        return Parcel(pack((*self.flow_run.parts, [self.member(upstream)])), kept, slots)

    def member(self, upstream: tuple[Any, ...]) -> tuple[Any, ...]:
        """What of the call travels in a parcel, beside the flow run; `of_member` reads it.

        Of plain parts, since a worker takes long to find the way to each class.

        Args:
            upstream: The call's, None in the place of what is kept.
        """
        arguments, labels = self._arguments, self.labels
        return (
            self.number,
            self.attempt,
            None if labels is None else (labels.name, labels.tags),
            arguments.head if arguments.is_plain else arguments,
            upstream,
        )

    @classmethod
    def of_member(
        cls, program: Program, flow_run: FlowRunInfo, member: tuple[Any, ...]
    ) -> "TaskCall":
        """A call in a worker."""
        number, attempt, extra, arguments, upstream = member
        if type(arguments) is bytes:
            arguments = Pickled(arguments)
        labels = None if extra is None else Labels(*extra)
        return cls(program, flow_run, number, attempt, arguments, upstream, None, True, labels)

    async def run_async(self, *upstream: Any) -> Outcome:
        """Execute a call of a coroutine function, in an asyncio task that has its `context()`."""
        current_run.set(self)
        started = time.time()
        function = args = kwargs = value = error = None
        try:
            function, args, kwargs = self._prepare(upstream)
            value = await self._awaited(function, args, kwargs)
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
        program = self.program
        try:
            function, args, kwargs = self._prepare(upstream)
            if program.is_async:  # which nothing but its event loop interrupts
                value = run_coroutine(self._awaited(function, args, kwargs))
            else:
                # As `enter` and `leave` do, which would cost a tenth of a call's overhead.
                self._thread = get_ident()
                if self._is_interrupted:
                    self.enter()
                try:
                    if program.logs_prints or program.timeout_seconds is not None:
                        value = self._called(function, args, kwargs)
                    else:
                        value = function(*args, **kwargs)
                finally:
                    self._thread = None
                    if self._is_interrupted:
                        self.leave()
        except BaseException as raised:  # noqa: BLE001  # whatever it is, it is this call's end
            error = raised
        try:
            return self._outcome(value, error, started)
        finally:
            del self, upstream, program, function, args, kwargs, value, error  # as above

    def _called(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the function returns, as the task's options want it to be executed."""
        with logging_prints() if self.logs_prints else nullcontext():
            if self.timeout_seconds is None or not self._travels:
                self._tell_begin()
                return function(*args, **kwargs)
            clock = Timer(self.timeout_seconds, self._run_late)
            clock.daemon = True
            clock.start()
            try:
                return function(*args, **kwargs)
            finally:
                clock.cancel()

    def _tell_begin(self) -> None:
        """Have the engine count the time; the task runner may have done so."""
        if self.timeout_seconds is not None and self._watch is not None:
            self._watch()

    def _run_late(self) -> None:
        self._is_late = True
        self.interrupt()

    async def _awaited(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """The same, of a coroutine function."""
        import asyncio  # heavy, and whoever runs a coroutine has it loaded

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        self._tell_begin()
        clock = asyncio.timeout(self.timeout_seconds)
        try:
            # In this order, and `interrupt` in the other: one of the two notices.
            self._canceller = partial(loop.call_soon_threadsafe, task.cancel) if task else None
            if self._is_interrupted:
                raise Interruption
            with logging_prints() if self.logs_prints else nullcontext():
                async with clock:
                    return await function(*args, **kwargs)
        finally:
            self._canceller = None
            if clock.expired():
                self._is_late = True

    def interrupt(self) -> None:
        """Interrupt the code of a call that is executed in this process; from any thread.

        A function is interrupted between two of its bytecodes, a coroutine where it awaits. What
        waits in C code meanwhile goes on until that returns.
        """
        if not self.program.is_async:
            super().interrupt()
            return
        self._is_interrupted = True
        canceller = self._canceller
        if canceller is not None:
            with suppress(RuntimeError):  # its loop is closed: it has ended
                canceller()

    def run_context(self) -> TaskRunContext:
        """What the function can ask for."""
        flow_run = self.flow_run
        return TaskRunContext(
            task_run_name=self.name,
            task_name=self.program.task_name,
            number=self.number,
            attempt=self.attempt,
            tags=self.tags,
            flow_run_id=flow_run.id,
            flow_run_name=flow_run.name,
            flow_name=flow_run.flow_name,
        )

    def run_logger(self) -> RunLogger:
        """The logger of this run."""
        logger: Logger = getLogger(TASK_LOG)
        if self._travels:
            if self._keeper is None:
                self._keeper = RecordKeeper(TASK_LOG, self.flow_run.log_level)
            logger = self._keeper.logger
        extra = {
            "flow_run_name": self.flow_run.name,
            "flow_name": self.flow_run.flow_name,
            "task_run_name": self.name,
            "task_name": self.program.task_name,
        }
        return RunLogger(logger, extra, f"Task run {self.name!r}")

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
        state: State | None = None
        problem: Failure | Crash | None = None
        timeout_seconds = self.program.timeout_seconds
        if timeout_seconds is not None and self._is_late:  # whatever the code made of that
            value = None
            state = exceeded("Task run", timeout_seconds)
        elif error is not None:
            value = None  # else it may be the coroutine that raised
            problem = self._problem(error)
        elif type(value) is State:
            state, value = attrs.evolve(value, result=None), value.result
            if state.type is not StateType.COMPLETED:
                if isinstance(value, BaseException):
                    problem = Failure.of(value, travels=self._travels)
                value = None
        if self._travels:
            return self._travelling(Outcome(value, problem, state, started, ended, where()))
        return Outcome(value, problem, state, started, ended, where())

    def _travelling(self, outcome: Outcome) -> Outcome:
        """The outcome as it can travel, with what was logged."""
        _flush()
        value, problem, state = outcome.value, outcome.problem, outcome.state
        if state is not None and state.message is not None:
            state = attrs.evolve(state, message=str(state.message))  # a subclass may not travel
        if problem is None:
            try:
                value = dump(value)
            except Exception as refusal:  # noqa: BLE001  # a user's __reduce__ may raise anything
                what = f"the value that task run {self.name!r} returned"
                reason = find_unpicklable(value, what)
                message = reason or f"{what} cannot be pickled: {safe_repr(refusal)}"
                value, state = None, None
                problem = Crash(message, is_permanent=True)
        return Outcome(
            value,
            problem,
            state=state,
            started=outcome.started,
            ended=outcome.ended,
            where=outcome.where,
            records=() if self._keeper is None else self._keeper.records,
        )

    def _problem(self, error: BaseException) -> Failure | Crash:
        """What an exception says that ended the call."""
        if type(error) is _NotLoadedError:
            message = f"the call could not be unpickled in {where()}: {error}"
            return Crash(message, is_permanent=True)
        return Failure.of(error, travels=self._travels)

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
            self.labels,
        )

    def __repr__(self) -> str:
        return f"<TaskCall {self.id}>"


@attrs.frozen
class Parcel:
    """A call as a runner sends it to a worker that has its program; `run_parcel` executes it.

    Attributes:
        contents: The call but for its program and for what is kept.
        kept: The `Reference` of each upstream value that a worker keeps, in order.
        slots: Where in the call's upstream each of these stands, for `Crash.lost`.
    """

    contents: Pickled
    kept: tuple[Any, ...]
    slots: tuple[int, ...]


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
