"""One flow run's task runs, each from its submission to its final state.

Which thread does what. Tasks are submitted by the thread of the flow's body, and by any other that
has its context. Ends are reported by the task runner's threads, or by the flow run's reporter
thread where the runner may not block. Whichever thread ends a run launches what waited for it.
Users' callbacks run on a thread of their own.

A run whose time is up is ended by the timer's thread, which has its call cancelled.

Each task run has a lock of its own, its future's: it guards whether the run is final, which attempt
is the last, and who waits for it. One lock a flow run (`Book.lock`) guards the numbering of runs,
whether more are taken, and what is recorded of those that did not complete; a run that completes
needs it only to be numbered. Either is held for a few assignments at a time, never both at once,
and never while a task runner, a user's code, a callback, pickling or logging runs. (With the one
lock alone, threads queue up for it at each switch between them, and a no-op task costs twice as
much.)
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Final

import attrs

from runnerstone._arguments import extract_arguments
from runnerstone._engine.attempts import Arguments, Attempt
from runnerstone._engine.books import Book, Series
from runnerstone._engine.expiries import Expiry
from runnerstone._engine.inputs import (
    FOR_CALLS,
    INPUTS,
    Input,
    content_of,
    future_of,
    skip_of,
    value_of,
)
from runnerstone._engine.interrupts import (
    InterruptGuard,
    interruptible,
    is_in_main_thread,
    raise_if_due,
)
from runnerstone._engine.leftovers import Leftovers
from runnerstone._engine.logs import (
    flow_log,
    log_end,
    log_fault,
    log_raised,
    log_retry,
    log_submission,
    task_log,
)
from runnerstone._engine.retries import delay_before_retry
from runnerstone._engine.streams import Streams
from runnerstone._engine.threads import SerialThread, TimerThread
from runnerstone._engine.units import Unit
from runnerstone._engine.verdicts import judge, no_outcome, note_of
from runnerstone._pickles import dump_arguments
from runnerstone._problems import NoValue, Problem, Skip
from runnerstone._records import record_of
from runnerstone.calls import TaskCall
from runnerstone.contents import Pickled
from runnerstone.contexts import FlowRunContext, RunLogger, ambient_tags
from runnerstone.contracts import Report, TaskRunner, refuse
from runnerstone.errors import FlowRunEndedError, ResultGoneError, UnpicklableError
from runnerstone.futures import TaskFuture
from runnerstone.labels import Labels
from runnerstone.options import FlowOptions
from runnerstone.outcomes import Crash, Outcome
from runnerstone.programs import Program
from runnerstone.runs import FlowRun
from runnerstone.states import (
    COMPLETED,
    Cancelled,
    Crashed,
    NotReady,
    State,
    StateType,
    exceeded,
)
from runnerstone.tasks import Task

# A call that travels is given this much longer, in seconds: it ends itself if its code can be
# interrupted, which spares its worker.
TRAVELLERS_GRACE: Final = 0.2
# Of which many runs can have the same.
NO_KEYWORDS: Final[Mapping[str, Any]] = {}


class Engine:
    """Runs the tasks of one flow run; the innermost run while the flow's body is."""

    def __init__(
        self,
        run: FlowRun[Any],
        runner: TaskRunner,
        guard: InterruptGuard,
        options: FlowOptions,
        parent: "Engine | None",
    ) -> None:
        """Prepare to run tasks.

        Args:
            run: The record to keep.
            runner: Where the tasks run; a started copy from `start` on.
            guard: Tells whether the user has pressed Ctrl-C.
            options: What the flow was declared with.
            parent: That of the flow run whose body called the flow; None if it is a root run.
        """
        self.run: Final = run
        self.runner: Final = runner
        self.guard: Final = guard
        self.options: Final = options
        self.parent: Final = parent
        self.kind: Final = "Flow" if parent is None else "Subflow"
        self.children: Final[set[Engine]] = set()
        around = parent is not None and parent.logs_prints
        self.logs_prints: Final[bool] = around if options.log_prints is None else options.log_prints
        self.book: Final = Book(run, options.keep_task_runs)
        self.reporter: Final = SerialThread(f"{run.name} reports")
        self._callbacks = SerialThread(f"{run.name} callbacks")
        self.timer: Final = TimerThread(f"{run.name} timer")
        self._info = run.info(task_log.getEffectiveLevel())
        self._parallel = runner.capabilities.parallel
        self._travels = not runner.capabilities.shares_memory
        packs = self._travels and self._parallel and runner.capabilities.gains_from_packing
        self._streams: Streams | None = Streams(self) if packs else None
        self._programs: dict[Task[..., Any], tuple[Program, Series]] = {}
        self._series: dict[tuple[str, str], Series] = {}
        self._stopped = False
        self._releasing = threading.local()
        self._leftovers = Leftovers(self.timer)
        expiry_around = None if parent is None else parent.expiry
        self.expiry: Final[Expiry] = Expiry(options.timeout_seconds, guard, expiry_around)

    # The way in

    def submit(
        self,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        awaited: Sequence[Input] = (),
        map_index: int | None = None,
    ) -> TaskFuture[Any]:
        """Submit a run of `task`; see `Task.submit` and `Task.map`."""
        task.check_arguments(args, kwargs)
        upstream, template = extract_arguments(args, kwargs, INPUTS)
        if upstream and not FOR_CALLS.issuperset(map(type, upstream)):
            raise TypeError(
                f"task {task.name!r} was given unmapped(...), which is for map(): pass the value "
                "itself"
            )
        arguments: Arguments = (args, kwargs or NO_KEYWORDS) if template is None else template
        refusal: UnpicklableError | None = None
        if self._travels:
            try:
                arguments = dump_arguments(arguments, partial(task.parts, args, kwargs), INPUTS)
            except UnpicklableError as error:
                refusal = error
        labels = None
        if task.options.task_run_name is not None or not ambient_tags.get() <= task.tags:
            labels = Labels(task.run_name(args, kwargs), ambient_tags.get() | task.tags)
        attempt = self._enter(task, arguments, upstream or (), awaited, labels, map_index)
        run = attempt.future._run
        try:
            log_submission(run)
            if refusal is not None:
                self._end(attempt, *_crash(f"task run {run.name!r}: {refusal}", refusal))
            elif not self._parallel:
                self._see_through(attempt)
            elif not (upstream or awaited):
                self._launch(attempt)
            elif self._has_all(attempt):
                self._release((attempt,))
        except BaseException:  # Ctrl-C: nobody else knows the run
            self.cancel(attempt.future)
            raise
        raise_if_due()
        return attempt.future

    def _enter(  # noqa: PLR0913, PLR0917  # a record to hold these would cost another
        self,
        task: Task[..., Any],
        arguments: Arguments,
        upstream: Sequence[Input],
        awaited: Sequence[Input],
        labels: Labels | None,
        map_index: int | None,
    ) -> Attempt:
        """Make and number a task run; return its first attempt."""
        program, series = self._programs.get(task) or self._add_program(task)
        context = None if self._travels else copy_context()
        submitted = time.time()
        try:
            with self.book.lock:
                run = self.book.enter(program, series, submitted, labels, map_index)
                future: TaskFuture[Any] = TaskFuture(run, self)
                attempt = Attempt(
                    self, future, task, program, arguments, upstream, awaited, context
                )
                future._attempt = attempt
                self.book.live.add(attempt)
        except FlowRunEndedError:
            self.expiry.raise_if_come()
            raise
        return attempt

    def _add_program(self, task: Task[..., Any]) -> tuple[Program, Series]:
        series = self._series.setdefault((task.name, task.key), Series())
        if task.options.resources and not self.runner.capabilities.knows_resources:
            task_log.warning(
                "Task %r asks for resources, which task runner `%s` does not know and ignores",
                task.name,
                type(self.runner).__name__,
            )
        logs_prints = task.options.log_prints
        program = Program.of(
            task, logs_prints=self.logs_prints if logs_prints is None else logs_prints
        )
        return self._programs.setdefault(task, (program, series))

    def _has_all(self, attempt: Attempt) -> bool:
        """Have the attempt wait for its futures; return whether there is nothing to wait for."""
        awaited = (*attempt.upstream, *attempt.awaited)
        attempt.waiting = len(awaited) + 1  # one more than can end, until all are counted
        final = 1
        for item in awaited:
            future = item if type(item) is TaskFuture else future_of(item)
            if future is None or future._final:  # what is final stays so: no lock is needed
                final += 1
                continue
            with future._lock:
                if future.done():
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
                if self._streams is not None:
                    self.send(self._streams.admit(calls))
                elif len(calls) == 1:  # as `send` does, which would be one call more
                    self._send(*calls[0])
                else:
                    self.send(calls)
        except BaseException:  # Ctrl-C: nobody else knows these
            for attempt in (*batch, *work):
                self.cancel(attempt.future)
            raise
        finally:
            self._releasing.work = None

    def _launch(self, attempt: Attempt) -> None:
        """Launch an attempt that has no upstream and that nothing can wait for yet."""
        call = self._prepare(attempt)
        if call is None:
            return
        if self._streams is None:
            self._send(call, attempt)
        else:
            self.send(self._streams.admit([(call, attempt)]))

    def send(self, calls: Sequence[tuple[TaskCall, Attempt | Unit]]) -> None:
        """Give calls to the runner."""
        try:
            if len(calls) == 1:
                self._send(*calls[0])
            elif calls:
                self._send_many(calls)
        except BaseException:  # Ctrl-C: nobody else knows these
            for _, report in calls:
                for attempt in tuple(report.attempts):
                    if attempt is not None:
                        self.cancel(attempt.future)
            raise

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
                if self._travels:
                    values = tuple(content_of(item, self) for item in attempt.upstream)
                else:
                    values = tuple(map(value_of, attempt.upstream))
            except Exception as error:  # noqa: BLE001  # fetching or pickling failed, each in its way
                message = (
                    f"a value that task run {attempt.future.name!r} needs cannot be had: {error}"
                )
                self._end(attempt, *_crash(message, error))
                return None
        attempt.call = TaskCall(
            attempt.program,
            self._info,
            attempt.future._run.number,
            attempt.number,
            attempt.arguments,
            values,
            attempt.call_context(),
            self._travels,
            attempt.future._run._labels,
        )
        if attempt.program.timeout_seconds is not None and not self._travels:
            attempt.call._watch = attempt.begun
        # Whoever cancelled the run meanwhile may not have seen the call, so it must not be sent.
        return attempt.call if attempt.future._attempt is attempt else None

    @interruptible
    def _see_through(self, attempt: Attempt) -> None:
        """Run an attempt and its retries to the end, in this thread: the runner is sequential."""
        interrupts = self.guard.count
        for item in (*attempt.upstream, *attempt.awaited):
            future = future_of(item)
            if future is not None and not future._final:  # as other flow runs' alone may be
                future.wait()
        following: Attempt | None = attempt
        while following is not None:
            following.inline = True
            self._release((following,))
            with following.future._lock:
                following.inline = False
                following = following.successor
            raise_if_due()
            if following is not None and following.past.delay_seconds:
                attempt.future.wait(
                    following.past.delay_seconds
                )  # unless it is cancelled meanwhile
        attempt.future.wait()
        self.expiry.raise_if_come()  # which the call may have caught, as the next
        if self.guard.count > interrupts and is_in_main_thread():
            raise KeyboardInterrupt

    # Back from the runner

    def done(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt's call has ended: retry it, or make its run final."""
        if not isinstance(outcome, Outcome):
            outcome = no_outcome(outcome)  # type: ignore[unreachable]  # it may have no types
        if self._leftovers.attempts:
            self._leftovers.discard(attempt)
        if outcome.problem is None and outcome.state is None and not outcome.records:
            self._end(attempt, COMPLETED, None, outcome)
            return
        if outcome.records and not attempt.over:
            attempt.logged(map(record_of, outcome.records))
        interrupted = bool(self.guard.count)
        state, problem = judge(outcome, attempt.upstream, interrupted=interrupted)
        self._conclude(attempt, state, problem, outcome)

    def _conclude(
        self,
        attempt: Attempt,
        state: State,
        problem: Problem | None,
        outcome: Outcome | None = None,
        *,
        abandoned: bool = False,
    ) -> None:
        """Retry an attempt, or make its run final, unless the attempt is over already."""
        if problem is not None and not attempt.over and not self.book.is_closed:
            delay = delay_before_retry(attempt, state, problem)
            if delay is not None:
                following = attempt.next(delay, crashed=state.is_crashed())
                self._retry(attempt, following, problem, abandoned=abandoned)
                return
        self._end(attempt, state, problem, outcome, abandoned=abandoned)

    def _retry(
        self, attempt: Attempt, following: Attempt, problem: Problem, *, abandoned: bool
    ) -> None:
        """Have an attempt followed by another, unless it is over already."""
        run = attempt.future.task_run
        with attempt.future._lock:
            if attempt.over:
                return
            attempt.over = True
            run.await_retry()
            attempt.future._attempt = following
            self.book.live.add(following)
            self.book.live.discard(attempt)
            if attempt.inline:
                attempt.successor = following
        self._part(attempt, abandoned=abandoned)
        options = attempt.task.options
        past = following.past
        which = (
            (past.crashes, options.crash_retries + 1)
            if past.crashes > attempt.past.crashes
            else (past.failures, options.retries + 1)
        )
        log_retry(run, problem, which, past.delay_seconds)
        if attempt.successor is not None:
            return
        if past.delay_seconds:
            again = partial(self.reporter.call, partial(self._release, (following,)))
            self.timer.call_later(past.delay_seconds, again)
        else:
            self._release((following,))

    def _part(self, attempt: Attempt, *, abandoned: bool) -> None:
        """Let go of what an attempt had that is over.

        Args:
            attempt: The attempt.
            abandoned: Whether its call may still run, and is to be cancelled.
        """
        attempt.forget_context()
        if attempt.alarm is not None:
            self.timer.call_off(attempt.alarm)
        if abandoned and attempt.call is not None:
            if attempt.future.task_run.started is not None or attempt.alarm is not None:
                self._leftovers.add(attempt)
            if attempt.sender is None:
                self.cancel_call(attempt.call)
            else:
                attempt.sender.cancel(attempt)
                attempt.sender = None  # which refers to the attempt in turn

    def _skip(self, attempt: Attempt, blocker: TaskFuture[Any]) -> None:
        state = NotReady(blocker.name)
        self._end(attempt, state, skip_of(blocker, state))

    def _end(  # noqa: PLR0912  # one a task run: a function to hold a part would cost another
        self,
        attempt: Attempt,
        state: State,
        problem: Problem | None,
        outcome: Outcome | None = None,
        *,
        abandoned: bool = False,
    ) -> bool:
        """Make a run final, unless the attempt is over already; return whether it was not.

        Args:
            attempt: The last of the run's.
            state: The final state.
            problem: Why the run has no value; None if it has one.
            outcome: What the call ended in; None if it has not.
            abandoned: Whether the call may still run, and is to be cancelled.
        """
        future = attempt.future
        run = future._run
        noted = problem
        if problem is not None and not isinstance(problem, Skip):
            runner = type(self.runner).__name__
            note = note_of(run, state, self.run.name, runner)
            noted = attrs.evolve(problem, note=note)
        with future._lock:
            if attempt.over:
                return False
            attempt.over = True
            if outcome is None:
                run.finish(state, None, None)
                dependents = future._settle(None, noted)
            else:
                run.finish(state, outcome.started, outcome.where)
                dependents = future._settle(outcome.value, noted)
        if abandoned or attempt.alarm is not None:
            self._part(attempt, abandoned=abandoned)
        else:
            attempt.forget_context()
        try:
            if noted is not None:
                self.book.record(run, state, noted)
            log_end(run, state, problem)
        finally:  # also if Ctrl-C ends what an application's logging does
            if future._callbacks is not None:
                future._announce()
            if attempt.task.has_hooks:
                for hook in attempt.task.options.hooks(state):
                    self.call_back(partial(_call_hook, hook, future))
            try:
                if dependents:
                    self._pass(dependents)
            finally:  # also if it ends what a task runner does that is given these
                self.book.leave(attempt)
        return True

    def _pass(self, dependents: list[Attempt]) -> None:
        """Release those dependents that wait for nothing more; some may be other flow runs'."""
        ready = [dependent for dependent in dependents if dependent.passes()]
        if own := [dependent for dependent in ready if dependent.engine is self]:
            self._release(own)
        for dependent in ready:
            if dependent.engine is not self:
                dependent.engine._release((dependent,))

    # Time

    def watch(self, attempt: Attempt) -> None:
        """End an attempt, which is about to begin, when its time is up."""
        seconds = attempt.program.timeout_seconds
        if seconds is None or attempt.alarm is not None:
            return
        grace = TRAVELLERS_GRACE if self._travels else 0.0
        alarm = self.timer.call_later(seconds + grace, partial(self._time_out, attempt))
        attempt.alarm = alarm
        if attempt.over:  # whoever ended it may not have seen the alarm
            self.timer.call_off(alarm)

    def _time_out(self, attempt: Attempt) -> None:
        state = exceeded("Task run", attempt.program.timeout_seconds or 0)
        self._conclude(attempt, state, NoValue(state), abandoned=True)

    # What futures ask for

    def cancel(self, future: TaskFuture[Any]) -> bool:
        """End a run as cancelled; see `TaskFuture.cancel`."""
        while not future._final:
            attempt: Attempt | None = future._attempt
            if attempt is None:
                break
            state = Cancelled()
            if self._end(attempt, state, NoValue(state), abandoned=True):
                raise_if_due()
                return True
        return future.cancelled()

    def cancel_call(self, call: TaskCall) -> None:
        """Have the runner cancel a call."""
        try:
            self.runner.cancel(call)
        except Exception as error:  # noqa: BLE001  # a runner may raise anything; the run is cancelled
            log_fault(task_log, error, "The task runner could not cancel the call of %r", call.name)

    @interruptible
    def fetch(self, future: TaskFuture[Any]) -> Pickled:
        """Bring the value of a completed run to the driver."""
        self._check_that_values_are_there(future)
        return self.runner.fetch([future._content])[0]

    @interruptible
    def fetch_all(self, futures: Iterable[TaskFuture[Any]]) -> None:
        """Bring the values of completed runs of this flow run to the driver, all at once."""
        absent = [future for future in futures if future._owner is self and future._is_absent()]
        if absent:
            self._check_that_values_are_there(absent[0])
            values = self.runner.fetch([future._content for future in absent])
            for future, value in zip(absent, values, strict=True):
                future._value = value.load()

    def run_context(self) -> FlowRunContext:
        """What the flow's body can ask for."""
        return FlowRunContext(
            flow_run=self.run,
            task_runner=self.runner,
            tags=ambient_tags.get(),
            attempt=self.run.attempts,
        )

    def run_logger(self) -> RunLogger:
        """The logger of the flow run."""
        extra = {"flow_run_name": self.run.name, "flow_name": self.run.flow_name}
        return RunLogger(flow_log, extra, f"Flow run {self.run.name!r}")

    def _check_that_values_are_there(self, future: TaskFuture[Any]) -> None:
        if self._stopped:
            raise ResultGoneError(
                f"the value of task run {future.name!r} went away with its task runner: return the "
                f"future from flow run {self.run.name!r}, or ask for its result before that ends"
            )

    def call_back(self, fn: Callable[[], None]) -> None:
        """Run a user's callback on the thread for them."""
        self._callbacks.call(fn)

    # The end

    def cancel_waiting(self) -> list[str]:
        """Take nothing new, cancel what has not begun; return the names of what still runs."""
        running = []
        for attempt in reversed(self.book.close_now()):  # so that none is skipped
            if attempt.future.state.type is StateType.RUNNING:
                running.append(attempt.future.name)
            else:
                self.cancel(attempt.future)
        return running[::-1]

    def abandon(self) -> list[str]:
        """Cancel all that is live, take nothing new; return the names of what still runs."""
        running = self.cancel_waiting()
        self.cancel_all()
        return running

    def close_all(self) -> None:
        """Take nothing new, nor do flow runs within."""
        self.book.close_now()
        for child in list(self.children):
            child.close_all()

    def cancel_all(self) -> None:
        """Cancel all that is live, also in flow runs within, and take nothing new."""
        for attempt in reversed(self.book.close_now()):  # so that none is skipped
            self.cancel(attempt.future)
        for child in list(self.children):
            child.cancel_all()

    def stop(self) -> None:
        """Stop the runner, end what it left, and the engine's own threads."""
        self.book.close_now()
        try:
            self._callbacks.drain()  # they may ask for values that the runner keeps
        finally:
            self._stop_runner()

    def _stop_runner(self) -> None:
        try:
            self.runner.stop()
        except Exception as error:  # noqa: BLE001  # a runner may raise anything; it changes no state
            name = type(self.runner).__name__
            log_fault(task_log, error, "Task runner `%s` failed to stop", name)
        finally:
            self._end_rest()
            self._leftovers.tell_all()
            for thread in (self.timer, self.reporter, self._callbacks):
                thread.stop()

    def _end_rest(self) -> None:
        self._stopped = True
        if self._streams is not None:
            self._streams.close()
            self._streams = None  # which refers to the engine in turn
        for attempt in self.book.close_now():  # upstream first, so that the others are skipped
            message = f"The task runner stopped before task run {attempt.future.name!r} ended."
            self._end(attempt, *_crash(message, None))


def _crash(message: str, cause: BaseException | None) -> tuple[State, Problem]:
    return Crashed(message), Crash(message, cause)


def _call_hook(hook: Callable[[Any], object], future: TaskFuture[Any]) -> None:
    try:
        hook(future)
    except Exception as error:  # noqa: BLE001  # a user's hook may raise anything
        log_raised(task_log, error, "A hook of task run %r raised:", future.name)
