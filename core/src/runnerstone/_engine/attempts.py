"""Attempts at task runs: what the engine keeps of one, and what its task runner reports to."""

from collections.abc import Iterable, Mapping, Sequence
from contextvars import Context
from functools import partial
from logging import LogRecord
from typing import TYPE_CHECKING, Any, Final

import attrs

from runnerstone._arguments import Template
from runnerstone._context import where
from runnerstone._engine.inputs import Input
from runnerstone._engine.interrupts import raise_if_due
from runnerstone._engine.logs import log_record
from runnerstone.contents import Pickled
from runnerstone.contracts import Report
from runnerstone.futures import TaskFuture
from runnerstone.outcomes import Outcome
from runnerstone.programs import Program
from runnerstone.tasks import Task

if TYPE_CHECKING:
    from runnerstone._engine.streams import Stream
    from runnerstone._engine.task_runs import Engine
    from runnerstone._engine.threads import Alarm
    from runnerstone._engine.units import Unit
    from runnerstone.calls import TaskCall

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]] | Template | Pickled


@attrs.frozen
class Past:
    """What went before an attempt.

    Attributes:
        failures: How many attempts failed.
        crashes: How many attempts crashed.
        delay_seconds: How long after the last of them it is launched.
    """

    failures: int = 0
    crashes: int = 0
    delay_seconds: float = 0.0


NOTHING: Final = Past()


class Attempt(Report):
    """One attempt at a task run, from waiting for its upstream to its end.

    Attributes:
        future: The task run's.
        task: What is to be run.
        program: What travels of it.
        number: Which attempt this is, from 1.
        arguments: The call's, with slots in the place of futures.
        upstream: What fills the slots: futures, and marked ones and values.
        awaited: The futures, and marked ones, that have to be final first beside those.
        context: The context that the task was called in; None where calls travel.
        waiting: How many of its futures are not final; guarded by its run's lock.
        over: Whether it has ended; likewise.
        call: What the runner got; None before that.
        successor: The next attempt, if `inline` says that the submitting thread takes care of it.
        past: What went before it.
        alarm: Ends it when its time is up; None if nothing does.
        sender: Who has its call, if that may be packed: a stream before it is sent, then what was
            sent; None if the task runner has the call itself.
    """

    __slots__ = (
        "alarm",
        "arguments",
        "awaited",
        "call",
        "context",
        "engine",
        "future",
        "inline",
        "number",
        "over",
        "past",
        "program",
        "sender",
        "successor",
        "task",
        "upstream",
        "waiting",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # one a task run: a record to hold these would cost another
        self,
        engine: "Engine",
        future: TaskFuture[Any],
        task: Task[..., Any],
        program: Program,
        arguments: Arguments,
        upstream: Sequence[Input],
        awaited: Sequence[Input],
        context: Context | None,
        number: int = 1,
    ) -> None:
        self.engine: Final = engine
        self.future: Final = future
        self.task: Final = task
        self.program: Final = program
        self.arguments: Final = arguments
        self.upstream: Final = upstream
        self.awaited: Final = awaited
        self.context: Final = context
        self.number: Final = number
        self.waiting = 0
        self.over = False
        self.call: TaskCall | None = None
        self.inline = False
        self.successor: Attempt | None = None
        self.past = NOTHING
        self.alarm: Alarm | None = None
        self.sender: Stream | Unit | None = None

    def next(self, delay_seconds: float, *, crashed: bool) -> "Attempt":
        """The attempt that follows this one.

        Args:
            delay_seconds: How long after it.
            crashed: Whether this one crashed; if not, it failed.
        """
        following = Attempt(
            self.engine,
            self.future,
            self.task,
            self.program,
            self.arguments,
            self.upstream,
            self.awaited,
            self.context,
            self.number + 1,
        )
        failures, crashes = self.past.failures + (not crashed), self.past.crashes + crashed
        following.past = Past(failures, crashes, delay_seconds)
        return following

    def call_context(self) -> Context | None:
        """The context for the call alone: running changes it, and a retry needs it unchanged."""
        if self.context is None or (self.number == 1 and not self.task.options.retries):
            return self.context
        return self.context.copy()

    @property
    def attempts(self) -> "tuple[Attempt, ...]":
        """Itself: as what was sent to the runner, it is all there is of it."""
        return (self,)

    @property
    def index(self) -> int:
        """The task run's place among everything that the flow run submitted."""
        return self.future.task_run.index

    def forget_context(self) -> None:
        """Part the call from what refers to it in turn: its context, and who watches its time."""
        if self.call is not None:
            self.call._context = None
            if self.program.timeout_seconds is not None:
                self.call._watch = None

    def passes(self, final: int = 1) -> bool:
        """Count futures that have become final; return whether none is left to wait for."""
        with self.future._lock:
            self.waiting -= final
            return not self.waiting

    def blocker(self) -> TaskFuture[Any] | None:
        """The first upstream that did not complete, None if all did; all have to be final."""
        for item in self.upstream:
            if type(item) is TaskFuture and item._problem is not None:
                return item
        for item in self.awaited:
            if type(item) is TaskFuture and item._problem is not None:
                return item
        return None

    def started(self, where: str | None = None) -> None:
        with self.future._lock:
            if not self.over:
                self.future._run.begin(where)
        if self.program.timeout_seconds is not None:
            self.engine.watch(self)
        raise_if_due()

    def begun(self) -> None:
        """The call itself tells that it has begun, in the thread that executes it."""
        if self.future._run.started is None:  # else the task runner has told
            self.started(where())

    def logged(self, records: Iterable[LogRecord]) -> None:
        for record in records:
            log_record(record)

    def progressed(self, progress: bytes) -> None:
        """Nothing: the call is no pack."""

    def done(self, outcome: Outcome) -> None:
        self.engine.done(self, outcome)
        raise_if_due()

    def post(self, outcome: Outcome) -> None:
        self.engine.reporter.call(partial(self.engine.done, self, outcome))
