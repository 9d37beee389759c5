"""What tasks and flows are declared with."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, TypeVar

import attrs

from runnerstone._names import suggestion
from runnerstone.delays import LONGEST, Delay, checked_delay, seconds_before
from runnerstone.states import State, StateType

if TYPE_CHECKING:
    from runnerstone.contracts import TaskRunner
    from runnerstone.futures import TaskFuture
    from runnerstone.runs import FlowRun

__all__ = ["FlowKeywords", "FlowOptions", "TaskKeywords", "TaskOptions"]

T = TypeVar("T")

TaskRunnerChoice: TypeAlias = "TaskRunner | type[TaskRunner] | str | None"
RunName = str | Callable[[Mapping[str, Any]], str]
RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
Hooks = Callable[[T], object] | Sequence[Callable[[T], object]]


class TaskKeywords(TypedDict, total=False):
    """The keyword arguments of `task`; see `TaskOptions`."""

    name: str | None
    tags: Iterable[str]
    description: str | None
    retries: int
    retry_delay_seconds: Delay
    retry_jitter: float
    retry_on: RetryOn | None
    crash_retries: int
    timeout_seconds: float | None
    task_run_name: RunName | None
    log_prints: bool | None
    on_completion: "Hooks[TaskFuture[Any]]"
    on_failure: "Hooks[TaskFuture[Any]]"
    on_crashed: "Hooks[TaskFuture[Any]]"
    resources: Mapping[str, float | str]
    runner_options: Mapping[str, Mapping[str, Any]]
    batch: int | Literal["auto"]


class FlowKeywords(TypedDict, total=False):
    """The keyword arguments of `flow`; see `FlowOptions`."""

    name: str | None
    tags: Iterable[str]
    description: str | None
    task_runner: TaskRunnerChoice
    retries: int
    retry_delay_seconds: Delay
    retry_jitter: float
    timeout_seconds: float | None
    flow_run_name: RunName | None
    log_prints: bool | None
    on_completion: "Hooks[FlowRun[Any]]"
    on_failure: "Hooks[FlowRun[Any]]"
    on_crashed: "Hooks[FlowRun[Any]]"
    on_body_error: Literal["wait", "cancel"]
    keep_task_runs: int


def label_set(labels: Iterable[str]) -> frozenset[str]:
    """Labels as a set; refuses what is none, and the one string meant as one of several."""
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise TypeError(f"tags are several strings, as in tags=['nightly'], not {labels!r}")
    found = frozenset(labels)
    for label in found:
        if not isinstance(label, str):
            raise TypeError(f"tags are strings, which {label!r} is not")
    return found


def _hooks(value: Any) -> tuple[Callable[[Any], object], ...]:
    hooks = tuple(value) if isinstance(value, Sequence) else (value,)
    for hook in hooks:
        if not callable(hook):
            raise TypeError(f"a hook is a callable, or a sequence of them, not {hook!r}")
        if inspect.iscoroutinefunction(hook):
            raise TypeError(f"a hook is a plain function, and {hook!r} is a coroutine function")
    return hooks


def _retry_on(value: Any) -> Any:
    if value is None or (callable(value) and not isinstance(value, type)):
        return value
    kinds = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                "retry_on is an exception's type, several, or a callable that is given the "
                f"exception, not {value!r}"
            )
    return kinds


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_run_name(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and not callable(value) and not isinstance(value, str):
        raise TypeError(
            f"{field.name} is a template or a callable that is given the arguments by name, "
            f"not {value!r}"
        )


def _check_limit(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is None:
        return
    if not _is_number(value):
        raise TypeError(f"{field.name} is a number of seconds or None, not {value!r}")
    if not 0 < value <= LONGEST:
        raise ValueError(
            f"{field.name} is more than 0 and at most {LONGEST:.0e}, not {value!r}; None sets no "
            "limit"
        )


def _check_count(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field.name} is a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{field.name} cannot be negative, as {value!r} is")


def _check_batch(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value == "auto":
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{field.name} is a whole number or 'auto', not {value!r}")
    if value < 1:
        raise ValueError(f"{field.name} is from 1 on, where each call travels alone, not {value!r}")


def _check_share(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not _is_number(value):
        raise TypeError(f"{field.name} is a number, not {value!r}")
    if not 0 <= value < inf:
        raise ValueError(f"{field.name} is from 0 on, and finite, not {value!r}")


def _check_text(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{field.name} is a string or None, not {value!r}")


def _check_flag(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{field.name} is True, False or None, not {value!r}")


def _check_mapping(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{field.name} is a mapping, not {value!r}")


def _check_choice(_instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value not in CHOICES:
        raise ValueError(f"{field.name} is 'wait' or 'cancel', not {value!r}")


CHOICES: Final = ("wait", "cancel")
OptionsT = TypeVar("OptionsT", bound="_RunOptions")


@attrs.frozen(kw_only=True, init=False, eq=False, repr=False)  # which its subclasses have
class _RunOptions:
    """What tasks and flows have in common; `TaskOptions` and `FlowOptions` describe it."""

    name: str | None = attrs.field(default=None, validator=_check_text)
    tags: frozenset[str] = attrs.field(default=frozenset(), converter=label_set)
    description: str | None = attrs.field(default=None, validator=_check_text)
    retries: int = attrs.field(default=0, validator=_check_count)
    retry_delay_seconds: Delay = attrs.field(default=0.0, converter=checked_delay)
    retry_jitter: float = attrs.field(default=0.0, validator=_check_share)
    timeout_seconds: float | None = attrs.field(default=None, validator=_check_limit)
    on_completion: tuple[Callable[[Any], object], ...] = attrs.field(default=(), converter=_hooks)
    on_failure: tuple[Callable[[Any], object], ...] = attrs.field(default=(), converter=_hooks)
    on_crashed: tuple[Callable[[Any], object], ...] = attrs.field(default=(), converter=_hooks)

    @property
    def has_hooks(self) -> bool:
        """Whether anything is to be called at a run's end."""
        return bool(self.on_completion or self.on_failure or self.on_crashed)

    def hooks(self, state: State) -> tuple[Callable[[Any], object], ...]:
        """What is to be called for a run that ended so."""
        if state.type is StateType.COMPLETED:
            return self.on_completion
        if state.type is StateType.FAILED:
            return self.on_failure
        return self.on_crashed if state.type is StateType.CRASHED else ()

    def delay(self, retry: int) -> float:
        """How long to wait before a retry, from 1, in seconds; raises what a callable raises."""
        return seconds_before(self.retry_delay_seconds, retry, self.retry_jitter)


@attrs.frozen(kw_only=True)
class TaskOptions(_RunOptions):
    """What a task was declared with.

    Attributes:
        name: What its runs are named after; None takes the function's name.
        tags: Labels. They are part of the key in the names of its runs.
        description: For people; None takes the function's docstring.
        retries: How often a failed run is tried again, at most.
        retry_delay_seconds: Wait before each retry: a number; several, of which the last goes on
            counting; or a callable of the retry's number, from 1. Waiting holds no worker.
        retry_jitter: Each delay is lengthened at random by up to this share of it: 0.5 makes of 10
            seconds something from 10 to 15.
        retry_on: Which exceptions are worth a retry: a type, several, or a callable that is given
            the exception, in the driver. None means all. A run that took too long ends with a
            `TaskTimeoutError`. Types also know an exception that could not leave its worker.
        crash_retries: How often a run is executed again because its worker was lost, at most: a
            budget of its own. Such a call may have been executed in part.
        timeout_seconds: How long an attempt may execute before it ends as ``TimedOut``; waiting in
            a queue is not counted. None sets no limit.
        task_run_name: What a run is called instead of ``{name}-{key}-{number}``: a template of the
            arguments, such as ``"parse {path}"``, or a callable that is given the arguments by
            name. A future among them stands for the name of its run.
        log_prints: Whether what the function prints goes to the run's logger instead. None leaves
            that to the flow.
        on_completion: Called in the driver, with the run's `TaskFuture`, once a run has completed:
            a callable or several. They run on the thread for callbacks, before the flow ends; what
            they raise is logged.
        on_failure: Likewise, once a run has failed, for good.
        on_crashed: Likewise, once a run has crashed, for good.
        resources: What a run needs, by name, for task runners that know resources.
        runner_options: Options peculiar to a task runner, by the runner's name.
        batch: How many calls may travel together, at most, where that makes them cheaper: on task
            runners that run them elsewhere, small ones do. ``"auto"`` leaves the number to what
            they take, and 1 has each travel alone. Coroutine functions always do, and what has a
            timeout or resources, or no ``crash_retries``.
    """

    retry_on: Any = attrs.field(default=None, converter=_retry_on)
    crash_retries: int = attrs.field(default=1, validator=_check_count)
    task_run_name: RunName | None = attrs.field(default=None, validator=_check_run_name)
    log_prints: bool | None = attrs.field(default=None, validator=_check_flag)
    resources: Mapping[str, float | str] = attrs.field(factory=dict, validator=_check_mapping)
    runner_options: Mapping[str, Mapping[str, Any]] = attrs.field(
        factory=dict, validator=_check_mapping
    )
    batch: int | Literal["auto"] = attrs.field(default="auto", validator=_check_batch)


@attrs.frozen(kw_only=True)
class FlowOptions(_RunOptions):
    """What a flow was declared with.

    Attributes:
        name: The flow's name; None takes the function's, with ``-`` for ``_``.
        tags: Labels, which all runs in a run of the flow have too.
        description: For people; None takes the function's docstring.
        task_runner: Where its tasks run: a name, a type, an instance, ``"package.module:Class"`` or
            ``"name@distribution"``, looked up at each run. None is the concurrent one.
        retries: How often a failed run is tried again, at most: from the start, on a task runner
            started anew.
        retry_delay_seconds: Wait before each retry; as for tasks.
        retry_jitter: As for tasks.
        timeout_seconds: How long an attempt may take, from the start of the body until all that it
            submitted is final. Then everything is cancelled, and the run ends as ``TimedOut``. A
            body in the main thread, or in an event loop, is interrupted where it stands; in another
            thread it ends when it next submits. None sets no limit.
        flow_run_name: What a run is called instead of two words: a template of the arguments, or a
            callable that is given the arguments by name.
        log_prints: Whether what the body prints goes to the run's logger instead, and what its
            tasks and subflows print, unless they say otherwise. None leaves that to the flow
            around; without one it is false.
        on_completion: Called with the finished `FlowRun` once a run has completed, before the call
            of the flow ends: a callable or several. What they raise is logged.
        on_failure: Likewise, once a run has failed, for good.
        on_crashed: Likewise, once a run has crashed.
        on_body_error: What becomes of the task runs that have not begun when the body raises:
            ``"wait"`` for them, or ``"cancel"`` them. What has begun is waited for.
        keep_task_runs: How many task runs the record of a flow run keeps one by one; further ones
            are only counted.
    """

    task_runner: TaskRunnerChoice = None
    flow_run_name: RunName | None = attrs.field(default=None, validator=_check_run_name)
    log_prints: bool | None = attrs.field(default=None, validator=_check_flag)
    on_body_error: Literal["wait", "cancel"] = attrs.field(default="wait", validator=_check_choice)
    keep_task_runs: int = attrs.field(default=10_000, validator=_check_count)


def declared(kind: type[OptionsT], options: Mapping[str, Any], owner: str) -> OptionsT:
    """Options as they were declared.

    Args:
        kind: `TaskOptions` or `FlowOptions`.
        options: By name.
        owner: What the message calls what they were given to.

    Raises:
        TypeError: If there is no such option, or it does not fit.
        ValueError: If an option's value is out of range.
    """
    _check_names(kind, options, owner)
    return kind(**options)


def changed(before: OptionsT, options: Mapping[str, Any], owner: str) -> OptionsT:
    """Options, some of which are changed; raises what `declared` raises."""
    _check_names(type(before), options, owner)
    return attrs.evolve(before, **options)


def _check_names(kind: type[_RunOptions], options: Mapping[str, Any], owner: str) -> None:
    known = attrs.fields_dict(kind)
    for name in options:
        if name not in known:
            listing = f"its options: {', '.join(sorted(known))}"
            raise TypeError(f"{owner} has no option {name!r}{suggestion(name, known, listing)}")
