"""`task`: what users decorate."""

import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import (
    Any,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from runnerstone._context import current_run
from runnerstone._imports import import_task, imports_as
from runnerstone._maps import MappedArguments
from runnerstone._run_names import check_template, run_name
from runnerstone._signatures import (
    Method,
    arity,
    bound_arguments,
    bound_to,
    description_of,
    function_of,
    is_coroutine_function,
    name_of,
    signature_of,
)
from runnerstone.annotations import AllowFailure, named
from runnerstone.bound_tasks import BoundTask
from runnerstone.errors import NotInFlowError
from runnerstone.future_lists import TaskFutureIterator, TaskFutureList
from runnerstone.futures import TaskFuture
from runnerstone.options import TaskKeywords, TaskOptions, changed, declared

__all__ = ["Task", "task"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class Task(Generic[P, R_co]):
    """A function whose calls, in a flow's body, are task runs.

    Called anywhere else, in a script, in a test or in another task, it is the plain function. In a
    class it is a method: got from an instance, it is a `BoundTask`.

    Attributes:
        fn: The plain function.
        name: What its runs are named after.
        description: For people: what it was declared with, else the docstring; None without one.
        options: What it was declared with.
        is_async: Whether the function is a coroutine function.
    """

    __wrapped__: Callable[P, R_co]

    def __init__(self, fn: Callable[P, R_co], options: TaskOptions) -> None:
        """Make a task.

        Args:
            fn: The function; also a class method or a static method.
            options: What it is declared with.

        Raises:
            TypeError: If `fn` cannot be called, or has a parameter named ``wait_for``.
            ValueError: If the template for its runs' names has a field that is no parameter.
        """
        self._declared: Any = fn
        fn = cast("Callable[P, R_co]", function_of(fn))
        if isinstance(fn, (Task, BoundTask)):
            raise TypeError(f"{fn!r} is a task already: change it by with_options(...)")
        if not callable(fn):
            raise TypeError(f"a task is made of a function or another callable, not of {fn!r}")
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.options = options
        self.name = options.name or name_of(fn)
        self.description = options.description or description_of(fn)
        self.is_async = is_coroutine_function(fn)
        self.tags = options.tags
        self.timeout_seconds = options.timeout_seconds
        self.has_hooks = options.has_hooks
        self._signature = signature_of(fn)
        if "wait_for" in self._signature.parameters:
            raise TypeError(
                f"task {self.name!r} has a parameter 'wait_for', which submit() takes for itself: "
                "rename it"
            )
        check_template(options.task_run_name, self._signature, f"task {self.name!r}")
        self._arity = arity(self._signature)

    @overload
    def __get__(
        self: Method[type[S], Q, R], instance: S | None, owner: type[S]
    ) -> "BoundTask[Q, R]": ...
    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self: Method[S, Q, R], instance: S, owner: type) -> "BoundTask[Q, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Self: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        """The task as a method of an instance or, if it is made of a class method, of a class."""
        first = bound_to(self._declared, instance, owner)
        return self if first is None else BoundTask(self, first)

    @functools.cached_property
    def key(self) -> str:
        """Eight hexadecimal digits that tell tasks of one name apart."""
        return task_key(self.name, self.fn, self.options.tags)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """In a flow's body, submit a run and return its `TaskFuture`; elsewhere, call the function.

        It is typed as the function, so that what is composed of tasks checks as if it were composed
        of functions; `submit` is typed as what it is.
        """
        run = current_run.get()
        if run is None or not hasattr(run, "submit"):
            return self.fn(*args, **kwargs)
        return cast("R_co", run.submit(self, args, kwargs))

    @overload
    def submit(
        self: "Task[P, Coroutine[Any, Any, T]]", /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskFuture[T]: ...
    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[R_co]: ...
    @overload
    def submit(
        self: "Task[..., Coroutine[Any, Any, T]]",
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
        """Submit a run to the flow's task runner.

        Args:
            args: The function's; futures in them, at any depth, are replaced by their values.
            kwargs: The function's likewise, and ``wait_for``: futures that have to complete first,
                beside those among the arguments.

        Raises:
            NotInFlowError: If this is not a flow's body.
            FlowRunEndedError: If the flow run is over.
            TypeError: If the arguments do not fit the function, or ``wait_for`` has another than
                futures in it.
        """
        awaited = _futures(kwargs.pop("wait_for")) if "wait_for" in kwargs else ()
        return self._flow_run().submit(self, args, kwargs, awaited)

    def _flow_run(self) -> Any:
        """The flow run whose body this is called in."""
        run = current_run.get()
        if run is None or not hasattr(run, "submit"):
            raise NotInFlowError(
                f"task {self.name!r} was submitted "
                + ("outside of a flow" if run is None else "inside a task")
                + f": submit it in a flow's body, or run it right here with {self.name}(...)"
            )
        return run

    @overload
    def map(
        self: "Task[..., Coroutine[Any, Any, T]]",
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
        self: "Task[..., Coroutine[Any, Any, T]]",
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
    def map(
        self,
        /,
        *args: Any,
        wait_for: Iterable[TaskFuture[Any]] = (),
        buffersize: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Submit a run for each element of the arguments that are iterable.

        Strings, bytes, what is no iterable and what is `unmapped` are passed to each run as they
        are. A future among the arguments is waited for.

        Args:
            args: The function's.
            wait_for: Futures that have to complete first, for each run.
            buffersize: Submit at most so many runs ahead of those whose futures were taken, and
                read the arguments no further. None reads them to their ends and submits all.
            kwargs: The function's.

        Returns:
            A `TaskFutureList`, or a `TaskFutureIterator` if there is a `buffersize`.

        Raises:
            NotInFlowError: If this is not a flow's body.
            TypeError: If an argument is a mapping, none is iterable, or they do not fit.
            ValueError: If the arguments' lengths differ.
        """
        run = self._flow_run()
        self.check_arguments(args, kwargs)
        awaited = _futures(wait_for)
        arguments = MappedArguments(self.name, self._signature, args, kwargs)

        def submit(args: tuple[Any, ...], kwargs: dict[str, Any], map_index: int) -> Any:
            return run.submit(self, args, kwargs, awaited, map_index)

        if buffersize is None:
            return arguments.submit_all(submit)
        return TaskFutureIterator(arguments.submissions(submit), buffersize)

    def with_options(self, **options: Unpack[TaskKeywords]) -> "Task[P, R_co]":
        """A task of the same function with some options changed."""
        return Task(self._declared, changed(self.options, options, f"task {self.name!r}"))

    def run_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """What a run with these arguments is called; None if it has the usual name.

        Raises:
            ValueError: If the template or the callable for it gives none.
        """
        naming = self.options.task_run_name
        if naming is None:
            return None
        arguments = named(bound_arguments(self._signature, args, kwargs))
        return run_name(naming, arguments, f"task {self.name!r}")

    def check_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check that the function can be called so.

        Raises:
            TypeError: If it cannot.
        """
        least, most = self._arity
        if kwargs or not least <= len(args) <= most:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                hint = ""
                if next(iter(self._signature.parameters), None) == "cls":
                    hint = "; if it is a class method, write @task above @classmethod"
                raise TypeError(f"task {self.name!r}: {error}{hint}") from None

    def parts(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the parameters' names, for messages."""
        return self._signature.bind(*args, **kwargs).arguments

    def __reduce__(self) -> tuple[Any, ...]:
        module, qualname = self.__module__, getattr(self, "__qualname__", "")
        if imports_as(self, module, qualname):
            return import_task, (module, qualname)
        # What else it was declared with is the driver's business.
        return Task, (self._declared, TaskOptions(name=self.options.name, tags=self.tags))

    @property
    def __isabstractmethod__(self) -> bool:
        return bool(getattr(self.fn, "__isabstractmethod__", False))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Unpack[TaskKeywords]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskKeywords]) -> Any:
    """Make a task of a function: ``@task``, or ``@task(retries=2, ...)``.

    Args:
        fn: The function.
        options: See `TaskOptions`.

    Raises:
        TypeError: If `fn` cannot be called or has a parameter ``wait_for``, or an option does not
            fit.
        ValueError: If an option's value is out of range.
    """
    chosen = declared(TaskOptions, options, "a task")
    if fn is None:
        return lambda function: Task(function, chosen)
    return Task(fn, chosen)


def task_key(name: str, fn: Any, tags: Iterable[str]) -> str:
    """Eight hexadecimal digits for a task: the formula of Prefect's task runs, early 2022."""
    import hashlib  # slow to load, and needed only by runs

    module = getattr(fn, "__module__", type(fn).__module__)
    qualname = getattr(fn, "__qualname__", type(fn).__qualname__)
    text = f"{name}{module}.{qualname}{sorted(tags)}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8]


def _futures(wait_for: Any) -> tuple[TaskFuture[Any] | AllowFailure, ...]:
    if isinstance(wait_for, (TaskFuture, AllowFailure)) or not isinstance(wait_for, Iterable):
        raise TypeError(
            f"wait_for takes several futures, as in wait_for=[future], not {wait_for!r}"
        )
    for future in (futures := tuple(wait_for)):
        if not isinstance(future, (TaskFuture, AllowFailure)):
            raise TypeError(f"wait_for takes the futures of task runs, not {future!r}")
    return futures
