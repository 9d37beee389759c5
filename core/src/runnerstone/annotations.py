"""Marks for arguments: how a task takes what is inside."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

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
class unmapped(Generic[T]):  # noqa: N801  # it is called around an argument, as a function is
    """Have `Task.map` pass an iterable to each run as it is, and not map over it.

    Attributes:
        value: What each run gets.
    """

    value: T


if TYPE_CHECKING:

    @overload
    def allow_failure(future: TaskFuture[Any]) -> Any: ...
    @overload
    def allow_failure(future: T) -> T | BaseException: ...


def allow_failure(future: Any) -> Any:
    """Take a future's value whatever became of its run: for a task's arguments and `wait_for`.

    If the run did not complete, the task gets the exception instead that the future would raise.
    Of a list, a tuple, a set or a dict a copy is returned in which all futures are so marked.
    Anything else, as where tasks are called as plain functions, is returned as it is.
    """
    if isinstance(future, TaskFuture):
        return AllowFailure(future)
    if type(future) is dict:
        return {key: allow_failure(value) for key, value in future.items()}
    if isinstance(future, list) or type(future) in {tuple, set}:
        kind = list if isinstance(future, list) else type(future)
        return kind(map(allow_failure, future))
    return future


def quote(value: T) -> T:
    """Pass a value to a task as it is: futures are not looked for in it, which takes no time.

    The task gets the value itself, or a copy of it where calls travel. Outside of a flow's body it
    is the value already.
    """
    return cast("T", Quote(value)) if hasattr(current_run.get(), "submit") else value


def named(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as runs are named by them: without marks, and futures by their runs' names."""
    return {name: _named(value) for name, value in arguments.items()}


def _named(value: Any) -> Any:
    if isinstance(value, AllowFailure):
        value = value.future
    elif isinstance(value, Quote):
        value = value.value
    return value.name if isinstance(value, TaskFuture) else value
