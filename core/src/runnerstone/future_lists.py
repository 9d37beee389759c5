"""Lists of futures, as `Task.map` gives them."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, Literal, SupportsIndex, TypeVar, overload

from runnerstone._containers import rebuilt_as_list
from runnerstone.futures import TaskFuture, fetch_all
from runnerstone.waits import ALL_COMPLETED, FIRST_EXCEPTION, not_final_error, wait

__all__ = ["TaskFutureIterator", "TaskFutureList"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


@rebuilt_as_list
class TaskFutureList(list[TaskFuture[R]]):
    """A list of futures that can be waited for as a whole.

    Pass it to other tasks as an argument, at any depth: they get a plain list of the values.
    """

    __slots__ = ()

    @overload
    def result(
        self, timeout: float | None = None, *, on_error: Literal["raise", "skip"] = "raise"
    ) -> list[R]: ...
    @overload
    def result(
        self, timeout: float | None = None, *, on_error: Literal["collect"]
    ) -> list[R | BaseException]: ...
    def result(self, timeout: float | None = None, *, on_error: str = "raise") -> list[Any]:
        """Block until the task runs are final; return their values, in the order of the list.

        Args:
            timeout: Longest wait, in seconds, for all of them together; None waits for ever.
            on_error: What becomes of a run without a value. ``"raise"`` raises for it as soon as
                there is one, without waiting for the others; for the first in the list, if there
                are several. ``"collect"`` puts in its place what `TaskFuture.result` would raise,
                and ``"skip"`` leaves it out.

        Raises:
            ValueError: If `on_error` is none of these.
            TimeoutError: If not all are final in time.
            BaseException: What `TaskFuture.result` raises, if ``on_error="raise"``.
        """
        if on_error not in {"raise", "collect", "skip"}:
            raise ValueError(f"on_error is 'raise', 'collect' or 'skip', not {on_error!r}")
        first = on_error == "raise"
        done, not_done = wait(self, timeout, FIRST_EXCEPTION if first else ALL_COMPLETED)
        if first:
            error = next(filter(None, map(_error_of, done)), None)
            if error is not None:
                try:
                    raise error
                finally:
                    del self, done, not_done, error  # else its traceback holds them in a cycle
        if not_done:
            raise not_final_error(not_done, len(done) + len(not_done), timeout)
        if first:
            fetch_all(self)
            return [future.result() for future in self]
        with suppress(Exception):  # each is asked for once more, and tells what became of it
            fetch_all(self)
        outcomes = map(_outcome_of, self)
        if on_error == "collect":
            return [value if error is None else error for value, error in outcomes]
        return [value for value, error in outcomes if error is None]

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all task runs are final; return whether they are.

        Args:
            timeout: Longest wait, in seconds, for all of them together; None waits for ever.
        """
        return not wait(self, timeout).not_done

    def done(self) -> bool:
        """Whether all task runs are final, however they ended."""
        return all(future.done() for future in self)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> TaskFuture[R]: ...
    @overload
    def __getitem__(self, index: slice, /) -> "TaskFutureList[R]": ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Any:
        if isinstance(index, slice):
            return TaskFutureList(super().__getitem__(index))
        return super().__getitem__(index)

    @overload
    def __add__(self, others: list[TaskFuture[R]], /) -> "TaskFutureList[R]": ...
    @overload
    def __add__(self, others: list[T], /) -> list[T | TaskFuture[R]]: ...
    def __add__(self, others: list[Any], /) -> Any:
        both = super().__add__(others)
        return TaskFutureList(both) if _are_futures(others) else both


class TaskFutureIterator(Generic[R_co]):
    """The futures of a map, in order, each once its run is final, however that ended.

    Runs are submitted as the iteration goes on. To be used by ``for`` or, in a coroutine, by
    ``async for``, by one thread at a time.
    """

    def __init__(self, submissions: Iterator[TaskFuture[R_co]], buffersize: int) -> None:
        """Make an iterator that has submitted nothing yet.

        Args:
            submissions: Submits one more run each time it is asked for the next.
            buffersize: How many runs there are, at most, whose futures are still to come.

        Raises:
            TypeError: If `buffersize` is no integer.
            ValueError: If it is less than 1.
        """
        if not isinstance(buffersize, int):
            raise TypeError(f"buffersize is an integer or None, not {buffersize!r}")
        if buffersize < 1:
            raise ValueError(f"buffersize is at least 1, not {buffersize}")
        self._submissions = submissions
        self._buffersize = buffersize
        self._submitted: deque[TaskFuture[R_co]] = deque()

    def __iter__(self) -> "TaskFutureIterator[R_co]":
        return self

    def __next__(self) -> TaskFuture[R_co]:
        self._fill()
        if not self._submitted:
            raise StopIteration
        self._submitted[0].wait()
        return self._submitted.popleft()

    def __aiter__(self) -> "TaskFutureIterator[R_co]":
        return self

    async def __anext__(self) -> TaskFuture[R_co]:
        self._fill()
        if not self._submitted:
            raise StopAsyncIteration
        await self._submitted[0]._become_final()  # noqa: SLF001  # futures have it for waiters
        return self._submitted.popleft()

    def close(self) -> None:
        """Submit nothing more and end the iteration; runs that are submitted go on."""
        self._submissions = iter(())
        self._submitted.clear()

    def _fill(self) -> None:
        free = self._buffersize - len(self._submitted)
        self._submitted.extend(islice(self._submissions, free))


def _are_futures(items: Iterable[Any]) -> bool:
    return all(isinstance(item, TaskFuture) for item in items)


def _error_of(future: TaskFuture[Any]) -> BaseException | None:
    return None if future.state.is_completed() else future.exception()


def _outcome_of(future: TaskFuture[R]) -> tuple[R | None, BaseException | None]:
    """The value of a final run and None, or None and what `TaskFuture.result` would raise."""
    error = future.exception()
    if error is not None:
        return None, error
    try:
        return future.result(), None
    except Exception as lost:  # noqa: BLE001  # the value is gone, or does not load here
        return None, lost
