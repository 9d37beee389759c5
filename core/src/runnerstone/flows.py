"""`flow`: what users decorate."""

import functools
import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast, overload

from runnerstone._run_names import check_template, run_name
from runnerstone._signatures import (
    Method,
    bound_arguments,
    bound_to,
    description_of,
    function_of,
    is_coroutine_function,
    name_of,
    signature_of,
)
from runnerstone._tracebacks import hide_frames
from runnerstone.annotations import named
from runnerstone.options import (
    FlowKeywords,
    FlowOptions,
    TaskRunnerChoice,
    changed,
    declared,
)

if TYPE_CHECKING:
    from runnerstone.runs import FlowRun

__all__ = ["Flow", "flow"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class Flow(Generic[P, R_co]):
    """A function whose calls are flow runs: the tasks that it calls run on its task runner.

    Attributes:
        fn: The plain function.
        name: What its runs are reported as.
        description: For people: what it was declared with, else the docstring; None without one.
        options: What it was declared with.
        is_async: Whether the function is a coroutine function.
    """

    __wrapped__: Callable[P, R_co]

    def __init__(self, fn: Callable[P, R_co], options: FlowOptions) -> None:
        """Make a flow.

        Args:
            fn: The function.
            options: What it is declared with.

        Raises:
            TypeError: If `fn` cannot be called.
            ValueError: If the template for its runs' names has a field that is no parameter.
        """
        self._declared: Any = fn
        fn = cast("Callable[P, R_co]", function_of(fn))
        if isinstance(fn, Flow):
            raise TypeError(f"{fn!r} is a flow already: change it by with_options(...)")
        if not callable(fn):
            raise TypeError(f"a flow is made of a function or another callable, not of {fn!r}")
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(
                f"{fn!r} is a generator function, whose body would run when the flow is over: "
                "return a list instead"
            )
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.options = options
        self.name = options.name or name_of(fn).replace("_", "-")
        self.description = options.description or description_of(fn)
        self.is_async = is_coroutine_function(fn)
        self._signature = signature_of(fn)
        # A method's run may also be named by what it is got from.
        method: Any = fn if isinstance(fn, MethodType) else None
        self._owner = () if method is None else (method.__self__,)
        self._naming_signature = (
            self._signature if method is None else signature_of(method.__func__)
        )
        check_template(options.flow_run_name, self._naming_signature, f"flow {self.name!r}")

    @overload
    def __get__(
        self: Method[type[S], Q, R], instance: S | None, owner: type[S]
    ) -> "Flow[Q, R]": ...
    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self: Method[S, Q, R], instance: S, owner: type) -> "Flow[Q, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Self: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        """The flow as a method of an instance or, if it is made of a class method, of a class."""
        first = bound_to(self._declared, instance, owner)
        return self if first is None else Flow(MethodType(self.fn, first), self.options)

    @property
    def task_runner(self) -> TaskRunnerChoice:
        """Where its tasks run, as it was declared."""
        return self.options.task_runner

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the flow; return what the body returns, with futures in it replaced by their values.

        An ``async def`` flow returns a coroutine that does so.

        Raises:
            BaseException: What the body raised, or the first failure among the runs.
            FlowCancelledError: If the flow run ended cancelled.
            TypeError: If the arguments do not fit the function.
            TaskRunnerError: If the task runner cannot be had.
        """
        take_steps = self._prepare(args, kwargs)
        if self.is_async:
            return cast("R_co", _result_of(take_steps))
        try:
            result: R_co = take_steps().result()
        except BaseException as error:
            hide_frames(error)
            raise
        return result

    @overload
    def run(  # type: ignore[overload-overlap]  # the first that fits counts, as intended
        self: "Flow[P, Coroutine[Any, Any, T]]", /, *args: P.args, **kwargs: P.kwargs
    ) -> "Coroutine[Any, Any, FlowRun[T]]": ...
    @overload
    def run(self, /, *args: P.args, **kwargs: P.kwargs) -> "FlowRun[R_co]": ...
    def run(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the flow; return its record, finished, and raise nothing of what failed in it.

        An ``async def`` flow returns a coroutine that does so.

        Raises:
            KeyboardInterrupt: On Ctrl-C, once everything has been put away.
            TypeError: If the arguments do not fit the function.
            TaskRunnerError: If the task runner cannot be had.
        """
        take_steps = self._prepare(args, kwargs)
        return _record_of(take_steps) if self.is_async else _checked(take_steps())

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """What runs the flow and gives its record; for an ``async def`` flow a coroutine of it."""
        # Late: who imports a flow's module need not run it, as workers do not.
        from runnerstone._engine import (  # noqa: PLC0415
            FlowCall,
            flow_run_steps,
            run_steps,
            run_steps_async,
        )
        from runnerstone._plugins import resolve_task_runner  # noqa: PLC0415

        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"flow {self.name!r}: {error}") from None
        naming = self.options.flow_run_name
        name = None
        if naming is not None:
            arguments = bound_arguments(self._naming_signature, (*self._owner, *args), kwargs)
            name = run_name(naming, named(arguments), f"flow {self.name!r}")
        steps = flow_run_steps(
            FlowCall(
                flow_name=self.name,
                run_name=name,
                fn=self.fn,
                args=args,
                kwargs=kwargs,
                runner=resolve_task_runner(self.options.task_runner).copy_for_run(),
                options=self.options,
            )
        )
        return partial(run_steps_async if self.is_async else run_steps, steps)

    def with_options(self, **options: Unpack[FlowKeywords]) -> "Flow[P, R_co]":
        """A flow of the same function with some options changed."""
        return Flow(self._declared, changed(self.options, options, f"flow {self.name!r}"))

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"


async def _result_of(take_steps: "Callable[[], Coroutine[Any, Any, FlowRun[Any]]]") -> Any:
    try:
        return (await take_steps()).result()
    except BaseException as error:
        hide_frames(error)
        raise


async def _record_of(
    take_steps: "Callable[[], Coroutine[Any, Any, FlowRun[Any]]]",
) -> "FlowRun[Any]":
    return _checked(await take_steps())


def _checked(run: "FlowRun[Any]") -> "FlowRun[Any]":
    """The record, unless what ended the flow run was meant for the whole program."""
    error = run.error
    if error is not None and not isinstance(error, Exception):
        raise error
    return run


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(**options: Unpack[FlowKeywords]) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Callable[..., Any] | None = None, /, **options: Unpack[FlowKeywords]) -> Any:
    """Make a flow of a function: ``@flow``, or ``@flow(task_runner="dask", ...)``.

    Args:
        fn: The function.
        options: See `FlowOptions`.

    Raises:
        TypeError: If `fn` cannot be called, or an option does not fit.
    """
    chosen = declared(FlowOptions, options, "a flow")
    if fn is None:
        return lambda function: Flow(function, chosen)
    return Flow(fn, chosen)
