"""Counts what a task costs in core that does not depend on the machine; see `counts`."""

import logging
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import attrs

from benchmarks.allocations import memory
from benchmarks.interpreters import ask
from benchmarks.threads import noop
from runnerstone import flow, task
from runnerstone.task_runners import (
    Capabilities,
    ConcurrentTaskRunner,
    Report,
    TaskCall,
    TaskRunner,
    run_parcel,
)

RUNS = 2_000
EDGES = 2_000
CONCURRENT = ConcurrentTaskRunner(max_workers=2)
HOOKS = """
from benchmarks.counters import hook_calls_of_a_flow_run
from benchmarks.ways import silence
silence()
print(hook_calls_of_a_flow_run({name!r}))
"""


@task
def take(things: Any) -> None:
    pass


@flow(task_runner=CONCURRENT)
def empty() -> None:
    pass


def core() -> dict[str, float]:
    """All counts of core."""
    return {**memory(), **calls(), **sizes(), **threads(), **hook_calls(), **records()}


@contextmanager
def counting_calls(of: Callable[[CodeType], bool]) -> Iterator[list[int]]:
    """Count calls of Python functions on this thread and on those that start meanwhile."""
    counts: dict[int, int] = {}  # by thread: no two change one
    total = [0]

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and of(frame.f_code):
            thread = threading.get_ident()
            counts[thread] = counts.get(thread, 0) + 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield total
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        total[0] = sum(counts.values())


def is_ours(code: CodeType) -> bool:
    """Whether a function is runnerstone's."""
    return "runnerstone" in code.co_filename


def calls() -> dict[str, float]:
    """Functions of runnerstone that are called for a run, and for an edge."""

    @flow(task_runner=CONCURRENT)
    def runs(count: int) -> None:
        for future in [noop.submit() for _ in range(count)]:
            future.result()

    @flow(task_runner=CONCURRENT)
    def edges(count: int) -> int:
        futures = [noop.submit() for _ in range(count)]
        for future in futures:
            future.result()
        with counting_calls(is_ours) as total:
            take.submit(futures).result()
        return total[0]

    def called(count: int) -> int:
        with counting_calls(is_ours) as total:
            runs(count)
        return total[0]

    return {
        "calls_run": (called(RUNS + 1) - called(1)) / RUNS,
        "calls_edge": (edges(EDGES + 1) - edges(1)) / EDGES,
    }


class PicklingTaskRunner(TaskRunner):
    """Executes calls at once, as if they had travelled, and keeps how large they were."""

    capabilities = Capabilities(parallel=False)

    def start(self) -> None:
        sizes_sent.clear()

    def submit(self, call: TaskCall, report: Report) -> None:
        parcel = call.parcel()
        outcome = run_parcel(call.program, parcel.contents)
        sent, _ = outcome.parted(self.capabilities.inline_limit)
        sizes_sent.append((parcel.contents.nbytes, len(pickle.dumps(sent, protocol=5))))
        report.done(outcome)


sizes_sent: list[tuple[int, int]] = []


def sizes() -> dict[str, float]:
    """Pickled bytes of a call that travels, and of its outcome."""

    @flow(task_runner=PicklingTaskRunner(), flow_run_name="quiet-fox")
    def travel() -> None:
        for _ in range(100):
            noop()

    travel()
    parcels, outcomes = zip(*sizes_sent, strict=True)
    return {"bytes_parcel": max(parcels), "bytes_outcome": max(outcomes)}


def threads() -> dict[str, float]:
    """Threads that a flow run starts."""

    @flow(task_runner=CONCURRENT)
    def one() -> None:
        noop()

    return {"threads_empty": started_by(empty), "threads_one": started_by(one)}


def started_by(work: Callable[[], object]) -> int:
    """How many threads are started meanwhile."""
    count = 0
    start = threading.Thread.start

    def counted(self: threading.Thread) -> None:
        nonlocal count
        count += 1
        start(self)

    threading.Thread.start = counted  # type: ignore[method-assign]  # for these lines
    try:
        work()
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]  # as it was
    return count


def hook_calls_of_a_flow_run(name: str = "") -> int:
    """Hooks that a flow run calls which has an instance as its runner, or a name."""
    run = empty.with_options(task_runner=name) if name else empty
    with counting_calls(lambda code: code.co_name == "_multicall") as count:
        run()
    return count[0]


def hook_calls() -> dict[str, float]:
    """Hooks that flow runs call; one that names a runner, in a fresh process."""
    return {
        "hooks_instance": hook_calls_of_a_flow_run(),
        "hooks_name": float(ask(HOOKS.format(name="concurrent"))),
    }


@attrs.define(eq=False)
class Ear(logging.Handler):
    """Counts records."""

    count: int = 0

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def records() -> dict[str, float]:
    """Records that are logged for a run."""

    @flow(task_runner=CONCURRENT)
    def runs(count: int) -> None:
        for _ in range(count):
            noop()

    def logged(count: int) -> int:
        ear = Ear()
        log.addHandler(ear)
        try:
            runs(count)
        finally:
            log.removeHandler(ear)
        return ear.count

    log = logging.getLogger("runnerstone")
    level, propagates = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        return {"records_run": (logged(101) - logged(1)) / 100}
    finally:
        log.setLevel(level)
        log.propagate = propagates
