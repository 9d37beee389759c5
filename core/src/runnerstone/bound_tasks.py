"""Tasks as methods."""

import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, overload

from runnerstone.annotations import unmapped
from runnerstone.future_lists import TaskFutureIterator, TaskFutureList
from runnerstone.futures import TaskFuture
from runnerstone.options import TaskKeywords

if TYPE_CHECKING:
    from runnerstone.tasks import Task

__all__ = ["BoundTask"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class BoundTask(Generic[P, R_co]):
    """A task as a method: its calls pass what it was got from as the first argument.

    Attributes:
        task: The task.
        owner: What it was got from: an instance, or a class.
    """

    def __init__(self, task: "Task[..., R_co]", owner: Any) -> None:
        """Bind a task.

        Args:
            task: The task.
            owner: The first argument.
        """
        self.task = task
        self.owner = owner
        self.__doc__ = task.__doc__

    @property
    def name(self) -> str:
        """What its runs are named after."""
        return self.task.name

    @property
    def fn(self) -> Callable[P, R_co]:
        """The plain method."""
        return functools.partial(self.task.fn, self.owner)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """As calling the task does."""
        return self.task(self.owner, *args, **kwargs)

    @overload
    def submit(
        self: "BoundTask[P, Coroutine[Any, Any, T]]", /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskFuture[T]: ...
    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R_co]: ...
    @overload
    def submit(
        self: "BoundTask[..., Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        wait_for: Iterable[TaskFuture[Any]],
        **kwargs: Any,
    ) -> TaskFuture[T]: ...
    @overload
    def submit(
        self, /, *args: Any, wait_for: Iterable[TaskFuture[Any]], **kwargs: Any
    ) -> TaskFuture[R_co]: ...
    def submit(self, /, *args: Any, **kwargs: Any) -> Any:
        """As `Task.submit` does."""
        return self.task.submit(self.owner, *args, **kwargs)

    @overload
    def map(
        self: "BoundTask[..., Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        wait_for: Iterable[TaskFuture[Any]] = (),
        buffersize: None = None,
        **kwargs: Any,
    ) -> TaskFutureList[T]: ...
    @overload
    def map(
        self,
        /,
        *args: Any,
        wait_for: Iterable[TaskFuture[Any]] = (),
        buffersize: None = None,
        **kwargs: Any,
    ) -> TaskFutureList[R_co]: ...
    @overload
    def map(
        self: "BoundTask[..., Coroutine[Any, Any, T]]",
        /,
        *args: Any,
        wait_for: Iterable[TaskFuture[Any]] = (),
        buffersize: int,
        **kwargs: Any,
    ) -> TaskFutureIterator[T]: ...
    @overload
    def map(
        self,
        /,
        *args: Any,
        wait_for: Iterable[TaskFuture[Any]] = (),
        buffersize: int,
        **kwargs: Any,
    ) -> TaskFutureIterator[R_co]: ...
    def map(self, /, *args: Any, **kwargs: Any) -> Any:
        """As `Task.map` does."""
        return self.task.map(unmapped(self.owner), *args, **kwargs)

    def with_options(self, **options: Unpack[TaskKeywords]) -> "BoundTask[P, R_co]":
        """The same method with some options changed."""
        return BoundTask(self.task.with_options(**options), self.owner)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundTask):
            return NotImplemented
        return self.task is other.task and self.owner is other.owner

    def __hash__(self) -> int:
        return hash((self.task, id(self.owner)))

    def __repr__(self) -> str:
        return f"<BoundTask {self.name!r} of {type(self.owner).__qualname__}>"
