"""The steps that a flow run consists of, taken in a thread or in an event loop.

A flow run is written once, as a generator of steps, for flows of both kinds. `run_steps` takes the
steps of a plain flow one after another; `run_steps_async` awaits those of an ``async def`` flow, so
that its event loop goes on.
"""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

import attrs

from runnerstone._context import current_run
from runnerstone._engine.interrupts import interruptible, raise_if_due
from runnerstone._engine.task_runs import Engine
from runnerstone.futures import wait_for_release, wake
from runnerstone.runs import FlowRun

T = TypeVar("T")


class DroppedError(BaseException):
    """The coroutine of an async flow is closed, and may await nothing more."""


class Step(Protocol):
    """A step: either of its methods takes it."""

    @property
    def cleans_up(self) -> bool: ...
    def run(self) -> Any: ...
    async def run_async(self) -> Any: ...


Steps = Generator[Step, Any, T]


@attrs.frozen
class Body:
    """The step that runs the flow's body, as the innermost run."""

    engine: Engine
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    cleans_up: ClassVar = False

    @interruptible
    def run(self) -> Any:
        token = current_run.set(self.engine)
        try:
            return self.fn(*self.args, **self.kwargs)
        finally:
            current_run.reset(token)

    @interruptible
    async def run_async(self) -> Any:
        token = current_run.set(self.engine)
        try:
            return await self.fn(*self.args, **self.kwargs)
        finally:
            with suppress(ValueError):  # dropped, and closed by whoever collects the garbage
                current_run.reset(token)


@attrs.frozen
class Until:
    """The step that waits until something has happened.

    Attributes:
        when: Has its argument called, from any thread, once it has; false if it has happened.
    """

    when: Callable[[Callable[[], None]], bool]
    cleans_up: ClassVar = False

    @interruptible
    def run(self) -> None:
        happened = threading.Lock()
        happened.acquire()
        if self.when(happened.release):
            wait_for_release(happened)

    async def run_async(self) -> None:
        import asyncio  # heavy, and whoever runs a coroutine has it loaded

        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        if self.when(partial(wake, loop, woken)):
            await woken


@attrs.frozen
class Blocking:
    """The step that calls what may block, and cannot be left half done.

    Attributes:
        fn: What it calls.
        cleans_up: Whether it is taken in any case, also if Ctrl-C has come.
    """

    fn: Callable[[], Any]
    cleans_up: bool = attrs.field(default=False, kw_only=True)

    @interruptible
    def run(self) -> Any:
        return self.fn()

    async def run_async(self) -> Any:
        """Call it on a thread. Who cancels this waits for its end; who does so twice does not."""
        import asyncio  # heavy, and whoever runs a coroutine has it loaded

        call = asyncio.ensure_future(asyncio.to_thread(self.fn))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait((call,))
            raise


def run_steps(steps: Steps[FlowRun[Any]], thrown: BaseException | None = None) -> FlowRun[Any]:
    """Take all steps in this thread."""
    try:
        step = next(steps) if thrown is None else steps.throw(thrown)
        while True:
            try:
                if not step.cleans_up:
                    raise_if_due()
                result = step.run()
            except BaseException as error:  # noqa: BLE001  # the steps judge it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        run: FlowRun[Any] = stop.value
        return run


async def run_steps_async(steps: Steps[FlowRun[Any]]) -> FlowRun[Any]:
    """Take all steps, awaiting them in this event loop."""
    try:
        step = next(steps)
        while True:
            try:
                if not step.cleans_up:
                    raise_if_due()
                result = await step.run_async()
            except GeneratorExit:  # which would close the steps, not throw it into them
                run_steps(steps, DroppedError())
                raise
            except BaseException as error:  # noqa: BLE001  # the steps judge it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        run: FlowRun[Any] = stop.value
        return run
