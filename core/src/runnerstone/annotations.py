"""Marks for arguments: how a task takes what is inside."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import attrs

from runnerstone._context import current_run
from runnerstone.futures import TaskFuture

__all__ = ["allow_failure", "quote", "unmapped"]

T = TypeVar("T")


@attrs.frozen(eq=False)
class AllowFailure:
    """A future whose failure is passed on, as an argument."""

    future: TaskFuture[Any]


@attrs.frozen(eq=False)
class Quote:
    """A value that is passed as it is."""

    value: Any


@attrs.frozen(eq=False)
class Unmapped:
    """A value that `Task.map` passes to each run."""

    value: Any


if TYPE_CHECKING:

    @overload
    def allow_failure(future: TaskFuture[T]) -> T | BaseException: ...
    @overload
    def allow_failure(future: T) -> T | BaseException: ...


def allow_failure(future: Any) -> Any:
    """Take a future's value whatever became of its run: for a task's arguments and `wait_for`.

    If the run did not complete, the task gets the exception instead that the future would raise.
    Anything but a future, as where tasks are called as plain functions, is returned as it is.
    """
    return AllowFailure(future) if isinstance(future, TaskFuture) else future


def quote(value: T) -> T:
    """Pass a value to a task as it is: futures are not looked for in it, which takes no time.

    The task gets the value itself, or a copy of it where calls travel. Outside of a flow's body it
    is the value already.
    """
    return cast("T", Quote(value)) if hasattr(current_run.get(), "submit") else value


def unmapped(value: T) -> T:
    """Have `Task.map` pass an argument to each run as it is, though it is iterable."""
    return cast("T", Unmapped(value))


def named(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as runs are named by them: without marks, and futures by their runs' names."""
    return {name: _named(value) for name, value in arguments.items()}


def _named(value: Any) -> Any:
    if isinstance(value, AllowFailure):
        value = value.future
    elif isinstance(value, Quote):
        value = value.value
    return value.name if isinstance(value, TaskFuture) else value
