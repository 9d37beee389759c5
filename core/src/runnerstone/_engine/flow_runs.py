"""A flow run from its beginning to its final state.

It is written once, as a generator of steps, for flows of both kinds: a step either blocks or is the
flow's body. `run_steps` takes the steps of a plain flow one after another; `run_steps_async` awaits
the body of an ``async def`` flow, and takes blocking steps on a thread: the event loop goes on.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from logging import ERROR, INFO
from typing import Any, Final

import attrs

from runnerstone._arguments import extract_arguments
from runnerstone._context import current_run
from runnerstone._engine.interrupts import InterruptGuard
from runnerstone._engine.logs import flow_log, show_logs
from runnerstone._engine.outcomes import FLOW_FAILED, Conclusion, conclude
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


class Body:
    """The step that runs the flow's body, as the innermost run."""

    def __init__(
        self, engine: Engine, call: FlowCall, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Prepare the step; the arguments are the call's, with values in the place of futures."""
        self.engine = engine
        self.call = call
        self.args = args
        self.kwargs = kwargs

    def run(self) -> Any:
        token = current_run.set(self.engine)
        try:
            return self.call.fn(*self.args, **self.kwargs)
        finally:
            current_run.reset(token)

    async def run_async(self) -> Any:
        token = current_run.set(self.engine)
        try:
            return await self.call.fn(*self.args, **self.kwargs)
        finally:
            current_run.reset(token)


Steps = Generator["Body | Callable[[], Any]", Any, FlowRun[Any]]


def run_steps(steps: Steps, thrown: BaseException | None = None) -> FlowRun[Any]:
    """Take all steps in this thread."""
    try:
        step = next(steps) if thrown is None else steps.throw(thrown)
        while True:
            try:
                result = step.run() if isinstance(step, Body) else step()
            except BaseException as error:  # noqa: BLE001  # the steps judge it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        run: FlowRun[Any] = stop.value
        return run


async def run_steps_async(steps: Steps) -> FlowRun[Any]:
    """Take all steps, awaiting the body in this event loop and blocking steps on threads."""
    import asyncio  # heavy, and whoever runs a coroutine has it loaded

    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Body):
                    result = await step.run_async()
                else:
                    result = await asyncio.to_thread(step)
            except GeneratorExit as error:  # this coroutine is dropped: it may await nothing more
                run_steps(steps, error)
                raise
            except BaseException as error:  # noqa: BLE001  # the steps judge it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        run: FlowRun[Any] = stop.value
        return run


def flow_run_steps(call: FlowCall) -> Steps:
    """The steps of one flow run; they return its record and raise nothing of the user's."""
    show_logs()
    parent: Engine | None = current_run.get()
    if not isinstance(parent, Engine):
        parent = None
    run = FlowRun[Any](_run_name(), call.flow_name, time.time())
    index = parent.begin_subflow(run) if parent is not None else 0
    kind = "Flow" if parent is None else "Subflow"
    flow_log.info("Beginning %s run %r for flow %r...", kind.lower(), run.name, call.flow_name)
    guard: AbstractContextManager[InterruptGuard]
    guard = InterruptGuard() if parent is None else nullcontext(parent.guard)
    with guard as interrupts:
        engine = Engine(run, call.runner, interrupts, call.keep_task_runs)
        conclusion = yield from _conclusion_steps(call, engine)
    run.finish(conclusion.state, time.time(), value=conclusion.value, error=conclusion.error)
    if parent is not None:
        parent.end_subflow(index, run, conclusion.error)
    level = INFO if run.state.is_completed() else ERROR
    flow_log.log(level, "%s run %r finished in state %s", kind, run.name, run.state)
    return run


def _conclusion_steps(
    call: FlowCall, engine: Engine
) -> Generator["Body | Callable[[], Any]", Any, Conclusion]:
    args, kwargs = call.args, call.kwargs
    found, template = extract_arguments(args, kwargs, FUTURES)
    if template is not None:
        values = yield partial(_values_of, found)
        if isinstance(values, Conclusion):
            return values
        args, kwargs = template.fill(values)
    runner_name = type(call.runner).__name__
    flow_log.info("Starting task runner `%s`...", runner_name)
    try:
        try:
            yield call.runner.start
        except Exception as error:  # noqa: BLE001  # a runner may fail to start with anything
            flow_log.error("Task runner `%s` failed to start:", runner_name, exc_info=error)
            message = f"Task runner `{runner_name}` failed to start: {error!r}"
            return Conclusion(Crashed(message), error=error)
        engine.run.state = RUNNING
        return (yield from _body_steps(engine, Body(engine, call, args, kwargs)))
    finally:
        flow_log.info("Shutting down task runner `%s`...", runner_name)
        yield engine.stop


def _body_steps(
    engine: Engine, body: Body
) -> Generator["Body | Callable[[], Any]", Any, Conclusion]:
    value = None
    error: BaseException | None = None
    try:
        value = yield body
    except BaseException as raised:  # noqa: BLE001  # whatever it is, the flow run ends with it
        error = raised
    interrupt = yield from _waiting_steps(engine, error)
    if interrupt is not None:
        state = FLOW_FAILED if isinstance(interrupt, SystemExit) else INTERRUPTED
        return Conclusion(state, error=interrupt)
    if error is not None:
        flow_log.error("Flow run %r encountered an exception:", engine.run.name, exc_info=error)
        return Conclusion(FLOW_FAILED, error=error)
    try:
        conclusion: Conclusion = yield partial(conclude, engine, value)
    except Exception as fault:  # noqa: BLE001  # fetching is the runner's
        message = f"What the flow returned cannot be had: {fault!r}"
        return Conclusion(Crashed(message), error=fault)
    return conclusion


def _waiting_steps(
    engine: Engine, error: BaseException | None
) -> Generator[Callable[[], Any], Any, BaseException | None]:
    """Wait until all that was submitted is final; return what interrupted the waiting, if anything.

    The first interrupt, be it in the body or while waiting, cancels what has not begun; the second
    ends the waiting.
    """
    interrupt = None if error is None or isinstance(error, Exception) else error
    if interrupt is not None:
        _cancel_waiting(engine)
    while True:
        try:
            yield engine.wait
        except BaseException as raised:  # noqa: BLE001  # judged by the caller
            if interrupt is not None:
                engine.abandon()
                return interrupt
            interrupt = raised
            _cancel_waiting(engine)
        else:
            return interrupt


def _cancel_waiting(engine: Engine) -> None:
    running = engine.cancel_waiting()
    if running:
        flow_log.warning(
            "Flow run %r is interrupted and waits for %d running task runs: %s",
            engine.run.name,
            len(running),
            ", ".join(running[:10]) + (", ..." if len(running) > 10 else ""),  # a line's worth
        )


def _values_of(found: Sequence[TaskFuture[Any]]) -> list[Any] | Conclusion:
    """Wait for the futures among a subflow's arguments; return their values, or why not."""
    for future in found:
        future.wait()
    for future in found:
        error = future.exception()
        if error is not None:
            problem: Problem | None = future._problem
            state = NotReady(future.name)
            if not isinstance(problem, Skip):
                problem = Skip(state.message or "", future.task_run, problem)  # type: ignore[arg-type]  # not None, since there is an exception
            return Conclusion(state, error=problem.error())
    return [future.result() for future in found]


def _run_name() -> str:
    import coolname  # heavy, and needed by the first flow run only

    return "-".join(coolname.generate(2))


INTERRUPTED: Final = Cancelled("Flow run was interrupted.")
