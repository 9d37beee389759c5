"""What travels to a worker and back: a call, and the outcome that it ends in."""

import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Final, Protocol

import attrs

from runnerstone._arguments import Template
from runnerstone._context import current_run, where
from runnerstone._pickles import Pickled, dump, safe_repr
from runnerstone.errors import TaskCrashedError, TaskFailedError
from runnerstone.states import State, StateType

__all__ = ["Crash", "Failure", "FlowRunInfo", "Outcome", "Pickled", "Program", "TaskCall"]

# A pickled exception above this, in bytes, stays behind: its text is told instead.
EXCEPTION_LIMIT: Final = 64 * 1024
# Programs that a worker process keeps unpickled.
PROGRAMS_KEPT: Final = 512


class _WorkerTraceback(Exception):  # noqa: N818  # it is shown as a traceback's cause, never caught
    """An exception's traceback in another process, as text; the standard library's idea."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@attrs.frozen
class Failure:
    """The user's function raised.

    Attributes:
        type_name: Qualified name of the exception's type.
        text: The exception's `repr`.
        traceback: Formatted as Python prints it; empty if the exception never left its process.
    """

    type_name: str
    text: str
    traceback: str
    _raised: BaseException | bytes | None = None
    _raised_at: Any = None

    @classmethod
    def of(cls, error: BaseException, *, travels: bool) -> "Failure":
        """Record `error`; to be called outside of the ``except`` block.

        Args:
            error: What was raised.
            travels: Whether the failure goes to another process, as text and pickle. If not, the
                exception itself is kept, and its frames let go of their local variables.
        """
        kind = type(error)
        import traceback  # slow to load, and needed only by failures

        type_name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        text = safe_repr(error)
        if travels:
            formatted = "".join(traceback.format_exception(error))
            return cls(type_name, text, formatted, _pickle_exception(error))
        for one in _with_origins(error):
            traceback.clear_frames(one.__traceback__)
        return cls(type_name, text, "", error, error.__traceback__)

    @property
    def interrupted(self) -> bool:
        """Whether it was a `KeyboardInterrupt`."""
        return self.type_name == "KeyboardInterrupt"

    def error(self) -> BaseException:
        """The exception to raise in the driver, with its traceback.

        The user's own where it can be had. `TaskFailedError` where it cannot, and instead of
        exceptions that are no `Exception`: a task's `SystemExit` shall not end the driver.
        """
        raised: BaseException | None = None
        if isinstance(self._raised, bytes):
            with suppress(Exception):  # what does not load here, its text tells
                raised = Pickled(self._raised).load()
        elif self._raised is not None:
            raised = self._raised.with_traceback(self._raised_at)
        if raised is not None and self.traceback:
            raised.__cause__ = _WorkerTraceback(self.traceback)
        if isinstance(raised, Exception):
            return raised
        failed = TaskFailedError(f"the task raised {self.text}")
        failed.__cause__ = raised or _WorkerTraceback(self.traceback)
        return failed


@attrs.frozen
class Crash:
    """The infrastructure, not the user's function, ended a call.

    Attributes:
        message: What happened, where, and what to do about it.
        cause: The exception that told of it, if there was one.
        lost: Numbers, in ``call.upstream``, of the values that turned out to be gone.
    """

    message: str
    cause: BaseException | None = None
    lost: tuple[int, ...] = attrs.field(default=(), kw_only=True)

    def error(self) -> BaseException:
        """The exception to raise in the driver."""
        crashed = TaskCrashedError(self.message)
        crashed.__cause__ = self.cause
        return crashed


@attrs.frozen
class Outcome:
    """What a call ended in.

    Attributes:
        value: What the function returned: the value itself on runners that share memory, else a
            `Pickled`, which a runner may replace by a `Reference` to where it keeps it.
        problem: Why there is no value; None if there is one.
        state: The final state that the function chose by returning it; None leaves that to the
            engine.
        started: When the function started, in seconds since the epoch by the worker's clock; None
            if it did not.
        ended: When it ended, likewise.
        where: The worker that ran it.
    """

    value: Any = None
    problem: Failure | Crash | None = None
    state: State | None = attrs.field(default=None, kw_only=True)
    started: float | None = attrs.field(default=None, kw_only=True)
    ended: float | None = attrs.field(default=None, kw_only=True)
    where: str | None = attrs.field(default=None, kw_only=True)


class Runnable(Protocol):
    """What a program is made of; a `Task` is one."""

    @property
    def fn(self) -> Any: ...
    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def is_async(self) -> bool: ...


class Program:
    """What all calls of one task in one flow run share: the function and its options.

    It is pickled once, when a call first travels, and unpickled once a worker process.

    Attributes:
        task_name: The task's name.
        key: The task's key, eight hexadecimal digits.
        is_async: Whether the function is a coroutine function.
    """

    __slots__ = ("_fn", "_lock", "_packed", "_task", "is_async", "key", "task_name")

    def __init__(
        self, task_name: str, key: str, *, is_async: bool, packed: tuple[bytes, bytes] | None = None
    ) -> None:
        """Describe a program; `of` makes one of a task.

        Args:
            task_name: See the attributes.
            key: Likewise.
            is_async: Likewise.
            packed: Digest and payload of one that arrives in a worker.
        """
        self.task_name = task_name
        self.key = key
        self.is_async = is_async
        self._packed = packed
        self._task: Runnable | None = None
        self._fn: Any = None
        self._lock = threading.Lock()  # guards the pickling and the unpickling

    @classmethod
    def of(cls, task: Runnable) -> "Program":
        """The program of a task."""
        program = cls(task.name, task.key, is_async=task.is_async)
        program._task = task
        program._fn = task.fn
        return program

    @property
    def digest(self) -> bytes:
        """The payload's digest, 16 bytes: equal programs need to be sent to a worker only once."""
        return self._pack()[0]

    @property
    def payload(self) -> bytes:
        """The pickled task. Raises what pickling it raises."""
        return self._pack()[1]

    def _pack(self) -> tuple[bytes, bytes]:
        with self._lock:
            if self._packed is None:
                import hashlib  # slow to load, and needed only where calls travel

                payload = dump(self._task, in_band=True).head
                self._packed = hashlib.blake2b(payload, digest_size=16).digest(), payload
            return self._packed

    def function(self) -> Any:
        """The user's function; in a worker, unpickled when first asked for."""
        if self._fn is None:
            payload = self.payload
            with self._lock:
                if self._fn is None:
                    self._fn = Pickled(payload).load().fn
        return self._fn

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._pack(), self.task_name, self.key, self.is_async)


_arrivals: dict[bytes, Program] = {}


def _arrived(packed: tuple[bytes, bytes], task_name: str, key: str, is_async: bool) -> Program:  # noqa: FBT001  # called by pickle
    """The program with this digest; one a worker process."""
    digest = packed[0]
    program = _arrivals.get(digest)
    if program is None:
        program = Program(task_name, key, is_async=is_async, packed=packed)
        program = _arrivals.setdefault(digest, program)
        for oldest in list(_arrivals)[:-PROGRAMS_KEPT]:
            _arrivals.pop(oldest, None)
    return program


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

    It is picklable, but for its upstream: a runner whose calls travel sends the two side by side,
    each `Reference` in the upstream as whatever its workers find the value by. The call itself
    catches whatever the function does, so executing it always gives an `Outcome`.

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

    async def run_async(self, *upstream: Any) -> Outcome:
        """Execute a call of a coroutine function, in an asyncio task whose context is `context()`."""
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
            raise _NotLoadedError(safe_repr(error)) from error
        args, kwargs = arguments.fill(upstream) if type(arguments) is Template else arguments
        return function, args, kwargs

    def _outcome(self, value: Any, error: BaseException | None, started: float) -> Outcome:
        ended = time.time()
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


class _NotLoadedError(Exception):
    """The call, not the user's function, failed: something in it cannot be unpickled here."""


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


def _with_origins(error: BaseException) -> Iterator[BaseException]:
    """The exception, and all that it came from or that it groups, each once."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        one = rest.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        rest += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            rest += one.exceptions


def _pickle_exception(error: BaseException) -> bytes | None:
    """The exception pickled, if a copy of it that is its equal in type and text comes back."""
    try:
        pickled = dump(error, in_band=True)
        if pickled.nbytes > EXCEPTION_LIMIT:
            return None
        copy = pickled.load()
        faithful = type(copy) is type(error) and str(copy) == str(error)
    except Exception:  # noqa: BLE001  # it does not survive: its text will
        return None
    return pickled.head if faithful else None
