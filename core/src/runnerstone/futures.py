"""What a submission gives back.

Each future has a lock, which guards its becoming final and who waits for that; it is never held
while user code runs.
"""

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, TypeVar

from runnerstone._tracebacks import hide_frames
from runnerstone.contents import Pickled, Reference
from runnerstone.states import State

if TYPE_CHECKING:
    from runnerstone._problems import Problem
    from runnerstone.runs import FlowRun, TaskRun

__all__ = ["TaskFuture"]

R_co = TypeVar("R_co", covariant=True)

# Between looks at whether Ctrl-C has come, for a thread that blocks.
LOOK_UP_SECONDS: Final = 0.5
_UNLOADED: Final = object()
_log: Final = getLogger("runnerstone.task_runs")


class Owner(Protocol):
    """The engine, as its futures know it."""

    @property
    def run(self) -> "FlowRun[Any]": ...

    def cancel(self, future: "TaskFuture[Any]") -> bool: ...

    def fetch(self, future: "TaskFuture[Any]") -> Pickled: ...

    def fetch_all(self, futures: Iterable["TaskFuture[Any]"]) -> None: ...

    def call_back(self, fn: Callable[[], None]) -> None: ...


class TaskFuture(Generic[R_co]):
    """A task run's value, which may not be there yet.

    Pass it to other tasks as an argument, at any depth: the engine hands them the value. Its
    methods are those of `concurrent.futures.Future`; it can also be awaited. All of them may be
    called from any thread of the driver.
    """

    __slots__ = (
        "__weakref__",
        "_attempt",
        "_callbacks",
        "_content",
        "_dependents",
        "_final",
        "_lock",
        "_owner",
        "_problem",
        "_run",
        "_value",
        "_waiters",
    )

    def __init__(self, run: "TaskRun", owner: Owner) -> None:
        self._run: Final = run
        self._owner: Final = owner
        self._final = False
        # Of a completed run: what later calls take, the value itself or a Pickled or a Reference.
        self._content: Any = None
        # The value in the driver; _UNLOADED while only the content is.
        self._value: Any = _UNLOADED
        self._problem: Problem | None = None
        self._lock: Final = threading.Lock()
        # Guarded by the lock, and None once final:
        self._attempt: Any = None  # the engine's: what runs or waits now
        self._dependents: list[Any] | None = None  # the engine's: attempts that wait for this run
        self._waiters: list[threading.Lock] | None = None
        self._callbacks: list[Callable[[], None]] | None = None

    @property
    def name(self) -> str:
        """The task run's name."""
        return self._run.name

    @property
    def state(self) -> State:
        """How the task run stands now."""
        return self._run.state

    @property
    def task_run(self) -> "TaskRun":
        """The task run's record."""
        return self._run

    def done(self) -> bool:
        """Whether the task run is final, however it ended."""
        return self._final

    def cancelled(self) -> bool:
        """Whether the task run ended as cancelled."""
        return self._final and self._run.state.is_cancelled()

    def cancel(self) -> bool:
        """End the task run as cancelled; what depends on it will be skipped.

        A call that has not begun never will, where the task runner can prevent it; one that runs is
        interrupted where it can be, and otherwise goes on unheeded.

        Returns:
            Whether it is cancelled now: false if it was final before.
        """
        return self._owner.cancel(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the task run is final; return whether it is.

        Args:
            timeout: Longest wait, in seconds; None waits for ever.
        """
        if self._final:
            return True
        with self._lock:
            if self.done():
                return True
            waiter = threading.Lock()
            waiter.acquire()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
        if wait_for_release(waiter, timeout):
            return True
        with self._lock:
            if self._waiters is not None:
                self._waiters.remove(waiter)
        return self._final

    def result(self, timeout: float | None = None) -> R_co:
        """Block until the task run is final; return its value.

        Args:
            timeout: Longest wait, in seconds; None waits for ever.

        Raises:
            BaseException: The task's own exception, if it failed.
            TimeoutError: If it is not final in time.
            TaskFailedError: If its exception cannot be raised here.
            TaskTimeoutError: If it took longer than it was given; a `TimeoutError`, too.
            TaskCrashedError: If the infrastructure ended it.
            UpstreamNotCompletedError: If it was skipped; its cause is what went wrong first.
            TaskCancelledError: If it was cancelled.
            ValueLostError: If the value is gone with its worker.
            ResultGoneError: If the value went away with its task runner.
        """
        if not self._final:
            self._wait_or_raise(timeout)
        if self._problem is not None:
            try:
                raise self._problem.error()  # noqa: TRY301  # so that its traceback begins here
            except BaseException as error:
                hide_frames(error)
                raise
            finally:
                self = None  # type: ignore[assignment]  # noqa: PLW0642  # else the traceback holds it in a cycle
        if self._value is _UNLOADED:
            self._load()
        value: R_co = self._value
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Block until the task run is final; return what `result` would raise, None if nothing.

        Args:
            timeout: Longest wait, in seconds; None waits for ever.

        Raises:
            TimeoutError: If it is not final in time.
        """
        if not self._final:
            self._wait_or_raise(timeout)
        return None if self._problem is None else self._problem.error()

    def add_done_callback(self, fn: Callable[["TaskFuture[R_co]"], object]) -> None:
        """Have ``fn(future)`` called once the task run is final; at once and right here if it is.

        Otherwise it is called on a thread that each flow run has for this, one callback after
        another, before the flow ends. What it raises is logged.
        """
        call = partial(self._call, fn)
        if not self._when_final(partial(self._owner.call_back, call)):
            call()

    def _when_final(self, fn: Callable[[], None]) -> bool:
        """Have `fn` called by the thread that ends the run; false if it has ended.

        Args:
            fn: It must neither block nor raise.
        """
        with self._lock:
            if self._final:
                return False
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(fn)
            return True

    def _forget(self, fn: Callable[[], None]) -> None:
        """Take back what `_when_final` was given; nothing happens if the run has ended.

        It takes no lock: a waiter that is dropped calls it, maybe from the garbage collector, which
        may run in a thread that holds the lock.
        """
        callbacks = self._callbacks
        if callbacks is not None:
            with suppress(ValueError):
                callbacks.remove(fn)

    def _settle(self, content: Any, problem: "Problem | None") -> list[Any] | None:
        """Make the future final; for the engine, which holds the lock. Return the dependents."""
        if problem is not None:
            self._problem = problem
        else:
            self._content = content
            if type(content) is not Pickled and type(content) is not Reference:
                self._value = content
        self._attempt = None
        self._final = True
        if self._waiters is not None:
            for waiter in self._waiters:
                waiter.release()
            self._waiters = None
        dependents, self._dependents = self._dependents, None
        return dependents

    def _announce(self) -> None:
        """Call the callbacks; for the engine, which holds no lock."""
        callbacks, self._callbacks = self._callbacks, None
        for fn in list(callbacks or ()):  # another thread may be taking one back
            fn()

    def _call(self, fn: Callable[["TaskFuture[R_co]"], object]) -> None:
        try:
            fn(self)
        except Exception:  # noqa: BLE001  # a user's callback may raise anything
            _log.exception("A callback of task run %r raised:", self.name)

    def _is_absent(self) -> bool:
        """Whether the value is to be fetched; for the engine."""
        return type(self._content) is Reference and self._value is _UNLOADED

    def _load(self) -> None:
        content = self._content
        if type(content) is Reference:
            content = self._owner.fetch(self)
        self._value = content.load()

    def _wait_or_raise(self, timeout: float | None) -> None:
        if not self.wait(timeout):
            raise TimeoutError(f"task run {self.name!r} is {self.state.name} after {timeout} s")

    async def _become_final(self) -> None:
        """Return once the run is final, however it ended."""
        import asyncio  # heavy, and whoever awaits has it loaded

        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        wake_up = partial(wake, loop, woken)
        if self._when_final(wake_up):
            try:
                await woken
            finally:
                self._forget(wake_up)

    def __await__(self) -> Generator[Any, None, R_co]:
        import asyncio  # as above

        if not self._final:
            yield from self._become_final().__await__()
        if self._problem is None and type(self._content) is Reference:
            return (yield from asyncio.to_thread(self.result).__await__())
        try:
            return self.result()
        except BaseException as error:
            hide_frames(error)
            raise

    def _refuse(self, use: str) -> NoReturn:
        raise TypeError(
            f"the future of task run {self.name!r} {use}; call .result() to wait for its value"
        )

    def __bool__(self) -> NoReturn:  # noqa: PLE0304  # it refuses
        self._refuse("has no truth value")

    if not TYPE_CHECKING:  # type checkers shall not take a future for an iterable

        def __iter__(self) -> NoReturn:
            self._refuse("cannot be iterated over")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the future of task run {self.name!r} cannot be pickled or copied: pass it to a task "
            "as an argument, where it is replaced by its value"
        )

    def __repr__(self) -> str:
        return f"<TaskFuture {self.name!r} {self.state.name}>"


def fetch_all(futures: Iterable[TaskFuture[Any]]) -> None:
    """Bring the values of completed runs to the driver, in one batch a flow run.

    Raises:
        ValueLostError: If one of them is gone with its worker.
        ResultGoneError: If one of them went away with its task runner.
    """
    absent = [it for it in dict.fromkeys(futures) if it._is_absent()]  # noqa: SLF001  # it is here
    for owner in {future._owner for future in absent}:  # noqa: SLF001  # likewise
        owner.fetch_all(absent)


def wait_for_release(lock: threading.Lock, timeout: float | None = None) -> bool:
    """Block until another thread releases a lock; return whether it has in time.

    Args:
        lock: It is acquired twice then.
        timeout: Longest wait, in seconds; None waits for ever, and looks up now and then: Ctrl-C
            does not wake a thread that was just about to block, and on Windows none that blocks.
    """
    if timeout is not None:
        return lock.acquire(timeout=max(timeout, 0))
    while not lock.acquire(timeout=LOOK_UP_SECONDS):
        pass
    return True


def wake(loop: Any, woken: Any) -> None:
    """Wake what awaits in an asyncio event loop, from another thread."""
    try:
        loop.call_soon_threadsafe(_set, woken)
    except RuntimeError:  # the loop is closed: nobody awaits any more
        _log.debug("The event loop that awaited a run is closed")


def _set(woken: Any) -> None:
    if not woken.done():  # as it is if its awaiter was cancelled
        woken.set_result(None)
