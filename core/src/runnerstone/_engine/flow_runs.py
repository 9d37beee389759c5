"""A flow run from its beginning to its final state, as a generator of steps; `steps` takes them."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from logging import ERROR, INFO, WARNING
from typing import Any, Final

import attrs

from runnerstone._arguments import extract, extract_arguments
from runnerstone._context import current_run
from runnerstone._engine.inputs import FOR_CALLS, Input, future_of, skip_of, value_of
from runnerstone._engine.interrupts import FlowExpired, InterruptGuard, guarding
from runnerstone._engine.logs import flow_log, log_flow, log_raised, show_logs, told_delay
from runnerstone._engine.outcomes import FLOW_FAILED, RETURNED, Conclusion, conclude
from runnerstone._engine.retries import delay_before_flow_retry
from runnerstone._engine.steps import Blocking, Body, DroppedError, Pause, Steps, Until
from runnerstone._engine.task_runs import Engine
from runnerstone._tracebacks import hide_frames, with_note
from runnerstone.calls import TaskCall
from runnerstone.contexts import ambient_tags
from runnerstone.contracts import TaskRunner
from runnerstone.errors import FlowRunEndedError
from runnerstone.futures import TaskFuture
from runnerstone.options import FlowOptions
from runnerstone.runs import FlowRun
from runnerstone.states import (
    AWAITING_RETRY,
    RUNNING,
    Cancelled,
    Crashed,
    NotReady,
    State,
    exceeded,
)


@attrs.frozen(kw_only=True)
class FlowCall:
    """A call of a flow.

    Attributes:
        flow_name: The flow's name.
        run_name: The run's name; None makes one of two words.
        fn: The flow's body.
        args: The body's.
        kwargs: The body's.
        runner: Where the tasks run: a copy that this flow run alone uses.
        options: What the flow was declared with.
    """

    flow_name: str
    run_name: str | None
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    runner: TaskRunner
    options: FlowOptions


def flow_run_steps(call: FlowCall) -> Steps[FlowRun[Any]]:
    """The steps of one flow run; they return its record and raise nothing of the user's.

    Raises:
        FlowRunEndedError: If it is a subflow run of a flow run that is over.
        KeyboardInterrupt: If Ctrl-C came when nothing was left to be interrupted.
    """
    show_logs()
    around = current_run.get()
    parent = around if isinstance(around, Engine) else None
    labels = ambient_tags.get() | call.options.tags
    run = FlowRun[Any](call.run_name or _run_name(), call.flow_name, time.time(), tags=labels)
    index = _begin_in(parent, run)
    kind = "Flow" if parent is None else "Subflow"
    log_flow(INFO, "Beginning %s run %r for flow %r...", kind.lower(), run.name, call.flow_name)
    with (
        around.put_off() if isinstance(around, TaskCall) else nullcontext(),
        guarding() if parent is None else nullcontext(parent.guard) as guard,
    ):
        conclusion = yield from _attempts_steps(call, run, guard, parent)
        run.finish(conclusion.state, time.time(), value=conclusion.value, error=conclusion.error)
        if parent is not None:
            if run.error is not None and run.state.is_failed():
                place = f"Subflow run {run.name!r} of flow run {parent.run.name!r}"
                with_note(run.error, f"{place} failed")
            parent.book.end_subflow(index, run, conclusion.skip)
        level = INFO if run.state.is_completed() else ERROR
        log_flow(level, "%s run %r finished in state %s", kind, run.name, run.state)
        if hooks := call.options.hooks(run.state):
            yield Blocking(partial(_call_hooks, hooks, run), cleans_up=True)
    return run


def _begin_in(parent: Engine | None, run: FlowRun[Any]) -> int:
    """Enter a subflow run in the book of the flow run around; return its index there."""
    if parent is None:
        return 0
    try:
        return parent.book.begin_subflow(run)
    except FlowRunEndedError:
        parent.expiry.raise_if_come()
        raise


def _call_hooks(hooks: Sequence[Callable[[Any], object]], run: FlowRun[Any]) -> None:
    for hook in hooks:
        try:
            context = copy_context()
            context.run(current_run.set, None)  # it belongs to no run
            context.run(hook, run)
        except Exception as error:  # noqa: BLE001  # a user's hook may raise anything
            log_raised(flow_log, error, "A hook of flow run %r raised:", run.name)


def _attempts_steps(
    call: FlowCall, run: FlowRun[Any], guard: InterruptGuard, parent: Engine | None
) -> Steps[Conclusion]:
    """Attempts at a flow run, each with a task runner of its own, until one is not followed."""
    runner = call.runner
    while True:
        engine = Engine(run, runner, guard, call.options, parent)
        if parent is not None:
            parent.children.add(engine)
        try:
            if engine.expiry.has_come_around:  # before it was among the children
                return _ended_by(FlowExpired())
            conclusion = yield from _conclusion_steps(call, engine)
            delay = delay_before_flow_retry(call.options, run, conclusion.state, conclusion.error)
            if delay is None or engine.expiry.has_come_around:
                return conclusion
            log_flow(
                WARNING,
                "%s run %r failed in attempt %d of %d and will be retried %s: %s",
                engine.kind,
                run.name,
                run.attempts,
                call.options.retries + 1,
                told_delay(delay),
                conclusion.state,
            )
            run.begin_attempt()
            run.state = AWAITING_RETRY
            yield Pause(delay)
            runner = runner.copy_for_run()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the flow run ends with it
            return _ended_by(error)
        finally:
            if parent is not None:
                parent.children.discard(engine)


def _conclusion_steps(call: FlowCall, engine: Engine) -> Steps[Conclusion]:
    args, kwargs = call.args, call.kwargs
    found, template = extract_arguments(args, kwargs, FOR_CALLS)
    if template is not None:
        for future in map(future_of, found):
            if future is not None:
                yield Until(future._when_final)
        values = yield Blocking(partial(_values_of, found))
        if isinstance(values, Conclusion):
            return values
        args, kwargs = template.fill(values)
    runner = engine.runner
    runner_name = type(runner).__name__
    log_flow(INFO, "Starting task runner `%s`...", runner_name)
    try:
        try:
            yield Blocking(runner.start)
        except Exception as error:  # noqa: BLE001  # a runner may fail to start with anything
            log_flow(ERROR, "Task runner `%s` failed to start:", runner_name, error=error)
            message = f"Task runner `{runner_name}` failed to start: {error!r}"
            return Conclusion(Crashed(message), error=error)
        engine.run.state = RUNNING
        return (yield from _body_steps(engine, Body(engine, call.fn, args, kwargs)))
    finally:
        log_flow(INFO, "Shutting down task runner `%s`...", runner_name)
        yield Blocking(engine.stop, cleans_up=True)


def _body_steps(engine: Engine, body: Body) -> Steps[Conclusion]:
    value = None
    error: BaseException | None = None
    try:
        value = yield body
    except BaseException as raised:  # noqa: BLE001  # whatever it is, the flow run ends with it
        error = raised
        hide_frames(error)
    if isinstance(error, Exception) and not engine.expiry.has_come:
        name = engine.run.name
        log_flow(ERROR, "%s run %r encountered an exception:", engine.kind, name, error=error)
        if engine.options.on_body_error == "cancel":
            engine.cancel_waiting()
    interrupt = yield from _waiting_steps(engine, None if engine.expiry.has_come else error)
    if engine.expiry.has_come:
        seconds = engine.options.timeout_seconds
        if seconds is None or engine.expiry.has_come_around:
            return _ended_by(FlowExpired())
        return Conclusion(exceeded("Flow run", seconds))
    if interrupt is not None or error is not None:
        return _ended_by(interrupt or error)
    try:
        return (yield from _value_steps(engine, value))
    except Exception as fault:  # noqa: BLE001  # fetching is the runner's
        message = f"What the flow returned cannot be had: {fault!r}"
        return Conclusion(Crashed(message), error=fault)


def _value_steps(engine: Engine, value: Any) -> Steps[Conclusion]:
    """Judge what the body returned, and fetch the values in it."""
    searched, wanted = (value.result, FOR_CALLS) if type(value) is State else (value, RETURNED)
    # The states of several runs may be one object, and each counts.
    found, template = yield Blocking(partial(extract, searched, wanted, frozenset({State})))
    for item in found:
        future = None if isinstance(item, State) else future_of(item)
        if future is not None:
            yield Until(future._when_final)  # another flow run's alone may not be final
    conclusion: Conclusion = yield Blocking(partial(conclude, engine, value, found, template))
    return conclusion


def _waiting_steps(engine: Engine, error: BaseException | None) -> Steps[BaseException | None]:
    """Wait until all that was submitted is final; return what interrupted that, if anything did.

    The first interrupt, be it in the body or while waiting, cancels what has not begun; the second
    ends the waiting. A coroutine that is dropped does not wait at all.
    """
    interrupts = [] if error is None or isinstance(error, Exception) else [error]
    while len(interrupts) < 2 and not any(isinstance(it, DroppedError) for it in interrupts):
        try:
            if interrupts:
                _cancel_waiting(engine)
            yield Until(engine.book.when_idle)
            if engine.book.close():
                return interrupts[0] if interrupts else None
        except BaseException as raised:  # noqa: BLE001  # judged by the caller
            interrupts.append(raised)
    if left := engine.abandon():
        log_flow(
            WARNING,
            "Flow run %r waits no longer and leaves behind what still runs: %s",
            engine.run.name,
            _listed(left),
        )
    return interrupts[0]


def _cancel_waiting(engine: Engine) -> None:
    running = engine.cancel_waiting()
    if running:
        log_flow(
            WARNING,
            "Flow run %r is interrupted and waits for %d running task runs: %s",
            engine.run.name,
            len(running),
            _listed(running),
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")  # a line's worth


def _values_of(found: Sequence[Input]) -> list[Any] | Conclusion:
    """The values of what was found among a subflow's arguments, or why there are none."""
    for item in found:
        if isinstance(item, TaskFuture) and item._problem is not None:
            state = NotReady(item.name)
            skip = skip_of(item, state)
            return Conclusion(state, error=skip.error(), skip=skip)
    return list(map(value_of, found))


def _ended_by(error: BaseException | None) -> Conclusion:
    """The conclusion of a flow run that something which was raised has ended."""
    is_interrupt = not isinstance(error, (Exception, SystemExit))
    return Conclusion(INTERRUPTED if is_interrupt else FLOW_FAILED, error=error)


def _run_name() -> str:
    import coolname  # heavy, and needed by the first flow run only

    return "-".join(coolname.generate(2))


INTERRUPTED: Final = Cancelled("Flow run was interrupted.")
