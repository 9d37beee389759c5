"""One flow run's task runs, each from its submission to its final state.

Which thread does what. Tasks are submitted by the thread of the flow's body, and by any other that
has its context. Ends are reported by the task runner's threads, or by the flow run's reporter
thread where the runner may not block. Whichever thread ends a run launches what waited for it.
Users' callbacks run on a thread of their own.

Each task run has a lock of its own, its future's: it guards whether the run is final, which attempt
is the last, and who waits for it. One lock a flow run (`Engine.lock`) guards the numbering of runs,
whether more are taken, and what is recorded of those that did not complete; a run that completes
does not need it. Either is held for a few assignments at a time, never both at once, and never
while a task runner, a user's code, a callback, pickling or logging runs. (With the one lock alone,
threads queue up for it at each switch between them, and a no-op task costs twice as much.)
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from logging import ERROR, INFO, WARNING, LogRecord, getLogger
from typing import Any, Final

from runnerstone._arguments import Template, extract_arguments
from runnerstone._engine.interrupts import InterruptGuard, interruptible, is_in_main_thread
from runnerstone._engine.logs import task_log
from runnerstone._engine.threads import SerialThread, TimerThread
from runnerstone._pickles import Pickled, dump, dump_arguments
from runnerstone.calls import TaskCall
from runnerstone.contracts import Reference, Report, TaskRunner, refuse
from runnerstone.errors import FlowRunEndedError, ResultGoneError, UnpicklableError
from runnerstone.futures import TaskFuture
from runnerstone.outcomes import Crash, Failure, Outcome
from runnerstone.programs import Program
from runnerstone.runs import FlowRun, NoValue, Problem, Skip, TaskRun
from runnerstone.states import (
    COMPLETED,
    Cancelled,
    Crashed,
    Failed,
    NotReady,
    State,
    StateType,
)
from runnerstone.tasks import Task

FUTURES: Final = frozenset({TaskFuture})
TASK_FAILED: Final = Failed("Task run encountered an exception.")
# Runs of one task that are logged one by one; of further ones, only those that do not complete.
LOGGED_RUNS: Final = 1000

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]] | Template | Pickled


class Series:
    """The runs of one task's name and key: what numbers them."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Attempt(Report):
    """One attempt at a task run, from waiting for its upstream to its end.

    Attributes:
        future: The task run's.
        task: What is to be run.
        program: What travels of it.
        number: Which attempt this is, from 1.
        arguments: The call's, with slots in the place of futures.
        upstream: The futures that fill the slots.
        awaited: The futures that have to complete first beside those.
        context: The context that the task was called in; None where calls travel.
        waiting: How many of its futures are not final; guarded by its run's lock.
        over: Whether it has ended; likewise.
        call: What the runner got; None before that.
        successor: The next attempt, if `inline` says that the submitting thread takes care of it.
    """

    __slots__ = (
        "arguments",
        "awaited",
        "call",
        "context",
        "engine",
        "future",
        "inline",
        "number",
        "over",
        "program",
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
        upstream: Sequence[TaskFuture[Any]],
        awaited: Sequence[TaskFuture[Any]],
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

    def next(self) -> "Attempt":
        """The attempt that follows this one."""
        return Attempt(
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

    def call_context(self) -> Context | None:
        """The context for the call alone: running changes it, and a retry needs it unchanged."""
        if self.context is None or not self.task.options.retries:
            return self.context
        return self.context.copy()

    def passes(self, final: int = 1) -> bool:
        """Count futures that have become final; return whether none is left to wait for."""
        with self.future._lock:
            self.waiting -= final
            return not self.waiting

    def blocker(self) -> TaskFuture[Any] | None:
        """The first upstream that did not complete, None if all did; all have to be final."""
        for future in self.upstream:
            if future._problem is not None:
                return future
        for future in self.awaited:
            if future._problem is not None:
                return future
        return None

    def started(self, where: str | None = None) -> None:
        with self.future._lock:
            if not self.over:
                self.future.task_run.begin(where)

    def logged(self, records: Iterable[LogRecord]) -> None:
        for record in records:
            getLogger(record.name).handle(record)

    def done(self, outcome: Outcome) -> None:
        self.engine.done(self, outcome)

    def post(self, outcome: Outcome) -> None:
        self.engine.reporter.call(partial(self.engine.done, self, outcome))


class Engine:
    """Runs the tasks of one flow run; the innermost run while the flow's body is."""

    def __init__(
        self, run: FlowRun[Any], runner: TaskRunner, guard: InterruptGuard, keep_task_runs: int
    ) -> None:
        """Prepare to run tasks.

        Args:
            run: The record to keep.
            runner: Where the tasks run; a started copy from `start` on.
            guard: Tells whether the user has pressed Ctrl-C.
            keep_task_runs: How many task runs the record keeps one by one.
        """
        self.run: Final = run
        self.runner: Final = runner
        self.guard: Final = guard
        self.lock: Final = threading.Lock()
        self.reporter: Final = SerialThread(f"{run.name} reports")
        self.skipped_by_cancelling = 0
        self.first_failure: tuple[int, str, Problem | BaseException] | None = None
        self._callbacks = SerialThread(f"{run.name} callbacks")
        self._timer = TimerThread(f"{run.name} timer")
        self._keep_task_runs = keep_task_runs
        self._info = run.info
        self._parallel = runner.capabilities.parallel
        self._travels = not runner.capabilities.shares_memory
        self._programs: dict[Task[..., Any], tuple[Program, Series]] = {}
        self._series: dict[tuple[str, str], Series] = {}
        self._live: set[Attempt] = set()
        self._live_subflows = 0
        self._when_idle: list[Callable[[], None]] = []  # called when nothing is live any more
        self._closed = False
        self._stopped = False
        self._releasing = threading.local()

    # The way in

    def submit(
        self,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        wait_for: Iterable[TaskFuture[Any]] = (),
    ) -> TaskFuture[Any]:
        """Submit a run of `task`; see `Task.submit`."""
        task.check_arguments(args, kwargs)
        upstream, template = extract_arguments(args, kwargs, FUTURES)
        arguments: Arguments = (args, kwargs) if template is None else template
        refusal: UnpicklableError | None = None
        if self._travels:
            try:
                arguments = dump_arguments(arguments, partial(task.parts, args, kwargs), FUTURES)
            except UnpicklableError as error:
                refusal = error
        attempt = self._enter(task, arguments, upstream, tuple(wait_for))
        run = attempt.future.task_run
        try:
            if run.number <= LOGGED_RUNS and task_log.isEnabledFor(INFO):
                _log_submission(run)
            if refusal is not None:
                self._end(attempt, *_crash(f"task run {run.name!r}: {refusal}", refusal))
            elif not self._parallel:
                self._see_through(attempt)
            elif not (upstream or wait_for):
                self._launch(attempt)
            elif self._has_all(attempt):
                self._release((attempt,))
        except BaseException:  # Ctrl-C: nobody else knows the run
            self.cancel(attempt.future)
            raise
        self.guard.raise_if_due()
        return attempt.future

    def _enter(
        self,
        task: Task[..., Any],
        arguments: Arguments,
        upstream: Sequence[TaskFuture[Any]],
        awaited: Sequence[TaskFuture[Any]],
    ) -> Attempt:
        """Make and number a task run; return its first attempt."""
        program, series = self._programs.get(task) or self._add_program(task)
        context = None if self._travels else copy_context()
        submitted = time.time()
        with self.lock:
            if self._closed:
                raise FlowRunEndedError(
                    f"task {task.name!r} was submitted to flow run {self.run.name!r}, which is over"
                )
            number = series.count
            series.count = number + 1
            index = self.run.submitted
            self.run.submitted = index + 1
            run = TaskRun(program, number, index, submitted)
            future: TaskFuture[Any] = TaskFuture(run, self)
            attempt = Attempt(self, future, task, program, arguments, upstream, awaited, context)
            future._attempt = attempt
            self._live.add(attempt)
            if index < self._keep_task_runs:
                self.run.task_runs.append(run)
        return attempt

    def _add_program(self, task: Task[..., Any]) -> tuple[Program, Series]:
        series = self._series.setdefault((task.name, task.key), Series())
        if task.options.resources and not self.runner.capabilities.knows_resources:
            task_log.warning(
                "Task %r asks for resources, which task runner `%s` does not know and ignores",
                task.name,
                type(self.runner).__name__,
            )
        return self._programs.setdefault(task, (Program.of(task), series))

    def _has_all(self, attempt: Attempt) -> bool:
        """Have the attempt wait for its futures; return whether there is nothing to wait for."""
        awaited = (*attempt.upstream, *attempt.awaited)
        attempt.waiting = len(awaited) + 1  # one more than can end, until all are counted
        final = 1
        for future in awaited:
            with future._lock:
                if future._final:
                    final += 1
                elif future._dependents is None:
                    future._dependents = [attempt]
                else:
                    future._dependents.append(attempt)
        return attempt.passes(final)

    # To the runner

    def _release(self, ready: Sequence[Attempt]) -> None:
        """Launch attempts whose upstream is final, or skip them, and so on with their dependents.

        From a work list, never by recursion: a runner may report inside ``submit``.
        """
        work: deque[Attempt] | None = getattr(self._releasing, "work", None)
        if work is not None:
            work.extend(ready)
            return
        self._releasing.work = work = deque(ready)
        batch: list[Attempt] = []
        try:
            while work:
                batch = list(work)
                work.clear()
                calls = [(call, attempt) for attempt in batch if (call := self._prepare(attempt))]
                if len(calls) == 1:
                    self._send(*calls[0])
                elif calls:
                    self._send_many(calls)
        except BaseException:  # Ctrl-C: nobody else knows these
            for attempt in (*batch, *work):
                self.cancel(attempt.future)
            raise
        finally:
            self._releasing.work = None

    def _launch(self, attempt: Attempt) -> None:
        """Launch an attempt that has no upstream and that nothing can wait for yet."""
        if call := self._prepare(attempt):
            self._send(call, attempt)

    @interruptible
    def _send(self, call: TaskCall, report: Report) -> None:
        try:
            self.runner.submit(call, report)
        except Exception as error:  # noqa: BLE001  # a runner may refuse with anything
            refuse(self.runner, error, report)

    @interruptible
    def _send_many(self, calls: Sequence[tuple[TaskCall, Report]]) -> None:
        try:
            self.runner.submit_many(calls)
        except Exception as error:  # noqa: BLE001  # likewise; an end that was reported stays
            for _, report in calls:
                refuse(self.runner, error, report)

    def _prepare(self, attempt: Attempt) -> TaskCall | None:
        """Make an attempt's call; None if there is none to make, and then the run is final."""
        if attempt.over:
            return None
        values: tuple[Any, ...] = ()
        if attempt.upstream or attempt.awaited:
            if (blocker := attempt.blocker()) is not None:
                self._skip(attempt, blocker)
                return None
            try:
                values = tuple(map(self._value_for_call, attempt.upstream))
            except Exception as error:  # noqa: BLE001  # fetching or pickling failed, each in its way
                message = (
                    f"a value that task run {attempt.future.name!r} needs cannot be had: {error}"
                )
                self._end(attempt, *_crash(message, error))
                return None
        attempt.call = TaskCall(
            attempt.program,
            self._info,
            attempt.future.task_run.number,
            attempt.number,
            attempt.arguments,
            values,
            attempt.call_context(),
            self._travels,
        )
        # Whoever cancelled the run meanwhile may not have seen the call, so it must not be sent.
        return attempt.call if attempt.future._attempt is attempt else None

    def _value_for_call(self, future: TaskFuture[Any]) -> Any:
        """An upstream's value in the form that this runner's calls take."""
        if not self._travels:
            return future.result()
        content = future._content
        if isinstance(content, Pickled):
            return content
        if isinstance(content, Reference):
            if future._owner is self:
                return content
            return future._owner.fetch(future)
        return dump(content)

    @interruptible
    def _see_through(self, attempt: Attempt) -> None:
        """Run an attempt and its retries to the end, in this thread: the runner is sequential."""
        interrupts = self.guard.count
        for future in (*attempt.upstream, *attempt.awaited):
            future.wait()  # other flow runs' alone may not be final
        following: Attempt | None = attempt
        while following is not None:
            following.inline = True
            self._release((following,))
            with following.future._lock:
                following.inline = False
                following = following.successor
            if following is not None:
                time.sleep(following.task.options.retry_delay_seconds)
        attempt.future.wait()
        if self.guard.count > interrupts and is_in_main_thread():
            self.guard.is_due = True  # the call has caught it

    # Back from the runner

    def done(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt's call has ended: retry it, or make its run final."""
        if not isinstance(outcome, Outcome):
            text = f"the task runner reported {outcome!r}, which is no Outcome"  # type: ignore[unreachable]  # it may have no types
            outcome = Outcome(problem=Crash(text))
        problem: Problem | None = outcome.problem
        if problem is None and outcome.state is None:
            self._end(attempt, COMPLETED, None, outcome)
            return
        state = COMPLETED if outcome.state is None else outcome.state
        if outcome.state is not None and not state.is_final():
            state = Failed(f"Task returned a state that is not final: {state}")
        elif outcome.state is None and isinstance(problem, Failure):
            state = TASK_FAILED
        elif isinstance(problem, Crash):
            state = Crashed(problem.message)
        if state.is_failed():
            if self.guard.count and isinstance(problem, Failure) and problem.interrupted:
                state = Cancelled("Interrupted.")
                problem = NoValue(state)
            elif attempt.number <= attempt.task.options.retries and self._retry(attempt, outcome):
                return
        if problem is None and not state.is_completed():
            problem = NoValue(state)
        self._end(attempt, state, problem, outcome)

    def _retry(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Have a failed attempt followed by another; false if it is over already."""
        following = attempt.next()
        options = attempt.task.options
        run = attempt.future.task_run
        with attempt.future._lock:
            if attempt.over:
                return False
            attempt.over = True
            run.await_retry()
            attempt.future._attempt = following
            self._live.add(following)
            self._live.discard(attempt)
            if attempt.inline:
                attempt.successor = following
        _forget_context(attempt)
        self._log_failure(run, outcome.problem)
        task_log.log(
            WARNING,
            "Task run %r failed in attempt %d of %d and will be retried in %s s",
            run.name,
            attempt.number,
            options.retries + 1,
            options.retry_delay_seconds,
        )
        if attempt.successor is not None:
            return True
        if options.retry_delay_seconds:
            again = partial(self.reporter.call, partial(self._release, (following,)))
            self._timer.call_later(options.retry_delay_seconds, again)
        else:
            self._release((following,))
        return True

    def _skip(self, attempt: Attempt, blocker: TaskFuture[Any]) -> None:
        state = NotReady(blocker.name)
        cause = blocker._problem
        if isinstance(cause, Skip):
            problem = Skip(state.message or "", cause.root, cause.cause)
        else:
            problem = Skip(state.message or "", blocker.task_run, cause or NoValue(blocker.state))
        self._end(attempt, state, problem)

    def _end(
        self,
        attempt: Attempt,
        state: State,
        problem: Problem | None,
        outcome: Outcome | None = None,
    ) -> bool:
        """Make a run final, unless the attempt is over already; return whether it was not."""
        future = attempt.future
        run = future.task_run
        with future._lock:
            if attempt.over:
                return False
            attempt.over = True
            if outcome is None:
                run.finish(state, None, None)
                dependents = future._settle(None, problem)
            else:
                run.finish(state, outcome.started, outcome.where)
                dependents = future._settle(outcome.value, problem)
        _forget_context(attempt)
        try:
            if problem is not None:
                self._record(run, state, problem)
                self._log_failure(run, problem)
                level = ERROR if state.type in _TROUBLE else WARNING
                task_log.log(level, "Task run %r finished in state %s", run.name, state)
            elif run.number < LOGGED_RUNS and task_log.isEnabledFor(INFO):
                task_log.info("Task run %r finished in state %s", run.name, state)
        finally:  # whatever an application's logging raises
            future._announce()
            if dependents:
                self._pass(dependents)
            self._live.discard(attempt)
            if not self._live:
                self._tell_if_idle()
        return True

    def _pass(self, dependents: list[Attempt]) -> None:
        """Release those dependents that wait for nothing more; some may be other flow runs'."""
        ready = [dependent for dependent in dependents if dependent.passes()]
        if own := [dependent for dependent in ready if dependent.engine is self]:
            self._release(own)
        for dependent in ready:
            if dependent.engine is not self:
                dependent.engine._release((dependent,))

    def _record(self, run: TaskRun, state: State, problem: Problem) -> None:
        """Remember that a run did not complete."""
        with self.lock:
            self.run.count(state)
            if isinstance(problem, Skip):
                self._record_skip(run.index, problem)
            elif state.type in _TROUBLE:
                self._record_failure(run.index, run.name, run.task_name, state, problem)

    def _record_skip(self, index: int, skip: Skip) -> None:
        """Remember why a task run or a subflow run was skipped; under the lock."""
        if skip.by_cancelling:
            self.skipped_by_cancelling += 1
        else:
            self._candidate(index, skip.root.name, skip.cause)

    def _record_failure(
        self, index: int, name: str, kind: str, state: State, problem: Problem | BaseException
    ) -> None:
        """Remember a failure of a task run or a subflow run; under the lock."""
        self._candidate(index, name, problem)
        if not self.run.keep_failure(name, problem):
            self.run.further_failures[kind, state.type.value] += 1

    def _candidate(self, index: int, name: str, problem: Problem | BaseException) -> None:
        if self.first_failure is None or index < self.first_failure[0]:
            self.first_failure = index, name, problem

    def _log_failure(self, run: TaskRun, problem: object) -> None:
        if isinstance(problem, Failure):
            error = problem.error()
            task_log.error("Task run %r encountered an exception:", run.name, exc_info=error)

    # What futures ask for

    def cancel(self, future: TaskFuture[Any]) -> bool:
        """End a run as cancelled; see `TaskFuture.cancel`."""
        while not future._final:
            attempt: Attempt | None = future._attempt
            if attempt is None:
                break
            state = Cancelled()
            if self._end(attempt, state, NoValue(state)):
                if attempt.call is not None:
                    self._cancel_call(attempt.call)
                self.guard.raise_if_due()
                return True
        return future.cancelled()

    def _cancel_call(self, call: TaskCall) -> None:
        try:
            self.runner.cancel(call)
        except Exception:  # noqa: BLE001  # a runner may raise anything; the run is cancelled
            task_log.exception("The task runner could not cancel the call of %r", call.name)

    @interruptible
    def fetch(self, future: TaskFuture[Any]) -> Pickled:
        """Bring the value of a completed run to the driver."""
        if self._stopped:
            raise ResultGoneError(
                f"the value of task run {future.name!r} went away with its task runner: return the "
                f"future from flow run {self.run.name!r}, or ask for its result before that ends"
            )
        return self.runner.fetch([future._content])[0]

    def call_back(self, fn: Callable[[], None]) -> None:
        """Run a user's callback on the thread for them."""
        self._callbacks.call(fn)

    # The end

    def when_idle(self, fn: Callable[[], None]) -> bool:
        """Have `fn` called, in any thread, when nothing is live any more; false if nothing is.

        Args:
            fn: It must neither block nor raise.
        """
        with self.lock:
            if not self._live and not self._live_subflows:
                return False
            self._when_idle.append(fn)
            return True

    def _tell_if_idle(self) -> None:
        with self.lock:
            if self._live or self._live_subflows:
                return
            told, self._when_idle = self._when_idle, []
        for fn in told:
            fn()

    def close(self) -> bool:
        """Take no more submissions, if nothing is live; return whether it is so."""
        with self.lock:
            if self._live or self._live_subflows:
                return False
            self._closed = True
            return True

    def cancel_waiting(self) -> list[str]:
        """Take nothing new, cancel what has not begun; return the names of what still runs."""
        with self.lock:
            self._closed = True
            attempts = sorted(self._live, key=_index, reverse=True)  # so that none is skipped
        running = []
        for attempt in attempts:
            if attempt.future.state.type is StateType.RUNNING:
                running.append(attempt.future.name)
            else:
                self.cancel(attempt.future)
        return running[::-1]

    def abandon(self) -> list[str]:
        """Cancel all that is live, take nothing new; return the names of what still runs."""
        running = self.cancel_waiting()
        for attempt in list(self._live):
            self.cancel(attempt.future)
        return running

    # Subflows

    def begin_subflow(self, run: FlowRun[Any]) -> int:
        """Enter a run of a flow that this flow's body calls; return its index.

        Raises:
            FlowRunEndedError: If this flow run is over.
        """
        with self.lock:
            if self._closed:
                raise FlowRunEndedError(
                    f"flow {run.flow_name!r} was called in flow run {self.run.name!r}, "
                    "which is over"
                )
            index = self.run.submitted
            self.run.submitted = index + 1
            self.run.subflow_runs.append(run)
            self._live_subflows += 1
        return index

    def end_subflow(self, index: int, run: FlowRun[Any], skip: Skip | None) -> None:
        """Count how a subflow run ended.

        Args:
            index: Its index.
            run: Its record, finished.
            skip: Why it was skipped, if it was.
        """
        state = run.state
        with self.lock:
            self.run.count(state)
            if skip is not None:
                self._record_skip(index, skip)
            elif state.type in _TROUBLE and run.error is not None:
                self._record_failure(index, run.name, run.flow_name, state, run.error)
            self._live_subflows -= 1
        self._tell_if_idle()

    def stop(self) -> None:
        """Stop the runner, end what it left, and the engine's own threads."""
        with self.lock:
            self._closed = True
        try:
            self.runner.stop()
        except Exception:  # noqa: BLE001  # a runner may raise anything; it changes no state
            task_log.exception("Task runner `%s` failed to stop", type(self.runner).__name__)
        finally:
            self._end_rest()
            for thread in (self._timer, self.reporter, self._callbacks):
                thread.stop()

    def _end_rest(self) -> None:
        with self.lock:
            self._stopped = True
            left = sorted(self._live, key=_index)  # upstream first, so that the others are skipped
        for attempt in left:
            message = f"The task runner stopped before task run {attempt.future.name!r} ended."
            self._end(attempt, *_crash(message, None))


_TROUBLE: Final = frozenset({StateType.FAILED, StateType.CRASHED})


def _index(attempt: Attempt) -> int:
    return attempt.future.task_run.index


def _forget_context(attempt: Attempt) -> None:
    """Part an attempt's call from its context, where it stands as the innermost run: a cycle."""
    if attempt.call is not None:
        attempt.call._context = None


def _log_submission(run: TaskRun) -> None:
    if run.number < LOGGED_RUNS:
        task_log.info("Submitting task run %r to task runner...", run.name)
    else:
        task_log.info(
            "Task %r was submitted %d times: further runs are logged only if they do not complete",
            run.task_name,
            LOGGED_RUNS,
        )


def _crash(message: str, cause: BaseException | None) -> tuple[State, Problem]:
    return Crashed(message), Crash(message, cause)
