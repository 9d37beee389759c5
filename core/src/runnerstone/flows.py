"""`flow`: what users decorate."""

import functools
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

import attrs

from runnerstone.contracts import TaskRunner
from runnerstone.runs import FlowRun
from runnerstone.tasks import is_coroutine_function, signature_of

__all__ = ["Flow", "FlowKeywords", "FlowOptions", "flow"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

TaskRunnerChoice = TaskRunner | type[TaskRunner] | str | None


class FlowKeywords(TypedDict, total=False):
    """The keyword arguments of `flow`; see `FlowOptions`."""

    name: str
    task_runner: TaskRunnerChoice
    keep_task_runs: int


@attrs.frozen(kw_only=True)
class FlowOptions:
    """What a flow was declared with.

    Attributes:
        name: The flow's name; None takes the function's, with ``-`` for ``_``.
        task_runner: Where its tasks run: a name, a type, an instance, ``"package.module:Class"`` or
            ``"name@distribution"``, looked up at each run. None is the concurrent one.
        keep_task_runs: How many task runs the record of a flow run keeps one by one; further ones
            are only counted.
    """

    name: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(str))
    )
    task_runner: TaskRunnerChoice = None
    keep_task_runs: int = attrs.field(
        default=10_000, validator=[attrs.validators.instance_of(int), attrs.validators.ge(0)]
    )


class Flow(Generic[P, R_co]):
    """A function whose calls are flow runs: the tasks that it calls run on its task runner.

    Attributes:
        fn: The plain function.
        name: What its runs are reported as.
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
        """
        if not callable(fn):
            raise TypeError(f"a flow is made of a function or another callable, not of {fn!r}")
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.options = options
        name: str = getattr(fn, "__name__", type(fn).__name__)
        self.name = options.name or name.replace("_", "-")
        self.is_async = is_coroutine_function(fn)
        self._signature = signature_of(fn)

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
        result: R_co = take_steps().result()
        return result

    @overload
    def run(  # type: ignore[overload-overlap]  # the first that fits counts, as intended
        self: "Flow[P, Coroutine[Any, Any, T]]", /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, FlowRun[T]]: ...
    @overload
    def run(self, /, *args: P.args, **kwargs: P.kwargs) -> FlowRun[R_co]: ...
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
        steps = flow_run_steps(
            FlowCall(
                flow_name=self.name,
                fn=self.fn,
                args=args,
                kwargs=kwargs,
                runner=resolve_task_runner(self.options.task_runner).copy_for_run(),
                keep_task_runs=self.options.keep_task_runs,
            )
        )
        return partial(run_steps_async if self.is_async else run_steps, steps)

    def with_options(self, **options: Unpack[FlowKeywords]) -> "Flow[P, R_co]":
        """A flow of the same function with some options changed."""
        return Flow(self.fn, attrs.evolve(self.options, **options))

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"


async def _result_of(take_steps: Callable[[], Coroutine[Any, Any, FlowRun[Any]]]) -> Any:
    return (await take_steps()).result()


async def _record_of(take_steps: Callable[[], Coroutine[Any, Any, FlowRun[Any]]]) -> FlowRun[Any]:
    return _checked(await take_steps())


def _checked(run: FlowRun[Any]) -> FlowRun[Any]:
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
    declared = FlowOptions(**options)
    if fn is None:
        return lambda function: Flow(function, declared)
    return Flow(fn, declared)
