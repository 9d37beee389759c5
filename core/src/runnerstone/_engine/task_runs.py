"""One flow run's task runs, each from its submission to its final state.

Which thread does what. Tasks are submitted by the thread of the flow's body, and by any other that
has its context. Ends are reported by the task runner's threads, or by the flow run's reporter thread
where the runner may not block. Whichever thread ends a run launches what waited for it. Users'
callbacks run on a thread of their own.

One lock a flow run (`Engine.lock`) guards what may change after its making: the graph, the futures,
the records, the set of live attempts. It is held for a few assignments at a time, never while a
task runner, a user's code, a callback, pickling or logging runs.
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
from runnerstone._engine.interrupts import InterruptGuard
from runnerstone._engine.logs import task_log
from runnerstone._engine.threads import SerialThread, TimerThread
from runnerstone._pickles import Pickled, dump, dump_arguments
from runnerstone.calls import Crash, Failure, Outcome, Program, TaskCall
from runnerstone.contracts import Reference, Report, TaskRunner, refuse
from runnerstone.errors import FlowRunEndedError, ResultGoneError, UnpicklableError
from runnerstone.futures import TaskFuture
from runnerstone.runs import FlowRun, NoValue, Problem, Skip, TaskRun
from runnerstone.states import (
    AWAITING_RETRY,
    COMPLETED,
    RETRYING,
    RUNNING,
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
        waiting: How many of its futures are not final; guarded by the engine's lock.
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

    def blocker(self) -> TaskFuture[Any] | None:
        """The first upstream that did not complete, None if all did; all have to be final."""
        for future in self.upstream:
            if future._problem is not None:  # noqa: SLF001  # the engine makes the futures
                return future
        for future in self.awaited:
            if future._problem is not None:  # noqa: SLF001
                return future
        return None

    def started(self, where: str | None = None) -> None:
        self.engine.started(self, where)

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
        self.submitted = 0  # task runs and subflow runs
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
        self._idle: threading.Lock | None = None  # released when nothing is live any more
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
        program, series = self._programs.get(task) or self._add_program(task)
        upstream, template = extract_arguments(args, kwargs, FUTURES)
        arguments: Arguments = (args, kwargs) if template is None else template
        awaited = tuple(wait_for) if wait_for else ()
        context: Context | None = None
        refusal: UnpicklableError | None = None
        if self._travels:
            try:
                arguments = dump_arguments(arguments, partial(task.parts, args, kwargs), FUTURES)
            except UnpicklableError as error:
                refusal = error
        else:
            context = copy_context()
        if not self._parallel:
            for future in (*upstream, *awaited):
                future.wait()

        foreign: list[TaskFuture[Any]] = []
        now = time.time()
        with self.lock:
            if self._closed:
                raise FlowRunEndedError(
                    f"task {task.name!r} was submitted to flow run {self.run.name!r}, which is over"
                )
            number = series.count
            series.count = number + 1
            index = self.submitted
            self.submitted = index + 1
            run = TaskRun(program, number, index, now)
            future = TaskFuture[Any](run, self)
            attempt = Attempt(self, future, task, program, arguments, upstream, awaited, context)
            future._attempt = attempt  # noqa: SLF001  # the engine makes the futures
            self._live.add(attempt)
            if index < self._keep_task_runs:
                self.run.task_runs.append(run)
            if self._parallel and (upstream or awaited):
                self._wait_for_upstream(attempt, foreign)
            ready = not attempt.waiting
        if number < LOGGED_RUNS and task_log.isEnabledFor(INFO):
            task_log.info("Submitting task run %r to task runner...", run.name)
        if refusal is not None:
            self._end(attempt, *_crash(f"task run {run.name!r}: {refusal}", refusal))
        elif not self._parallel:
            self._see_through(attempt)
        elif ready:
            self._release((attempt,))
        for other in foreign:
            if not other._when_final(partial(self._upstream_done, attempt)):  # noqa: SLF001
                self._upstream_done(attempt)
        return future

    def _add_program(self, task: Task[..., Any]) -> tuple[Program, Series]:
        series = self._series.setdefault((task.name, task.key), Series())
        if task.options.resources and not self.runner.capabilities.knows_resources:
            task_log.warning(
                "Task %r asks for resources, which task runner `%s` does not know: they are ignored",
                task.name,
                type(self.runner).__name__,
            )
        return self._programs.setdefault(task, (Program(task), series))

    def _wait_for_upstream(self, attempt: Attempt, foreign: list[TaskFuture[Any]]) -> None:
        """Have the attempt wait for its futures; those of other flow runs are left to the caller."""
        for future in (*attempt.upstream, *attempt.awaited):
            if future._owner is not self:  # noqa: SLF001  # the engine makes the futures
                foreign.append(future)
                attempt.waiting += 1
            elif not future._final:  # noqa: SLF001
                attempt.waiting += 1
                if future._dependents is None:  # noqa: SLF001
                    future._dependents = []  # noqa: SLF001
                future._dependents.append(attempt)  # noqa: SLF001

    def _upstream_done(self, attempt: Attempt) -> None:
        with self.lock:
            attempt.waiting -= 1
            ready = not attempt.waiting
        if ready:
            self._release((attempt,))

    # To the runner

    def _release(self, ready: Sequence[Attempt]) -> None:
        """Launch attempts whose upstream is final, or skip them, and so on with what waits for those.

        From a work list, never by recursion: a runner may report inside ``submit``.
        """
        work: deque[Attempt] | None = getattr(self._releasing, "work", None)
        if work is not None:
            work.extend(ready)
            return
        self._releasing.work = work = deque(ready)
        try:
            while work:
                calls: list[tuple[TaskCall, Report]] = []
                for _ in range(len(work)):
                    attempt = work.popleft()
                    if call := self._prepare(attempt):
                        calls.append((call, attempt))
                if len(calls) == 1:
                    self._submit(*calls[0])
                elif calls:
                    self.runner.submit_many(calls)
        finally:
            self._releasing.work = None

    def _submit(self, call: TaskCall, report: Report) -> None:
        try:
            self.runner.submit(call, report)
        except Exception as error:  # noqa: BLE001  # a runner may refuse with anything
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
                message = f"a value that task run {attempt.future.name!r} needs cannot be had: {error}"
                self._end(attempt, *_crash(message, error))
                return None
        attempt.call = TaskCall(
            attempt.program,
            self._info,
            attempt.future.task_run.number,
            attempt.number,
            attempt.arguments,
            values,
            attempt.context,
            self._travels,
        )
        return attempt.call

    def _value_for_call(self, future: TaskFuture[Any]) -> Any:
        """An upstream's value in the form that this runner's calls take."""
        if not self._travels:
            return future.result()
        content = future._content  # noqa: SLF001  # the engine makes the futures
        if isinstance(content, Pickled):
            return content
        if isinstance(content, Reference):
            if future._owner is self:  # noqa: SLF001
                return content
            return future._owner.fetch(future)  # noqa: SLF001
        return dump(content)

    def _see_through(self, attempt: Attempt) -> None:
        """Run an attempt and its retries to the end in this thread, where the runner is sequential."""
        following: Attempt | None = attempt
        while following is not None:
            following.inline = True
            self._release((following,))
            following.inline = False
            following = following.successor
            if following is not None:
                time.sleep(following.task.options.retry_delay_seconds)
        attempt.future.wait()
        if self.guard.count:
            raise KeyboardInterrupt

    # Back from the runner

    def started(self, attempt: Attempt, where: str | None) -> None:
        """An attempt's call has begun."""
        run = attempt.future.task_run
        with self.lock:
            if not attempt.over:
                run.become(RUNNING if attempt.number == 1 else RETRYING)
                run.started = time.time()
                run.where = where

    def done(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt's call has ended: retry it, or make its run final."""
        problem: Problem | None = outcome.problem
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
        with self.lock:
            if attempt.over:
                return False
            attempt.over = True
            run.become(AWAITING_RETRY)
            run.attempts = attempt.number
            attempt.future._attempt = following  # noqa: SLF001  # the engine makes the futures
            self._live.add(following)
            self._live.discard(attempt)
        self._log_failure(run, outcome.problem)
        task_log.log(
            WARNING,
            "Task run %r failed in attempt %d of %d and will be retried in %s s",
            run.name,
            attempt.number,
            options.retries + 1,
            options.retry_delay_seconds,
        )
        if attempt.inline:
            attempt.successor = following
        elif options.retry_delay_seconds:
            again = partial(self.reporter.call, partial(self._release, (following,)))
            self._timer.call_later(options.retry_delay_seconds, again)
        else:
            self._release((following,))
        return True

    def _skip(self, attempt: Attempt, blocker: TaskFuture[Any]) -> None:
        state = NotReady(blocker.name)
        cause = blocker._problem  # noqa: SLF001  # the engine makes the futures
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
        ready: list[Attempt] = []
        with self.lock:
            if attempt.over:
                return False
            attempt.over = True
            run.become(state)
            run.ended = time.time()
            if outcome is not None:
                run.attempts = attempt.number
                run.started = outcome.started
                run.where = outcome.where or run.where
            content = outcome.value if outcome is not None and problem is None else None
            for dependent in future._settle(content, problem):  # noqa: SLF001
                dependent.waiting -= 1
                if not dependent.waiting:
                    ready.append(dependent)
            self.run.counts[state.type] = self.run.counts.get(state.type, 0) + 1
            if problem is not None:
                self._record(run, state, problem)
        if problem is not None:
            self._log_failure(run, problem)
            level = ERROR if state.type in _TROUBLE else WARNING
            task_log.log(level, "Task run %r finished in state %s", run.name, state)
        elif run.number < LOGGED_RUNS and task_log.isEnabledFor(INFO):
            task_log.info("Task run %r finished in state %s", run.name, state)
        elif run.number == LOGGED_RUNS:
            task_log.info(
                "Task %r has run %d times: further runs are logged only if they do not complete",
                run.task_name,
                LOGGED_RUNS,
            )
        future._announce()  # noqa: SLF001
        if ready:
            self._release(ready)
        self._live.discard(attempt)
        if not self._live:
            with self.lock:
                if self._idle is not None and not self._live:
                    self._idle.release()
                    self._idle = None
        return True

    def _record(self, run: TaskRun, state: State, problem: Problem) -> None:
        """Remember that a run did not complete; under the lock."""
        if isinstance(problem, Skip):
            if problem.by_cancelling:
                self.skipped_by_cancelling += 1
            else:
                self._candidate(run.index, problem.root.name, problem.cause)
        elif state.type in _TROUBLE:
            self.record_failure(run.index, run.name, run.task_name, state, problem)

    def record_failure(
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
        while not future._final:  # noqa: SLF001  # the engine makes the futures
            attempt: Attempt | None = future._attempt  # noqa: SLF001
            if attempt is None:
                break
            state = Cancelled()
            if self._end(attempt, state, NoValue(state)):
                if attempt.call is not None:
                    self._cancel_call(attempt.call)
                return True
        return future.cancelled()

    def _cancel_call(self, call: TaskCall) -> None:
        try:
            self.runner.cancel(call)
        except Exception:
            task_log.exception("The task runner could not cancel the call of %r", call.name)

    def fetch(self, future: TaskFuture[Any]) -> Pickled:
        """Bring the value of a completed run to the driver."""
        if self._stopped:
            raise ResultGoneError(
                f"the value of task run {future.name!r} went away with its task runner: return the "
                f"future from the flow, or ask for its result before flow run {self.run.name!r} ends"
            )
        return self.runner.fetch([future._content])[0]  # noqa: SLF001

    def call_back(self, fn: Callable[[], None]) -> None:
        """Run a user's callback on the thread for them."""
        self._callbacks.call(fn)

    # The end

    def wait(self) -> None:
        """Block until nothing is live, then take no more submissions."""
        while True:
            with self.lock:
                if not self._live:
                    self._closed = True
                    return
                self._idle = idle = threading.Lock()
                idle.acquire()
            idle.acquire()

    def cancel_waiting(self) -> list[str]:
        """Cancel what has not begun to run, take nothing new; return the names of what still runs."""
        with self.lock:
            self._closed = True
            attempts = list(self._live)
        attempts.sort(key=lambda attempt: -attempt.future.task_run.index)
        running = []
        for attempt in attempts:
            if attempt.future.state.type is StateType.RUNNING:
                running.append(attempt.future.name)
            else:
                self.cancel(attempt.future)
        return running[::-1]

    def abandon(self) -> None:
        """End all that is live as cancelled, whether or not it still runs."""
        for attempt in list(self._live):
            self.cancel(attempt.future)

    # Subflows

    def begin_subflow(self, run: FlowRun[Any]) -> int:
        """Enter a run of a flow that this flow's body calls; return its index."""
        with self.lock:
            index = self.submitted
            self.submitted = index + 1
            self.run.subflow_runs.append(run)
        return index

    def end_subflow(self, index: int, run: FlowRun[Any], error: BaseException | None) -> None:
        """Count how a subflow run ended."""
        state = run.state
        with self.lock:
            self.run.counts[state.type] = self.run.counts.get(state.type, 0) + 1
            if state.type in _TROUBLE and error is not None:
                self.record_failure(index, run.name, run.flow_name, state, error)

    def stop(self) -> None:
        """Stop the runner, end what it left, and the engine's own threads."""
        with self.lock:
            self._closed = True
        try:
            self.runner.stop()
        except Exception:
            task_log.exception("Task runner `%s` failed to stop", type(self.runner).__name__)
        with self.lock:
            self._stopped = True
            left = list(self._live)
        for attempt in left:
            message = f"The task runner stopped before task run {attempt.future.name!r} ended."
            self._end(attempt, *_crash(message, None))
        for thread in (self._timer, self.reporter, self._callbacks):
            thread.stop()


_TROUBLE: Final = frozenset({StateType.FAILED, StateType.CRASHED})


def _crash(message: str, cause: BaseException | None) -> tuple[State, Problem]:
    return Crashed(message), Crash(message, cause)


