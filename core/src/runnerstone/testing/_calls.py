"""Calls made by hand, and what a task runner reports of them."""

import itertools
import pickle
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextvars import copy_context
from logging import LogRecord
from typing import Any

import pytest

from runnerstone import Task
from runnerstone.labels import FlowRunInfo
from runnerstone.programs import Program
from runnerstone.task_runners import Outcome, Pickled, Reference, Report, TaskCall, TaskRunner
from runnerstone.testing._suites import Suite


class CallMaker:
    """Makes the calls of a flow run that there is not."""

    def __init__(self, runner: TaskRunner) -> None:
        self._travels = not runner.capabilities.shares_memory
        self._flow_run = FlowRunInfo(secrets.token_hex(8), "hand-made", "hand-made")
        self._programs: dict[Task[..., Any], Program] = {}
        self._numbers = itertools.count()

    def call(self, task: Task[..., Any], *args: Any) -> TaskCall:
        """A call of a task, such as the engine makes for a runner of these capabilities."""
        arguments: Any = (args, {})
        return TaskCall(
            self._programs.setdefault(task, Program.of(task)),
            self._flow_run,
            next(self._numbers),
            1,
            Pickled(pickle.dumps(arguments, protocol=5)) if self._travels else arguments,
            (),
            None if self._travels else copy_context(),
            self._travels,
        )

    def calls(self, task: Task[..., Any], values: Iterable[Any]) -> list[TaskCall]:
        """A call for each value."""
        return [self.call(task, value) for value in values]


class Ends:
    """What a task runner has reported of several calls."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
        self._progress: defaultdict[str, list[bytes]] = defaultdict(list)
        self._begun_late: list[str] = []

    def report(self, call: TaskCall, then: Callable[[], object] | None = None) -> Report:
        """The report to be submitted with a call.

        Args:
            then: Called by `Report.done`, as what the engine does there; it may block.
        """
        return _CollectingReport(self, call.id, then)

    def pair(self, call: TaskCall) -> tuple[TaskCall, Report]:
        """A call and its report."""
        return call, self.report(call)

    def begin(self, call_id: str) -> None:
        """A call is reported to have begun."""
        with self._changed:
            if self._outcomes[call_id]:
                self._begun_late.append(call_id)

    def end(self, call_id: str, outcome: Outcome) -> None:
        """A call is reported to have ended."""
        with self._changed:
            self._outcomes[call_id].append(outcome)
            self._changed.notify_all()

    def progress(self, call_id: str, progress: bytes) -> None:
        """A part of a pack is reported to have ended."""
        with self._changed:
            self._progress[call_id].append(progress)
            self._changed.notify_all()

    def progress_of(self, call: TaskCall) -> list[bytes]:
        """What was told of a pack before its end."""
        with self._changed:
            return self._progress[call.id].copy()

    def of(self, call: TaskCall) -> Outcome:
        """Block until a call has ended; return how."""
        self.wait([call])
        return self._outcomes[call.id][0]

    def wait(self, calls: Iterable[TaskCall]) -> None:
        """Block until all of some calls have ended.

        Raises:
            AssertionError: If the end of one is not reported.
        """
        ids = [call.id for call in calls]
        with self._changed:
            if not self._changed.wait_for(self._all_of(ids), self._patience_seconds):
                missing = [call_id for call_id in ids if not self._outcomes[call_id]]
                raise AssertionError(
                    f"the task runner has not reported the end of {len(missing)} of {len(ids)} "
                    f"calls within {self._patience_seconds} s, such as {missing[0]}"
                )

    def _all_of(self, ids: list[str]) -> Callable[[], bool]:
        return lambda: all(self._outcomes[call_id] for call_id in ids)

    def count(self) -> int:
        """How many ends there have been."""
        with self._changed:
            return sum(map(len, self._outcomes.values()))

    def check(self) -> None:
        """Check that no call has ended twice, or begun after its end, now that all is over."""
        repeated = {call_id: it for call_id, it in self._outcomes.items() if len(it) > 1}
        assert not repeated, f"the end of a call has to be reported once: {repeated}"
        assert not self._begun_late, (
            f"reported as started after their end: {', '.join(self._begun_late)}"
        )


class _CollectingReport(Report):
    """Puts everything on record."""

    __slots__ = ("_call_id", "_ends", "_then")

    def __init__(self, ends: Ends, call_id: str, then: Callable[[], object] | None) -> None:
        self._ends = ends
        self._call_id = call_id
        self._then = then

    def started(self, where: str | None = None) -> None:
        self._ends.begin(self._call_id)

    def logged(self, records: Iterable[LogRecord]) -> None:
        pass

    def progressed(self, progress: bytes) -> None:
        self._ends.progress(self._call_id, progress)

    def done(self, outcome: Outcome) -> None:
        self._ends.end(self._call_id, outcome)
        if self._then is not None:
            self._then()

    def post(self, outcome: Outcome) -> None:
        self._ends.end(self._call_id, outcome)
        if self._then is not None:
            threading.Thread(target=self._then, name="posted report", daemon=True).start()


class CallSuite(Suite):
    """Tests with calls made by hand."""

    @pytest.fixture
    def make(self, started_runner: TaskRunner) -> CallMaker:
        """Makes calls for the started task runner."""
        return CallMaker(started_runner)

    @pytest.fixture
    def ends(self) -> Ends:
        """What is reported."""
        return Ends(self.patience_seconds)


def submit(runner: TaskRunner, calls: Iterable[TaskCall], ends: Ends) -> int:
    """Submit calls one by one; return which thread did so."""
    for call in calls:
        runner.submit(call, ends.report(call))
    return threading.get_ident()


def value_of(runner: TaskRunner, outcome: Outcome) -> Any:
    """The value that an outcome stands for."""
    assert outcome.problem is None, f"the call ended in {outcome.problem!r}"
    if runner.capabilities.shares_memory:
        return outcome.value
    return pickled_of(runner, outcome).load()


def pickled_of(runner: TaskRunner, outcome: Outcome) -> Pickled:
    """The value of an outcome that travelled; fetched, if it stayed behind."""
    value = outcome.value
    if type(value) is Reference:
        (value,) = runner.fetch([value])
    assert type(value) is Pickled, (
        f"a value that travelled has to be a Pickled or a Reference, and it is {value!r}"
    )
    return value
