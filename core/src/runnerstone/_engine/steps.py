"""The steps that a flow run consists of, taken in a thread or in an event loop.

A flow run is written once, as a generator of steps, for flows of both kinds. `run_steps` takes the
steps of a plain flow one after another; `run_steps_async` awaits those of an ``async def`` flow, so
that its event loop goes on.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext, suppress
from contextvars import Token
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

import attrs

from runnerstone._context import current_run
from runnerstone._engine.interrupts import interruptible, raise_if_due
from runnerstone._engine.task_runs import Engine
from runnerstone._prints import logging_prints
from runnerstone.contexts import ambient_tags
from runnerstone.futures import LOOK_UP_SECONDS, wake
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
        tokens = self._enter(is_async=False)
        try:
            raise_if_due()  # which may have come meanwhile
            with logging_prints() if self.engine.logs_prints else nullcontext():
                return self.fn(*self.args, **self.kwargs)
        finally:
            self._leave(*tokens)

    @interruptible
    async def run_async(self) -> Any:
        tokens = self._enter(is_async=True)
        try:
            raise_if_due()  # as above
            with logging_prints() if self.engine.logs_prints else nullcontext():
                return await self._in_time()
        finally:
            with suppress(ValueError):  # dropped, and closed by whoever collects the garbage
                self._leave(*tokens)

    def _enter(self, *, is_async: bool) -> tuple[Token[Any], Token[frozenset[str]]]:
        tokens = current_run.set(self.engine), ambient_tags.set(self.engine.run.tags)
        engine = self.engine
        engine.expiry.open_body(engine.timer, engine, is_async=is_async)
        return tokens

    def _leave(self, run: Token[Any], labels: Token[frozenset[str]]) -> None:
        self.engine.expiry.close_body()
        current_run.reset(run)
        ambient_tags.reset(labels)

    @interruptible
    async def _in_time(self) -> Any:
        seconds = self.engine.expiry.seconds
        if seconds is None:
            return await self.fn(*self.args, **self.kwargs)
        import asyncio  # heavy, and whoever runs a coroutine has it loaded

        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                return await self.fn(*self.args, **self.kwargs)
        finally:
            if clock.expired():
                self.engine.expiry.come(self.engine)


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
            while not happened.acquire(timeout=LOOK_UP_SECONDS):
                raise_if_due()  # which may have come while `when` was called

    async def run_async(self) -> None:
        import asyncio  # heavy, and whoever runs a coroutine has it loaded

        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        if self.when(partial(wake, loop, woken)):
            while not woken.done():  # a loop that was just about to wait misses a signal: look up
                await asyncio.wait((woken,), timeout=LOOK_UP_SECONDS)
                raise_if_due()  # likewise


@attrs.frozen
class Pause:
    """The step that lets time pass.

    Attributes:
        seconds: How much.
    """

    seconds: float
    cleans_up: ClassVar = False

    @interruptible
    def run(self) -> None:
        time.sleep(self.seconds)

    async def run_async(self) -> None:
        import asyncio  # heavy, and whoever runs a coroutine has it loaded

        await asyncio.sleep(self.seconds)


@attrs.frozen
class Blocking:
    """The step that calls what may block, and cannot be left half done.

    Attributes:
        fn: What it calls.
        cleans_up: Whether it is taken in any case, also if Ctrl-C has come.
    """

    fn: Callable[[], Any]
    cleans_up: bool = attrs.field(default=False, kw_only=True)

    def run(self) -> Any:
        return self.fn() if self.cleans_up else self._run()

    @interruptible
    def _run(self) -> Any:
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
        around = current_run.get()
        if thrown is None and isinstance(around, Engine):  # what came at the end is for its body
            raise_if_due()
            around.expiry.raise_if_come()
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
