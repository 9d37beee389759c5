"""A flow run from its beginning to its final state, as a generator of steps; `steps` takes them."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from logging import ERROR, INFO
from typing import Any, Final

import attrs

from runnerstone._arguments import extract, extract_arguments
from runnerstone._context import current_run
from runnerstone._engine.interrupts import guarding
from runnerstone._engine.logs import flow_log, show_logs
from runnerstone._engine.outcomes import FLOW_FAILED, JUDGED, Conclusion, conclude
from runnerstone._engine.steps import Blocking, Body, DroppedError, Steps, Until
from runnerstone._engine.task_runs import FUTURES, Engine
from runnerstone.contracts import TaskRunner
from runnerstone.futures import TaskFuture
from runnerstone.runs import FlowRun, Problem, Skip
from runnerstone.states import RUNNING, Cancelled, Crashed, NotReady


@attrs.frozen(kw_only=True)
class FlowCall:
    """A call of a flow.

    Attributes:
        flow_name: The flow's name.
        fn: The flow's body.
        args: The body's.
        kwargs: The body's.
        runner: Where the tasks run: a copy that this flow run alone uses.
        keep_task_runs: How many task runs the flow run's record keeps one by one.
    """

    flow_name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    runner: TaskRunner
    keep_task_runs: int


def flow_run_steps(call: FlowCall) -> Steps[FlowRun[Any]]:
    """The steps of one flow run; they return its record and raise nothing of the user's.

    Raises:
        FlowRunEndedError: If it is a subflow run of a flow run that is over.
        KeyboardInterrupt: If Ctrl-C came when nothing was left to be interrupted.
    """
    show_logs()
    parent: Engine | None = current_run.get()
    if not isinstance(parent, Engine):
        parent = None
    run = FlowRun[Any](_run_name(), call.flow_name, time.time())
    index = parent.book.begin_subflow(run) if parent is not None else 0
    kind = "Flow" if parent is None else "Subflow"
    flow_log.info("Beginning %s run %r for flow %r...", kind.lower(), run.name, call.flow_name)
    with guarding() if parent is None else nullcontext(parent.guard) as guard:
        engine = Engine(run, call.runner, guard, call.keep_task_runs)
        try:
            conclusion = yield from _conclusion_steps(call, engine)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the flow run ends with it
            conclusion = _ended_by(error)
        run.finish(conclusion.state, time.time(), value=conclusion.value, error=conclusion.error)
        if parent is not None:
            parent.book.end_subflow(index, run, conclusion.skip)
        level = INFO if run.state.is_completed() else ERROR
        flow_log.log(level, "%s run %r finished in state %s", kind, run.name, run.state)
    return run


def _conclusion_steps(call: FlowCall, engine: Engine) -> Steps[Conclusion]:
    args, kwargs = call.args, call.kwargs
    found, template = extract_arguments(args, kwargs, FUTURES)
    if template is not None:
        for future in found:
            yield Until(future._when_final)
        values = yield Blocking(partial(_values_of, found))
        if isinstance(values, Conclusion):
            return values
        args, kwargs = template.fill(values)
    runner_name = type(call.runner).__name__
    flow_log.info("Starting task runner `%s`...", runner_name)
    try:
        try:
            yield Blocking(call.runner.start)
        except Exception as error:  # noqa: BLE001  # a runner may fail to start with anything
            flow_log.error("Task runner `%s` failed to start:", runner_name, exc_info=error)
            message = f"Task runner `{runner_name}` failed to start: {error!r}"
            return Conclusion(Crashed(message), error=error)
        engine.run.state = RUNNING
        return (yield from _body_steps(engine, Body(engine, call.fn, args, kwargs)))
    finally:
        flow_log.info("Shutting down task runner `%s`...", runner_name)
        yield Blocking(engine.stop, cleans_up=True)


def _body_steps(engine: Engine, body: Body) -> Steps[Conclusion]:
    value = None
    error: BaseException | None = None
    try:
        value = yield body
    except BaseException as raised:  # noqa: BLE001  # whatever it is, the flow run ends with it
        error = raised
    interrupt = yield from _waiting_steps(engine, error)
    if interrupt is not None:
        return _ended_by(interrupt)
    if error is not None:
        flow_log.error("Flow run %r encountered an exception:", engine.run.name, exc_info=error)
        return _ended_by(error)
    try:
        found, template = yield Blocking(partial(extract, value, JUDGED))
        for item in found:
            if isinstance(item, TaskFuture):
                yield Until(item._when_final)  # another flow run's alone may not be final
        conclusion: Conclusion = yield Blocking(partial(conclude, engine, value, found, template))
    except Exception as fault:  # noqa: BLE001  # fetching is the runner's
        message = f"What the flow returned cannot be had: {fault!r}"
        return Conclusion(Crashed(message), error=fault)
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
        flow_log.warning(
            "Flow run %r waits no longer and leaves behind what still runs: %s",
            engine.run.name,
            _listed(left),
        )
    return interrupts[0]


def _cancel_waiting(engine: Engine) -> None:
    running = engine.cancel_waiting()
    if running:
        flow_log.warning(
            "Flow run %r is interrupted and waits for %d running task runs: %s",
            engine.run.name,
            len(running),
            _listed(running),
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")  # a line's worth


def _values_of(found: Sequence[TaskFuture[Any]]) -> list[Any] | Conclusion:
    """The values of final futures among a subflow's arguments, or why there are none."""
    for future in found:
        problem: Problem | None = future._problem
        if problem is not None:
            state = NotReady(future.name)
            if not isinstance(problem, Skip):
                problem = Skip(state.message or "", future.task_run, problem)
            return Conclusion(state, error=problem.error(), skip=problem)
    return [future.result() for future in found]


def _ended_by(error: BaseException) -> Conclusion:
    """The conclusion of a flow run that something which was raised has ended."""
    is_interrupt = not isinstance(error, (Exception, SystemExit))
    return Conclusion(INTERRUPTED if is_interrupt else FLOW_FAILED, error=error)


def _run_name() -> str:
    import coolname  # heavy, and needed by the first flow run only

    return "-".join(coolname.generate(2))


INTERRUPTED: Final = Cancelled("Flow run was interrupted.")
