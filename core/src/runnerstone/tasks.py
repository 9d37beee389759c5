"""`task`: what users decorate."""

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

import attrs

from runnerstone._context import current_run
from runnerstone._maps import MappedArguments, TaskFutureIterator
from runnerstone.errors import NotInFlowError
from runnerstone.future_lists import TaskFutureList
from runnerstone.futures import TaskFuture

__all__ = ["Task", "TaskKeywords", "TaskOptions", "task"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class TaskKeywords(TypedDict, total=False):
    """The keyword arguments of `task`; see `TaskOptions`."""

    name: str
    tags: Iterable[str]
    retries: int
    retry_delay_seconds: float
    resources: Mapping[str, float | str]
    runner_options: Mapping[str, Mapping[str, Any]]


def _label_set(labels: Iterable[str]) -> frozenset[str]:
    if isinstance(labels, str):
        raise TypeError(f"tags are several strings, not the one string {labels!r}")
    return frozenset(labels)


@attrs.frozen(kw_only=True)
class TaskOptions:
    """What a task was declared with.

    Attributes:
        name: What its runs are named after; None takes the function's name.
        tags: Labels. They are part of the key in the names of its runs.
        retries: How often a failed run is tried again, at most.
        retry_delay_seconds: Wait before each retry. It holds no worker.
        resources: What a run needs, by name, for task runners that know resources.
        runner_options: Options peculiar to a task runner, by the runner's name.
    """

    name: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(str))
    )
    tags: frozenset[str] = attrs.field(default=frozenset(), converter=_label_set)
    retries: int = attrs.field(
        default=0, validator=[attrs.validators.instance_of(int), attrs.validators.ge(0)]
    )
    retry_delay_seconds: float = attrs.field(
        default=0.0,
        validator=[attrs.validators.instance_of((int, float)), attrs.validators.ge(0)],
    )
    resources: Mapping[str, float | str] = attrs.field(factory=dict)
    runner_options: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


class Task(Generic[P, R_co]):
    """A function whose calls, in a flow's body, are task runs.

    Called anywhere else, in a script, in a test or in another task, it is the plain function.

    Attributes:
        fn: The plain function.
        name: What its runs are named after.
        options: What it was declared with.
        is_async: Whether the function is a coroutine function.
    """

    __wrapped__: Callable[P, R_co]

    def __init__(self, fn: Callable[P, R_co], options: TaskOptions) -> None:
        """Make a task.

        Args:
            fn: The function.
            options: What it is declared with.

        Raises:
            TypeError: If `fn` cannot be called, or has a parameter named ``wait_for``.
        """
        if not callable(fn):
            raise TypeError(f"a task is made of a function or another callable, not of {fn!r}")
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.options = options
        self.name = options.name or str(getattr(fn, "__name__", type(fn).__name__))
        self.is_async = is_coroutine_function(fn)
        self._signature = signature_of(fn)
        if "wait_for" in self._signature.parameters:
            raise TypeError(
                f"task {self.name!r} has a parameter 'wait_for', which submit() takes for itself: "
                "rename it"
            )
        self._arity = _arity(self._signature)

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
        run = current_run.get()
        if run is None or not hasattr(run, "submit"):
            raise NotInFlowError(
                f"task {self.name!r} was submitted "
                + ("outside of a flow" if run is None else "inside a task")
                + f": submit it in a flow's body, or run it right here with {self.name}(...)"
            )
        return run.submit(self, args, kwargs, _futures(kwargs.pop("wait_for", ())))

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
        run = current_run.get()
        if run is None or not hasattr(run, "submit"):
            raise NotInFlowError(f"task {self.name!r} was mapped outside of a flow's body")
        self.check_arguments(args, kwargs)
        awaited = _futures(wait_for)
        arguments = MappedArguments(self.name, self._signature, args, kwargs)

        def submit(args: tuple[Any, ...], kwargs: dict[str, Any], map_index: int) -> Any:  # noqa: ARG001  # runs are not told theirs
            return run.submit(self, args, kwargs, awaited)

        if buffersize is None:
            return arguments.submit_all(submit)
        return TaskFutureIterator(arguments.submissions(submit), buffersize)

    def with_options(self, **options: Unpack[TaskKeywords]) -> "Task[P, R_co]":
        """A task of the same function with some options changed."""
        return Task(self.fn, attrs.evolve(self.options, **cast("dict[str, Any]", options)))

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
                raise TypeError(f"task {self.name!r}: {error}") from None

    def parts(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the parameters' names, for messages."""
        return self._signature.bind(*args, **kwargs).arguments

    def __reduce__(self) -> tuple[Any, ...]:
        module, qualname = self.__module__, getattr(self, "__qualname__", "")
        if module in sys.modules and not _travels_by_value(module):
            found: Any = sys.modules[module]
            for part in qualname.split("."):
                found = getattr(found, part, None)
            if found is self:
                return _import_task, (module, qualname)
        return Task, (self.fn, attrs.evolve(self.options, runner_options={}))

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
    declared = TaskOptions(**cast("dict[str, Any]", options))  # whose converters take more types
    if fn is None:
        return lambda function: Task(function, declared)
    return Task(fn, declared)


def task_key(name: str, fn: Any, tags: Iterable[str]) -> str:
    """Eight hexadecimal digits for a task: the formula of Prefect's task runs, early 2022."""
    import hashlib  # slow to load, and needed only by runs

    module = getattr(fn, "__module__", type(fn).__module__)
    qualname = getattr(fn, "__qualname__", type(fn).__qualname__)
    text = f"{name}{module}.{qualname}{sorted(tags)}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8]


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Whether calls give coroutines, also of objects whose ``__call__`` is an ``async def``."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _futures(wait_for: Any) -> tuple[TaskFuture[Any], ...]:
    for future in (futures := tuple(wait_for)):
        if not isinstance(future, TaskFuture):
            raise TypeError(f"wait_for takes the futures of task runs, not {future!r}")
    return futures


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """The signature of a callable; of one that does not tell, that it takes anything."""
    try:
        return inspect.signature(fn)
    except ValueError:  # some builtins do not tell theirs
        kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        return inspect.Signature(
            [
                inspect.Parameter(name, kind)
                for name, kind in zip(("args", "kwargs"), kinds, strict=True)
            ]
        )


_MANY: Final = sys.maxsize


def _arity(signature: inspect.Signature) -> tuple[int, int]:
    """Between which numbers of positional arguments a call without keywords fits; none if 1 > 0."""
    least = most = 0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = _MANY
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if required:
                return 1, 0
        elif parameter.kind is not parameter.VAR_KEYWORD:
            least += required
            most += 1
    return least, most


def _travels_by_value(module: str) -> bool:
    if module == "__main__":
        return True
    if "cloudpickle" not in sys.modules:
        return False
    import cloudpickle  # waits while another thread is importing it

    names = cloudpickle.list_registry_pickle_by_value()  # a package's stands for all in it
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def _import_task(module: str, qualname: str) -> Any:
    __import__(module)
    found: Any = sys.modules[module]
    for part in qualname.split("."):
        found = getattr(found, part)
    return found
