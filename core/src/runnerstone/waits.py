"""Waiting for several task runs at once, in the vocabulary of the standard library."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from runnerstone.futures import TaskFuture, wait_for_release

__all__ = [  # noqa: RUF022  # as `sorted` has it, like everywhere
    "ALL_COMPLETED",
    "DoneAndNotDone",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "as_completed",
    "wait",
]

R = TypeVar("R")

FIRST_COMPLETED: Final = "FIRST_COMPLETED"
FIRST_EXCEPTION: Final = "FIRST_EXCEPTION"
ALL_COMPLETED: Final = "ALL_COMPLETED"

# How many unfinished runs a message names.
_NAMED: Final = 3


class DoneAndNotDone(NamedTuple, Generic[R]):
    """What `wait` returns, each future once and in the order given.

    Attributes:
        done: Those whose runs are final, however they ended.
        not_done: The others.
    """

    done: list[TaskFuture[R]]
    not_done: list[TaskFuture[R]]


def wait(
    futures: Iterable[TaskFuture[R]],
    timeout: float | None = None,
    return_when: Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"] = ALL_COMPLETED,
) -> DoneAndNotDone[R]:
    """Block until task runs are final; return which are and which are not.

    Args:
        futures: One that is in it twice counts once.
        timeout: Longest wait, in seconds, for all of them together. None waits for ever; 0 only
            looks.
        return_when: Whether to wait for all, for the first that is final (`FIRST_COMPLETED`), or
            for the first that failed, crashed, was cancelled or was skipped (`FIRST_EXCEPTION`;
            without one, for all).

    Raises:
        TypeError: If there is anything else than futures of task runs in `futures`.
        ValueError: If `return_when` is none of the three.
    """
    unique = _unique(futures, "wait()")
    is_enough = _IS_ENOUGH.get(return_when)
    if is_enough is None:
        raise ValueError(f"return_when is one of {', '.join(_IS_ENOUGH)}, not {return_when!r}")
    done, not_done = _parted(unique)
    if not_done and not any(map(is_enough, done)):
        watch = _Watch(not_done, is_enough)
        try:
            watch.begin()
            watch.wait(timeout)
        finally:
            watch.end()
    return _parted(unique)


def as_completed(
    futures: Iterable[TaskFuture[R]], timeout: float | None = None
) -> Iterator[TaskFuture[R]]:
    """Iterate over futures in the order in which their runs become final, however they end.

    Those whose runs are final already come first, in the order given.

    Args:
        futures: One that is in it twice comes once.
        timeout: Longest wait, in seconds from now on, for all of them together; None waits for
            ever.

    Raises:
        TypeError: If there is anything else than futures of task runs in `futures`.
        TimeoutError: From the iterator, if not all are final in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    return _ended(_unique(futures, "as_completed()"), timeout, deadline)


def not_final_error(
    futures: Sequence[TaskFuture[Any]], total: int, timeout: float | None
) -> TimeoutError:
    """What to raise where runs are not final in time.

    Args:
        futures: The unfinished ones.
        total: How many there were to wait for.
        timeout: How long that was, in seconds.
    """
    names = ", ".join(repr(future.name) for future in islice(futures, _NAMED))
    more = ", ..." if len(futures) > _NAMED else ""
    return TimeoutError(
        f"{len(futures)} of {total} task runs are not final after {timeout} s: {names}{more}"
    )


def _unique(futures: Iterable[TaskFuture[R]], taker: str) -> list[TaskFuture[R]]:
    if isinstance(futures, TaskFuture):
        raise TypeError(
            f"{taker} takes several futures, not just that of task run {futures.name!r}: put it in "
            "a list"
        )
    given = list(futures)
    for future in given:
        if not isinstance(future, TaskFuture):
            raise TypeError(f"{taker} takes the futures of task runs, not {future!r}")
    return list(dict.fromkeys(given))


def _parted(futures: Iterable[TaskFuture[R]]) -> DoneAndNotDone[R]:
    parted: DoneAndNotDone[R] = DoneAndNotDone([], [])
    for future in futures:
        (parted.done if future.done() else parted.not_done).append(future)
    return parted


def _ended(
    futures: list[TaskFuture[R]], timeout: float | None, deadline: float | None
) -> Iterator[TaskFuture[R]]:
    total = len(futures)
    done, not_done = _parted(futures)
    watch = _Watch(not_done, _IS_ENOUGH[FIRST_COMPLETED])
    del futures[:], not_done  # so that nothing keeps what has been taken
    done.reverse()
    try:
        watch.begin()
        while done:
            yield done.pop()
        while watch.remaining:
            if not watch.ended:
                left = None if deadline is None else deadline - time.monotonic()
                if not watch.wait(left) and not watch.ended:
                    raise not_final_error(list(watch.remaining), total, timeout)
            while watch.ended:
                yield watch.take()
    finally:
        watch.end()


# By `return_when`: whether the end of this run is enough, though others are not final.
_IS_ENOUGH: Final[dict[str, Callable[[TaskFuture[Any]], bool]]] = {
    FIRST_COMPLETED: lambda _: True,
    FIRST_EXCEPTION: lambda future: not future.state.is_completed(),
    ALL_COMPLETED: lambda _: False,
}


class _Watch(Generic[R]):
    """Sees runs become final, and wakes the one thread that waits for them.

    Attributes:
        ended: The futures whose runs have become final, in this order, and were not taken.
        remaining: All that were not taken, with what their runs call when they end.
    """

    def __init__(
        self, futures: Sequence[TaskFuture[R]], is_enough: Callable[[TaskFuture[R]], bool]
    ) -> None:
        """Prepare to watch.

        Args:
            futures: Different ones.
            is_enough: Whether a run's end is worth waking up for. The last one's always is.
        """
        self.ended: deque[TaskFuture[R]] = deque()
        self.remaining = {future: partial(self._see, future) for future in futures}
        self._count = len(futures)
        self._is_enough = is_enough
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def begin(self) -> None:
        """Watch; a run that is final ends now."""
        for future, see in self.remaining.items():
            if not future._when_final(see):  # noqa: SLF001  # futures have it for waiters
                see()

    def wait(self, timeout: float | None) -> bool:
        """Block until something worth it has happened since; return whether it has in time."""
        return wait_for_release(self._asleep, timeout)

    def take(self) -> TaskFuture[R]:
        """Take out the future whose run ended first."""
        future = self.ended.popleft()
        del self.remaining[future]
        return future

    def end(self) -> None:
        """Watch no more."""
        for future, see in self.remaining.items():
            future._forget(see)  # noqa: SLF001  # likewise
        self.remaining.clear()  # which refer back to this

    def _see(self, future: TaskFuture[R]) -> None:
        """Note that a run has ended; called by the thread that ended it, so it does not block."""
        self.ended.append(future)
        if self._is_enough(future) or len(self.ended) == self._count:
            with suppress(RuntimeError):  # it is awake already
                self._asleep.release()
